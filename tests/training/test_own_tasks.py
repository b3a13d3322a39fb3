"""A task from outside tilespec: its metrics, its plane and its input are followed by every verb, without an edit."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from own_tasks import QuarticErrors
from spectral_pairs import RGB, mixtures, spectral, write_cube

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.core.types import Roi
from tilespec.evaluate.evaluate import evaluate
from tilespec.models.model import Model
from tilespec.models.tasks import task
from tilespec.models.tasks.base import Geometry
from tilespec.output.report.page import report
from tilespec.predict.predict import predict
from tilespec.spectra.recipe import Recipe
from tilespec.storage.scene import Scene
from tilespec.training.config import resolve
from tilespec.training.data.loader import Loader
from tilespec.training.data.patches import PatchStream, turned
from tilespec.training.data.score_cache import ScoreCache
from tilespec.training.data.training_set import open_training_set
from tilespec.training.setup import prepared
from tilespec.training.train import train
from tilespec.training.validation import history

ROWS, COLS, BANDS = 72, 52, 5
PLANES = {"own_tasks:Halves": ("1/2", 2), "own_tasks:Approximate": ("1/2", 2), "own_tasks:Doubles": ("2", 0)}


def resized(cube, scale):
    """Return a cube of another scale: means of squares, or repeated pixels."""
    scale = Fraction(scale)
    if scale >= 1:
        return cube.repeat(int(scale), axis=0).repeat(int(scale), axis=1)
    side = int(1 / scale)
    height, width = (length // side for length in cube.shape[:2])
    return cube[: height * side, : width * side].reshape(height, side, width, side, -1).mean(axis=(1, 3))


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """An RGB scene with a few gaps, and truths of it at several scales."""
    folder = tmp_path_factory.mktemp("own")
    rgb, truth = mixtures(ROWS, COLS, BANDS, 0, 10.0)
    rgb[40, 7] = rgb[3, 20] = np.nan
    truths = {
        scale: write_cube(folder / f"truth{i}.zarr", resized(truth, scale), spectral(BANDS))
        for i, scale in enumerate(("1/3", "1/2", "1", "2"))
    }
    return write_cube(folder / "rgb.zarr", rgb, RGB), truths


def tables(stores, scale="1", margin=0, **given):
    base = {
        "data": {"scene": stores[0], "target": stores[1][scale], "patch": 16, "patches": 6, "rows": "0:44"},
        "task": {"name": "own_tasks:Values", "scale": scale, "margin": margin},
        "net": {"name": "linear"},
        "objective": {"name": "supervised", "loss": "l1"},
        "train": {"steps": 4, "batch": 2, "checkpoint_every": 2},
        "validate": {"rows": "45:72", "every": 2},
    }
    return {name: {**base.get(name, {}), **given.get(name, {})} for name in {*base, *given}}


def whole(model, scene):
    """Return what the net of a model answers to all of a scene at once, ``y, x, channel`` in units of the truth."""
    loaded = Model.load(model)
    of, x = task(loaded.task), torch.from_numpy(np.nan_to_num(Scene.open(scene).read(Scene.open(scene).roi)))
    with torch.inference_mode():
        raw = loaded.module()(of.inputs(x.permute(2, 0, 1)[None]))
        return of.activate(raw)[0].permute(1, 2, 0).numpy()


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_the_targets_of_patches_are_slices_of_the_truth(stores, data):
    scale = data.draw(st.sampled_from([*stores[1]]))
    step = Fraction(scale).denominator
    margin, side = step * data.draw(st.integers(0, 2)), step * data.draw(st.integers(5, 8))
    told = {"rows": data.draw(st.sampled_from(["0:44", "1:72", "5:60"])), "patch": side, "window": 2}
    config = resolve(tables(stores, scale, margin, data=told))
    corpus = open_training_set(config)
    (region,), stream = corpus.regions, PatchStream.of(config, corpus)
    blocks = ScoreCache(corpus.regions, Recipe.empty(3, RGB), data.draw(st.sampled_from([0, 20_000, 1 << 30])))
    of = task({"name": "own_tasks:Values", "scale": scale, "margin": margin, **corpus.options})
    truth = Scene.open(stores[1][scale]).read(Scene.open(stores[1][scale]).roi)
    batch = Loader(stream, blocks, of, batch=4, share=range(4), threads=0).batch(data.draw(st.integers(0, 3)))
    length = Fraction(scale) * (side - 2 * margin)
    for place, x, y in zip(batch.ids, batch.x, batch.y, strict=True):
        patch = stream.patch(place)
        top, left = (Fraction(scale) * (v + margin) for v in (patch.y, patch.x))
        cut = truth[int(top) : int(top + length), int(left) : int(left + length)]
        rgb = turned(region.scene.read(stream.roi(patch)), patch.turn)
        gone = of.geometry.at_centres(np.isnan(rgb).any(axis=2))
        assert {top.denominator, left.denominator, length.denominator} == {1}
        np.testing.assert_array_equal(x.permute(1, 2, 0), np.nan_to_num(rgb))
        np.testing.assert_array_equal(y.permute(1, 2, 0), np.where(gone[..., None], np.nan, turned(cut, patch.turn)))


@pytest.mark.parametrize("steps", [None, "scale"])
@pytest.mark.parametrize("net", PLANES)
def test_a_task_of_another_plane_is_learned_judged_and_predicted_where_its_truth_lies(stores, tmp_path, net, steps):
    scale, margin = PLANES[net]
    scene, truth, model = stores[0], stores[1][scale], str(tmp_path / "model")
    train(tables(stores, scale, margin, net={"name": net}, recipe={"steps": steps}), model)
    geometry = Geometry(scale=Fraction(scale), margin=margin)
    side = geometry.plane((16, 16))[0]
    assert Model.load(model).tile == side

    out = predict(model, scene, str(tmp_path / "whole.zarr"))["out"]
    found = Scene.open(out).read(Scene.open(out).roi)
    assert found.shape == (*geometry.plane((ROWS, COLS)), BANDS)
    if steps is None:
        seen = np.isfinite(found)
        assert seen.mean() > 0.99
        near = geometry.at_centres(np.isfinite(Scene.open(scene).read(Scene.open(scene).roi)).all(axis=2))
        np.testing.assert_array_equal(seen.all(axis=2), near)
        np.testing.assert_allclose(found[seen], whole(model, scene)[seen], rtol=1e-4, atol=1e-4)

    first = 45 + 45 % Fraction(scale).denominator  # where the first whole output pixel of what is held out begins
    part = predict(model, scene, str(tmp_path / "part.zarr"), rows=f"{first}:72")["out"]
    top = int(first * Fraction(scale))
    np.testing.assert_allclose(Scene.open(part).read(Scene.open(part).roi), found[top:], rtol=1e-4, atol=1e-4)
    told = evaluate(part, truth, patches=2, patch_size=4, illuminant="none")
    known = Scene.open(truth).read(Scene.open(truth).roi)
    y0, x0 = (int((v + margin) * Fraction(scale)) for v in (first, 0))
    error = known[y0:, x0:][: found.shape[0] - top, : found.shape[1]] - found[top:]
    assert told["rmse"] == pytest.approx(float(np.sqrt(np.nanmean(np.square(error, dtype=np.float64)))), rel=1e-4)
    assert told["overlaps_training"] is False
    assert history.read(Path(model))[-1]["rmse"] == pytest.approx(told["rmse"], rel=1e-4)


def test_labels_of_another_scale_are_learned_and_judged_too(make_scene, tmp_path):
    scene = make_scene(tmp_path / "scene.zarr", 64, 48, 3, seed=1, nan=0.01)
    labels = make_scene(tmp_path / "labels.zarr", 32, 24, 3, seed=1, unlabelled=0.1)
    data = {"scene": scene, "labels": labels, "rows": "0:40", "patch": 16, "patches": 6, "drop_single_class": True}
    given = {
        "data": data,
        "task": {"name": "own_tasks:Labels", "scale": "1/2", "margin": 2},
        "net": {"name": "own_tasks:Halves"},
        "objective": {"name": "supervised"},
        "train": {"steps": 2, "batch": 2},
        "validate": {"rows": "40:64", "every": 2},
    }
    train(given, str(tmp_path / "m"))
    out = predict(str(tmp_path / "m"), scene, str(tmp_path / "out.zarr"), rows="40:64")["out"]
    told = evaluate(out, labels, patches=2, patch_size=4)
    found = np.asarray(zarr.open_group(out, mode="r")["prediction"])
    known = Scene.open(labels).labels()[21:31, 1:23]
    assert found.shape == known.shape
    assert told["oa"] == (found == known)[known != 255].mean()
    assert history.read(tmp_path / "m")[-1]["oa"] == told["oa"]
    with pytest.raises(UserError, match=r"data.balance: found 'classes', for a task of output scale 1/2"):
        train({**given, "data": {**data, "balance": "classes"}}, str(tmp_path / "n"))


def test_a_net_reads_what_its_task_makes_of_the_recipe(stores, tmp_path):
    model = str(tmp_path / "model")
    given = tables(stores, task={"mean": True}, recipe={"steps": "pca=2,scale"})
    assert train(given, model)["parameters"]["generator"] == BANDS * (3 + 1)
    loaded = Model.load(model)
    assert (loaded.channels, loaded.recipe.bands_out) == ((3, BANDS), 2)
    out = predict(model, stores[0], str(tmp_path / "out.zarr"))["out"]
    scene = Scene.open(stores[0]).read(Scene.open(stores[0]).roi)
    scores = torch.from_numpy(loaded.recipe.apply(scene.reshape(-1, 3)).reshape(ROWS, COLS, 2))
    with torch.inference_mode():
        x = torch.cat([scores, scores.mean(dim=2, keepdim=True)], dim=2).permute(2, 0, 1)[None]
        direct = task(loaded.task).activate(loaded.module()(x))[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(Scene.open(out).read(Scene.open(out).roi), direct, rtol=1e-4, atol=1e-4)


def test_norms_are_frozen_by_what_the_net_reads(stores, tmp_path):
    net = {"name": "unet", "base_width": 2, "n_down": 2, "norm": "instance"}
    train(tables(stores, task={"mean": True}, net=net, validate={"norm": "frozen"}), str(tmp_path / "m"))
    assert predict(str(tmp_path / "m"), stores[0], str(tmp_path / "out"), norm="frozen")["status"] == "complete"
    assert api.probe(str(tmp_path / "m"), scene=stores[0], tile=16)["channels"] == [4, BANDS]


@pytest.fixture(scope="module")
def judged(stores, tmp_path_factory):
    folder = tmp_path_factory.mktemp("judged")
    train(tables(stores), str(folder / "model"))
    return folder, predict(str(folder / "model"), stores[0], str(folder / "out.zarr"), rows="45:72")["out"]


def test_a_metric_of_its_own_leads_chooses_the_model_and_stands_in_evaluations(stores, judged):
    folder, out = judged
    lines = history.read(folder / "model")
    assert [*lines[0]][:3] == ["step", "quartic", "rmse"]
    pair = np.stack(
        [Scene.open(url).read(Roi(y0=y, y1=y + 27, x0=0, x1=COLS)) for url, y in ((stores[1]["1"], 45), (out, 0))]
    )
    value = QuarticErrors.zero(BANDS).of(pair).finish()["quartic"]
    told = evaluate(out, stores[1]["1"], patches=2, patch_size=8, illuminant="none", bootstrap=20, block_size=9)
    assert told["quartic"] == pytest.approx(value, rel=1e-9)
    assert told["bootstrap"]["intervals"]["quartic"][0] <= value <= told["bootstrap"]["intervals"]["quartic"][1]
    top = min(lines, key=lambda line: (line["quartic"], line["step"]))
    assert Model.load(str(folder / "model")).provenance["steps"] == top["step"]
    assert top["quartic"] == pytest.approx(value, rel=1e-6)
    report([str(folder / "model")], str(folder / "page.html"))
    assert "quartic" in (folder / "page.html").read_text()


def test_who_does_not_name_the_task_s_module_is_told_what_is_left_out(stores, judged, monkeypatch):
    monkeypatch.setenv("TILESPEC_PLUGINS", "")
    told = evaluate(judged[1], stores[1]["1"], patches=2, patch_size=8, illuminant="none")
    assert "quartic" not in told
    assert "without the metrics of its task" in told["notes"][-1]
    assert "TILESPEC_PLUGINS" in told["notes"][-1]


def test_a_study_has_a_column_for_it(stores, tmp_path):
    given = {**tables(stores), "validate": {}}
    regions = {"data.rows": "0:44", "data.test_rows": "45:72"}
    found = api.study(given, str(tmp_path / "s"), overrides=regions, evaluate={"patch_size": 8, "illuminant": "none"})
    (row,) = found["scores"]
    assert [*row["mean"]][-2:] == ["seam_score", "quartic"] or [*row["mean"]][-1] == "quartic"
    assert found["table"].splitlines()[0].endswith("| quartic |")


@pytest.mark.parametrize(
    ("scale", "margin", "more", "text"),
    [
        ("1/2", 1, {}, "a margin of 1 pixels at output scale 1/2; expected a multiple of 2"),
        ("1/2", 2, {"data": {"patch": 15}}, "data.patch: found 15 pixels, with output scale 1/2 and margin 2"),
        ("1/2", 2, {"data": {"patch": 4}}, "data.patch: found 4 pixels.*whole output pixels.*Set data.patch=6"),
        ("1/2", 0, {"data": {"target": "1"}}, "target of 72 x 52 pixels; expected 36 x 26, 1/2 times the size"),
        ("2", 0, {"net": {"name": "linear"}}, "answers of 16 x 16 pixels to patches of 16 x 16; expected 32 x 32"),
        ("2", 0, {"augment": {"cutmix": 1.0}}, "augment.cutmix: found answers with output scale 2"),
        ("2", 0, {"objective": {"name": "cgan"}}, "cgan, for a task of output scale 2"),
        ("1", 0, {"task": {"name": "own_tasks:OfClasses"}}, "oa, of classes; expected metrics of field"),
        ("1", 0, {"task": {"name": "own_tasks:TakesAName"}}, "a name that no metric of tilespec has"),
        ("1", 0, {"validate": {"metric": "mae"}}, "validate.metric: found 'mae'; expected .*: quartic, rmse"),
    ],
)
def test_what_does_not_go_with_the_plane_or_the_metrics_of_a_task_is_refused(
    stores, tmp_path, scale, margin, more, text
):
    given = tables(stores, scale, margin, **more)
    given["data"]["target"] = stores[1].get(given["data"]["target"], given["data"]["target"])
    with pytest.raises(UserError, match=text):
        train(given, str(tmp_path / "model"))


def test_a_patch_is_adapted_to_what_the_plane_allows(stores):
    config, _, plan = prepared(resolve(tables(stores, "1/2", 2, data={"patch": 47, "adapt": True})), 1)
    assert config.data.patch == 44
    assert json.loads(json.dumps(plan))["regions"] == ["rows 0:44, columns 0:52"]
