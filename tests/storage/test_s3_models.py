"""Models and recipes in a bucket: those of a folder, by the same verbs."""

import shutil

import numpy as np
import pytest
from object_store import contents, copied, reached
from short_trainings import config
from typer.testing import CliRunner

from tilespec.baselines.baseline import baseline
from tilespec.cli import app
from tilespec.core.errors import OccupiedError, UserError
from tilespec.ingest.ingest import info
from tilespec.models.adopt.adopt import adopt
from tilespec.models.model import Model
from tilespec.output.report.page import report
from tilespec.predict.predict import predict
from tilespec.spectra.fit import fit
from tilespec.spectra.recipe import Recipe
from tilespec.spectra.transform import transform
from tilespec.storage.backends.paths import store_path
from tilespec.training.train import train


@pytest.fixture
def store(server):
    with reached(server) as (proxy, url):
        yield proxy, url


@pytest.fixture
def bucket(store):
    return store[1]


@pytest.fixture(scope="module")
def scene(tmp_path_factory, make_scene):
    return make_scene(tmp_path_factory.mktemp("local") / "scene", 48, 40, 6, seed=1)


@pytest.fixture(scope="module")
def model(scene, tmp_path_factory):
    out = str(tmp_path_factory.mktemp("models") / "model")
    train(config(scene, train={"steps": 2}), out)
    return out


def test_a_recipe_is_fitted_into_a_bucket_updated_there_and_applied_from_there(bucket, scene, tmp_path):
    near, far = str(tmp_path / "recipe"), f"{bucket}/recipe"
    for out in (near, far):
        fit(scene, out, steps="snv,pca=2")
        transform(out, scene, f"{out}-scores")
    assert contents(far) == contents(near)
    assert contents(f"{far}-scores") == contents(f"{near}-scores")
    assert fit(scene, far, steps="snv,pca=2")["digest"] == Recipe.load(near).digest
    with pytest.raises(OccupiedError, match="another recipe"):
        fit(scene, far, steps="snv,pca=3")
    fit(scene, f"{bucket}/more", update=far)
    assert info(far) | {"recipe": ""} == info(near) | {"recipe": ""}


def test_a_training_in_a_bucket_writes_the_model_of_one_on_disk(bucket, scene, model):
    out = f"{bucket}/model"
    result = train(config(copied(scene, f"{bucket}/scene"), train={"steps": 2}), out)
    assert result["model"] == out
    assert Model.load(out).digest == Model.load(model).digest
    near, far = info(model), info(out)
    assert near["parameters"] == far["parameters"]
    assert far["model"] == out
    kept = {key.split("/")[0] for key in contents(out)}
    assert kept == {"checkpoints", "config.json", "log.jsonl", "model.json", "model.safetensors", "recipe"}
    assert train(config(f"{bucket}/scene", train={"steps": 2}), out) == result


def test_all_that_a_model_in_a_bucket_predicts_is_what_that_on_disk_does(bucket, scene, model, tmp_path):
    far = copied(model, f"{bucket}/model")
    predict(model, scene, str(tmp_path / "near"), tile=16)
    predict(far, scene, f"{bucket}/map", tile=16, workers=2)
    assert contents(f"{bucket}/map") == contents(str(tmp_path / "near"))


def test_models_and_scenes_in_buckets_are_told_apart_on_the_command_line(bucket, scene, model, tmp_path):
    one, other = copied(model, f"{bucket}/one"), str(tmp_path / "other")
    train(config(scene, train={"steps": 2, "seed": 5}), other)
    url = copied(scene, f"{bucket}/scene")
    said = CliRunner().invoke(app, ["predict", other, one, url, f"{bucket}/map", "--tile", "16", "--quiet"])
    assert said.exit_code == 0, said.output
    predict([one, other], scene, str(tmp_path / "map"), tile=16)
    assert contents(f"{bucket}/map") == contents(str(tmp_path / "map"))


