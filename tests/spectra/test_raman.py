"""Cosmic rays and registration: laws, NumPy and SciPy as oracles, and measured Raman spectra."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from locations import DATA
from scipy.stats import median_abs_deviation

from tilespec.core.errors import UserError
from tilespec.spectra.bands import Bands
from tilespec.spectra.fit import fit
from tilespec.spectra.numerics.registration import shifted, shifts, templates
from tilespec.spectra.numerics.spikes import bridge, spikes
from tilespec.spectra.pieces import transform
from tilespec.spectra.recipe import Recipe
from tilespec.spectra.steps import parse, passes, plan
from tilespec.spectra.steps.base import Fitting
from tilespec.spectra.steps.raman import Registration, Spikes
from tilespec.storage.scene import Scene

P = 120


def fitted(step, x):
    bands = Bands(count=x.shape[1], axis=None)
    step.plan(bands)
    return step.fit(Fitting(bands=bands, sample=x, reduce=lambda zero: zero.of(x), before=(), seed=0))


def through(step, x):
    return transform((fitted(step, x).operator,), x, x.shape[1])


def raman(n=20, p=P, *, move=None, noise=0.01, seed=0):
    """Return spectra of broad lines on a slope, each moved by ``move`` bands."""
    rng, k = np.random.default_rng(seed), np.arange(p)[None]
    at = k - (np.zeros((n, 1)) if move is None else np.asarray(move)[:, None])
    lines = [a * np.exp(-(((at - c * p) / 5) ** 2)) for a, c in ((1.0, 0.35), (0.6, 0.5), (0.8, 0.7))]
    return (2 + 0.2 * at / p + sum(lines) + rng.normal(0, noise, (n, p))).astype(np.float32)


# Spikes


@pytest.mark.parametrize("width", [1, 2, 4])
def test_spikes_lie_between_a_rise_and_a_fall_by_scipys_modified_z_score(width):
    y = raman(noise=0.05).astype(float)
    y[3, 40] += 5
    y[4, 1] -= 5
    y[5, 60:62] += 9
    marked = spikes(y.T.copy(), 6.0, width).T
    for spectrum, found in zip(y, marked, strict=True):
        steps = np.diff(spectrum)
        score = (steps - np.median(steps)) / median_abs_deviation(steps) * 0.6745
        pairs = [(a, b) for a in range(P - 1) for b in range(a + 1, min(a + width, P - 2) + 1)]
        pairs = [(a, b) for a, b in pairs if min(abs(score[a]), abs(score[b])) > 6 and score[a] * score[b] < 0]
        expected = {band for a, b in pairs for band in range(a + 1, b + 1)}
        assert set(np.flatnonzero(found)) == expected
    assert marked[3, 40]
    assert marked[4, 1]
    assert marked[5, 60:62].all() == (width > 1)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 999), share=st.floats(0, 1), p=st.integers(5, 40))
def test_marked_bands_lie_on_numpys_line_between_the_others(seed, share, p):
    rng = np.random.default_rng(seed)
    y, marked = rng.normal(size=(p, 4)), rng.uniform(size=(p, 4)) < share
    marked[[0, -1]] = False
    found = bridge(y.copy(), marked)
    for i in range(4):
        clean = np.flatnonzero(~marked[:, i])
        np.testing.assert_allclose(found[:, i], np.interp(np.arange(p), clean, y[clean, i]), atol=1e-12)
        np.testing.assert_array_equal(found[clean, i], y[clean, i])


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 99), height=st.floats(3, 1000), wide=st.integers(1, 3), data=st.data())
def test_planted_cosmic_rays_are_removed_and_no_other_band_changes(seed, height, wide, data):
    clean, band = raman(4, noise=0.05, seed=seed), data.draw(st.integers(1, P - 1 - wide))
    step = Spikes(width=wide)
    np.testing.assert_array_equal(through(step, clean), clean)
    hit = clean.copy()
    hit[1, band : band + wide] += np.float32(height)
    found = through(step, hit)
    np.testing.assert_allclose(found[1], clean[1], atol=0.6)
    hit[1, band : band + wide] = found[1, band : band + wide] = 0
    np.testing.assert_array_equal(found, hit)


def test_spectra_without_spikes_keep_their_bits_also_without_noise_and_beside_an_edge():
    edge = np.where(np.arange(P) < 50, 0, 10) + np.random.default_rng(0).normal(0, 0.1, (3, P))
    stairs = np.repeat([[0, 0, 0, 1, 1, 1]], 3, axis=0)
    for spectra in (raman(noise=0.1), np.ones((3, P)), stairs, edge):
        x = spectra.astype(np.float32)
        np.testing.assert_array_equal(through(Spikes(), x), x)


def test_a_reversed_spectrum_is_despiked_alike_and_a_gain_or_a_slope_changes_nothing():
    x = raman(noise=0.05)
    x[:, 17] += 3
    found = through(Spikes(), x)
    np.testing.assert_allclose(through(Spikes(), x[:, ::-1].copy()), found[:, ::-1], atol=1e-6)
    line = np.linspace(0, 5, P, dtype=np.float32)
    np.testing.assert_allclose(through(Spikes(), 4 * x + line), 4 * found + line, atol=1e-5)


def test_measured_raman_spectra_lose_planted_rays_and_keep_their_lines():
    path = DATA / "raman_mineral_mixtures" / "raman_mixtures.npz"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    x = np.load(path)["spectra"][:60].astype(np.float32)
    clean, height = through(Spikes(), x), np.ptp(x, axis=1)
    assert (np.abs(clean - x).max(axis=1) < 0.08 * height).all()
    hit, at = clean.copy(), np.random.default_rng(0).integers(50, x.shape[1] - 50, len(x))
    hit[np.arange(len(x)), at] += 3 * height
    assert (np.abs(through(Spikes(), hit) - clean).max(axis=1) < 0.1 * height).all()


# Registration


@settings(deadline=None)
@given(seed=st.integers(0, 99), reach=st.integers(1, 6), move=st.integers(-6, 6))
def test_the_lag_is_that_of_numpys_correlation_coefficients(seed, reach, move):
    reference = raman(1, seed=seed)[0].astype(float)
    x = raman(1, move=[move], noise=0.05, seed=seed + 1)
    found = float(shifts(x, *templates(reference, reach))[0])
    margin = reach + 1
    middle = reference[margin : P - margin]
    scores = [np.corrcoef(middle, x[0, margin + lag : P - margin + lag])[0, 1] for lag in range(-reach, reach + 1)]
    assert abs(found - (int(np.argmax(scores)) - reach)) <= 0.5 + 1e-6


@settings(deadline=None)
@given(moves=st.lists(st.floats(-4, 4), min_size=6, max_size=6))
def test_shifts_are_found_to_parts_of_a_band(moves):
    reference = raman(1, noise=0)[0].astype(float)
    found = shifts(raman(6, move=moves, noise=0), *templates(reference, 5))
    np.testing.assert_allclose(found, moves, atol=0.05)


@settings(deadline=None)
@given(whole=st.integers(-9, 9), part=st.floats(0, 1))
def test_a_whole_shift_copies_values_and_a_part_of_one_is_exact_on_a_parabola(whole, part):
    x = raman(3)
    index = np.clip(np.arange(P) + whole, 0, P - 1)
    np.testing.assert_array_equal(shifted(x, np.full(3, whole, np.float32)), x[:, index])
    k = np.arange(P) / P
    parabola, by = (1 + k - 2 * k * k).astype(np.float32)[None], np.float32(whole + part)
    at = (np.arange(P) + by) / P
    inside = slice(12, P - 12)
    np.testing.assert_allclose(shifted(parabola, np.array([by]))[0, inside], (1 + at - 2 * at * at)[inside], atol=1e-5)


def test_moved_spectra_are_brought_onto_their_mean():
    move = np.random.default_rng(0).uniform(-2, 2, 200)
    x = raman(200, move=move)
    found = through(Registration(reach=4), x)
    inside = slice(8, P - 8)
    assert found[:, inside].std(axis=0).max() < 0.15 * x[:, inside].std(axis=0).max()
    left = shifts(found, *templates(x.mean(axis=0, dtype=float), 4))
    assert np.abs(left - left.mean()).max() < 0.1


def test_the_reference_itself_and_spectra_without_a_shape_stay():
    x = raman(1, noise=0).repeat(5, axis=0)
    np.testing.assert_allclose(through(Registration(), x), x, atol=1e-5)
    x = np.concatenate([raman(20), np.full((2, P), 3, np.float32)])
    np.testing.assert_array_equal(through(Registration(), x)[-2:], x[-2:])


def test_gain_and_offset_of_a_spectrum_do_not_change_its_shift():
    move = np.random.default_rng(1).uniform(-3, 3, 20)
    kernel = templates(raman(1, noise=0)[0].astype(float), 4)
    x = raman(20, move=move)
    np.testing.assert_allclose(shifts(7 * x + 100, *kernel), shifts(x, *kernel), atol=2e-3)


def test_the_mean_is_one_pass_over_all_pixels_and_tiles_have_the_scenes_bits(make_scene, tmp_path):
    text = "despike,align=3"
    assert passes(parse(text)) == 1
    scene = make_scene(tmp_path / "scene", 60, 50, 24, nan=0.02)
    found = fit(scene, str(tmp_path / "recipe"), steps=text)
    x = Scene.open(scene).read(Scene.open(scene).roi).reshape(-1, 24)
    valid = np.isfinite(x).all(axis=1)
    assert (found["passes"], found["pixels"], found["invalid_pixels"]) == (1, valid.sum(), (~valid).sum())
    recipe = Recipe.load(str(tmp_path / "recipe"))
    whole = recipe.apply(x)
    np.testing.assert_array_equal(np.concatenate([recipe.apply(part) for part in np.array_split(x, 9)]), whole)
    assert np.isnan(whole[~valid]).all()
    assert np.isfinite(whole[valid]).all()
    mean = transform(recipe.steps[:1], x[valid], 24).mean(axis=0, dtype=float)
    np.testing.assert_allclose(recipe.steps[1].templates, templates(mean, 3)[0], atol=1e-4)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("despike=0.5", r"despike\[=THRESHOLD"),
        ("despike=nan", r"despike\[=THRESHOLD"),
        ("despike=x", r"despike\[=THRESHOLD"),
        ("despike=8:0", r"despike\[=THRESHOLD"),
        ("despike=8:1:1", r"despike\[=THRESHOLD"),
        ("crop=#0:#3,despike", "spikes of 1 on 4 bands"),
        ("align=0", r"align\[=BANDS\]"),
        ("align=1.5", r"align\[=BANDS\]"),
        ("align=1:2", r"align\[=BANDS\]"),
        ("align=8", "shifts up to 8 on 20 bands"),
    ],
)
def test_what_cannot_be_is_refused_with_the_usage(text, match):
    with pytest.raises(UserError, match=match):
        plan(parse(text), Bands(count=20, axis=None))


def test_a_mean_without_a_shape_is_refused():
    with pytest.raises(UserError, match="a mean of all pixels that is constant"):
        fitted(Registration(), np.ones((5, P), np.float32))
