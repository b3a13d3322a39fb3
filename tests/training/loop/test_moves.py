import math

import pytest
import torch
from torch import nn

from tilespec.models.nets.norms import BatchNorm
from tilespec.models.nets.unet import Unet
from tilespec.models.tasks import task
from tilespec.training.loop.moves import StepRunner
from tilespec.training.objectives import objective
from tilespec.training.objectives.base import Batch, Move
from tilespec.training.player import Player
from tilespec.training.ranks.group import Ranks
from tilespec.training.settings import Train

JUDGE = {"base_width": 4, "n_layers": 1, "norm": "channel"}
CGAN = {"name": "cgan", "separate": True, "adversarial": 0.5, "discriminator": JUDGE}


def mover(nets, how, **train):
    """Return what moves nets, by gradient descent of rate 1, so that a step is its gradient."""
    players = {
        name: Player(module=net, net=net, optimiser=torch.optim.SGD(net.parameters(), lr=1.0))
        for name, net in nets.items()
    }
    return StepRunner.of(Train(**train), players, how, Ranks())


def batch(size=4, channels=3, side=8):
    draw = torch.Generator().manual_seed(5)
    x = torch.randn((size, channels, side, side), generator=draw)
    return Batch(x=x, y=torch.randint(0, 2, (size, side, side), generator=draw).to(torch.uint8), ids=tuple(range(size)))


def weights(made):
    return {f"{n}/{k}": v.clone() for n, p in made.players.items() for k, v in p.module.state_dict().items()}


def gan(norm="channel", **train):
    torch.manual_seed(0)
    nets = {"generator": Unet(3, 2, base_width=4, n_down=2, norm=norm, dropout=0.5, init="kaiming")}
    segment = task({"name": "segment", "classes": 2})
    how = objective(CGAN, segment)
    return mover({**nets, **how.opponents((3, 2))}, how, **train)


class Scripted:
    """An objective whose moves are given."""

    def __init__(self, *moves):
        self.script = moves

    def opponents(self, channels):
        return {}

    def moves(self, players, batch):
        for move in self.script:
            yield move(players, batch)


def pull(name, factor=1.0):
    """Return a move whose loss is a multiple of what the net of a player answers to ones."""

    def made(players, batch):
        logs = {}

        def terms():
            logs[name] = factor * players[name].net(torch.ones_like(batch.x)).mean()
            yield logs[name]

        return Move(player=name, terms=terms(), logs=logs)

    return made


def scale(value):
    net = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.constant_(net.weight, value)
    return net


def test_a_move_gives_gradients_to_its_own_player_only_and_adds_up_its_terms():
    nets = {name: scale(3.0) for name in "ab"}
    one = torch.ones(1, 1, 1, 1)

    class Two(Scripted):
        def moves(self, players, batch):
            yield Move(
                player="a", terms=(nets["b"](nets["a"](one)).sum() * k for k in (1, 2)), logs={"seen": one.sum()}
            )
            assert nets["a"].weight.item() == 3 - 9, "the next move sees the new weights"

    losses, norms = mover(nets, Two()).step(batch(1, 1))
    assert (list(losses), list(norms)) == (["seen"], ["a"])
    assert norms["a"].item() == 9
    assert nets["b"].weight.grad is None


@pytest.mark.parametrize("bf16", [False, True])
def test_the_next_move_is_computed_with_the_new_weights(bf16):
    made = mover({"a": scale(3.0)}, Scripted(pull("a"), pull("a")), bf16=bf16)
    losses, _ = made.step(batch(1, 1))
    assert losses["a"].item() == 2, "autocast must not remember the weights of before"
    assert weights(made)["a/weight"].item() == 1


