from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tilespec.core.errors import UserError
from tilespec.models.nets import build
from tilespec.models.tasks import task
from tilespec.training.objectives import objective
from tilespec.training.objectives.base import Batch, Mixed
from tilespec.training.objectives.losses import bce, cross_entropy, l1, measured
from tilespec.training.player import Player

SEGMENT = task({"name": "segment", "classes": 3})
TANH = task({"name": "segment", "classes": 3, "head": "tanh"})


def pairs(seed=0, batch=4, side=8, channels=2, unlabelled=0.3):
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=(batch, side, side), dtype=np.uint8)
    y[rng.random(y.shape) < unlabelled] = 255
    x = torch.from_numpy(rng.normal(size=(batch, channels, side, side)).astype(np.float32))
    return Batch(x=x, y=torch.from_numpy(y), ids=tuple(range(batch)))


def mixtures(seed=0, **options):
    plain, other = pairs(seed, **options), pairs(seed + 1, **options)
    share = torch.from_numpy(np.random.default_rng(seed).uniform(size=len(plain.ids)).astype(np.float32))
    return replace(plain, mixed=Mixed(y=other.y, share=share))


def player(net):
    return Player(module=net, net=net, optimiser=torch.optim.SGD(net.parameters()))


def cast(kind, **options):
    torch.manual_seed(0)
    chosen = options.pop("task", SEGMENT)
    built = objective({"name": kind, **options}, chosen)
    net = build("unet", 2, 3, base_width=2, n_down=2, norm="channel", init="kaiming")
    nets = {"generator": net, **built.opponents((2, 3))}
    return built, {name: player(module) for name, module in nets.items()}


SMALL = {"base_width": 2, "n_layers": 1, "norm": "channel"}


@pytest.mark.parametrize("loss", [cross_entropy, l1])
def test_a_loss_of_the_batch_is_the_mean_over_equal_slices(loss):
    batch = pairs()
    raw = torch.randn(4, 3, 8, 8)
    parts = [loss(raw[i : i + 2], batch.y[i : i + 2], SEGMENT) for i in (0, 2)]
    torch.testing.assert_close(loss(raw, batch.y, SEGMENT), torch.stack(parts).mean())


@pytest.mark.parametrize("loss", [cross_entropy, l1])
def test_unlabelled_pixels_have_no_gradient(loss):
    batch = pairs()
    raw = torch.randn(4, 3, 8, 8, requires_grad=True)
    loss(raw, batch.y, SEGMENT).backward()
    unlabelled = batch.y == 255
    moved = raw.grad.abs().sum(1)
    assert moved[unlabelled].max() == 0
    assert moved[~unlabelled].min() > 0


def test_cross_entropy_equals_minus_the_log_of_the_right_class():
    raw = torch.randn(1, 3, 1, 2)
    y = torch.tensor([[[2, 255]]], dtype=torch.uint8)
    expected = -torch.log_softmax(raw, 1)[0, 2, 0, 0]
    torch.testing.assert_close(cross_entropy(raw, y, SEGMENT), expected)
    torch.testing.assert_close(cross_entropy(raw, y, SEGMENT, [1.0, 1.0, 5.0]), 5 * expected)


def test_l1_of_a_tanh_head_is_the_published_mean_absolute_difference():
    raw = torch.tensor([[[[0.5, -1.0]], [[0.25, 1.0]], [[0.0, 0.0]]]])
    y = torch.tensor([[[0, 1]]], dtype=torch.uint8)
    assert l1(raw, y, TANH).item() == pytest.approx((0.5 + 0.25 + 0 + 1 + 0 + 0) / 6)


def test_bce_of_logits_is_the_published_bce_of_probabilities():
    logits = torch.randn(2, 1, 4, 4)
    published = nn.functional.binary_cross_entropy(torch.sigmoid(logits), torch.ones_like(logits))
    torch.testing.assert_close(bce(logits, real=True), published)


def test_a_sample_without_labels_counts_as_zero():
    y = torch.full((2, 4, 4), 255, dtype=torch.uint8)
    y[0] = 1
    raw = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(cross_entropy(raw, y, SEGMENT), cross_entropy(raw[:1], y[:1], SEGMENT) / 2)


