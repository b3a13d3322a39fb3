"""Laws of the folds of residuals, and scikit-learn, scipy and brute force as oracles."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cosine
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from tilespec.evaluate.metrics.channel_errors import ChannelErrors, PatchErrors
from tilespec.evaluate.metrics.confusion import Patches

reals = st.floats(-100, 100, width=32).map(lambda v: np.float32(round(v, 3)))


@st.composite
def blocks(draw, least=1):
    """Truth and prediction with holes."""
    shape = (2, draw(st.integers(least, 9)), draw(st.integers(least, 9)), draw(st.integers(1, 4)))
    return draw(arrays(np.float32, shape, elements=reals | st.just(np.float32(np.nan))))


def of(block, origin=(0, 0)):
    return ChannelErrors.zero(block.shape[3]).of(block, origin)


@given(block=blocks(least=2), cut=st.integers(1, 8), axis=st.sampled_from([1, 2]))
def test_two_blocks_add_to_both(block, cut, axis):
    cut = min(cut, block.shape[axis] - 1)
    a, b = np.split(block, [cut], axis=axis)
    both, whole = of(a) + of(b), of(block)
    assert (both.sums[:2] == whole.sums[:2]).all()
    assert both.sums == pytest.approx(whole.sums, rel=1e-12, abs=1e-6)
    assert both.angles == pytest.approx(whole.angles, rel=1e-12, abs=1e-12)
    assert (both.low == whole.low).all()
    assert (both.high == whole.high).all()
    zero = PatchErrors.zero(Patches.draw(block.shape[1:3], count=9, size=min(block.shape[1:3]), seed=0))
    origin = (cut, 0) if axis == 1 else (0, cut)
    found, expected = zero.of(a, (0, 0)) + zero.of(b, origin), zero.of(block, (0, 0))
    assert (found.n == expected.n).all()
    assert found.squares == pytest.approx(expected.squares, rel=1e-12, abs=1e-9)


@given(block=blocks())
def test_figures_are_those_of_scikit_learn(block):
    found = of(block).finish()
    truth, predicted = (plane.reshape(-1, block.shape[3]).astype(np.float64) for plane in block)
    known = np.isfinite(truth) & np.isfinite(predicted)
    assert found["values"] == known.sum()
    assert found["missing"] == (np.isfinite(truth) & ~np.isfinite(predicted)).sum()
    for i in range(block.shape[3]):
        t, p = truth[known[:, i], i], predicted[known[:, i], i]
        channel = {name: values[i] for name, values in found["channels"].items()}
        if not len(t):
            assert set(channel.values()) == {None}
            continue
        assert channel["rmse"] == pytest.approx(math.sqrt(mean_squared_error(t, p)), abs=1e-9)
        assert channel["mae"] == pytest.approx(mean_absolute_error(t, p), abs=1e-9)
        assert channel["bias"] == pytest.approx((p - t).mean(), abs=1e-9)
        spread = ((t - t.mean()) ** 2).sum()
        if spread > 1e-9 * (t**2).sum():
            assert channel["r2"] == pytest.approx(r2_score(t, p), rel=1e-6, abs=1e-6)
        elif spread == 0:
            assert channel["r2"] is None
    if known.any():
        error = (predicted - truth)[known]
        assert found["rmse"] == pytest.approx(math.sqrt((error**2).mean()), abs=1e-9)
        assert (found["mae"], found["bias"]) == pytest.approx((np.abs(error).mean(), error.mean()), abs=1e-9)


def test_r2_of_all_channels_is_weighted_by_their_variance_and_its_mean_is_not():
    rng = np.random.default_rng(0)
    truth = rng.normal([0, 5, 1000], [1, 3, 0.1], (40, 50, 3)).astype(np.float32)
    predicted = (truth + rng.normal(0, [0.1, 2, 0.05], truth.shape)).astype(np.float32)
    found = of(np.stack([truth, predicted])).finish()
    t, p = (plane.reshape(-1, 3).astype(np.float64) for plane in (truth, predicted))
    assert found["r2"] == pytest.approx(r2_score(t, p, multioutput="variance_weighted"), rel=1e-6)
    assert found["r2_mean"] == pytest.approx(r2_score(t, p, multioutput="uniform_average"), rel=1e-6)


def test_the_spectral_angle_is_scipys_and_of_whole_spectra_only():
    rng = np.random.default_rng(1)
    truth, predicted = rng.uniform(0.1, 1, (2, 6, 7, 5)).astype(np.float32)
    predicted[0, 0, 2], truth[1, 1, 0], truth[2, 2] = np.nan, np.nan, 0
    angles = [
        math.degrees(math.acos(1 - cosine(t, p)))
        for t, p in zip(truth.reshape(-1, 5), predicted.reshape(-1, 5), strict=True)
        if np.isfinite(t).all() and np.isfinite(p).all() and t.any()
    ]
    found = of(np.stack([truth, predicted])).finish()
    assert len(angles) == 6 * 7 - 3
    assert (found["sam"], found["sam_std"]) == pytest.approx((np.mean(angles), np.std(angles)), rel=1e-5)
    assert of(np.ones((2, 3, 3, 1), np.float32)).finish()["sam"] is None


def test_psnr_is_over_the_range_of_the_truth():
    truth = np.array([[[0.0, 10.0], [2.0, 30.0]]], np.float32)
    found = of(np.stack([truth, truth + 1])).finish()
    assert found["channels"]["psnr"] == pytest.approx([20 * math.log10(2), 20 * math.log10(20)])
    assert found["psnr"] == pytest.approx(20 * math.log10(30))
    same = of(np.stack([truth, truth])).finish()
    assert (same["psnr"], same["rmse"], same["r2"], same["sam"]) == (None, 0.0, 1.0, pytest.approx(0, abs=1e-5))


def test_a_constant_truth_has_no_r2_whatever_rounding_says():
    truth = np.full((30, 40, 2), 0.1, np.float32)
    truth[..., 1] += np.arange(40, dtype=np.float32)
    found = of(np.stack([truth, truth + np.float32(0.01)])).finish()
    assert found["channels"]["r2"][0] is None
    assert found["r2"] == found["r2_mean"] == found["channels"]["r2"][1]


@given(block=blocks(least=3), seed=st.integers(0, 99), size=st.integers(1, 3))
def test_patch_errors_from_summed_areas_are_those_of_patches_cut_out(block, seed, size):
    patches = Patches.draw(block.shape[1:3], count=20, size=size, seed=seed)
    found = PatchErrors.zero(patches).of(block, (0, 0)).finish()
    errors = []
    for y, x in patches.origins:
        t, p = block[:, y : y + size, x : x + size].astype(np.float64)
        difference = (p - t)[np.isfinite(p - t)]
        errors += [math.sqrt((difference**2).mean())] if len(difference) else []
    expected = (np.mean(errors), np.std(errors)) if errors else (None, None)
    assert (found["rmse_mean"], found["rmse_std"]) == pytest.approx(expected, abs=1e-5)
    assert found["kept"] == len(errors)
