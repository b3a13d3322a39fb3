"""Continuum removal and baselines: laws, SPy and pybaselines as oracles, and measured Raman spectra."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from locations import DATA
from pybaselines import Baseline as Theirs
from spectral import remove_continuum

from tilespec.core.errors import UserError
from tilespec.core.types import SpectralAxis
from tilespec.spectra.bands import Bands
from tilespec.spectra.numerics.hull import upper_hull
from tilespec.spectra.numerics.whittaker import arpls, asls, solve
from tilespec.spectra.pieces import transform as apply
from tilespec.spectra.steps import parse, plan
from tilespec.spectra.steps.base import Fitting
from tilespec.spectra.steps.baseline_correction import Als, Arpls
from tilespec.spectra.steps.continuum import ContinuumRemoval


def nm(values):
    return Bands(count=len(values), axis=SpectralAxis(name="wavelength", unit="nm", values=tuple(map(float, values))))


def operator(step, x, bands=None):
    bands = bands or Bands(count=x.shape[1], axis=None)
    step.plan(bands)
    return step.fit(Fitting(bands=bands, sample=x[:1], reduce=lambda zero: zero, before=(), seed=0)).operator


def through(step, x, bands=None):
    return apply((operator(step, x, bands),), x, x.shape[1])


def rough(n, p, seed=0):
    """Return spectra with two peaks, a curved background and noise, positive."""
    rng, k = np.random.default_rng(seed), np.linspace(0, 1, p)
    peaks = [rng.uniform(0, 2, (n, 1)) * np.exp(-(((k - at) / 0.02) ** 2)) for at in (0.3, 0.7)]
    return (2 + k - k**2 + sum(peaks) + rng.normal(0, 0.02, (n, p))).astype(np.float32)


# Continuum


def places(p, *, even, seed=0):
    return np.arange(p) * 1.0 if even else np.sort(np.random.default_rng(seed).uniform(400, 2500, p))


@pytest.mark.parametrize("even", [True, False])
@pytest.mark.parametrize("p", [3, 4, 50, 186])
def test_the_continuum_is_spys(p, even):
    x, at = rough(300, p), places(p, even=even)
    np.testing.assert_allclose(through(ContinuumRemoval(), x, nm(at)), remove_continuum(x.astype(float), at), atol=1e-6)


@settings(deadline=None)
@given(data=st.data(), p=st.integers(2, 30), n=st.integers(1, 6), seed=st.integers(0, 99))
def test_a_hull_is_concave_lies_on_no_spectrum_and_touches_it(data, p, n, seed):
    kind = data.draw(st.sampled_from(["noise", "steps", "flat", "peaks"]))
    rng, at = np.random.default_rng(seed), places(p, even=seed % 2 == 0, seed=seed)
    y = {
        "noise": rng.normal(size=(p, n)),
        "steps": rng.integers(0, 3, (p, n)) * 1.0,
        "flat": np.ones((p, n)),
        "peaks": np.exp(5 * rng.normal(size=(p, n))),
    }[kind]
    hull = upper_hull(y, at)
    assert (hull >= y).all()
    slopes = np.diff(hull, axis=0) / np.diff(at)[:, None]
    assert (np.diff(slopes, axis=0) <= 1e-9 * np.abs(slopes).max()).all()
    np.testing.assert_array_equal(hull[[0, -1]], y[[0, -1]])
    np.testing.assert_allclose(upper_hull(hull, at), hull, rtol=1e-12)
    corner = np.abs(np.diff(slopes, axis=0)) > 1e-9 * np.abs(slopes).max()
    np.testing.assert_allclose(hull[1:-1][corner], y[1:-1][corner], rtol=1e-12)


@settings(deadline=None)
@given(p=st.integers(2, 40), bend=st.floats(0, 5), tilt=st.floats(-1, 1), even=st.booleans())
def test_the_continuum_of_a_concave_spectrum_is_ones(p, bend, tilt, even):
    at = places(p, even=even)
    k = (at - at[0]) / (at[-1] - at[0])
    x = (10 + tilt * k - bend * (k - 0.4) ** 2).astype(np.float32)[None]
    np.testing.assert_allclose(through(ContinuumRemoval(), x, nm(at)), 1, atol=1e-6)
    np.testing.assert_allclose(through(ContinuumRemoval(mode="subtract"), x, nm(at)), 0, atol=1e-5)


def test_bands_that_fall_or_overlap_are_taken_by_their_places():
    x, at = rough(20, 40), places(40, even=False)
    rising = through(ContinuumRemoval(), x, nm(at))
    np.testing.assert_allclose(through(ContinuumRemoval(), x[:, ::-1], nm(at[::-1])), rising[:, ::-1], atol=1e-6)
    order = np.r_[0:20, 30, 20:30, 31:40]
    np.testing.assert_allclose(through(ContinuumRemoval(), x[:, order], nm(at[order])), rising[:, order], atol=1e-6)


def test_a_hull_that_is_not_positive_makes_the_pixel_nan_only_where_it_divides():
    x = rough(4, 10)
    x[1], x[2, 0] = -1, 0
    found = through(ContinuumRemoval(), x)
    assert np.isnan(found[[1, 2]]).all()
    assert np.isfinite(found[[0, 3]]).all()
    assert np.isfinite(through(ContinuumRemoval(mode="subtract"), x)).all()


# Baselines


@pytest.mark.parametrize("smoothness", [1e2, 1e5, 1e8])
@pytest.mark.parametrize("iterations", [0, 3, 50])
def test_baselines_are_pybaselines(smoothness, iterations):
    x = rough(12, 150).astype(float)
    theirs = Theirs(np.arange(150))
    options = {"lam": smoothness, "max_iter": iterations}
    # Their solver and ours round differently, the system's condition times the float64's epsilon.
    near = {"atol": 1e-9 + 1e-13 * smoothness}
    expected = [theirs.asls(y, p=0.01, tol=-1, **options)[0] for y in x]
    np.testing.assert_allclose(asls(x.T.copy(), smoothness, 0.01, iterations).T, expected, **near)
    expected = [theirs.arpls(y, tol=1e-3, **options)[0] for y in x]
    np.testing.assert_allclose(arpls(x.T.copy(), smoothness, iterations).T, expected, **near)


@settings(deadline=None)
@given(p=st.integers(2, 30), seed=st.integers(0, 99), smoothness=st.sampled_from([0.1, 10, 1e4]))
def test_the_banded_solver_is_numpys_dense_one(p, seed, smoothness):
    rng = np.random.default_rng(seed)
    y, weights = rng.normal(size=(p, 3)), rng.uniform(0.01, 1, (p, 3))
    second = np.diff(np.eye(p), n=2, axis=0)
    found = solve(y, weights, smoothness)
    for i in range(3):
        system = np.diag(weights[:, i]) + smoothness * second.T @ second
        np.testing.assert_allclose(found[:, i], np.linalg.solve(system, weights[:, i] * y[:, i]), rtol=1e-7, atol=1e-9)


@settings(deadline=None)
@given(p=st.integers(2, 200), offset=st.floats(-10, 10), slope=st.floats(-10, 10), power=st.integers(0, 9))
def test_the_baseline_of_a_straight_line_is_the_line(p, offset, slope, power):
    x = (offset + slope * np.linspace(0, 1, p)).astype(np.float32)[None]
    for step in (Als(smoothness=10.0**power), Arpls(smoothness=10.0**power)):
        np.testing.assert_allclose(operator(step, x).apply(x.copy()), 0, atol=1e-5)


def test_a_line_added_to_a_spectrum_is_removed_with_its_baseline():
    x = rough(50, 120)
    line = np.linspace(3, 8, 120, dtype=np.float32)
    for step in (Als(smoothness=1e4), Arpls(smoothness=1e4)):
        np.testing.assert_allclose(through(step, x + line), through(step, x), atol=1e-4)


@pytest.mark.parametrize("step", [Als(smoothness=1e4, iterations=15), Arpls(smoothness=1e4), ContinuumRemoval()])
def test_a_pixels_bits_are_its_own(step):
    x = rough(700, 150)
    x[5], x[6, 3] = np.nan, np.inf
    whole = through(step, x)
    for i in (0, 5, 6, 7, 349, 699):
        np.testing.assert_array_equal(through(step, x[i : i + 1])[0], whole[i])
    np.testing.assert_array_equal(through(step, x[::-1]), whole[::-1])
    assert np.isnan(whole[[5, 6]]).all()
    assert np.isfinite(np.delete(whole, [5, 6], axis=0)).all()


def test_a_baselines_bits_do_not_depend_on_how_many_are_found_at_once():
    y = np.ascontiguousarray(rough(9, 150).T, float)
    for found, alone in ((f(y, 1e4), f(y[:, 3:4].copy(), 1e4)) for f in (soft, hard)):
        np.testing.assert_array_equal(alone[:, 0], found[:, 3])


def soft(y, smoothness):
    return arpls(y, smoothness, 30)


def hard(y, smoothness):
    return asls(y, smoothness, 0.01, 30)


def test_measured_raman_spectra_lose_their_fluorescence_as_with_pybaselines():
    path = DATA / "raman_mineral_mixtures" / "raman_mixtures.npz"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    x = np.load(path)["spectra"][:40].astype(np.float32)
    theirs = Theirs(np.arange(x.shape[1]))
    found = through(Als(smoothness=1e6, asymmetry=0.001, iterations=10), x)
    expected = [y - theirs.asls(y, lam=1e6, p=0.001, max_iter=10, tol=-1)[0] for y in x.astype(float)]
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.ptp(x))
    assert np.median(found) < 0.5 * np.median(x)
    found = through(Arpls(smoothness=1e6, iterations=20), x)
    expected = [y - theirs.arpls(y, lam=1e6, max_iter=20)[0] for y in x.astype(float)]
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.ptp(x))


# What users are told


@pytest.mark.parametrize(
    ("steps", "match"),
    [
        ("als=0", r"als\[=LAMBDA"),
        ("als=1e11", r"als\[=LAMBDA"),
        ("als=nan", r"als\[=LAMBDA"),
        ("als=1e5:1", r"als\[=LAMBDA"),
        ("als=1e5:0.1:-1", r"als\[=LAMBDA"),
        ("als=1e5:0.1:2.5", r"als\[=LAMBDA"),
        ("als=x", r"als\[=LAMBDA"),
        ("arpls=-1", r"arpls\[=LAMBDA"),
        ("arpls=1:2:3", r"arpls\[=LAMBDA"),
        ("crop=#3:#3,als", "1 band"),
        ("crop=#3:#3,arpls", "1 band"),
        ("crop=#3:#3,continuum", "1 bands at 1 places"),
        ("continuum=both", "continuum=subtract"),
        ("continuum=divide:1", "continuum=subtract"),
        ("pca=4,continuum", "bands that are components"),
    ],
)
def test_what_cannot_be_is_refused_with_the_usage(steps, match):
    with pytest.raises(UserError, match=match):
        plan(parse(steps), nm(places(20, even=True)))


def test_two_bands_at_one_place_have_no_hull():
    with pytest.raises(UserError, match="4 bands at 3 places"):
        plan(parse("continuum"), nm([400, 500, 500, 600]))


def test_parameters_are_what_was_written():
    assert parse("als=1e6:0.001:7,arpls=50:3,continuum=subtract") == (
        Als(smoothness=1e6, asymmetry=0.001, iterations=7),
        Arpls(smoothness=50, iterations=3),
        ContinuumRemoval(mode="subtract"),
    )
    assert parse("als,arpls,continuum") == (Als(), Arpls(), ContinuumRemoval())
