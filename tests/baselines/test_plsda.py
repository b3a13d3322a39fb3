"""PLS-DA out of core: all labelled pixels in one pass, latent variables by blocked cross-validation, Q and T2 maps."""

import json
from dataclasses import replace

import ikpls.numpy
import numpy as np
import pytest
import xarray as xr
from baseline_input import training
from locations import DATA
from sklearn.cross_decomposition import PLSRegression
from typer.testing import CliRunner

from tilespec import api
from tilespec.baselines import labelled_pixels
from tilespec.baselines.baseline import baseline
from tilespec.baselines.options import BaselineOptions
from tilespec.baselines.plsda import PlsDa
from tilespec.baselines.spatial_folds import cells
from tilespec.cli import app
from tilespec.cluster.connect import connect
from tilespec.core.errors import UserError
from tilespec.core.types import Roi
from tilespec.models.model import Model
from tilespec.storage.scene import Scene


@pytest.fixture(scope="module")
def scene(tmp_path_factory, make_scene):
    path = tmp_path_factory.mktemp("scene") / "scene"
    return make_scene(path, 160, 140, 12, classes=3, nan=0.02, unlabelled=0.1, seed=3, noise=0.2)


def pixels(scene, rows=slice(None)):
    """Return spectra, classes and places of all valid labelled pixels, the plain way."""
    opened = Scene.open(scene)
    x, labels = opened.read(opened.roi), opened.labels()
    use = np.isfinite(x[:, :, 0]) & (labels != 255)
    use[: rows.start or 0], use[rows.stop or len(use) :] = False, False
    return x[use].astype(np.float64), labels[use], np.argwhere(use)


