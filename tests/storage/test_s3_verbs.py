"""Verbs whose stores are in a bucket: the bytes and the figures of the same verbs on disk."""

import json
from pathlib import Path

import numpy as np
import pytest
from object_store import contents, copied, reached
from PIL import Image

from tilespec.core.errors import OccupiedError, UserError
from tilespec.evaluate.evaluate import evaluate
from tilespec.ingest.ingest import ingest
from tilespec.output.export.export import export
from tilespec.output.measure.measure import measure
from tilespec.simulate.simulate import simulate
from tilespec.storage.audit import verify
from tilespec.storage.backends.paths import store_path
from tilespec.storage.product import Product
from tilespec.storage.scene import Scene
from tilespec.training.train import train
from tilespec.workflows.demo import demo
from tilespec.workflows.new import new
from tilespec.workflows.repair import repair
from tilespec.workflows.study.study import study


@pytest.fixture
def bucket(server):
    with reached(server) as (_, url):
        yield url


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "cube.npy"
    np.save(path, np.random.default_rng(0).random((300, 400, 4), np.float32))
    return str(path)


@pytest.mark.parametrize("options", [{}, {"dtype": "uint16"}, {"shards": "128x256"}])
def test_an_ingest_into_a_bucket_writes_the_bytes_of_one_on_disk(bucket, cube, tmp_path, options):
    given = {"axes": "y,x,band", **options}
    far, near = ingest(cube, f"{bucket}/scene", **given), ingest(cube, str(tmp_path / "scene"), **given)
    assert far["digest"] == near["digest"]
    assert contents(f"{bucket}/scene") == contents(str(tmp_path / "scene"))
    assert verify(f"{bucket}/scene")["whole"]


def test_a_torn_shard_in_a_bucket_is_repaired_by_the_command_that_wrote_it(bucket, cube):
    ingest(cube, f"{bucket}/scene", axes="y,x,band", shards="128x512")
    whole, torn = contents(f"{bucket}/scene"), store_path(f"{bucket}/scene") / "cube/c/1/0/0"
    torn.write_bytes(torn.read_bytes()[:-10])
    assert [entry["row"] for entry in repair(f"{bucket}/scene")["rows"]] == [1]
    assert contents(f"{bucket}/scene") == whole


def test_an_ingest_into_a_bucket_resumes(bucket, cube, tmp_path, monkeypatch):
    from tilespec.ingest.row_writer import RowWriter

    kept = RowWriter.write

    def dies(self, product, row, *args):
        if row == 1:
            raise KeyboardInterrupt
        kept(self, product, row, *args)

    monkeypatch.setattr(RowWriter, "write", dies)
    with pytest.raises(KeyboardInterrupt):
        ingest(cube, f"{bucket}/scene", axes="y,x,band")
    monkeypatch.undo()
    assert ingest(cube, f"{bucket}/scene", axes="y,x,band")["resumed"] == 1
    ingest(cube, str(tmp_path / "scene"), axes="y,x,band", shards="auto")
    assert contents(f"{bucket}/scene") == contents(str(tmp_path / "scene"))


def test_evaluate_and_export_read_from_a_bucket(bucket, make_scene, tmp_path):
    truth = make_scene(tmp_path / "truth", 64, 64, 4)
    url = f"{bucket}/pred"
    product = Product.open(
        url,
        [_prediction(Scene.open(truth))],
        settings={},
        attrs={"tilespec_kind": "prediction"},
        constants={},
    )
    product.write(0, {"prediction": Scene.open(truth).labels()})
    product.finish()
    told = evaluate(url, copied(truth, f"{bucket}/truth"), patches=10, patch_size=16)
    assert told["scene_iou"] == told["oa"] == 1.0
    assert (store_path(f"{url}.tilespec") / "evaluation.json").exists()
    export(url, str(tmp_path / "map.png"))
    with Image.open(tmp_path / "map.png") as picture:
        assert picture.size == (64, 64)


def _prediction(scene):
    from dataclasses import replace

    from tilespec.storage.layout import layer_spec

    spec = layer_spec("prediction", scene.shape[:2], classes=scene.classes())
    return replace(spec, chunks=scene.shape[:2])


@pytest.mark.parametrize("suffix", [".tif", ".hdr", ".npy", ".png"])
def test_an_export_into_a_bucket_puts_the_files_of_one_on_disk(bucket, make_scene, tmp_path, suffix):
    scene = make_scene(tmp_path / "scene", 32, 32, 4)
    near, far = export(scene, str(tmp_path / f"out{suffix}")), export(scene, f"{bucket}/out{suffix}")
    assert list(far["files"]) == [f"{bucket}/{Path(name).name}" for name in near["files"]]
    for here, there in zip(near["files"], far["files"], strict=True):
        assert store_path(there).read_bytes() == Path(here).read_bytes()
    with pytest.raises(OccupiedError, match="a file that is there already"):
        export(scene, f"{bucket}/out{suffix}")


def test_a_table_and_its_polygons_and_a_configuration_can_be_in_a_bucket(bucket, make_scene, tmp_path):
    scene = make_scene(tmp_path / "scene", 32, 32, 4)
    square = [[[2, 2], [2, 9], [9, 9], [9, 2], [2, 2]]]
    shapes = {"type": "Feature", "properties": {"name": "a"}, "geometry": {"type": "Polygon", "coordinates": square}}
    text = json.dumps({"type": "FeatureCollection", "features": [shapes]}).encode()
    store_path(f"{bucket}/plots.geojson").write_bytes(text)
    (tmp_path / "plots.geojson").write_bytes(text)
    for place in (bucket, str(tmp_path)):
        given = {"polygons": f"{place}/plots.geojson", "pixel_coordinates": True}
        measure(scene, scene, f"{place}/table.csv", **given, picture=f"{place}/plots.png")
    assert store_path(f"{bucket}/table.csv").read_bytes() == (tmp_path / "table.csv").read_bytes()
    assert store_path(f"{bucket}/plots.png").read_bytes() == (tmp_path / "plots.png").read_bytes()
    new(f"{bucket}/field.toml", task="segment", scene=[scene])
    assert train(f"{bucket}/field.toml", f"{bucket}/model", dry_run=True)["model"] == f"{bucket}/model"


def test_what_can_only_be_a_folder_or_a_file_is_refused_in_a_bucket(bucket, make_scene, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scene, out = make_scene(tmp_path / "scene", 32, 32, 4, seed=1), "s3://bucket/out"
    settings = {"data.scene": scene, "train.tensorboard": True, "train.steps": 1}
    for write in (
        lambda: train("preset:tiny", f"{bucket}/events", overrides=settings),
        lambda: simulate(out, rows=64, cols=64, bands=30, plants=1, raw=True),
        lambda: demo(out),
        lambda: study("preset:tiny", out, dry_run=True),
    ):
        with pytest.raises(UserError, match="a path of this machine"):
            write()
    assert not (tmp_path / "s3:").exists()
