"""Blocks of a scene: folds per block add to the whole, intervals are those of the bootstrap, splits are balanced."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tilespec.evaluate.bootstrap import BlockStatistics, intervals, spatial_folds
from tilespec.evaluate.metrics.channel_errors import ChannelErrors
from tilespec.evaluate.metrics.confusion import Confusion, PatchCounts, Patches

MAPS = arrays(np.uint8, st.tuples(st.just(2), st.integers(1, 15), st.integers(1, 15)), elements=st.sampled_from([0, 1]))
corners = st.tuples(st.integers(0, 9), st.integers(0, 9))


@given(block=MAPS, size=st.integers(1, 6), corner=corners, cut=st.integers(0, 15), axis=st.sampled_from([1, 2]))
def test_the_blocks_add_to_the_whole_and_hold_their_own_pixels(block, size, corner, cut, axis):
    """For any cut of the plane into pieces, which need not be the blocks."""
    zero = BlockStatistics(zero=Confusion.zero(2), size=size, corner=corner)
    cut = min(cut, block.shape[axis])
    a, b = np.split(block, [cut], axis=axis)
    pieces = [(a, (0, 0)), (b, (cut, 0) if axis == 1 else (0, cut))]
    found = zero
    for piece, origin in pieces:
        found = found + (zero.of(piece, origin) if piece.size else zero)
    assert (found.total().counts == Confusion.zero(2).of(block).counts).all()
    for (row, col), part in found.parts.items():
        y, x = (max(n * size - c, 0) for n, c in zip((row, col), corner, strict=True))
        y1, x1 = ((n + 1) * size - c for n, c in zip((row, col), corner, strict=True))
        assert (part.counts == Confusion.zero(2).of(block[:, y:y1, x:x1]).counts).all()


def test_a_block_knows_where_it_lies():
    plane = np.random.default_rng(0).integers(0, 2, (2, 20, 30)).astype(np.uint8)
    zero = PatchCounts.zero(Patches.draw((20, 30), count=9, size=7, seed=0), 2)
    found = BlockStatistics(zero=zero, size=8, corner=(3, 5)).of(plane, (0, 0)).total()
    assert (found.sums == zero.of(plane, (0, 0)).sums).all()


def blocked(seed=0, side=12, size=16):
    """A map whose errors come in whole blocks: they are what is drawn."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, (side * size, side * size)).astype(np.uint8)
    rate = np.kron(rng.uniform(0, 0.4, (side, side)), np.ones((size, size)))
    predicted = np.where(rng.random(truth.shape) < rate, 1 - truth, truth).astype(np.uint8)
    return BlockStatistics(zero=Confusion.zero(2), size=size).of(np.stack([truth, predicted]), (0, 0))


def test_an_interval_is_that_of_drawing_blocks_with_replacement():
    found = blocked()
    drawn = intervals(found, draws=1500, seed=1, scores=("oa", "iou"))
    oa = np.array([part.finish()["oa"] for part in found.parts.values()])  # blocks of one size: oa is their mean
    rng = np.random.default_rng(5)
    means = oa[rng.integers(0, len(oa), (20000, len(oa)))].mean(axis=1)
    assert drawn["oa"] == pytest.approx(np.percentile(means, [2.5, 97.5]).tolist(), abs=3e-3)
    width = drawn["oa"][1] - drawn["oa"][0]
    assert width == pytest.approx(2 * 1.96 * oa.std(ddof=1) / np.sqrt(len(oa)), rel=0.1)
    assert len(drawn["iou"]) == 2
    assert all(low < value < high for (low, high), value in zip(drawn["iou"], found.finish()["iou"], strict=True))


def test_pixels_alone_would_make_the_interval_too_narrow():
    found = blocked()
    low, high = intervals(found, draws=1000, seed=1, scores=("oa",))["oa"]
    pixels = 2 * 1.96 * np.sqrt(found.finish()["oa"] * (1 - found.finish()["oa"]) / found.total().known)
    assert high - low > 3 * pixels


def test_intervals_are_a_pure_function_of_the_seed():
    found = blocked()
    first, again, other = (intervals(found, draws=50, seed=seed, scores=("oa", "kappa")) for seed in (3, 3, 4))
    assert first == again != other


def test_intervals_hold_for_channels_too_and_none_stays_none():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(64, 64, 3)).astype(np.float32)
    truth[..., 2] = 1
    pair = np.stack([truth, truth + rng.normal(0, 0.5, truth.shape).astype(np.float32)])
    found = BlockStatistics(zero=ChannelErrors.zero(3), size=8).of(pair, (0, 0))
    drawn = intervals(found, draws=500, seed=0, scores=("rmse", "r2", "psnr", "sam"))
    whole = found.finish()
    assert all(low < whole[name] < high for name, (low, high) in drawn.items())
    flat = BlockStatistics(zero=ChannelErrors.zero(1), size=8).of(pair[..., 2:], (0, 0))
    assert intervals(flat, draws=20, seed=0, scores=("r2",)) == {"r2": None}


def test_blocks_without_anything_to_score_are_not_drawn():
    found = blocked()
    empty = np.full((2, 16, 16), 255, np.uint8)
    more = found + BlockStatistics(zero=found.zero, size=16).of(empty, (16 * 20, 0))
    assert len(more.parts) == len(found.parts) + 1
    assert more.filled == found.filled
    assert intervals(more, draws=30, seed=2, scores=("oa",)) == intervals(found, draws=30, seed=2, scores=("oa",))


@given(rows=st.integers(1, 20), cols=st.integers(1, 20), folds=st.integers(2, 9), seed=st.integers(0, 2**63))
def test_folds_are_balanced_and_a_pure_function_of_their_arguments(rows, cols, folds, seed):
    found = spatial_folds((rows, cols), folds, seed)
    counts = np.bincount(found.ravel(), minlength=folds)
    assert counts.max() - counts.min() <= 1
    assert len(counts) == folds
    assert (found == spatial_folds((rows, cols), folds, seed)).all()


def test_folds_of_a_seed_stay_what_they_are():
    assert spatial_folds((2, 4), 3, 0).tolist() == [[1, 1, 0, 0], [2, 2, 0, 1]]