@pytest.mark.parametrize("parts", [2, 4])
def test_parts_of_a_batch_move_like_the_whole_but_for_norms_over_the_batch(parts):
    whole, cut = gan(), gan(accumulate=parts)
    one, other = whole.step(batch()), cut.step(batch())
    for ours, theirs in zip(one, other, strict=True):
        assert {k: v.item() for k, v in ours.items()} == pytest.approx(
            {k: v.item() for k, v in theirs.items()}, rel=1e-4
        )
    after = weights(cut)
    for key, value in weights(whole).items():
        torch.testing.assert_close(value, after[key], rtol=1e-4, atol=1e-5)
    normed, parted = gan("batch"), gan("batch", accumulate=parts)
    normed.step(batch())
    parted.step(batch())
    assert any(not torch.allclose(v, weights(parted)[k], rtol=1e-3, atol=1e-4) for k, v in weights(normed).items())


def test_parts_have_the_dropout_of_their_own_patches():
    made = gan(accumulate=2)
    first = made.dropouts[0]
    seen, forward = [], first.forward
    first.forward = lambda x: (seen.append(first.ids), forward(x))[1]
    made.step(batch())
    whole = gan()
    whole.step(batch())
    assert seen[0] + seen[1] == whole.dropouts[0].ids
    assert seen[2:] == seen[:2], "on the way back, the same again"


def remembered(made):
    """Return the most bytes that a step keeps for the way back at any time."""
    now = most = 0

    class Held:
        def __init__(self, tensor):
            nonlocal now, most
            self.tensor, self.bytes = tensor, tensor.nbytes
            now += self.bytes
            most = max(most, now)

        def __del__(self):
            nonlocal now
            now -= self.bytes

    with torch.autograd.graph.saved_tensors_hooks(Held, lambda held: held.tensor):
        made.step(batch(8, side=32))
    return most


def test_parts_need_less_memory_than_the_whole_batch():
    assert remembered(gan(accumulate=8)) < 0.3 * remembered(gan())


def test_gradients_are_shortened_to_the_norm_that_is_asked_for():
    def made(**train):
        torch.manual_seed(0)
        net = Unet(3, 2, base_width=4, n_down=2, norm="channel", init="kaiming")
        return mover(
            {"generator": net}, objective({"name": "supervised"}, task({"name": "segment", "classes": 2})), **train
        )

    before = made()
    start = weights(before)
    norm = before.step(batch())[1]["generator"].item()
    for limit in (norm / 3, norm * 3):
        cut = made(clip=limit)
        assert cut.step(batch())[1]["generator"].item() == norm, "the log says what the norm was"
        moved = torch.cat([(weights(cut)[key] - value).flatten() for key, value in start.items()])
        assert moved.norm().item() == pytest.approx(min(limit, norm), rel=1e-4)


def test_a_move_whose_gradients_are_no_numbers_moves_nobody():
    made = mover({"a": scale(3.0), "b": scale(3.0)}, Scripted(pull("a", math.nan), pull("b"), pull("a", math.inf)))
    losses, norms = made.step(batch(1, 1))
    assert weights(made)["a/weight"].item() == 3
    assert weights(made)["b/weight"].item() == 2
    assert not math.isfinite(norms["a"].item())
    assert norms["b"].item() == 1
    assert math.isinf(losses["a"].item())


def test_a_bad_move_is_remembered_when_the_player_moves_again():
    made = mover({"a": scale(3.0)}, Scripted(pull("a", math.nan), pull("a")))
    assert math.isnan(made.step(batch(1, 1))[1]["a"].item())


def test_running_means_can_be_put_back():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 1), BatchNorm(2))
    made = mover({"a": net}, Scripted(pull("a")))
    before = weights(made)
    made.step(batch(2, 1))
    assert not torch.equal(weights(made)["a/1.running_mean"], before["a/1.running_mean"])
    made.statistics.put_back()
    for name in ("running_mean", "running_var"):
        assert torch.equal(weights(made)[f"a/1.{name}"], before[f"a/1.{name}"])


def test_nets_without_running_means_have_none_to_put_back():
    made = mover({"a": scale(1.0)}, Scripted(pull("a")))
    made.step(batch(1, 1))
    made.statistics.put_back()