@pytest.mark.parametrize(
    ("options", "order"),
    [
        ({"separate": True}, ["discriminator", "discriminator", "generator"]),
        ({"separate": False}, ["discriminator", "generator"]),
    ],
)
def test_the_discriminator_moves_before_the_generator(options, order):
    built, players = cast("cgan", discriminator=SMALL, **options)
    moves = []
    for move in built.moves(players, pairs()):
        terms = list(move.terms)
        assert len(terms) == (1 if len(order) == 3 or move.player == "generator" else 2)
        moves.append(move.player)
    assert moves == order


def test_the_cgan_terms_are_half_bce_for_the_discriminator_and_the_weighted_sum_for_the_generator():
    built, players = cast("cgan", task=TANH, loss="l1", fidelity=100.0, adversarial=1.0, discriminator=SMALL)
    batch = pairs()
    judge, maker = players["discriminator"].module, players["generator"].module
    known = (batch.y != 255)[:, None]
    fake = torch.cat([batch.x, maker(batch.x) * known], 1)
    real = torch.cat([batch.x, TANH.planes(batch.y)], 1)
    moves = built.moves(players, batch)
    d_real, d_fake = next(moves).terms
    torch.testing.assert_close(d_real, 0.5 * bce(judge(real), real=True))
    torch.testing.assert_close(d_fake, 0.5 * bce(judge(fake), real=False))
    (g,) = next(moves).terms
    expected = 100 * l1(maker(batch.x), batch.y, TANH) + bce(judge(fake), real=True)
    torch.testing.assert_close(g, expected)


def test_the_generator_meets_the_discriminator_as_it_is_after_its_step():
    built, players = cast("cgan", discriminator=SMALL)
    moves = built.moves(players, pairs())
    list(next(moves).terms)
    for p in players["discriminator"].module.parameters():
        p.data.zero_()
    move = next(moves)
    list(move.terms)
    assert move.logs["g_adversarial"].item() == pytest.approx(np.log(2))


def test_the_discriminator_does_not_see_what_the_generator_says_where_labels_are_unknown():
    built, _ = cast("cgan", discriminator=SMALL)
    batch = pairs()
    raw = torch.randn(4, 3, 8, 8, requires_grad=True)
    pair = built._pair(batch, SEGMENT.activate(raw))
    assert (pair[:, 2:].abs().sum(1)[batch.y == 255] == 0).all()


def test_supervised_learns_alone():
    built, players = cast("supervised", class_weights=[1, 2, 3])
    assert set(players) == {"generator"}
    (move,) = built.moves(players, pairs())
    assert list(move.logs) == []
    list(move.terms)
    assert list(move.logs) == ["cross_entropy"]


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"name": "gan"}, "one of cgan, mean_reference, supervised"),
        ({"name": "cgan", "lambda": 3}, r"keys of \[objective\]: .*fidelity"),
        ({"name": "supervised", "loss": "l2"}, "cross_entropy, binary_cross_entropy"),
        ({"name": "supervised", "class_weights": [1, 2]}, "expected 3, one for each class"),
    ],
)
def test_what_is_no_objective_is_refused_with_what_is(config, text):
    with pytest.raises(UserError, match=text):
        objective(config, SEGMENT)


def test_an_unknown_parameter_of_the_discriminator_is_refused_with_the_known_ones():
    built = objective({"name": "cgan", "discriminator": {"width": 4}}, SEGMENT)
    with pytest.raises(UserError, match=r"objective.discriminator.width: .*base_width, n_layers"):
        built.opponents((2, 3))


@pytest.mark.parametrize("loss", [cross_entropy, l1])
@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5]])
def test_the_loss_of_a_mixture_weighs_the_losses_against_both_answers(loss, weights):
    batch = mixtures()
    raw = torch.randn(4, 3, 8, 8)
    found = measured(loss, raw, batch, SEGMENT, weights)
    each = [
        s * loss(raw[i : i + 1], batch.y[i : i + 1], SEGMENT, weights)
        + (1 - s) * loss(raw[i : i + 1], batch.mixed.y[i : i + 1], SEGMENT, weights)
        for i, s in enumerate(batch.mixed.share)
    ]
    torch.testing.assert_close(found, torch.stack(each).mean())
    parts = [measured(loss, raw[2 * i : 2 * i + 2], part, SEGMENT, weights) for i, part in enumerate(batch.cut(2))]
    torch.testing.assert_close(found, torch.stack(parts).mean())


