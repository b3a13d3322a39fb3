"""The losses of the table: laws that all share, and torch, scikit-learn and the metrics as oracles."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score
from torch.nn import functional

from tilespec.core.errors import UserError
from tilespec.evaluate.metrics.channel_errors import ChannelErrors
from tilespec.models.tasks import task
from tilespec.training.objectives import objective
from tilespec.training.objectives.base import Batch, Mixed
from tilespec.training.objectives.losses import BEND, LOSSES, measured

SEGMENT = task({"name": "segment", "classes": 3})
FIELD = task({"name": "reconstruct", "channels": 5, "low": -10.0, "high": 90.0})
PAIRS = [(name, of) for name, one in LOSSES.items() for of in (SEGMENT, FIELD) if one.truth in (None, of.truth)]
EVERY = pytest.mark.parametrize(("name", "of"), PAIRS, ids=[f"{name} {of.truth}" for name, of in PAIRS])


def classes(rng, size, side=6, unlabelled=0.3):
    y = rng.integers(3, size=(size, side, side), dtype=np.uint8)
    y[rng.random(y.shape) < unlabelled] = 255
    return torch.from_numpy(y)


def values(rng, size, side=6, unknown=0.2):
    y = rng.uniform(-10, 90, size=(size, 5, side, side)).astype(np.float32)
    y[rng.random(y.shape) < unknown] = np.nan
    return torch.from_numpy(y)


def case(of, size=4, seed=0, **options):
    """Return the output of a net and a target."""
    rng = np.random.default_rng(seed)
    target = (classes if of is SEGMENT else values)(rng, size, **options)
    raw = rng.normal(size=(size, of.channels_out, *target.shape[-2:])).astype(np.float32)
    return torch.from_numpy(raw).requires_grad_(), target


def loss(name, of, raw, target, weights=None, share=None):
    return LOSSES[name].measure(raw, target, of, weights, share)


# What holds for all of them


@EVERY
def test_a_loss_is_the_mean_over_samples_so_ranks_agree_and_shares_weigh_samples(name, of):
    raw, target = case(of)
    each = torch.stack([loss(name, of, raw[i : i + 1], target[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(loss(name, of, raw, target), each.mean())
    share = torch.tensor([0.0, 0.25, 0.5, 1.0])
    torch.testing.assert_close(loss(name, of, raw, target, share=share), (each * share).mean())


@EVERY
def test_unknown_values_have_no_gradient_and_known_ones_have_a_finite_one(name, of):
    raw, target = case(of)
    loss(name, of, raw, target).backward()
    known = of.known(target).expand_as(raw)
    assert torch.isfinite(raw.grad).all()
    assert raw.grad[~known].abs().max() == 0
    assert (raw.grad[known] != 0).float().mean() > 0.9


@EVERY
def test_equal_weights_change_nothing_and_a_sample_that_knows_nothing_counts_as_zero(name, of):
    raw, target = case(of, size=2)
    torch.testing.assert_close(loss(name, of, raw, target, [1.0] * of.channels_out), loss(name, of, raw, target))
    target[1] = 255 if of is SEGMENT else torch.nan
    torch.testing.assert_close(loss(name, of, raw, target), loss(name, of, raw[:1], target[:1]) / 2)
    target[0] = target[1]
    found = loss(name, of, raw, target)
    found.backward()
    assert found == 0
    assert torch.isfinite(raw.grad).all()


@EVERY
def test_a_perfect_answer_has_the_least_loss_with_finite_gradients(name, of):
    raw, target = case(of)
    planes = of.planes(target)
    perfect = (planes * 60 - 30 if of is SEGMENT else planes).requires_grad_()
    best = loss(name, of, perfect, target)
    assert best.item() == pytest.approx(0, abs=1e-5)
    best.backward()
    assert torch.isfinite(perfect.grad).all()
    assert loss(name, of, raw, target) > best


@EVERY
def test_half_precision_is_computed_in_float32(name, of):
    raw, target = case(of)
    half = raw.detach().half()
    torch.testing.assert_close(loss(name, of, half, target), loss(name, of, half.float(), target))


@pytest.mark.parametrize("name", [name for name, of in PAIRS if of is SEGMENT])
def test_a_mixture_of_classes_is_the_loss_against_both_targets_by_their_shares(name):
    (raw, target), (_, other) = case(SEGMENT), case(SEGMENT, seed=1)
    share = torch.tensor([0.0, 0.25, 0.5, 1.0])
    mixed = Batch(x=raw.detach(), y=target, ids=(0, 1, 2, 3), mixed=Mixed(y=other, share=share))
    expected = loss(name, SEGMENT, raw, target, share=share) + loss(name, SEGMENT, raw, other, share=1 - share)
    torch.testing.assert_close(measured(LOSSES[name].measure, raw, mixed, SEGMENT, None), expected)


# Oracles


def test_class_weights_and_unlabelled_pixels_are_torchs():
    raw, target = case(SEGMENT, size=1)
    weights, known = torch.tensor([1.0, 2.0, 5.0]), (target != 255).sum()
    theirs = functional.cross_entropy(raw, target.long(), weight=weights, ignore_index=255, reduction="sum") / known
    torch.testing.assert_close(loss("cross_entropy", SEGMENT, raw, target, weights.tolist()), theirs)


def test_binary_cross_entropy_is_torchs_over_the_planes_of_classes():
    raw, target = case(SEGMENT, size=1, unlabelled=0.0)
    plane = functional.one_hot(target.long(), 3).permute(0, 3, 1, 2).float()
    theirs = functional.binary_cross_entropy_with_logits(raw, plane)
    torch.testing.assert_close(loss("binary_cross_entropy", SEGMENT, raw, target), theirs)
    scale = torch.tensor([1.0, 2.0, 5.0])[None, :, None, None]
    theirs = functional.binary_cross_entropy_with_logits(raw, plane, weight=scale)
    torch.testing.assert_close(loss("binary_cross_entropy", SEGMENT, raw, target, [1.0, 2.0, 5.0]), theirs)


def test_the_focal_loss_is_cross_entropy_times_the_squared_share_of_the_others():
    raw, target = case(SEGMENT, size=1, unlabelled=0.0)
    p = torch.softmax(raw, 1).gather(1, target.long()[:, None])
    torch.testing.assert_close(loss("focal", SEGMENT, raw, target), ((1 - p) ** 2 * -p.log()).mean())


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 999), unlabelled=st.sampled_from([0.0, 0.3, 0.9]), only=st.integers(1, 3))
def test_dice_of_a_hard_answer_is_1_minus_scikit_learns_f1_of_the_classes_there(seed, unlabelled, only):
    rng = np.random.default_rng(seed)
    target = classes(rng, 1, unlabelled=unlabelled)
    target[(target != 255) & (target >= only)] = 0
    answer = rng.integers(3, size=target.shape)
    raw = torch.from_numpy(1000.0 * np.eye(3, dtype=np.float32)[answer]).permute(0, 3, 1, 2)
    known = (target != 255).numpy()
    if known.any():
        there = np.unique(target.numpy()[known])
        score = f1_score(target.numpy()[known], answer[known], labels=there, average="macro", zero_division=0)
        assert loss("dice", SEGMENT, raw, target).item() == pytest.approx(1 - score, abs=1e-6)


def test_huber_is_torchs():
    raw, target = case(FIELD, size=1, unknown=0.0)
    with torch.no_grad():
        raw[:, :2] = FIELD.planes(target)[:, :2] + 0.05
    theirs = functional.huber_loss(raw, FIELD.planes(target), delta=BEND)
    torch.testing.assert_close(loss("huber", FIELD, raw, target), theirs)


@pytest.mark.parametrize("head", ["linear", "tanh"])
def test_the_angle_is_that_of_evaluate(head):
    of = task({"name": "reconstruct", "channels": 5, "low": -10.0, "high": 90.0, "head": head})
    raw, target = case(FIELD, size=1, unknown=0.0)
    both = torch.stack([target[0], of.activate(raw)[0].detach()]).permute(0, 2, 3, 1).numpy()
    degrees = ChannelErrors.zero(5).of(np.ascontiguousarray(both)).finish()["sam"]
    assert np.degrees(loss("sam", of, raw, target).item()) == pytest.approx(degrees, rel=1e-5)


@settings(deadline=None, max_examples=25)
@given(gain=st.floats(1e-3, 1e3), seed=st.integers(0, 99))
def test_the_angle_does_not_depend_on_brightness_and_is_in_the_units_of_the_truth(gain, seed):
    _, target = case(FIELD, size=1, seed=seed)
    raw = FIELD.planes(gain * torch.where(torch.isfinite(target), target, 1.0))
    assert loss("sam", FIELD, raw, target).item() == pytest.approx(0, abs=2e-3)


def test_a_true_spectrum_of_zeros_has_no_angle():
    raw, target = case(FIELD, size=1)
    target[:, :, :3] = 0
    expected = loss("sam", FIELD, raw[:, :, 3:], target[:, :, 3:])
    torch.testing.assert_close(loss("sam", FIELD, raw, target), expected)


# What users are told


@pytest.mark.parametrize(
    ("of", "options", "text"),
    [
        (
            FIELD,
            {"loss": "dice"},
            r"dice, for a task that learns values of 5 channels; expected one of huber, l1, mrae",
        ),
        (SEGMENT, {"loss": "sam"}, "sam, for a task that learns classes of 3 channels; expected one of binary"),
        (SEGMENT, {"loss": "ssim"}, "'ssim'; expected one of cross_entropy, binary_cross_entropy, focal"),
        (task({"name": "reconstruct", "channels": 1}), {"loss": "sam"}, "sam, for a task that learns values of 1 ch"),
        (
            SEGMENT,
            {"class_weights": [1.0, -2.0, 3.0]},
            r"-2.0, 3.0\]; expected 3, one for each class or channel, of at least 0",
        ),
        (SEGMENT, {"class_weights": [1.0, float("nan"), 3.0]}, "of at least 0"),
    ],
)
def test_what_does_not_fit_is_refused(of, options, text):
    with pytest.raises(UserError, match=text):
        objective({"name": "supervised", **options}, of)
