"""Structural similarity: scikit-image on a whole plane, the same in any blocks, and a range that is the truth's."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity
from spectral_pairs import write_cube
from stored_predictions import write_field, write_map

from tilespec.core.errors import UserError
from tilespec.core.types import SpectralAxis
from tilespec.evaluate.bootstrap import BlockStatistics
from tilespec.evaluate.channels import channels_case
from tilespec.evaluate.evaluate import evaluate
from tilespec.evaluate.metrics.structural_similarity import SIDE, StructuralSimilarity

HALO = SIDE - 1


def pair(height=40, width=33, channels=3, seed=0, gaps=0.0):
    """Return a truth of structure and a blurred, noisy prediction, some values of both missing."""
    rng = np.random.default_rng(seed)
    stripes = np.indices((height, width)).sum(0) % 9 < 4
    truth = rng.uniform(0.2, 0.8, (height, width, channels)) + 0.3 * stripes[..., None]
    predicted = gaussian_filter(truth, (1, 1, 0)) + rng.normal(0, 0.05, truth.shape)
    both = np.stack([truth, predicted])
    both[rng.random(both.shape) < gaps] = np.nan
    return both.astype(np.float32)


def haloed(block):
    return np.pad(block, ((0, 0), (0, HALO), (0, HALO), (0, 0)), constant_values=np.nan)


def theirs(block, span):
    truth, predicted = block.astype(np.float64)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "channel_axis": 2}
    return structural_similarity(truth, predicted, data_range=span, **options)


def of(block, span=1.0):
    return StructuralSimilarity.zero(block.shape[3], span).of(haloed(block))


@pytest.mark.parametrize(("height", "width"), [(40, 33), (11, 50), (11, 11)])
@pytest.mark.parametrize("span", [0.1, 1.0, 255.0])
def test_it_is_scikit_images_mean_over_bands(height, width, span):
    block = pair(height, width)
    assert of(block, span).finish()["ssim"] == pytest.approx(theirs(block, span), rel=1e-9)


@given(st.integers(0, 99), st.integers(1, 45), st.integers(1, 40), st.integers(0, 45), st.integers(0, 40))
@settings(deadline=None, max_examples=20)
def test_blocks_of_any_size_add_to_the_whole(seed, height, width, down, across):
    block = pair(height, width, 2, seed, gaps=0.002)
    whole, zero = haloed(block), StructuralSimilarity.zero(2, 1.0)
    ys, xs = (sorted({0, min(cut, length), length}) for cut, length in ((down, height), (across, width)))
    total = zero
    for y0, y1 in pairwise(ys):
        for x0, x1 in pairwise(xs):
            total = total + zero.of(whole[:, y0 : y1 + HALO, x0 : x1 + HALO], (y0, x0))
    expected = zero.of(whole)
    np.testing.assert_array_equal(total.sums[0], expected.sums[0])
    np.testing.assert_allclose(total.sums[1], expected.sums[1], rtol=1e-12, atol=1e-12)
    blocked = BlockStatistics(zero=zero, size=13).of(whole, (0, 0)).total()
    np.testing.assert_allclose(blocked.sums, expected.sums, rtol=1e-12, atol=1e-12)


def test_only_whole_windows_of_known_values_count():
    block = pair(30, 30, 1)
    clean = of(block).sums[0, 0]
    assert clean == 20 * 20
    block[0, 15, 15] = np.nan
    assert of(block).sums[0, 0] == clean - SIDE * SIDE
    block[1, 15, 15] = np.nan
    assert of(block).sums[0, 0] == clean - SIDE * SIDE
    block[1, 0, 0] = np.inf
    assert of(block).sums[0, 0] == clean - SIDE * SIDE - 1


def test_equal_planes_are_similar_by_1_and_a_plane_without_window_or_range_has_no_similarity():
    block = pair()
    assert of(np.stack([block[0], block[0]])).finish()["ssim"] == pytest.approx(1, abs=1e-12)
    assert of(block[:, :10]).finish() == {"ssim": None}
    assert of(block, span=0.0).finish() == {"ssim": None}


# Through evaluate


def cube(path, plane, **options):
    at = tuple(500.0 + 10 * band for band in range(plane.shape[2]))
    return write_cube(path, plane, SpectralAxis(name="wavelength", unit="nm", values=at), **options)


def stored(tmp_path, block, **options):
    truth, pred = (cube(tmp_path / name, plane) for name, plane in zip("tp", block, strict=True))
    return evaluate(pred, truth, patch_size=5, patches=4, illuminant="none", **options)


def test_evaluate_takes_the_range_of_the_truth_or_the_peak_and_never_that_of_the_prediction(tmp_path):
    block = pair(50, 40)
    block[1, 3, 4] = 1000
    span = float(np.ptp(block[0]))
    found = stored(tmp_path / "a", block, ssim=True)
    assert found["ssim"] == pytest.approx(theirs(block, span), rel=1e-6)
    found = stored(tmp_path / "b", block, ssim=True, peak=2.0)
    assert found["ssim"] == pytest.approx(theirs(block, 2.0), rel=1e-6)
    found = stored(tmp_path / "c", block)
    assert found["ssim"] is None
    assert not any("similarity" in note for note in found["notes"])


def test_a_prediction_that_is_constant_has_a_similarity_and_a_small_scene_has_a_note(tmp_path):
    block = pair(20, 20)
    block[1] = 0.5
    assert 0 < stored(tmp_path / "a", block, ssim=True)["ssim"] < 0.5
    found = stored(tmp_path / "b", pair(8, 20), ssim=True)
    assert found["ssim"] is None
    assert any("no window of 11 x 11" in note for note in found["notes"])


def test_pieces_of_any_size_give_the_same_with_their_corners(tmp_path, monkeypatch):
    block = pair(50, 60, 2)
    truth, pred = (cube(tmp_path / name, plane, chunk=16) for name, plane in zip("tp", block, strict=True))
    monkeypatch.setattr("tilespec.evaluate.channels.VALUES", 1)
    options = {"patch_size": 5, "patches": 4, "illuminant": "none", "ssim": True}
    found = evaluate(pred, truth, bootstrap=20, block_size=25, **options)
    assert found["ssim"] == pytest.approx(theirs(block, float(np.ptp(block[0]))), rel=1e-6)
    low, high = found["bootstrap"]["intervals"]["ssim"]
    assert low <= found["ssim"] <= high
    region = evaluate(pred, truth, rows="5:38", cols="7:51", **options)
    part = block[:, 5:38, 7:51]
    assert region["ssim"] == pytest.approx(theirs(part, float(np.ptp(part[0]))), rel=1e-6)


def test_classes_have_no_similarity(tmp_path):
    plane = np.zeros((20, 20), np.uint8)
    with pytest.raises(UserError, match="--ssim: found a prediction of classes"):
        evaluate(write_map(tmp_path / "p", plane), write_map(tmp_path / "t", plane), ssim=True)


# SNR and ERGAS, which need no window


def test_snr_and_ergas_are_their_formulas_and_ergas_takes_the_scale_of_the_prediction(tmp_path):
    block = pair(16, 12)
    truth, predicted = block.astype(np.float64)
    error = predicted - truth
    found = stored(tmp_path / "a", block)
    assert found["snr"] == pytest.approx(10 * np.log10((truth**2).sum() / (error**2).sum()), rel=1e-6)
    relative = 100 * np.sqrt(((error**2).mean((0, 1)) / truth.mean((0, 1)) ** 2).mean())
    assert found["ergas"] == pytest.approx(relative, rel=1e-6)
    for scale, ratio in (("4", 0.25), ("1/2", 1.0)):
        where = tmp_path / scale.replace("/", "-")
        pred, true = (
            write_field(where / n, plane, grid={"scale": scale}) for n, plane in zip("pt", block[::-1], strict=True)
        )
        (score,) = channels_case(pred, true, None, None, None).statistics
        assert score.parts[0].of(block).finish()["ergas"] == pytest.approx(ratio * relative, rel=1e-6)


def test_a_band_of_zeros_has_no_relative_error(tmp_path):
    block = pair(16, 12)
    expected = stored(tmp_path / "a", block[..., :2])["ergas"]
    block[0, ..., 2] = 0
    assert stored(tmp_path / "b", block)["ergas"] == pytest.approx(expected, rel=1e-6)