def test_the_cross_entropy_of_a_mixture_is_that_against_the_soft_answer():
    batch = mixtures(unlabelled=0)
    raw = torch.randn(4, 3, 8, 8)
    share = batch.mixed.share[:, None, None, None]
    soft = share * SEGMENT.planes(batch.y) + (1 - share) * SEGMENT.planes(batch.mixed.y)
    expected = nn.functional.cross_entropy(raw, soft)
    torch.testing.assert_close(measured(cross_entropy, raw, batch, SEGMENT, None), expected)


@pytest.mark.parametrize("loss", [cross_entropy, l1])
def test_a_patch_that_has_the_whole_share_has_the_bits_of_an_unmixed_one(loss):
    batch = mixtures()
    whole = replace(batch, mixed=replace(batch.mixed, share=torch.ones(4)))
    raw = torch.randn(4, 3, 8, 8)
    unmixed = measured(loss, raw, replace(batch, mixed=None), SEGMENT, None)
    assert measured(loss, raw, whole, SEGMENT, None).item() == unmixed.item() == loss(raw, batch.y, SEGMENT).item()


@pytest.mark.parametrize("loss", [cross_entropy, l1])
def test_what_is_unlabelled_in_both_answers_has_no_gradient_and_in_one_only_that_of_the_other(loss):
    batch = mixtures()
    raw = torch.randn(4, 3, 8, 8, requires_grad=True)
    measured(loss, raw, batch, SEGMENT, None).backward()
    moved = raw.grad.abs().sum(1)
    unlabelled = (batch.y == 255) & (batch.mixed.y == 255)
    assert moved[unlabelled].max() == 0
    assert moved[~unlabelled].min() > 0
    mine = replace(batch, mixed=Mixed(y=torch.full_like(batch.y, 255), share=batch.mixed.share))
    each = [s * loss(raw[i : i + 1], batch.y[i : i + 1], SEGMENT) for i, s in enumerate(batch.mixed.share)]
    torch.testing.assert_close(measured(loss, raw, mine, SEGMENT, None), torch.stack(each).mean())


def test_the_discriminator_sees_mixtures_of_masks_that_add_up_to_what_is_known():
    built, players = cast("cgan", discriminator=SMALL)
    batch = mixtures()
    share = batch.mixed.share[:, None, None]
    known = share * (batch.y != 255) + (1 - share) * (batch.mixed.y != 255)
    real = built._answer(batch)
    torch.testing.assert_close(real.sum(1), known)
    hot = share[:, None] * SEGMENT.planes(batch.y) + (1 - share[:, None]) * SEGMENT.planes(batch.mixed.y)
    torch.testing.assert_close(real, hot)
    fake = built._pair(batch, torch.softmax(torch.randn(4, 3, 8, 8), 1))[:, 2:]
    torch.testing.assert_close(fake.sum(1), known)
    for seen in (share, 1 - share):
        assert seen.min() > 0
    judge, maker = players["discriminator"].module, players["generator"].module
    moves = built.moves(players, batch)
    d_real, d_fake = next(moves).terms
    torch.testing.assert_close(d_real, 0.5 * bce(judge(torch.cat([batch.x, real], 1)), real=True))
    torch.testing.assert_close(
        d_fake, 0.5 * bce(judge(built._pair(batch, SEGMENT.activate(maker(batch.x)))), real=False)
    )
    (g,) = next(moves).terms
    expected = measured(cross_entropy, maker(batch.x), batch, SEGMENT, None)
    pair = built._pair(batch, SEGMENT.activate(maker(batch.x)))
    torch.testing.assert_close(g, expected + 0.02 * bce(judge(pair), real=True))


def test_supervised_learns_from_both_answers():
    built, players = cast("supervised")
    batch = mixtures()
    (move,) = built.moves(players, batch)
    (term,) = move.terms
    expected = measured(cross_entropy, players["generator"].module(batch.x), batch, SEGMENT, None)
    torch.testing.assert_close(term, expected)


def test_a_batch_is_cut_and_moved_with_all_that_belongs_to_its_patches():
    batch = mixtures()
    parts = batch.cut(2)
    assert [part.ids for part in parts] == [(0, 1), (2, 3)]
    for name in ("x", "y"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(batch, name))
    for name in ("share", "y"):
        assert torch.equal(torch.cat([getattr(part.mixed, name) for part in parts]), getattr(batch.mixed, name))
    moved = batch.to("cpu")
    assert torch.equal(moved.mixed.share, batch.mixed.share)
    assert (moved.ids, pairs().to("cpu").mixed) == (batch.ids, None)