def regression(x, classes, components, count):
    """Return scikit-learn's PLS of the pixels, each class weighing the same."""
    repeats = np.lcm.reduce(np.bincount(classes))  # the only way to weigh there, so on few pixels
    index = np.repeat(np.arange(len(x)), (repeats // np.bincount(classes))[classes])
    return PLSRegression(components, scale=False, tol=1e-14, max_iter=20_000).fit(
        x[index], np.eye(count)[classes[index]]
    )


def test_all_labelled_pixels_give_the_regression_of_all_labelled_pixels(scene):
    learned = PlsDa.fit(training(scene, samples="all", components=5))
    x, classes, _ = pixels(scene)
    weights = len(x) / 3 / np.bincount(classes)[classes]
    oracle = ikpls.numpy.PLS(algorithm=1, scale_X=False, scale_Y=False)
    oracle.fit(x, np.eye(3)[classes], 5, sample_weight=weights)
    np.testing.assert_allclose(learned.arrays["coefficients"], oracle.B, rtol=0, atol=1e-8 * np.abs(oracle.B).max())
    weight, bias = (learned.weights[f"affine.{name}"].numpy() for name in ("weight", "bias"))
    np.testing.assert_allclose(x @ weight.T + bias, oracle.predict(x, 5), atol=1e-5)
    assert learned.facts["samples"] == len(x)
    right = ((x @ weight.T + bias).argmax(axis=1) == classes).mean()
    assert learned.facts["calibration_accuracy"] == pytest.approx(right, abs=2 / len(x))


def test_classes_weigh_the_same_as_in_scikit_learn_with_repeated_pixels(tmp_path, make_scene):
    path = make_scene(tmp_path / "few", 24, 28, 6, classes=2, unlabelled=0.8, seed=1)
    x, classes, _ = pixels(path)
    learned = PlsDa.fit(training(path, samples=0, components=3))
    oracle = regression(x, classes, 3, 2)
    np.testing.assert_allclose(learned.arrays["coefficients"][-1], oracle.coef_.T, atol=1e-6)


def test_every_square_is_in_one_fold_and_every_fold_has_its_share_of_every_class(scene):
    found = cells(training(scene, rows="10:160", folds=4, components="auto"))
    assert found.roi == Roi(y0=10, y1=160, x0=0, x1=140)
    _, classes, places = pixels(scene, slice(10, 160))
    fold = found.of(*places.T)
    share = np.stack([np.bincount(classes[fold == f], minlength=3) for f in range(4)]) / np.bincount(classes)
    turns = np.arange(found.fold.size).reshape(found.fold.shape)[
        (places[:, 0] - 10) // found.side, places[:, 1] // found.side
    ]
    by_turns = np.stack([np.bincount(classes[turns % 4 == f], minlength=3) for f in range(4)]) / np.bincount(classes)
    assert np.abs(share - 0.25).max() < min(0.05, np.abs(by_turns - 0.25).max() / 2)
    corners = found.fold[(places[:, 0] - 10) // found.side, places[:, 1] // found.side]
    np.testing.assert_array_equal(fold, corners)


@pytest.mark.parametrize("samples", ["all", 900])
def test_auto_takes_the_number_that_cross_validation_by_hand_takes(scene, samples):
    on = training(scene, samples=samples, components="auto:8", folds=4)
    learned = PlsDa.fit(on)
    squares = cells(on)
    if samples == "all":
        x, classes, places = pixels(scene)
    else:
        drawn = labelled_pixels.draw(on, samples, balanced=True)
        x, classes, places = drawn.spectra.astype(np.float64), drawn.classes, drawn.places
    fold, curve = squares.of(*places.T), []
    for f in range(4):
        seen, left = fold != f, fold == f
        weights = _weights(classes, balanced=samples == "all", use=seen), _weights(classes, balanced=True, use=left)
        weights = weights if samples == "all" else (np.ones(seen.sum()), np.ones(left.sum()))
        y = np.eye(3)[classes]
        oracle = ikpls.numpy.PLS(algorithm=1, scale_X=False, scale_Y=False)
        oracle.fit(x[seen], y[seen], 8, sample_weight=weights[0])
        square = (oracle.predict(x[left]) - y[left]) ** 2
        curve.append([np.average(each, axis=0, weights=weights[1]).mean() for each in square])
    mean, error = np.mean(curve, axis=0), np.std(curve, axis=0, ddof=1) / 2
    judged = learned.facts["cross_validation"]
    np.testing.assert_allclose(judged["mse"][1:], mean, rtol=1e-6)
    np.testing.assert_allclose(judged["mse_standard_error"][1:], error, rtol=1e-5)
    limit = mean.min() + error[mean.argmin()]
    assert learned.facts["components"] == 1 + int(np.flatnonzero(mean <= limit)[0])


def _weights(classes, *, balanced, use):
    counts = np.bincount(classes[use])
    return use.sum() / 3 / counts[classes[use]] if balanced else np.ones(use.sum())


def test_nothing_of_a_fold_reaches_the_model_that_is_tested_on_it(scene):
    """A model of a fold's complement is the same whatever the fold holds; its error alone changes."""
    from tilespec.baselines.plsda import _splits

    on = training(scene, samples="all", components="auto:4", folds=4)
    moments = labelled_pixels.gather(on, scatter=True, cells=cells(on))
    train, _ = next(_splits(moments, [0, 1, 2, 3], balanced=True))
    first = {c: type(g)(n=g.n * 7, mean=g.mean + 100, scatter=g.scatter * 9) for c, g in moments.folds[0].items()}
    other = replace(moments, folds=(first, *moments.folds[1:]))
    again, _ = next(_splits(other, [0, 1, 2, 3], balanced=True))
    for name in ("xx", "xy", "yy", "mean_x", "mean_y"):
        np.testing.assert_array_equal(getattr(train, name), getattr(again, name))


@pytest.fixture(scope="module")
def diagnosed(scene, tmp_path_factory):
    out = str(tmp_path_factory.mktemp("diagnosed") / "out")
    return out, baseline("plsda", scene, out, samples="all", components=4, recipe="snv", diagnostics=True)


def test_q_and_t2_are_those_of_the_model_and_carry_their_limits(diagnosed, scene):
    out, told = diagnosed
    maps = xr.open_zarr(f"{out}.diagnostics")
    opened, model = Scene.open(scene), Model.load(f"{out}.model")
    with np.load(f"{out}.model/arrays.npz", allow_pickle=False) as kept:
        arrays = dict(kept)
    x = model.recipe.apply(opened.read(opened.roi).reshape(-1, 12)) - arrays["mean_x"]
    t = x @ arrays["rotations"]
    labels = opened.labels().ravel()
    valid = np.isfinite(x[:, 0])
    counts = np.bincount(labels[valid & (labels != 255)])
    weights = np.where(labels == 255, 0, counts.sum() / 3 / np.append(counts, np.ones(253))[labels])
    variance = (weights[valid, None] * t[valid] ** 2).sum(axis=0) / (counts.sum() - 1)
    q, t2 = (((x - t @ arrays["loadings"].T) ** 2).sum(axis=1), (t**2 / variance).sum(axis=1))
    np.testing.assert_allclose(maps["q"].values.ravel(), q, rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(maps["t2"].values.ravel(), t2, rtol=1e-4)
    mean = np.average(q[valid], weights=weights[valid]) * counts.sum() / (counts.sum() - 1)
    assert arrays["residual_variances"].sum() == pytest.approx(mean, rel=1e-4)
    assert maps["q"].attrs["limit_95"] == told["q_limit_95"]
    assert maps["t2"].attrs["limit_95"] == told["t2_limit_95"]
    assert told["t2_beyond_limit"] == (maps["t2"].values > told["t2_limit_95"]).sum()
    inside = (maps["t2"].values.ravel()[valid] <= told["t2_limit_95"]).mean()
    assert 0.88 < inside < 0.999
    assert (np.isnan(maps["q"].values).ravel() == ~valid).all()


def test_diagnostics_resume_and_are_verified(diagnosed, scene):
    out, told = diagnosed
    assert api.verify(f"{out}.diagnostics")["whole"]
    again = baseline("plsda", scene, out, samples="all", components=4, recipe="snv", diagnostics=True)
    assert (told["diagnostics_rows_written"], again["diagnostics_rows_written"]) == (2, 0)


def test_the_model_folder_keeps_what_chemometricians_look_at(diagnosed):
    out, told = diagnosed
    with np.load(f"{out}.model/arrays.npz", allow_pickle=False) as kept:
        assert kept["coefficients"].shape == (4, 12, 3)
        assert (kept["vip"] ** 2).mean() == pytest.approx(1)
        np.testing.assert_allclose(kept["explained_y"], told["explained_variance_y"])
    assert json.loads(json.dumps(told)) == told


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_bits_of_all_pixels(scene, tmp_path):
    asked = {"samples": "all", "components": "auto:5"}
    alone = PlsDa.fit(training(scene, **asked))
    with connect(2, None) as client:
        shared = PlsDa.fit(training(scene, client=client, **asked))
    assert shared.facts == alone.facts
    for name, values in alone.arrays.items():
        np.testing.assert_array_equal(shared.arrays[name], values)


def test_indian_pines_by_all_pixels_is_ikpls_s_and_better_than_chance(tmp_path):
    source = DATA / "indian_pines" / "indian_pines.npz"
    if not source.exists():
        pytest.skip("indian_pines: the measured data are not beside the project")
    scene = str(tmp_path / "pines.zarr")
    api.ingest(str(source), scene, variable="cube", labels=f"{source}:gt", ignore_label=0)
    on = training(scene, samples="all", components="auto:40", scale=True)
    learned = PlsDa.fit(on)
    x, classes, _ = pixels(scene)
    chosen = learned.facts["components"]
    weights = len(x) / 16 / np.bincount(classes)[classes]
    mean = np.average(x, axis=0, weights=weights)
    deviation = np.sqrt(np.average((x - mean) ** 2, axis=0, weights=weights) * len(x) / (len(x) - 1))
    oracle = ikpls.numpy.PLS(algorithm=1, scale_X=False, scale_Y=False)
    oracle.fit(x / deviation, np.eye(16)[classes], chosen, sample_weight=weights)
    expected = oracle.predict(x / deviation, chosen)
    b = learned.arrays["coefficients"][-1]
    found = (x - learned.arrays["mean_x"]) @ b + learned.arrays["mean_y"]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert 5 < chosen <= 40
    assert learned.facts["calibration_accuracy"] > 0.5


@pytest.mark.parametrize(
    ("match", "asked"),
    [
        ("expected a number from 1, auto, or auto:N", {"components": "many"}),
        ("expected a number from 1", {"components": 0}),
        ("expected a number of pixels, or all", {"samples": "-3"}),
        ("folds: found 1; expected 2 to 100", {"folds": 1}),
    ],
)
def test_options_that_say_nothing_are_refused(match, asked):
    with pytest.raises(UserError, match=match):
        BaselineOptions(**asked)


def test_more_latent_variables_than_bands_are_refused_by_auto_too(scene):
    with pytest.raises(UserError, match="expected 1 to 12"):
        PlsDa.fit(training(scene, components="auto:13"))
    assert PlsDa.fit(training(scene, components="auto", samples=300)).facts["components"] <= 12


def test_more_moments_than_there_is_room_for_are_refused(scene, monkeypatch):
    monkeypatch.setattr(labelled_pixels, "MATRICES", 12**2 * 8 * 5)
    PlsDa.fit(training(scene, samples="all", components=2))
    with pytest.raises(UserError, match=r"found 15 groups .* of 12 bands.*at most 5 groups"):
        PlsDa.fit(training(scene, samples="all", components="auto"))


def test_the_command_line_takes_words_for_numbers(scene, tmp_path):
    command = ["baseline", "plsda", scene, str(tmp_path / "out"), "--samples", "all", "--components", "auto:4"]
    done = CliRunner().invoke(app, [*command, "--recipe", "snv", "--scale", "--folds", "3", "--json", "--quiet"])
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["cross_validation"]["folds"] == 3
    assert len(told["cross_validation"]["mse"]) == 5
    refused = CliRunner().invoke(app, [*command[:-1], "some"])
    assert refused.exit_code == 2
    assert "--components: found 'some'; expected a number from 1, auto, or auto:N" in refused.stderr


def test_labels_in_fewer_squares_than_folds_are_refused(tmp_path, make_scene):
    small = make_scene(tmp_path / "small", 8, 8, 6, seed=1)
    with pytest.raises(UserError, match="at least 9, one for each fold"):
        PlsDa.fit(training(small, components="auto", folds=9))
