from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from tilespec.errors import UserError
from tilespec.nets import build
from tilespec.objectives import Batch, objective
from tilespec.objectives.losses import bce, cross_entropy, l1
from tilespec.tasks import task

SEGMENT = task({"name": "segment", "classes": 3})
TANH = task({"name": "segment", "classes": 3, "head": "tanh"})


@dataclass
class FakePlayer:
    module: nn.Module

    @property
    def net(self):
        return self.module


def pairs(seed=0, batch=4, side=8, channels=2, unlabelled=0.3):
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=(batch, side, side), dtype=np.uint8)
    y[rng.random(y.shape) < unlabelled] = 255
    x = torch.from_numpy(rng.normal(size=(batch, channels, side, side)).astype(np.float32))
    return Batch(x=x, y=torch.from_numpy(y), ids=tuple(range(batch)))


def cast(kind, **options):
    torch.manual_seed(0)
    chosen = options.pop("task", SEGMENT)
    built = objective({"name": kind, **options}, chosen)
    net = build("unet", 2, 3, base_width=2, n_down=2, norm="channel", init="kaiming")
    nets = {"generator": net, **built.opponents((2, 3))}
    return built, {name: FakePlayer(module) for name, module in nets.items()}


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
        ({"name": "gan"}, "one of cgan, supervised"),
        ({"name": "cgan", "lambda": 3}, r"keys of \[objective\]: .*fidelity"),
        ({"name": "supervised", "loss": "l2"}, "cross_entropy, l1"),
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
