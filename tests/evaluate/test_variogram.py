"""The variogram of a map: blocks add to the whole, and known shares of noise and structure come out."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from stored_predictions import write_field

from tilespec.evaluate.bootstrap import BlockStatistics
from tilespec.evaluate.comparison import JoinedStatistics
from tilespec.evaluate.evaluate import evaluate
from tilespec.evaluate.metrics.base import halo_of
from tilespec.evaluate.metrics.channel_errors import ChannelErrors
from tilespec.evaluate.metrics.table import METRICS
from tilespec.evaluate.metrics.variogram import FIGURES, LAGS, MODELS, Variogram, correlated_share

SCV, BOUND, OUTSIDE = FIGURES
KNOWN = {5: {0: -0.3, 2.5: 1.3, 25: 24.6, 50: 49.1, 90: 89.2, 100: 99.0}, 2: {50: 46.9, 90: 84.5, 100: 93.8}}
"""The bound for known mixtures by the deviation of the smooth field in pixels and the true share in percent."""


def mixture(share, sigma, seed=0, side=128):
    """Return a map whose variance is structure to ``share`` percent, and white noise else."""
    rng = np.random.default_rng(seed)
    field = gaussian_filter(rng.normal(size=(side, side)), sigma, mode="wrap")
    return np.sqrt(share / 100) * field / field.std() + np.sqrt(1 - share / 100) * rng.normal(size=(side, side))


def haloed(maps, truth=None):
    """Return predicted maps ``y x channel`` with their truth, and the halo beyond the end of the plane."""
    block = np.stack([maps if truth is None else truth, maps]).astype(np.float32)
    return np.pad(block, ((0, 0), (0, LAGS), (0, LAGS), (0, 0)), constant_values=np.nan)


def of(plane, truth=None):
    return Variogram.zero(1).of(haloed(plane[..., None], None if truth is None else truth[..., None]))


@given(st.integers(0, 2**32), st.integers(1, 70), st.integers(1, 50), st.integers(0, 70), st.integers(0, 50))
@settings(deadline=None, max_examples=20)
def test_blocks_of_any_size_add_to_the_whole(seed, height, width, down, across):
    rng = np.random.default_rng(seed)
    maps = np.where(rng.random((height, width, 2)) < 0.2, np.nan, rng.normal(50, 40, (height, width, 2)))
    whole, zero = haloed(maps), Variogram.zero(2)
    ys, xs = (sorted({0, min(cut, length), length}) for cut, length in ((down, height), (across, width)))
    total = zero
    for y0, y1 in pairwise(ys):
        for x0, x1 in pairwise(xs):
            total = total + zero.of(whole[:, y0 : y1 + LAGS, x0 : x1 + LAGS], (y0, x0))
    expected = zero.of(whole)
    for name in Variogram.ADDS:
        np.testing.assert_allclose(getattr(total, name), getattr(expected, name), rtol=1e-10, atol=1e-8)
    assert total.known == np.isfinite(maps).sum()
    blocked = BlockStatistics(zero=zero, size=13).of(whole, (0, 0)).total()
    np.testing.assert_allclose(blocked.squares, expected.squares, rtol=1e-10, atol=1e-8)


def test_the_sums_are_those_of_all_pairs_of_known_pixels():
    rng = np.random.default_rng(3)
    plane, truth = rng.normal(50, 30, (24, 9)).astype(np.float32), np.ones((24, 9))
    plane[rng.random(plane.shape) < 0.2] = np.nan
    truth[rng.random(plane.shape) < 0.2] = np.nan
    masked, sums = np.where(np.isfinite(truth), plane, np.nan).astype(np.float64), of(plane, truth)
    for lag in (1, 4, 9, 20):
        steps = np.concatenate([(masked[lag:] - masked[:-lag]).ravel(), (masked[:, lag:] - masked[:, :-lag]).ravel()])
        assert sums.pairs[lag - 1, 0] == np.isfinite(steps).sum()
        assert sums.squares[lag - 1, 0] == pytest.approx(np.nansum(steps**2))
    assert sums.finish()[OUTSIDE] == pytest.approx(np.mean((masked < 0) | (masked > 100)) / np.isfinite(masked).mean())


@pytest.mark.parametrize(("sigma", "share"), [(sigma, share) for sigma in KNOWN for share in KNOWN[5]])
def test_known_mixtures_of_noise_and_structure_are_found_within_five_points(sigma, share):
    figures = [of(mixture(share, sigma, seed)).finish() for seed in range(3)]
    assert [figure[SCV] for figure in figures] == pytest.approx([share] * 3, abs=5)
    bound = KNOWN[sigma].get(share)
    assert bound is None or np.mean([figure[BOUND] for figure in figures]) == pytest.approx(bound, abs=2.5)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("share", [10.0, 60.0, 99.0])
def test_a_semivariogram_of_each_model_gives_its_share(model, share):
    lags = np.arange(1.0, LAGS + 1)
    gamma = 7 * (100 - share + share * MODELS[model](lags, 6.3))
    assert correlated_share(lags, gamma) == pytest.approx(share, abs=0.5)


@given(gain=st.floats(0.01, 100), offset=st.floats(-100, 100))
@settings(deadline=None, max_examples=10)
def test_gain_and_offset_change_nothing(gain, offset):
    plane = mixture(60, 3, side=48)
    one, other = of(plane).finish(), of(gain * (plane + offset)).finish()
    assert (other[SCV], other[BOUND]) == pytest.approx((one[SCV], one[BOUND]), abs=0.02)


def test_what_has_no_variance_or_no_pair_has_no_share():
    assert of(np.full((5, 5), 40.1)).finish() == {SCV: None, BOUND: None, OUTSIDE: 0.0}
    assert of(np.full((1, 1), 101.0)).finish() == {SCV: None, BOUND: None, OUTSIDE: 1.0}
    assert of(np.full((5, 5), np.nan)).finish() == dict.fromkeys(FIGURES)


def test_several_maps_give_the_mean_of_their_figures():
    maps = [mixture(share, 3, side=64) * 9 + 50 for share in (20, 80)]
    both = Variogram.zero(2).of(haloed(np.stack(maps, axis=-1))).finish()
    assert both[SCV] == pytest.approx(np.mean([of(one).finish()[SCV] for one in maps]), abs=1e-6)


def test_a_statistic_without_halo_gets_no_halo_beside_one_with():
    plane = haloed(mixture(50, 3, side=30)[..., None])
    joined = JoinedStatistics(parts=(ChannelErrors.zero(1), Variogram.zero(1)))
    assert (halo_of(joined), halo_of(joined.parts[0])) == (LAGS, 0)
    errors, variogram = joined.of(plane).parts
    assert errors.known == variogram.known == 900


def test_evaluate_reports_the_same_in_any_pieces_with_intervals(tmp_path, monkeypatch):
    plane = (mixture(70, 4, side=150) * 30 + 50).astype(np.float32)
    truth = np.where(np.hypot(*np.ogrid[-75:75, -75:75]) < 60, plane, np.nan).astype(np.float32)
    stores = write_field(tmp_path / "p", plane[..., None]), write_field(tmp_path / "t", truth, "fat")
    options = {"layer": "fat", "patch_size": 9, "patches": 20}
    result = evaluate(*stores, **options, bootstrap=20, block_size=32)
    expected = of(plane, truth).finish()
    assert {name: result[name] for name in FIGURES} == pytest.approx(expected, rel=1e-9)
    assert result[OUTSIDE] > 0.05
    low, high = result["bootstrap"]["intervals"][SCV]
    assert low < high
    monkeypatch.setattr("tilespec.evaluate.channels._pieces", lambda roi, _: roi.cut(17, 23))
    again = evaluate(*stores, **options)
    assert {name: again[name] for name in FIGURES} == pytest.approx(expected, rel=1e-9)
    part = evaluate(*stores, **options, rows="20:90", cols="30:111")
    assert part[SCV] == pytest.approx(of(plane[20:90, 30:111], truth[20:90, 30:111]).finish()[SCV], rel=1e-9)
    json.dumps(result)


def test_spectra_have_no_such_figures(tmp_path, make_scene):
    scene = make_scene(tmp_path / "scene", 20, 20, 4)
    assert {evaluate(scene, scene, patch_size=9)[name] for name in FIGURES} == {None}


def test_tasks_may_name_the_figures_as_metrics_that_pixels_decide():
    assert all(METRICS[name].pixels and METRICS[name].truth == "field" for name in FIGURES)
    assert [METRICS[name].better for name in FIGURES] == ["larger", "larger", "smaller"]
