"""Regressions onto a target scene: equal to scikit-learn on the same pixels, equal on tiles, honest in errors."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import zarr
from baseline_input import training
from cube_scenes import AXIS, BANDS, spectra, values, write
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from tilespec.baselines.baseline import baseline
from tilespec.baselines.least_squares import RIDGE, least_squares
from tilespec.baselines.paired_pixels import draw
from tilespec.cluster.connect import connect
from tilespec.core.errors import UserError
from tilespec.models.model import Model
from tilespec.models.nets import build
from tilespec.predict.predict import predict
from tilespec.storage.scene import Scene

METHODS = ("linear", "polynomial", "rbf")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """An image and its spectra; some pixels of each have no data."""
    folder = tmp_path_factory.mktemp("pair")
    cube, rgb = spectra(90, 75)
    rng = np.random.default_rng(1)
    rgb[rng.random(rgb.shape[:2]) < 0.02] = np.nan
    cube[rng.random(cube.shape[:2]) < 0.02, 3] = np.nan
    return write(folder / "rgb", rgb), write(folder / "spectra", cube, AXIS)


def drawn(pair, count=2000, **options):
    return draw(replace(training(pair[0], **options), target=Scene.open(pair[1])), count)


def fitted(name, pair, out, **options):
    found = baseline(name, pair[0], str(out), target=pair[1], samples=2000, **options)
    return found, Model.load(f"{out}.model")


# The least squares


@pytest.mark.parametrize("bias", [True, False])
@settings(max_examples=30)
@given(st.integers(0, 2**16), st.integers(1, 6), st.sampled_from([0.0, 1e-6, 1e-2, 1.0]))
def test_least_squares_is_scikit_learns_ridge_of_as_many_times_the_pixels(bias, seed, terms, ridge):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(40, terms)), rng.normal(size=(40, 3)) + 2
    weight, level = least_squares(x, y, ridge, bias=bias)
    oracle = Ridge(alpha=40 * ridge, fit_intercept=bias, solver="svd").fit(x, y)
    np.testing.assert_allclose(weight, oracle.coef_, atol=1e-10)
    np.testing.assert_allclose(level, oracle.intercept_ if bias else np.zeros(3), atol=1e-10)


def test_terms_that_are_the_same_share_their_weight():
    x = np.random.default_rng(0).normal(size=(50, 1))
    weight, _ = least_squares(np.concatenate([x, x, 0 * x], axis=1), 3 * x, 0.0)
    np.testing.assert_allclose(weight, [[1.5, 1.5, 0]], atol=1e-12)


# Each method against scikit-learn


def linear():
    return LinearRegression()


def polynomial(degree=2, samples=2000):
    terms = PolynomialFeatures(degree, include_bias=False)
    return make_pipeline(terms, StandardScaler(), Ridge(alpha=RIDGE * samples, solver="svd"))


@pytest.mark.parametrize(
    ("name", "options", "oracle"),
    [
        ("linear", {}, linear),
        ("polynomial", {"degree": 2}, polynomial),
        ("polynomial", {"degree": 4}, lambda samples: polynomial(4, samples)),
    ],
)
def test_the_prediction_is_scikit_learns_at_every_pixel(pair, tmp_path, name, options, oracle):
    found, _ = fitted(name, pair, tmp_path / "out", **options)
    some = drawn(pair)
    assert found["samples"] == len(some.spectra)
    fit = oracle(samples=len(some.spectra)) if name == "polynomial" else oracle()
    fit.fit(some.spectra.astype(np.float64), some.answers.astype(np.float64))
    x, answer = values(pair[0]).reshape(-1, 3), values(str(tmp_path / "out")).reshape(-1, BANDS)
    valid = np.isfinite(x).all(axis=1)
    np.testing.assert_allclose(answer[valid], fit.predict(x[valid].astype(np.float64)), atol=2e-5)
    assert np.isnan(answer[~valid]).all()
    error = fit.predict(some.spectra.astype(np.float64)) - some.answers
    assert found["calibration_rmse"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-4)


def test_the_basis_functions_are_scikit_learns_about_centres_that_k_means_placed(pair, tmp_path):
    _, model = fitted("rbf", pair, tmp_path / "out", centres=12)
    some = drawn(pair)
    scaler = StandardScaler().fit(some.spectra.astype(np.float64))
    centres, width = (model.weights[name].numpy().astype(np.float64) for name in ("centres", "width"))
    apart = np.linalg.norm(centres[:, None] - centres, axis=2)[np.triu_indices(12, 1)].mean()
    assert width == pytest.approx(apart, rel=1e-5)

    def terms(x):
        return rbf_kernel(scaler.transform(x.astype(np.float64)), centres, gamma=1 / (2 * float(width) ** 2))

    fit = make_pipeline(StandardScaler(), Ridge(alpha=RIDGE * len(some.spectra), solver="svd"))
    fit.fit(terms(some.spectra), some.answers.astype(np.float64))
    x, answer = values(pair[0]).reshape(-1, 3), values(str(tmp_path / "out")).reshape(-1, BANDS)
    valid = np.isfinite(x).all(axis=1)
    np.testing.assert_allclose(answer[valid], fit.predict(terms(x[valid])), atol=1e-4)
    each = np.square(scaler.transform(some.spectra)[:, None] - centres).sum(axis=2).argmin(axis=1)
    means = [scaler.transform(some.spectra)[each == i].mean(axis=0) for i in range(12)]
    np.testing.assert_allclose(means, centres, atol=0.15)  # they stand where k-means stands still


def test_a_bent_law_is_followed_better_by_a_bent_map(pair, tmp_path):
    errors = {name: fitted(name, pair, tmp_path / name)[0]["calibration_rmse"] for name in METHODS}
    assert errors["polynomial"] < 0.7 * errors["linear"]
    assert errors["rbf"] < 0.7 * errors["linear"]


def test_a_straight_law_is_found_again(tmp_path):
    rgb = spectra(40, 40)[1]
    law = np.random.default_rng(0).normal(size=(3, BANDS)).astype(np.float32)
    two = write(tmp_path / "rgb", rgb), write(tmp_path / "hs", rgb @ law + 0.5, AXIS)
    _, model = fitted("linear", two, tmp_path / "out")
    np.testing.assert_allclose(model.weights["affine.weight"].T, law, atol=1e-4)
    np.testing.assert_allclose(values(str(tmp_path / "out")), values(two[1]), atol=1e-5)


# Roots


@pytest.mark.parametrize(("degree", "count"), [(1, 3), (2, 6), (3, 13), (4, 22)])
def test_root_polynomials_have_as_many_terms_as_finlayson_counts(degree, count):
    assert len(build("polynomial", 3, 1, degree=degree, root=True).monomials) == count


@settings(max_examples=20)
@given(st.floats(0.1, 8), st.integers(2, 4), st.integers(0, 99))
def test_twice_the_light_is_twice_the_terms_of_roots(factor, degree, seed):
    net = build("polynomial", 3, 1, degree=degree, root=True).double()
    x = torch.from_numpy(np.random.default_rng(seed).uniform(0, 1, (1, 5, 3)))
    torch.testing.assert_close(net.terms(factor * x), factor * net.terms(x))


def test_of_roots_black_stays_black_and_exposure_cancels(pair, tmp_path):
    _, model = fitted("polynomial", pair, tmp_path / "out", root=True, degree=3)
    net, x = model.module(), torch.rand(1, 3, 5, 4)
    torch.testing.assert_close(net(2 * x), 2 * net(x))
    assert torch.equal(net(0 * x), torch.zeros(1, BANDS, 5, 4))
    assert torch.equal(net(-x), torch.zeros(1, BANDS, 5, 4))


# The nets


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("name", "params"), [("polynomial", {"degree": 3}), ("polynomial", {"degree": 3, "root": True}), ("rbf", {})]
)
def test_tiles_equal_the_scene_bit_for_bit(name, params, threads):
    torch.manual_seed(1)
    net = build(name, 3, 31, **params).eval()
    if name == "rbf":
        net.centres.uniform_(0, 1)
    assert net.tile_class.kind == "pixelwise"
    x = torch.rand(2, 83, 61, 3).permute(0, 3, 1, 2)
    whole, before = net(x), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert torch.equal(net(x.contiguous()), whole)
        for size in (19, 60):
            for y in range(0, 83, size):
                for z in range(0, 61, size):
                    part = slice(y, y + size), slice(z, z + size)
                    assert torch.equal(net(x[:1, :, *part]), whole[:1, :, *part])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("name", "params", "text"),
    [
        ("polynomial", {"degree": 0}, "degree: .*1 to 6"),
        ("polynomial", {"degree": 7}, "degree: .*1 to 6"),
        ("rbf", {"centres": 0}, "centres"),
    ],
)
def test_numbers_that_make_no_net_are_refused(name, params, text):
    with pytest.raises(UserError, match=text):
        build(name, 3, 2, **params)


def test_more_monomials_than_a_least_squares_problem_holds_are_refused():
    with pytest.raises(UserError, match=r"5983 monomials.*at most 2000"):
        build("polynomial", 31, 2, degree=3)


# The verb


@pytest.mark.parametrize("name", METHODS)
def test_the_product_is_a_scene_on_the_axis_of_the_target(pair, tmp_path, name):
    found, model = fitted(name, pair, tmp_path / "out", rows="0:48")
    made = Scene.open(str(tmp_path / "out"))
    assert (made.shape, made.spectral) == ((90, 75, BANDS), AXIS)
    assert found["status"] == "complete"
    assert model.spectral_out == AXIS
    (region,) = model.provenance["train_regions"]
    assert region["rows"] == [0, 48]
    assert model.provenance["target"] == {"scene": "spectra", "digest": Scene.open(pair[1]).digest}
    assert found["samples"] + found["invalid_samples"] == 2000
    assert found["invalid_samples"] > 0


def test_the_model_predicts_another_image(pair, tmp_path):
    fitted("rbf", pair, tmp_path / "out")
    cube, rgb = spectra(40, 50, seed=9)
    other = write(tmp_path / "other", rgb)
    predict(str(tmp_path / "out.model"), other, str(tmp_path / "answer"))
    error = values(str(tmp_path / "answer")) - cube
    assert np.sqrt((error**2).mean()) < 0.05


def test_pixels_without_data_in_either_scene_teach_nothing(pair):
    some = drawn(pair, 90 * 75)
    whole = np.isfinite(values(pair[0])).all(axis=2) & np.isfinite(values(pair[1])).all(axis=2)
    assert (len(some.spectra), some.invalid) == (whole.sum(), (~whole).sum())
    key = np.lexsort(some.spectra.T)
    x, y = values(pair[0])[whole], values(pair[1])[whole]
    order = np.lexsort(x.T)
    np.testing.assert_array_equal(some.spectra[key], x[order])
    np.testing.assert_array_equal(some.answers[key], y[order])


def test_the_draw_is_of_the_seed_and_of_the_region(pair):
    first, same = drawn(pair, 300), drawn(pair, 300)
    np.testing.assert_array_equal(first.spectra, same.spectra)
    on = replace(training(pair[0], rows="40:50"), target=Scene.open(pair[1]))
    assert len(draw(on, 10**6).spectra) <= 10 * 75
    assert not np.array_equal(draw(replace(on, seed=1), 300).spectra, draw(on, 300).spectra)


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_bits(pair, tmp_path):
    digests = set()
    for workers in (0, 2):
        out = tmp_path / f"w{workers}"
        fitted("polynomial", pair, out, workers=workers)
        digests.add(zarr.open_group(str(out), mode="r").attrs["tilespec_digest"])
    assert len(digests) == 1


def test_a_dry_run_writes_nothing_and_the_same_command_resumes(pair, tmp_path):
    told = baseline("linear", pair[0], str(tmp_path / "out"), target=pair[1], dry_run=True)
    assert told["dry_run"]
    assert list(tmp_path.iterdir()) == []
    first, again = (fitted("linear", pair, tmp_path / "out")[0] for _ in range(2))
    assert first["fingerprint"] == again["fingerprint"]


# What cannot be


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("linear", {"target": None}, "--target: found none"),
        ("linear", {"opening": 2}, "--opening: .*of spectra"),
        ("linear", {"samples": "all"}, "--samples: found all"),
        ("linear", {"samples": 3}, "--samples: found [0-3] pixels.*more than 3"),
        ("polynomial", {"samples": 9, "degree": 2}, "more than 9, as many as there are terms of degree 2"),
        ("polynomial", {"degree": 9}, "--degree: found 9.*1 to 6"),
        ("rbf", {"samples": 50}, "more than 50, as many as there are centres"),
        ("rbf", {"centres": 0}, "--centres: found 0"),
        ("rbf", {"ridge": -1.0}, "--ridge: found -1"),
        ("rbf", {"ridge": float("nan")}, "--ridge: found nan"),
        ("rbf", {"diagnostics": True}, "neither Q nor T2"),
    ],
)
def test_what_cannot_be_followed_is_refused(pair, tmp_path, name, options, text):
    with pytest.raises(UserError, match=text):
        baseline(name, pair[0], str(tmp_path / "out"), **{"target": pair[1], **options})
    assert not (tmp_path / "out").exists()


def test_a_target_of_another_size_is_refused(pair, tmp_path):
    other = write(tmp_path / "other", spectra(90, 74)[0], AXIS)
    with pytest.raises(UserError, match="found 90 x 74 pixels; expected 90 x 75"):
        baseline("linear", pair[0], str(tmp_path / "out"), target=other, dry_run=True)


def test_a_target_without_data_is_refused(pair, tmp_path):
    other = write(tmp_path / "other", np.full((90, 75, 2), np.nan, np.float32))
    with pytest.raises(UserError, match="no pixel with data in all bands of both"):
        baseline("linear", pair[0], str(tmp_path / "out"), target=other)


def test_a_classifier_has_no_use_for_a_target(pair, tmp_path):
    with pytest.raises(UserError, match=r"--target: .*answers classes"):
        baseline("plsda", pair[0], str(tmp_path / "out"), target=pair[1])


def test_fewer_different_pixels_than_centres_are_refused(tmp_path):
    flat = np.zeros((16, 16, 3), np.float32)
    flat[:8] = 0.5
    two = write(tmp_path / "rgb", flat), write(tmp_path / "hs", np.ones((16, 16, 4), np.float32))
    with pytest.raises(UserError, match=r"--centres: found 50.*at most 2"):
        baseline("rbf", two[0], str(tmp_path / "out"), target=two[1])


def test_an_option_of_another_method_is_noted(pair, tmp_path):
    told = baseline("linear", pair[0], str(tmp_path / "out"), target=pair[1], degree=3, root=True, dry_run=True)
    assert told["notes"] == ["--degree is of no use to this method", "--root is of no use to this method"]


@pytest.mark.slow
def test_workers_draw_the_same_pixels(pair):
    on = replace(training(pair[0]), target=Scene.open(pair[1]))
    with connect(2, None) as client:
        there = draw(replace(on, client=client), 500)
    np.testing.assert_array_equal(there.spectra, draw(on, 500).spectra)
