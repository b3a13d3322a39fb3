"""Laws of the metric folds, and scikit-learn and brute force as oracles."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import cohen_kappa_score, confusion_matrix, f1_score, jaccard_score

from tilespec.core.types import UNLABELLED
from tilespec.evaluate.metrics.confusion import Confusion, PatchCounts, Patches, patch_scores

CLASSES = 3
values = st.sampled_from([*range(CLASSES), UNLABELLED])


@st.composite
def blocks(draw, least=1):
    shape = (2, draw(st.integers(least, 13)), draw(st.integers(least, 13)))
    return draw(arrays(np.uint8, shape, elements=values))


def counts(block, patches=None):
    zero = Confusion.zero(CLASSES) if patches is None else PatchCounts.zero(patches, CLASSES)
    return zero.of(block, (0, 0))


@given(block=blocks(least=2), cut=st.integers(1, 12), axis=st.sampled_from([1, 2]))
def test_two_blocks_count_what_both_together_count(block, cut, axis):
    cut = min(cut, block.shape[axis] - 1)
    a, b = np.split(block, [cut], axis=axis)
    assert ((counts(a) + counts(b)).counts == counts(block).counts).all()
    patches = Patches.draw(block.shape[1:], count=9, size=min(block.shape[1:]), seed=0)
    zero = PatchCounts.zero(patches, CLASSES)
    origin = (cut, 0) if axis == 1 else (0, cut)
    assert ((zero.of(a, (0, 0)) + zero.of(b, origin)).sums == zero.of(block, (0, 0)).sums).all()
    assert ((zero.of(b, origin) + zero.of(a, (0, 0))).sums == zero.of(block, (0, 0)).sums).all()


@given(block=blocks())
@settings(max_examples=200)
def test_confusion_agrees_with_scikit_learn(block):
    truth, predicted = block[0].ravel(), block[1].ravel()
    labelled = truth != UNLABELLED
    truth, predicted = truth[labelled], predicted[labelled]
    found = counts(block)
    labels = [*range(CLASSES), UNLABELLED]
    if not len(truth):
        assert found.counts.sum() == 0
        assert found.finish()["oa"] is None
        return
    assert (found.counts == confusion_matrix(truth, predicted, labels=labels)[:CLASSES]).all()
    result = found.finish()
    assert result["oa"] == pytest.approx((truth == predicted).mean())
    assert result["nodata"] == (predicted == UNLABELLED).sum()
    for key, oracle in (("iou", jaccard_score), ("f1", f1_score)):
        expected = oracle(truth, predicted, labels=labels[:CLASSES], average=None, zero_division=0)
        assert [value or 0.0 for value in result[key]] == pytest.approx(list(expected))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn divides by zero where kappa is undefined
        kappa = cohen_kappa_score(truth, predicted, labels=labels)
    assert (np.nan if result["kappa"] is None else result["kappa"]) == pytest.approx(kappa, nan_ok=True)


def by_hand(block, patches):
    """Score every patch by cutting it out."""
    scores, kept = [], []
    for y, x in patches.origins:
        truth, predicted = block[:, y : y + patches.size, x : x + patches.size]
        labelled = truth != UNLABELLED
        present = np.unique(truth[labelled])
        iou = [
            (((truth == k) & (predicted == k)).sum() + 1) / (((truth == k) | (predicted == k))[labelled].sum() + 1)
            for k in present
        ]
        scores.append(np.mean(iou) if iou else np.nan)
        kept.append(len(present) > 1)
    return np.array(scores), np.array(kept)


@given(block=blocks(least=3), seed=st.integers(0, 99), size=st.integers(1, 3))
def test_patch_scores_from_summed_areas_equal_those_of_patches_cut_out(block, seed, size):
    patches = Patches.draw(block.shape[1:], count=20, size=size, seed=seed)
    found = counts(block, patches)
    scores, kept = by_hand(block, patches)
    assert patch_scores(*found.sums) == pytest.approx(scores, nan_ok=True)
    result = found.finish()
    assert result["kept"] == kept.sum()
    drawn = scores[patches.redraw(kept)]
    expected = (drawn.mean(), drawn.std()) if len(drawn) else (None, None)
    assert (result["iou_mean"], result["iou_std"]) == pytest.approx(expected)


def binary(truth, predicted):
    block = np.array([truth, predicted], np.uint8)
    true, claimed, both = (block[0] == 1).sum(), (block[1] == 1).sum(), (block == 1).all(axis=0).sum()
    n = block[0].size
    sums = np.array([[[n - true, true]], [[n - claimed, claimed]], [[n - true - claimed + both, both]]], np.int64)
    return patch_scores(*sums)[0]


def test_patch_iou_has_the_values_of_its_definition():
    some = [[0, 1, 1], [0, 1, 0], [0, 0, 0]]
    none = np.zeros((3, 3))
    assert binary(some, some) == 1.0
    assert binary(none, none) == 1.0
    assert binary(some, none) == 1 / (3 + 1)
    assert binary(some, [[0, 1, 0], [1, 1, 0], [0, 0, 0]]) == (2 + 1) / (4 + 1)


@given(seed=st.integers(0, 2**63), height=st.integers(1, 50), width=st.integers(1, 50), count=st.integers(1, 50))
def test_patches_are_a_pure_function_of_seed_and_shape_and_lie_inside(seed, height, width, count):
    size = min(height, width)
    a, b = (Patches.draw((height, width), count=count, size=size, seed=seed) for _ in range(2))
    assert (a.origins == b.origins).all()
    assert (a.lots == b.lots).all()
    assert (a.origins >= 0).all()
    assert (a.origins + size <= (height, width)).all()


def test_the_published_patches_stay_what_they_are():
    patches = Patches.draw((1024, 2796), count=1000, size=512, seed=0)
    assert patches.origins[:3].tolist() == [[436, 1455], [262, 616], [157, 93]]
    assert patches.origins.min(axis=0).tolist() <= [3, 10]
    assert patches.origins.max(axis=0).tolist() >= [505, 2270]


def test_patches_are_redrawn_with_replacement_from_the_kept_only():
    patches = Patches.draw((64, 64), count=500, size=8, seed=4)
    kept = np.arange(500) % 7 == 0
    drawn = patches.redraw(kept)
    assert len(drawn) == 500
    assert kept[drawn].all()
    assert len(np.unique(drawn)) == kept.sum()
    assert len(patches.redraw(np.zeros(500, bool))) == 0


def test_a_prediction_of_nodata_is_an_error_of_the_true_class_only():
    truth = np.array([[0, 0, 1, 1]], np.uint8)
    predicted = np.array([[0, 0, 1, UNLABELLED]], np.uint8)
    result = Confusion.zero(2).of(np.stack([truth, predicted]), (0, 0)).finish()
    assert result["iou"] == [1.0, 0.5]
    assert result["oa"] == 0.75
    assert result["precision"] == [1.0, 1.0]
    assert result["recall"] == [1.0, 0.5]