def test_a_training_begins_with_a_model_and_a_recipe_in_a_bucket(bucket, scene, model, tmp_path):
    far = copied(model, f"{bucket}/model")
    results = []
    for place, out in ((far, f"{bucket}/next"), (model, str(tmp_path / "next"))):
        settings = config(scene, train={"steps": 2, "start": place})
        settings["recipe"] = {"path": f"{place}/recipe"}
        train(settings, out)
        results.append(Model.load(out).digest)
    assert results[0] == results[1]


def test_a_baseline_in_a_bucket_has_its_model_there(bucket, scene, tmp_path):
    for out in (f"{bucket}/map", str(tmp_path / "map")):
        baseline("plsda", scene, out, recipe="snv")
    assert contents(f"{bucket}/map") == contents(str(tmp_path / "map"))
    assert contents(f"{bucket}/map.model").keys() == contents(str(tmp_path / "map.model")).keys()
    assert Model.load(f"{bucket}/map.model").digest == Model.load(str(tmp_path / "map.model")).digest


def test_an_estimator_in_a_bucket_is_adopted_into_a_bucket(bucket, scene, tmp_path):
    dump = pytest.importorskip("skops.io").dump
    linear = pytest.importorskip("sklearn.linear_model").LogisticRegression()
    rng = np.random.default_rng(0)
    linear.fit(rng.random((30, 6), np.float32), np.arange(30) % 3)
    dump(linear, tmp_path / "linear.skops")
    store_path(f"{bucket}/linear.skops").write_bytes((tmp_path / "linear.skops").read_bytes())
    adopt(f"{bucket}/linear.skops", f"{bucket}/model", like=scene)
    adopt(str(tmp_path / "linear.skops"), str(tmp_path / "model"), like=scene)
    assert Model.load(f"{bucket}/model").digest == Model.load(str(tmp_path / "model")).digest


def test_a_report_of_what_is_in_a_bucket_is_put_into_it(bucket, scene, model, tmp_path):
    far = copied(model, f"{bucket}/model")
    said = report([copied(scene, f"{bucket}/scene"), far, f"{far}/recipe"], f"{bucket}/page.html")
    near = report([scene, model, f"{model}/recipe"], str(tmp_path / "page.html"))
    assert said["sections"] == near["sections"]
    assert store_path(f"{bucket}/page.html").size() == near["bytes"]
    store_path(f"{bucket}/other.html").write_bytes(b"mine")
    with pytest.raises(OccupiedError, match="a file that is there already"):
        report([scene], f"{bucket}/other.html")


@pytest.mark.parametrize("name", ["model.json", "model.safetensors", "recipe/recipe.json", "recipe/arrays.npz"])
def test_a_model_of_which_an_object_is_gone_or_damaged_is_refused(bucket, model, name):
    far = copied(model, f"{bucket}/model")
    (store_path(far) / name).write_bytes(b"torn")
    with pytest.raises(UserError):
        Model.load(far)
    (store_path(far) / name).unlink()
    with pytest.raises(UserError):
        Model.load(far)


def test_a_disk_without_room_for_the_weights_is_said(bucket, model, monkeypatch):
    far, usage = copied(model, f"{bucket}/model"), shutil.disk_usage
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(path)._replace(free=10))
    with pytest.raises(UserError, match=r"room for 0\.0 GB; expected room for a temporary copy\. Set TMPDIR"):
        Model.load(far)


def test_a_server_that_hesitates_loses_no_model(store, scene, model):
    proxy, bucket = store
    out = f"{bucket}/model"
    proxy.faults += [("PUT", "SlowDown", 2), ("GET", "SlowDown", 2), ("GET model.safetensors", "truncated", 1)]
    train(config(scene, train={"steps": 2}), out)
    assert Model.load(out).digest == Model.load(model).digest
    assert {"SlowDown", "truncated"} <= set(proxy.met)
