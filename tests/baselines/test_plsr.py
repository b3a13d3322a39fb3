"""Regressions on reference numbers of samples, out of core: means, cross-validation, maps with intervals, mistakes."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from cube_scenes import values, write
from sample_scenes import AXIS, BANDS, absorbing, fields, trays
from scipy.stats import norm, t
from sklearn.cross_decomposition import PLSRegression
from sklearn.linear_model import LinearRegression, Ridge
from typer.testing import CliRunner

from tilespec import api
from tilespec.baselines.baseline import baseline
from tilespec.baselines.mean_spectra import mean_spectra, pixel_moments
from tilespec.baselines.plsr import RECIPES
from tilespec.cli import app
from tilespec.core.errors import UserError
from tilespec.core.progress import Silent
from tilespec.models.nets import build
from tilespec.predict.predict import predict
from tilespec.spectra.fit import fit_steps
from tilespec.spectra.steps import parse
from tilespec.storage.references import References
from tilespec.storage.samples import indices_of, samples_of
from tilespec.storage.scene import Scene

ALONE = {"client": None, "progress": Silent()}


@pytest.fixture(scope="module")
def tray(tmp_path_factory):
    """A scene of 24 samples, its table, its ids, and the hidden truth."""
    return trays(tmp_path_factory.mktemp("trays"), error=0.3)


def fitted(tray, out, name="plsr", **options):
    given = {"references": tray[1], "samples_layer": "sample", "folds": 4, "recipe": ""} | options
    return baseline(name, tray[0], str(out), **given)


def stored(out, *names):
    group = zarr.open_group(str(out), mode="r")
    return [group[name][...] for name in names]


def means(tray, apply=lambda x: x):
    """Return the mean spectra of all samples, the plain way."""
    cube, ids = apply(values(tray[0]).reshape(-1, BANDS)), tray[2].ravel()
    return np.array([cube[ids == k].mean(axis=0, dtype=np.float64) for k in range(1, ids.max() + 1)])


def numbers(tray):
    return References.read(tray[1]).values


# Means


@pytest.mark.parametrize("steps", ["", "absorbance,snv", "sg=5:2:1"])
def test_the_mean_spectrum_of_a_sample_is_that_of_its_pixels_after_the_recipe(tray, steps):
    scene = Scene.open(tray[0])
    recipe = fit_steps(steps, [(scene, scene.roi)])
    (found,) = mean_spectra(samples_of([scene], References.read(tray[1]), layer="sample"), [recipe], **ALONE)
    np.testing.assert_allclose(found.values, means(tray, recipe.apply), rtol=1e-6, atol=1e-9)
    assert found.pixels.tolist() == [256] * 24


def test_the_index_of_a_scene_says_what_the_masks_of_its_samples_say(tray):
    scene = Scene.open(tray[0])
    samples = samples_of([scene], References.read(tray[1]), layer="sample")[::-1]
    plane = indices_of(samples)[scene.url].of(scene.roi)
    for place, sample in enumerate(samples):
        np.testing.assert_array_equal(plane == place, sample.mask(scene.roi))
    np.testing.assert_array_equal(plane == -1, tray[2] == 0)


def test_pixels_without_data_do_not_count_and_a_sample_of_them_is_refused(tmp_path):
    scene, table, ids, _ = trays(tmp_path, count=6, columns=3)
    cube = values(scene)
    cube[(ids == 2) & (np.random.default_rng(0).random(ids.shape) < 0.4), 5] = np.nan
    holed = write(tmp_path / "holed", cube, AXIS, layers={"sample": ids})
    opened = Scene.open(holed)
    samples = samples_of([opened], References.read(table), layer="sample")
    (found,) = mean_spectra(samples, [fit_steps("", [(opened, opened.roi)])], **ALONE)
    np.testing.assert_allclose(
        found.values[1],
        np.nanmean(np.where(np.isnan(cube).any(axis=2)[..., None], np.nan, cube)[ids == 2], axis=0),
        rtol=1e-6,
    )
    cube[ids == 2] = np.nan
    empty = write(tmp_path / "empty", cube, AXIS, layers={"sample": ids})
    with pytest.raises(UserError, match="no valid spectrum in the pixels of sample 2"):
        baseline("plsr", empty, str(tmp_path / "o"), references=table, samples_layer="sample", folds=3)


def test_noise_of_pixels_is_what_was_added(tmp_path):
    scene, table, *_ = trays(tmp_path, count=12, noise=0.01)
    opened = Scene.open(scene)
    samples = samples_of([opened], References.read(table), layer="sample")
    b = np.random.default_rng(0).normal(size=(BANDS, 2))
    found = pixel_moments(samples, fit_steps("", [(opened, opened.roi)]), b, scatter=True, **ALONE)
    np.testing.assert_allclose(np.sqrt(found.noise), 0.01 * np.linalg.norm(b, axis=0), rtol=0.06)
    assert found.moments.finish()[0].n == 12 * 256
    assert found.windows <= 12 * 14 * 14


# The regression


@pytest.mark.parametrize(
    ("name", "options", "oracle"),
    [
        ("plsr", {"components": 3}, PLSRegression(3, scale=False)),
        ("ridge", {"ridge": 1e-4}, Ridge(alpha=24e-4, solver="svd")),
        ("linear", {"recipe": "crop=900:1000"}, LinearRegression()),
    ],
)
def test_the_map_is_scikit_learns_regression_on_mean_spectra(tray, tmp_path, name, options, oracle):
    found = fitted(tray, tmp_path / "o", name, **options)
    bands = slice(0, 6 if name == "linear" else BANDS)
    (prediction,) = stored(tmp_path / "o", "prediction")
    x, cube = means(tray)[:, bands], values(tray[0]).reshape(-1, BANDS)[:, bands].astype(np.float64)
    for q, y in enumerate(numbers(tray).T):
        model = oracle.fit(x, y)
        error = prediction.reshape(-1, 2)[:, q] - model.predict(cube).ravel()
        assert np.abs(error).max() < 1e-5 * np.abs(model.coef_).max() + 1e-3  # float32
        scores = found["regressions"][found["quantities"][q]]
        assert scores["rmsec"] == pytest.approx(np.sqrt(((model.predict(x).ravel() - y) ** 2).mean()), rel=1e-6)


def test_steps_that_saw_the_samples_that_are_left_out_are_noted(tray, tmp_path):
    found = fitted(tray, tmp_path / "o", "linear", recipe="pca=5", column="fat")
    assert any("pca=5 were fitted on the spectra of all samples" in note for note in found["notes"])


def test_the_prediction_of_the_mean_is_the_mean_of_the_predictions(tray, tmp_path):
    """Law D4, for a recipe that bends spectra too."""
    fitted(tray, tmp_path / "o", recipe="absorbance,snv", components=4)
    arrays = np.load(f"{tmp_path / 'o'}.model/arrays.npz")
    scene = Scene.open(tray[0])
    x = means(tray, fit_steps("absorbance,snv", [(scene, scene.roi)]).apply)
    of_means = np.stack(
        [(x - arrays["mean_x"][q]) @ arrays["coefficients"][q] + arrays["mean_y"][q] for q in (0, 1)], 1
    )
    (prediction,) = stored(tmp_path / "o", "prediction")
    of_pixels = np.array([prediction[tray[2] == k].mean(axis=0, dtype=np.float64) for k in range(1, 25)])
    np.testing.assert_allclose(of_pixels, of_means, atol=1e-3)  # float32 of numbers near 50


def test_cross_validation_is_a_loop_of_refitted_models(tray, tmp_path):
    found = fitted(tray, tmp_path / "o", components="auto:4", seed=3)
    fold = np.random.default_rng([3, 11]).permutation(24) % 4
    x, y = means(tray), numbers(tray)[:, 0]
    curve = np.zeros((4, 4))
    for f in range(4):
        for a in range(1, 5):
            model = PLSRegression(a, scale=False, tol=1e-14, max_iter=20_000).fit(x[fold != f], y[fold != f])
            curve[f, a - 1] = ((model.predict(x[fold == f]).ravel() - y[fold == f]) ** 2).mean()
    fat = found["regressions"]["fat"]
    np.testing.assert_allclose(fat["mse_by_size"][1:], curve.mean(axis=0), rtol=1e-6)
    best = curve.mean(axis=0).argmin()
    limit = curve.mean(axis=0)[best] + curve[:, best].std(ddof=1) / 2
    assert fat["components"] == 1 + np.flatnonzero(curve.mean(axis=0) <= limit)[0]


def test_the_recipe_with_the_least_error_is_chosen(tmp_path):
    scene, table, ids, _ = trays(tmp_path, noise=0.002)
    bent = write(tmp_path / "bent", 10.0 ** -values(scene), AXIS, layers={"sample": ids})
    found = baseline("plsr", bent, str(tmp_path / "o"), references=table, samples_layer="sample", folds=4, column="fat")
    assert found["recipe"] == "absorbance"
    errors = {each["recipe"]: each["relative_rmsecv"] for each in found["candidates"]}
    assert set(errors) == set(RECIPES)
    assert min(errors, key=errors.get) == "absorbance"


def test_what_cross_validation_chooses_from_is_fitted_on_no_spectrum():
    assert all(step.kind == "plain" for steps in RECIPES for step in parse(steps))


def test_a_recipe_that_loses_pixels_is_no_candidate(tmp_path):
    scene, table, ids, _ = trays(tmp_path, count=12)
    cube = values(scene)
    cube[::3] -= 1  # negative: no absorbance
    write(tmp_path / "dark", cube, AXIS, layers={"sample": ids})
    found = baseline(
        "plsr", str(tmp_path / "dark"), str(tmp_path / "o"), references=table, samples_layer="sample", folds=3
    )
    lost = {each["recipe"] for each in found["candidates"] if "invalid_pixels" in each}
    assert lost == {steps for steps in RECIPES if "absorbance" in steps}


# Intervals


@pytest.mark.parametrize("error", [0.0, 0.3])
def test_95_of_100_intervals_of_pixels_hold_what_is_there(tmp_path, error):
    inside = []
    for seed in range(5):
        (folder := tmp_path / str(seed)).mkdir()
        tray = trays(folder, count=36, side=10, seed=seed, noise=0.01, error=error)
        fitted(tray, folder / "o", reference_error=error)
        lower, upper = stored(folder / "o", "lower", "upper")
        own = tray[2] > 0
        inside.append(((lower <= tray[3]) & (tray[3] <= upper))[own].mean())
    assert abs(np.mean(inside) - 0.95) < 0.02


def test_the_interval_is_the_published_formula(tray, tmp_path):
    found = fitted(tray, tmp_path / "o", components=3, column="fat")
    prediction, lower, upper = stored(tmp_path / "o", "prediction", "lower", "upper")
    fat, x, y = found["regressions"]["fat"], means(tray), numbers(tray)[:, 0]
    scores = PLSRegression(3, scale=False, tol=1e-14, max_iter=20_000).fit(x, y)
    pixels = scores.transform(values(tray[0]).reshape(-1, BANDS).astype(np.float64))
    inverse = np.linalg.inv(scores.x_scores_.T @ scores.x_scores_)
    leverage = np.einsum("ia,ab,ib->i", pixels, inverse, pixels)
    variance = fat["rmsecv"] ** 2 / (1 + 4 / 24)
    assert fat["residual_sd"] == pytest.approx(np.sqrt(variance))
    noise = leverage_of_noise(tray, scores, inverse)
    half = t.ppf(0.975, 20) ** 2 * variance * (1 + 1 / 24 + np.maximum(leverage - noise, 0))
    half = np.sqrt(half + norm.ppf(0.975) ** 2 * fat["pixel_noise_sd"] ** 2)
    np.testing.assert_allclose((upper - lower).ravel() / 2, half, rtol=2e-3)
    np.testing.assert_allclose(prediction - lower, upper - prediction, atol=1e-4)


def leverage_of_noise(tray, model, inverse):
    """Return the mean leverage of what is rough in 3 x 3 pixels of one sample."""
    ids, cube = tray[2], model.transform(values(tray[0]).reshape(-1, BANDS).astype(np.float64))
    plane = cube.reshape(*ids.shape, -1)
    rough = np.diff(np.diff(plane, 2, axis=0), 2, axis=1)
    within = np.zeros(rough.shape[:2], bool)
    for y, x in np.ndindex(*within.shape):
        edges = np.unique(ids[y : y + 3, x : x + 3])
        within[y, x] = len(edges) == 1 and edges[0] > 0
    part = rough[within]
    return float(np.einsum("ia,ab,ib->i", part, inverse, part).mean() / 36)


def test_more_than_a_few_samples_give_conformal_intervals_of_their_means(tray, tmp_path):
    found = fitted(tray, tmp_path / "o", column="fat")
    rows = list(csv.DictReader((tmp_path / "o.model" / "samples.csv").read_text().splitlines()))
    errors = np.abs([float(r["fat_cross_validated [%]"]) - float(r["fat_reference [%]"]) for r in rows])
    (half,) = found["conformal_half_width"]
    assert half == pytest.approx(np.sort(errors)[23])  # ceil(25 * 0.95) = 24
    assert float(rows[0]["fat_upper [%]"]) - float(rows[0]["fat_lower [%]"]) == pytest.approx(2 * half)


def test_samples_that_are_held_out_are_not_fitted_and_test_the_regression(tray, tmp_path):
    found = fitted(tray, tmp_path / "o", held_out=0.25, column="fat", components=2)
    rows = list(csv.DictReader((tmp_path / "o.model" / "samples.csv").read_text().splitlines()))
    held = np.array([row["fat_set"] == "held out" for row in rows])
    assert held.sum() == found["held_out_samples"] == 6
    x, y = means(tray), numbers(tray)[:, 0]
    model = PLSRegression(2, scale=False).fit(x[~held], y[~held])
    expected = np.sqrt(((model.predict(x[held]).ravel() - y[held]) ** 2).mean())
    assert found["regressions"]["fat"]["rmsep"] == pytest.approx(expected, rel=1e-6)
    assert found["conformal_half_width"] == [None]
    assert any("no conformal interval" in note for note in found["notes"])


# Diagnostics


def test_one_in_twenty_pixels_of_the_samples_is_beyond_the_limit(tray, tmp_path):
    found = fitted(tray, tmp_path / "o", diagnostics=True, column="fat", components=3)
    q, t2, dmodx = stored(f"{tmp_path / 'o'}.diagnostics", "q", "t2", "dmodx")
    own = tray[2] > 0
    assert 0.02 < (q[own] > found["q_limit_95"]).mean() < 0.08
    np.testing.assert_array_equal(q > found["q_limit_95"], dmodx > np.float32(found["dmodx_limit_95"]))
    assert np.sqrt((dmodx[own] ** 2).mean()) == pytest.approx(1, rel=1e-3)
    assert t2.shape == q.shape == (72, 108)


def test_each_of_several_quantities_has_its_own_diagnostics(tray, tmp_path):
    found = fitted(tray, tmp_path / "o", diagnostics=True)
    names = set(zarr.open_group(f"{tmp_path / 'o'}.diagnostics", mode="r").array_keys())
    assert {"q_fat", "t2_fat", "dmodx_fat", "q_water", "t2_water", "dmodx_water"} <= names
    assert found["t2_water_limit_95"] > 0


# The net


@pytest.mark.parametrize("threads", [1, 2])
def test_tiles_of_the_net_equal_the_scene_bit_for_bit(threads):
    torch.manual_seed(0)
    net = build("interval", 12, 6, factors=5).eval()
    net.base.fill_(0.5)
    net.slope.fill_(0.1)
    net.groups[0, :2] = net.groups[1, 2:] = 1
    x = torch.rand(1, 70, 50, 12).permute(0, 3, 1, 2)
    whole, before = net(x), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for y in range(0, 70, 19):
            assert torch.equal(net(x[:, :, y : y + 19]), whole[:, :, y : y + 19])
    finally:
        torch.set_num_threads(before)
    assert (whole[:, 2:4] < whole[:, :2]).all()
    assert (whole[:, 4:] > whole[:, :2]).all()
    with pytest.raises(UserError, match="three for each quantity"):
        build("interval", 12, 5, factors=5)


# The verb


def test_scenes_are_samples_and_out_is_the_folder_of_their_predictions(tmp_path):
    rng, rows = np.random.default_rng(0), []
    scenes = []
    for k in range(9):
        truth = fields(20, 18, k, rng.uniform([10, 35], [35, 60]))
        mask = np.zeros((20, 18), np.uint8)
        mask[2:-2, 2:-2] = 1
        scenes.append(write(tmp_path / f"tray{k}", absorbing(truth, k, 0.004), AXIS, layers={"tray": mask}))
        rows.append(f"tray{k},{float(truth[2:-2, 2:-2, 0].mean())!r}")
    table = tmp_path / "t.csv"
    table.write_text("\n".join(["id,fat [%]", *rows, ""]))
    out = tmp_path / "out"
    found = api.baseline("plsr", scenes, str(out), references=str(table), mask="tray", folds=3, diagnostics=True)
    assert found["regressions"]["fat"]["rmsecv"] < 0.5
    assert found["status"] == "complete"
    for k in range(9):
        prediction, lower, upper = stored(out / f"tray{k}", "prediction", "lower", "upper")
        assert prediction.shape == lower.shape == upper.shape == (20, 18, 1)
        assert (out / f"tray{k}.diagnostics").exists()
    again = api.baseline("plsr", scenes, str(out), references=str(table), mask="tray", folds=3, diagnostics=True)
    assert again["regressions"] == found["regressions"]
    regions = json.loads((tmp_path / "out.model" / "model.json").read_text())["provenance"]["train_regions"]
    assert [region["scene"] for region in regions] == [f"tray{k}" for k in range(9)]
    assert regions[0]["rows"] == [2, 18]


def test_pixels_with_values_are_samples_of_one_pixel(tmp_path):
    truth, ids = fields(30, 40, 0, [22, 47], 8.0), np.zeros((30, 40), np.int32)
    ids[2::5, 1::4] = np.arange(1, 61).reshape(6, 10)
    scene = write(tmp_path / "points", absorbing(truth, 1, 0.01), AXIS, layers={"sample": ids})
    x, y = values(scene)[ids > 0], truth[ids > 0]
    table = tmp_path / "t.csv"
    table.write_text("\n".join(["id,fat,water", *(f"{k},{a!r},{b!r}" for k, (a, b) in enumerate(y.tolist(), 1)), ""]))
    given = {"references": str(table), "samples_layer": "sample", "recipe": "", "components": 3}
    out = baseline("plsr", scene, str(tmp_path / "out"), **given)
    assert (out["samples"], out["pixels"]) == (60, 60)
    for channel in range(2):
        theirs = PLSRegression(3, scale=False).fit(x.astype(np.float64), y[:, channel])
        wanted = theirs.predict(values(scene).reshape(-1, BANDS).astype(np.float64)).reshape(ids.shape)
        np.testing.assert_allclose(stored(tmp_path / "out", "prediction")[0][..., channel], wanted, rtol=1e-3)
    assert any("3 x 3 pixels" in note for note in out["notes"])


def test_a_sample_without_one_of_the_numbers_teaches_the_others(tray, tmp_path):
    lines = Path(tray[1]).read_text().splitlines()
    lines[3] = lines[3].rpartition(",")[0] + ","
    (tmp_path / "t.csv").write_text("\n".join([*lines, ""]))
    found = fitted((tray[0], str(tmp_path / "t.csv")), tmp_path / "o", components=2)
    assert found["regressions"]["fat"]["calibration"]["samples"] == 24
    assert found["regressions"]["water"]["calibration"]["samples"] == 23
    x, y = means(tray), numbers(tray)[:, 1]
    rows = np.arange(24) != 2
    model = PLSRegression(2, scale=False).fit(x[rows], y[rows])
    expected = np.sqrt(((model.predict(x[rows]).ravel() - y[rows]) ** 2).mean())
    assert found["regressions"]["water"]["rmsec"] == pytest.approx(expected, rel=1e-6)


def test_columns_are_chosen_in_their_order(tray, tmp_path):
    found = fitted(tray, tmp_path / "o", column="water, fat", components=2)
    fitted(tray, tmp_path / "p", components=2)
    assert found["quantities"] == ["water", "fat"]
    one, two = stored(tmp_path / "o", "prediction")[0], stored(tmp_path / "p", "prediction")[0]
    np.testing.assert_allclose(one[..., ::-1], two, atol=1e-4)
    attrs = zarr.open_group(str(tmp_path / "o"), mode="r").attrs
    assert (attrs["quantities"], attrs["units"]) == (["water", "fat"], ["%", "%"])


def test_only_whole_samples_of_the_region_are_fitted_and_the_model_predicts_others(tray, tmp_path):
    found = fitted(tray, tmp_path / "o", rows="0:40", components=2)
    assert found["sample_ids"] == [str(k) for k in range(1, 13)]
    predict(str(tmp_path / "o.model"), tray[0], str(tmp_path / "p"))
    np.testing.assert_array_equal(*(stored(tmp_path / name, "upper")[0] for name in "op"))


def test_ridge_chooses_the_largest_penalty_within_one_standard_error(tray, tmp_path):
    found = fitted(tray, tmp_path / "o", "ridge", column="fat")
    curve = np.array(found["regressions"]["fat"]["mse_by_size"][1:])
    assert found["regressions"]["fat"]["penalty"] > 0
    assert found["regressions"]["fat"]["rmsecv"] ** 2 <= 4 * curve.min()
    given = fitted(tray, tmp_path / "p", "ridge", column="fat", ridge=1e-4)
    assert given["regressions"]["fat"]["penalty"] == 1e-4


def test_the_command_line_takes_scenes_and_a_table(tray, tmp_path):
    arguments = ["baseline", "plsr", tray[0], str(tmp_path / "o"), "--references", tray[1], "--samples-layer", "sample"]
    result = CliRunner().invoke(app, [*arguments, "--column", "fat", "--folds", "4", "--json", "--quiet"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["regressions"]["fat"]["rmsecv"] < 1
    result = CliRunner().invoke(app, ["baseline", "plsr", tray[0], str(tmp_path / "p")])
    assert result.exit_code == 2
    assert "--references: found none" in result.output


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_bits(tray, tmp_path):
    digests = set()
    for workers in (0, 2):
        fitted(tray, tmp_path / f"w{workers}", workers=workers, recipe="auto", diagnostics=True)
        digests.add(zarr.open_group(str(tmp_path / f"w{workers}"), mode="r").attrs["tilespec_digest"])
    assert len(digests) == 1


def test_a_dry_run_writes_nothing(tray, tmp_path):
    found = fitted(tray, tmp_path / "o", dry_run=True)
    assert found["dry_run"]
    assert found["sample_ids"][:2] == ["1", "2"]
    assert list(tmp_path.iterdir()) == []


# What cannot be


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("plsr", {"references": None}, "--references: found none"),
        ("plsr", {"target": "there"}, "answers the numbers of --references"),
        ("plsr", {"column": "salt"}, "no column 'salt'"),
        ("plsr", {"samples_layer": None}, "24 ids that no sample has"),
        ("plsr", {"samples_layer": "plant"}, "a layer 'plant'"),
        ("plsr", {"mask": "sample"}, "the mask sample together with it"),
        ("plsr", {"folds": 25}, "24 samples with a number of fat to fit, and 25 folds"),
        ("plsr", {"components": 17}, "--components: found 17.*1 to 16"),
        ("plsr", {"rows": "3:9"}, "no whole sample"),
        ("plsr", {"held_out": 0.9}, "--held-out: found 0.9"),
        ("plsr", {"reference_error": "a"}, "--reference-error: found 'a'"),
        ("plsr", {"reference_error": "1,2,3"}, "one for each of the 2 quantities"),
        ("plsr", {"opening": 1}, "--opening"),
        ("ridge", {"diagnostics": True}, "neither Q nor T2"),
        ("linear", {}, "--ridge: found 0.*at least 27 samples"),
        ("linear", {"references": None}, "--target: found none"),
        ("ridge", {"ridge": -1.0}, "--ridge: found -1"),
    ],
)
def test_what_cannot_be_followed_is_refused(tray, tmp_path, name, options, text):
    with pytest.raises(UserError, match=text):
        fitted(tray, tmp_path / "o", name, **options)
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        (["1,5", "2,5", "3,5", "4,5"], "the number 5 of fat for all samples"),
        (["1,5", "99,6"], "1 ids that no sample has: 99"),
        (["1,5", "1,6"], "1 twice"),
        (["1,5", "2,101"], "fat 101 of sample 2"),
    ],
)
def test_a_table_that_teaches_nothing_is_refused(tray, tmp_path, rows, text):
    (tmp_path / "t.csv").write_text("\n".join(["sample,fat [%]", *rows, ""]))
    with pytest.raises(UserError, match=text):
        fitted((tray[0], str(tmp_path / "t.csv")), tmp_path / "o", folds=2)


def test_several_scenes_are_for_regressions_on_samples_alone(tray, tmp_path):
    with pytest.raises(UserError, match="2 scenes"):
        baseline("kmeans", [tray[0], tray[0]], str(tmp_path / "o"))
