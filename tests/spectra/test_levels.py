"""Polynomial backgrounds, minimum offset, norms by maximum and area: laws, and NumPy, SciPy and pybaselines."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pybaselines import Baseline as Theirs
from scipy.integrate import trapezoid

from tilespec.core.errors import UserError
from tilespec.core.types import SpectralAxis
from tilespec.spectra.bands import Bands
from tilespec.spectra.fit import fit
from tilespec.spectra.recipe import Recipe
from tilespec.spectra.steps import parse, passes, plan
from tilespec.spectra.steps.base import Fitting
from tilespec.storage.scene import Scene

P = 60


def places(kind, p=P):
    uneven = np.sort(np.random.default_rng(p).uniform(400, 2500, p))
    return {"even": 400.0 + 3 * np.arange(p), "uneven": uneven, "falling": uneven[::-1], "none": np.arange(p) * 1.0}[
        kind
    ]


def through(text, x, at=None):
    axis = None if at is None else SpectralAxis(name="wavelength", unit="nm", values=tuple(map(float, at)))
    bands = Bands(count=x.shape[1], axis=axis)
    recipe = Recipe.empty(bands.count, axis)
    for step in parse(text):
        step.plan(bands)
        operator = step.fit(Fitting(bands=bands, sample=x[:1], reduce=lambda zero: zero, before=(), seed=0)).operator
        recipe = Recipe(text=text, steps=(*recipe.steps, operator), facts=(), bands_in=bands.count, axis_in=axis)
    return recipe.apply(x)


def spectra(n=30, p=P, seed=0):
    rng, k = np.random.default_rng(seed), np.linspace(0, 1, p)
    peaks = [rng.uniform(0, 2, (n, 1)) * np.exp(-(((k - at) / 0.03) ** 2)) for at in (0.3, 0.7)]
    return (1 + k + sum(peaks) + rng.normal(0, 0.02, (n, p))).astype(np.float32)


KINDS = pytest.mark.parametrize("kind", ["even", "uneven", "falling", "none"])


def axis_of(kind, p=P):
    return None if kind == "none" else places(kind, p)


# Polynomials


@KINDS
@pytest.mark.parametrize("order", [0, 1, 3, 5])
def test_what_a_polynomial_leaves_is_what_numpys_fit_leaves(kind, order):
    x, at = spectra(), places(kind)
    t = (at - at.mean()) / np.ptp(at)
    expected = [y - np.polyval(np.polyfit(t, y, order), t) for y in x.astype(float)]
    np.testing.assert_allclose(through(f"poly={order}", x, axis_of(kind)), expected, atol=3e-6)
    theirs = Theirs(np.sort(at))
    rising = x if kind != "falling" else x[:, ::-1]
    left = [y - theirs.poly(y, poly_order=order)[0] for y in rising.astype(float)]
    np.testing.assert_allclose(np.asarray(left)[:, :: 1 if kind != "falling" else -1], expected, atol=1e-9)


@settings(deadline=None, max_examples=40)
@given(
    order=st.integers(0, 8),
    kind=st.sampled_from(["even", "uneven", "falling"]),
    coefficients=st.lists(st.floats(-10, 10), min_size=9, max_size=9),
)
def test_a_polynomial_of_the_same_order_is_removed_and_another_removal_changes_nothing(order, kind, coefficients):
    at = places(kind)
    t = 2 * (at - at.min()) / np.ptp(at) - 1
    background = np.polynomial.chebyshev.chebval(t, coefficients[: order + 1]).astype(np.float32)[None]
    size = max(1.0, np.abs(background).max())
    np.testing.assert_allclose(through(f"poly={order}", background, at), 0, atol=4e-6 * size)
    x = spectra(5)
    once = through(f"poly={order}", x, at)
    np.testing.assert_allclose(through(f"poly={order}", x + background, at), once, atol=8e-6 * size)
    np.testing.assert_allclose(through(f"poly={order}", once, at), once, atol=2e-6)


@pytest.mark.parametrize("order", [3, 5])
def test_a_background_lifted_by_the_minimum_is_as_published_by_spectrai(order):
    x, t = spectra(), np.linspace(0, 1, P)
    left = np.stack([y - np.polyval(np.polyfit(t, y, order), t) for y in x.astype(float)])
    assert (left.min(axis=1) < 0).all()
    np.testing.assert_allclose(through(f"poly={order},minoffset", x), left - left.min(axis=1, keepdims=True), atol=4e-6)


# Levels


@settings(deadline=None)
@given(offset=st.floats(-1e4, 1e4), gain=st.floats(1e-3, 1e4), kind=st.sampled_from(["even", "uneven", "none"]))
def test_levels_set_the_minimum_the_maximum_and_the_area(offset, gain, kind):
    x = (gain * spectra(5) + offset).astype(np.float32)
    lifted = through("minoffset", x, axis_of(kind))
    assert (lifted.min(axis=1) == 0).all()
    np.testing.assert_array_equal(lifted, x - x.min(axis=1, keepdims=True))
    assert (through("minoffset,max", x, axis_of(kind)).max(axis=1) == 1).all()
    area = trapezoid(through("minoffset,area", x, axis_of(kind)).astype(float), places(kind), axis=1)
    np.testing.assert_allclose(area, 1, rtol=1e-5)


@KINDS
def test_norms_are_numpys_and_scipys_for_any_order_of_the_bands(kind):
    x, at = spectra(), places(kind)
    np.testing.assert_allclose(through("max", x, axis_of(kind)), x / x.max(axis=1, keepdims=True), rtol=1e-6)
    area = abs(trapezoid(x.astype(float), at, axis=1))
    np.testing.assert_allclose(through("area", x, axis_of(kind)), x / area[:, None], rtol=1e-5)
    mixed = np.random.default_rng(1).permutation(P)
    np.testing.assert_allclose(through("area", x[:, mixed], at[mixed]), through("area", x, at)[:, mixed], rtol=1e-5)


@settings(deadline=None)
@given(gain=st.floats(1e-4, 1e4), text=st.sampled_from(["max", "area"]))
def test_a_norm_removes_the_gain(gain, text):
    x = spectra(5)
    np.testing.assert_allclose(through(text, (gain * x).astype(np.float32)), through(text, x), rtol=1e-5)


def test_the_area_of_a_curve_hardly_depends_on_how_it_is_sampled():
    curves = [np.exp(-(((at - 700) / 80) ** 2)) for at in (np.linspace(400, 1000, 61), np.linspace(400, 1000, 601))]
    coarse, fine = (through("area", c.astype(np.float32)[None], np.linspace(400, 1000, len(c)))[0] for c in curves)
    np.testing.assert_allclose(coarse, fine[::10], rtol=1e-4)


def test_a_spectrum_that_has_no_norm_is_nan_and_touches_no_other():
    x = spectra(6)
    x[1], x[2], x[3] = 0, -1, 1e-9 * np.where(np.arange(P) < P // 2, 1, -1)
    x[3, 0] = -1
    maximum, area = through("max", x), through("area", x)
    assert np.isnan(maximum[[1, 2, 3]]).all()
    assert np.isnan(area[[1, 2, 3]]).all()
    for found, text in ((maximum, "max"), (area, "area")):
        np.testing.assert_array_equal(found[[0, 4, 5]], through(text, x[[0, 4, 5]]))
    x[3] = np.where(np.arange(P) < P // 2, 1, -1)
    assert np.isnan(through("area", x)[3]).all()
    assert np.isfinite(through("minoffset", x)).all()


def test_als_leaves_peaks_and_removes_a_slope():
    k = np.linspace(0, 1, 200)
    peak = np.exp(-(((k - 0.5) / 0.02) ** 2))
    found = through("als=1e6:0.001,minoffset,max", (peak + 3 * k).astype(np.float32)[None])[0]
    np.testing.assert_allclose(found, peak, atol=0.03)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("poly", r"poly=ORDER"),
        ("poly=-1", r"poly=ORDER"),
        ("poly=1.5", r"poly=ORDER"),
        ("poly=3:1", r"poly=ORDER"),
        ("poly=19", r"order 19 on 20 places of bands.*poly=ORDER"),
        ("minoffset=1", "minoffset, without parameters"),
        ("max=1", "max, without parameters"),
        ("area=sum", "area, without parameters"),
        ("crop=#3:#3,minoffset", "1 band"),
        ("crop=#3:#3,max", "1 band"),
        ("crop=#3:#3,area", "1 band"),
        ("pca=4,area", "bands that are components"),
        ("pca=4,poly=1", "bands that are components"),
    ],
)
def test_what_cannot_be_is_refused_with_the_usage(text, match):
    axis = SpectralAxis(name="wavelength", unit="nm", values=tuple(places("even", 20).tolist()))
    with pytest.raises(UserError, match=match):
        plan(parse(text), Bands(count=20, axis=axis))


def test_bands_at_one_place_have_no_area():
    axis = SpectralAxis(name="wavelength", unit="nm", values=(500.0, 500.0))
    with pytest.raises(UserError, match="2 bands at one place"):
        plan(parse("area"), Bands(count=2, axis=axis))


def test_the_steps_need_no_pass_and_a_saved_recipe_gives_the_same_bits(make_scene, tmp_path):
    text = "poly=3,minoffset,max,area"
    assert passes(parse(text)) == 0
    scene = make_scene(tmp_path / "scene", 30, 20, 24, nan=0.02)
    fit(scene, str(tmp_path / "recipe"), steps=text)
    recipe = Recipe.load(str(tmp_path / "recipe"))
    x = Scene.open(scene).read(Scene.open(scene).roi).reshape(-1, 24)
    found = recipe.apply(x)
    np.testing.assert_array_equal(np.concatenate([recipe.apply(part) for part in np.array_split(x, 7)]), found)
    at = np.asarray(recipe.axis_in.values)
    valid = np.isfinite(x).all(axis=1)
    np.testing.assert_allclose(trapezoid(found[valid].astype(float), at, axis=1), 1, rtol=1e-5)
