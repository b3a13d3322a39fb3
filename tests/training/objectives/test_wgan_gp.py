"""The objective of labelled spectra: its losses, its moves, and what each player learns from."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tilespec.core.errors import UserError
from tilespec.models.nets import build
from tilespec.models.tasks import task
from tilespec.training.objectives import objective
from tilespec.training.objectives.base import Batch, Mixed
from tilespec.training.objectives.wgan_gp import gradient_penalty
from tilespec.training.player import Player

BANDS, CLASSES = 5, 3
TASK = task({"name": "synthesize", "classes": CLASSES, "bands": BANDS, "latent": 4})
OPEN = task({"name": "synthesize", "classes": CLASSES, "bands": BANDS, "latent": 4, "unlabelled": True})
SMALL = {"hidden": [8, 8]}


def batch(seed=0, n=12, unlabelled=0.0, side=1):
    rng = np.random.default_rng(seed)
    y = rng.integers(CLASSES, size=(n, side, side), dtype=np.uint8)
    y[rng.random(y.shape) < unlabelled] = 255
    x = torch.from_numpy(rng.uniform(size=(n, BANDS, side, side)).astype(np.float32))
    return Batch(x=x, y=torch.from_numpy(y), ids=tuple(range(100, 100 + n)))


def cast(chosen=TASK, **options):
    torch.manual_seed(0)
    built = objective({"name": "wgan_gp", "critic": SMALL, "classifier": SMALL, **options}, chosen)
    channels = chosen.channels_in(BANDS), chosen.channels_out
    nets = {"generator": build("spectrum_mlp", *channels, head="sigmoid", **SMALL), **built.opponents(channels)}
    return built, {
        name: Player(module=net, net=net, optimiser=torch.optim.SGD(net.parameters(), lr=0.1))
        for name, net in nets.items()
    }


def run(built, players, some):
    """Run all moves, each with its step; return the names and the logs."""
    moves = []
    for move in built.moves(players, some):
        player = players[move.player]
        player.optimiser.zero_grad()
        for term in move.terms:
            torch.autograd.backward(term, inputs=player.parameters)
        player.optimiser.step()
        moves.append((move.player, {key: value.item() for key, value in move.logs.items()}))
    return moves


@pytest.mark.parametrize(("channels", "count"), [((40, 103), 599_143), ((103, 1), 579_073), ((103, 10), 583_690)])
def test_the_nets_have_the_published_numbers_of_parameters(channels, count):
    assert sum(parameter.numel() for parameter in build("spectrum_mlp", *channels).parameters()) == count


def test_nine_classes_of_103_bands_are_the_published_nets():
    chosen = task({"name": "synthesize", "classes": 9, "bands": 103})
    built = objective({"name": "wgan_gp"}, chosen)
    channels = chosen.channels_in(103), chosen.channels_out
    nets = {"generator": build("spectrum_mlp", *channels), **built.opponents(channels)}
    counts = {name: sum(p.numel() for p in net.parameters()) for name, net in nets.items()}
    assert counts == {"generator": 599_143, "critic": 579_073, "classifier": 583_690}


class Unit(nn.Module):
    """A critic whose gradient has the norm 1 everywhere."""

    def forward(self, x):
        return x.sum(dim=1, keepdim=True) / BANDS**0.5


class Constant(nn.Module):
    """A critic without a gradient."""

    def forward(self, x):
        return 0 * x[:, :1]


class Weighted(nn.Module):
    """A critic that is a weighted sum of its channels."""

    def __init__(self, weights):
        super().__init__()
        self.weights = weights

    def forward(self, x):
        return (x * self.weights).sum(dim=1, keepdim=True)


@pytest.mark.parametrize(("critic", "wanted"), [(Unit(), 0.0), (Constant(), 1.0)])
def test_the_penalty_is_zero_for_a_unit_gradient_and_its_weight_for_a_constant_critic(critic, wanted):
    found = gradient_penalty(critic, batch(side=2).x)
    assert found.shape == (12, 2, 2)
    torch.testing.assert_close(found, torch.full_like(found, wanted), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("net", "params"), [("spectrum_mlp", SMALL), ("spectralformer", {"dim": 8, "heads": 2, "depth": 1})]
)
def test_the_penalty_is_that_of_finite_differences_and_can_be_learned_from(net, params):
    torch.manual_seed(1)
    critic = build(net, BANDS, 1, **params).double()
    x = batch(n=3).x.double()
    step, norms = 1e-6, []
    for one in x:
        slopes = []
        for band in range(BANDS):
            ends = [one.clone(), one.clone()]
            ends[0][band] -= step
            ends[1][band] += step
            low, high = (critic(end[None]).item() for end in ends)
            slopes.append((high - low) / (2 * step))
        norms.append(np.linalg.norm(slopes))
    wanted = (np.array(norms) - 1) ** 2
    found = gradient_penalty(critic, x)
    np.testing.assert_allclose(found.detach().ravel(), wanted, rtol=1e-4)
    found.sum().backward()
    assert any(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in critic.parameters())


@pytest.mark.parametrize("steps", [1, 3])
def test_critic_and_classifier_move_once_for_each_part_and_the_generator_last(steps):
    built, players = cast(critic_steps=steps)
    assert [name for name, _ in run(built, players, batch())] == ["critic", "classifier"] * steps + ["generator"]


def test_the_losses_are_the_published_ones():
    built, players = cast(critic_steps=1, penalty=7.0, classifier_weight=0.3)
    some = batch(unlabelled=0.3)
    known = (some.y != 255)[:, 0, 0]
    moves = iter(built.moves(players, some))
    nets = {name: player.module for name, player in players.items()}
    move = next(moves)
    (term,) = list(move.terms)
    real = nets["critic"](some.x)[known].mean()
    assert term.item() == pytest.approx(move.logs["critic"].item() + 7 * move.logs["penalty"].item(), rel=1e-5)
    torch.manual_seed(0)
    move = next(moves)
    (term,) = list(move.terms)
    wanted = cross_entropy(nets["classifier"](some.x)[known, :, 0, 0], some.y[known, 0, 0].long())
    torch.testing.assert_close(term, wanted)
    move = next(moves)
    (term,) = list(move.terms)
    assert term.item() == pytest.approx(move.logs["adversarial"].item() + 0.3 * move.logs["ordered"].item(), rel=1e-5)
    assert torch.isfinite(real)


def test_pixels_without_a_label_teach_nothing_unless_they_are_a_class_of_their_own():
    built, players = cast(critic_steps=1)
    plain = batch(unlabelled=0.5)
    other = batch(unlabelled=0.5)
    blank = (plain.y == 255)[:, None].expand_as(plain.x)
    other.x[blank] = torch.rand(int(blank.sum()))
    assert run(built, players, plain) == run(*cast(critic_steps=1), other)
    named = np.where(plain.y.numpy() == 255, CLASSES, plain.y.numpy())
    scores, truth = OPEN.pair(plain.x[:, :, 0].permute(0, 2, 1).numpy(), plain.y[:, 0].numpy())
    np.testing.assert_array_equal(truth, named[:, 0])
    moved = [
        run(*cast(OPEN, critic_steps=1), Batch(x=x, y=torch.from_numpy(named), ids=plain.ids))
        for x in (plain.x, other.x)
    ]
    assert moved[0][0] != moved[1][0], "the critic learns from them"
    assert moved[0][1] == moved[1][1], "the classifier does not"
    assert np.isfinite(scores).all()


def test_random_numbers_follow_from_positions_alone():
    built, _ = cast(critic_steps=1)
    whole = batch()
    halves = whole.cut(2)
    assert [part.ids for part in whole.dealt(2)] == [whole.ids[::2], whole.ids[1::2]]
    wanted = built._order(whole, "latent")
    torch.testing.assert_close(torch.cat([built._order(half, "latent") for half in halves]), wanted, rtol=0, atol=0)
    assert wanted.shape == (12, 4 + CLASSES + 1, 1, 1)
    assert torch.equal(wanted[:, 4:, 0, 0].argmax(dim=1).to(torch.uint8), whole.y[:, 0, 0])
    assert not torch.equal(built._order(whole, "latent of fakes"), wanted)


def test_a_mixture_has_the_entropy_of_both_its_classes():
    built, players = cast(critic_steps=1)
    plain, share = batch(), torch.linspace(0, 1, 12)
    y = batch(seed=5).y
    mixed = Batch(x=plain.x, y=plain.y, ids=plain.ids, mixed=Mixed(y=y, share=share))
    raw = players["classifier"].module(plain.x)[:, :, 0, 0]
    each = [cross_entropy(raw, one[:, 0, 0].long(), reduction="none") for one in (plain.y, y)]
    wanted = (share * each[0] + (1 - share) * each[1]).mean()
    moves = list(zip(range(2), built.moves(players, mixed), strict=False))
    (term,) = list(moves[1][1].terms)
    torch.testing.assert_close(term, wanted)


@pytest.mark.parametrize("mixed", [False, True])
def test_a_conditional_critic_reads_classes_too_and_is_punished_for_slopes_over_spectra_alone(mixed):
    built, players = cast(critic_steps=1, conditional=True)
    some, other, share = batch(), batch(seed=5).y, torch.linspace(0, 1, 12)[:, None, None, None]
    planes = TASK.planes(some.y)
    real = share * planes + (1 - share) * TASK.planes(other) if mixed else planes
    if mixed:
        some = Batch(x=some.x, y=some.y, ids=some.ids, mixed=Mixed(y=other, share=share.ravel()))
    critic, fake = players["critic"].module, players["generator"].module(built._order(some, "latent of fakes"))
    seen = [critic(torch.cat(pair, dim=1)).mean() for pair in ((fake, planes), (some.x, real))]
    move = next(built.moves(players, some))
    list(move.terms)
    torch.testing.assert_close(move.logs["critic"], seen[0] - seen[1])
    steep = torch.tensor([1.0] * BANDS + [100.0] * (CLASSES + 1))[:, None, None] / BANDS**0.5
    players["critic"] = replace(players["critic"], net=Weighted(steep))
    move = next(built.moves(players, some))
    list(move.terms)
    assert move.logs["penalty"].item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    "options", [{"critic_steps": 0}, {"penalty": -1.0}, {"classifier_weight": -0.1}, {"critic": {"depth": 3}}]
)
def test_options_that_make_no_training_are_refused(options):
    with pytest.raises(UserError):
        cast(**options)


@pytest.mark.parametrize(("name", "value"), [("classes", 0), ("classes", 255), ("latent", 0), ("head", "tanh")])
def test_tasks_that_make_no_spectra_are_refused(name, value):
    with pytest.raises(UserError, match=name):
        task({"name": "synthesize", "classes": 3, name: value})
