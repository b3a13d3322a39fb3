"""No verb replaces what it did not make; on request it replaces what is in its way, and nothing else."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import zarr
from untrained_models import objects, save_model

from tilespec import api
from tilespec.core.errors import OccupiedError, UserError
from tilespec.storage.scene import Scene

FOREIGN = {
    "plots.geojson": '{"type": "FeatureCollection", "features": []}',
    "table.csv": "id,name\n1,mine\n",
    "raw.hdr": "ENVI\nsamples = 4\n",
    "page.html": "<html><body>mine</body></html>",
    "empty.html": "",
    "scene.tif": "mine",
    "scene.nc": "mine",
    "scene.png": "mine",
    "scene.hdr": "mine",
}


@pytest.fixture(scope="module")
def work(tmp_path_factory, make_scene):
    folder = tmp_path_factory.mktemp("outputs")
    scene = make_scene(folder / "scene", 48, 40, 5)
    model = save_model(folder / "model", scene)
    api.predict(model, scene, folder / "map")
    return folder, scene, model


def calls(work, out):
    folder, scene, _ = work
    by_end = {
        ".html": lambda **more: api.report(scene, out, **more),
        ".geojson": lambda **more: api.measure(folder / "map", scene, out, regions="class_1", **more),
        ".csv": lambda **more: api.measure(folder / "map", scene, out, regions="class_1", **more),
        ".hdr": lambda **more: api.measure(folder / "map", scene, out, regions="class_1", **more),
    }
    return by_end.get(out.suffix, lambda **more: api.export(scene, out, **more))


@pytest.mark.parametrize("name", FOREIGN)
def test_a_file_that_the_verb_did_not_write_stays_as_it_is(work, tmp_path, name):
    out = tmp_path / name
    out.write_text(FOREIGN[name])
    call = calls(work, out)
    for more in ({}, {"dry_run": True}, {"dry_run": True, "overwrite": True}):
        with pytest.raises(OccupiedError, match=r"already"):
            call(**more)
        assert out.read_text() == FOREIGN[name]


def test_a_table_and_a_page_of_ones_own_are_written_again(work, tmp_path):
    for name in ("own.csv", "own.html"):
        out = tmp_path / name
        call = calls(work, out)
        call()
        out.write_text(out.read_text() + " ")
        call()
        assert not out.read_text().endswith(" ")


def test_a_picture_that_the_verb_did_not_draw_stays_as_it_is(work, tmp_path):
    folder, scene, _ = work
    picture = tmp_path / "photo.png"
    picture.write_text("mine")
    with pytest.raises(OccupiedError, match="already"):
        api.measure(folder / "map", scene, tmp_path / "t.csv", regions="class_1", picture=picture)
    assert picture.read_text() == "mine"


VERBS = {
    "fit": lambda work, out: api.fit(work[1], out, steps="pca=2"),
    "transform": lambda work, out: api.transform(work[0] / "recipe", work[1], out),
    "predict": lambda work, out: api.predict(work[2], work[1], out),
    "baseline": lambda work, out: api.baseline("sam", work[1], out),
    "measure": lambda work, out: api.measure(work[0] / "map", work[1], out, regions="class_1"),
    "train": lambda work, out: api.train(
        "preset:tiny", out, overrides={"data.scene": work[1], "data.patch": 16, "train.steps": 1}
    ),
}


@pytest.mark.parametrize("verb", VERBS)
def test_nothing_is_published_of_a_scene_that_changed_after_its_last_read(work, tmp_path, monkeypatch, verb):
    """What was computed belongs to two scenes then, though every object that was read was whole."""
    api.fit(work[1], work[0] / "recipe", steps="mean")

    def changed(*_):
        raise UserError("scene", found="another scene", expected="one", do="Run it again.")

    monkeypatch.setattr(Scene, "check_unchanged", changed)
    kept = SimpleNamespace(check_unchanged=changed)
    monkeypatch.setattr("tilespec.baselines.baseline.inventory", lambda _: kept)
    with pytest.raises(UserError, match="another scene"):
        VERBS[verb](work, tmp_path / "out")
    out = tmp_path / "out"
    assert not any(path.exists() for path in (out / "recipe.json", out / "model.json", tmp_path / "out.model"))
    assert not out.is_file()
    if (out / "zarr.json").exists():
        assert zarr.open_group(out, mode="r").attrs["tilespec_status"] == "writing"


def test_on_request_a_file_is_replaced(work, tmp_path):
    out = tmp_path / "plots.csv"
    out.write_text(FOREIGN["plots.geojson"])
    calls(work, out)(overwrite=True)
    assert out.read_text().startswith("id,")


def test_on_request_a_product_of_other_settings_is_replaced_with_its_records(work, tmp_path):
    _, scene, model = work
    out = tmp_path / "out"
    api.predict(model, scene, out, tile=16)
    with pytest.raises(OccupiedError, match=r"other settings.*--overwrite replaces it"):
        api.predict(model, scene, out, tile=32, overlap=0)
    api.predict(model, scene, out, tile=32, overlap=0, overwrite=True)
    api.predict(model, scene, tmp_path / "fresh", tile=32, overlap=0)
    assert objects(out) == objects(tmp_path / "fresh")
    assert api.verify(out)["whole"]


def test_nothing_is_removed_for_a_command_that_is_refused(work, tmp_path):
    _, scene, model = work
    out = tmp_path / "out"
    api.predict(model, scene, out, tile=16)
    before = objects(out)
    with pytest.raises(UserError):
        api.predict(model, tmp_path / "nowhere", out, tile=32, overwrite=True)
    assert objects(out) == before


def test_an_input_is_never_removed(work, tmp_path):
    _, scene, model = work
    link = tmp_path / "link"
    link.symlink_to(scene)
    before = objects(scene)
    for out in (scene, link):
        with pytest.raises(UserError):
            api.predict(model, scene, out, overwrite=True)
        assert objects(scene) == before


def test_a_folder_that_no_study_wrote_gets_no_table(work, tmp_path):
    _, scene, _ = work
    (tmp_path / "table.csv").write_text("mine")
    for place in (tmp_path, Path(scene)):
        with pytest.raises(UserError, match="is no study"):
            api.study("preset:tiny", place, overrides={"data.scene": scene}, rows="0:24", test_rows="24:48")
    assert (tmp_path / "table.csv").read_text() == "mine"


@pytest.mark.parametrize("verb", ["simulate", "ingest", "fit", "transform", "render", "train", "predict", "baseline"])
def test_every_verb_with_an_output_can_replace_it(verb):
    assert "overwrite" in api.__getattr__(verb).__signature__.parameters
