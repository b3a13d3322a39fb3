"""Ranks of one machine share weights, moments and gradients: they learn what they would if they sent them, or alone."""

import threading
from dataclasses import replace
from itertools import pairwise
from unittest.mock import patch

import numpy as np
import pytest
import shared_weights_work
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from tilespec.training.player import Player
from tilespec.training.ranks import shared_weights
from tilespec.training.ranks.group import Ranks
from tilespec.training.ranks.processes import run_processes
from tilespec.training.ranks.shared_weights import _padded_size, _Plan, _with_moments

SHAPES = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple), min_size=1, max_size=9)
WORLDS = st.integers(1, 5)
OPTIMISERS = (torch.optim.AdamW, torch.optim.RMSprop, torch.optim.SGD, torch.optim.Adagrad)
TOLERANT = {"rtol": 1e-3, "atol": 1e-5}


def player(shapes, optimiser=torch.optim.AdamW):
    draw = torch.Generator().manual_seed(0)
    net = nn.ParameterList([nn.Parameter(torch.randn(shape, generator=draw)) for shape in shapes])
    net = net.to(memory_format=torch.channels_last)
    made = Player(module=net, net=net, optimiser=optimiser(net.parameters(), lr=0.1))
    _with_moments(made.optimiser)
    return made


# --- the plan


@settings(max_examples=15)
@given(shapes=SHAPES, world=WORLDS)
def test_every_parameter_has_one_owner_and_a_place_of_its_own_in_its_share(shapes, world):
    plan = _Plan.of(player(shapes), world)
    assert plan.edges[0] == 0
    assert len(plan.edges) == world + 1
    taken = np.zeros(plan.edges[-1], int)
    for parameter, owner, offset in zip(plan.player.parameters, plan.owners, plan.offsets, strict=True):
        assert 0 <= owner < world
        assert plan.edges[owner] <= offset <= offset + _padded_size(parameter) <= plan.edges[owner + 1]
        assert offset % 16 == 0, "of 4 bytes each: a cache line"
        taken[offset : offset + _padded_size(parameter)] += 1
    assert (taken == 1).all(), "shares follow each other, and nothing lies between parameters but what aligns them"


@settings(max_examples=15)
@given(shapes=SHAPES, world=WORLDS)
def test_shares_differ_by_the_largest_tensor_at_most_and_all_ranks_make_the_same(shapes, world):
    plan, again = _Plan.of(player(shapes), world), _Plan.of(player(shapes), world)
    loads = np.diff(plan.edges)
    assert loads.max() - loads.min() <= max(map(_padded_size, plan.player.parameters))
    assert (plan.owners, plan.offsets, plan.edges) == (again.owners, again.offsets, again.edges)


def span(value):
    """Return the bytes that a tensor without gaps takes."""
    return value.data_ptr(), value.data_ptr() + value.nbytes


@settings(max_examples=15)
@given(shapes=SHAPES, world=WORLDS, optimiser=st.sampled_from(OPTIMISERS))
def test_all_tensors_of_all_ranks_fit_and_none_lies_on_another(shapes, world, optimiser):
    players = [player(shapes, optimiser) for _ in range(world)]
    memory = torch.zeros(_Plan.of(players[0], world).size)
    before = [(value.detach().clone(), value.stride()) for value in players[0].parameters]
    found = [_Plan.of(one, world).place(memory, Ranks(rank=rank, world=world)) for rank, one in enumerate(players)]
    slots = [[v for p in one.parameters for v in one.optimiser.state[p].values()] for one in players]
    for one, own in zip(players, slots, strict=True):
        assert [*map(span, one.parameters)] == [*map(span, players[0].parameters)]
        assert [*map(span, own)] == [*map(span, slots[0])]
        for (value, stride), parameter in zip(before, one.parameters, strict=True):
            assert torch.equal(parameter.detach(), value)
            assert parameter.stride() == stride, "channels last stay last"
    every = [*players[0].parameters, *slots[0], *found[0].has_gradient, *(g for each in found for g in each.gradients)]
    spans = sorted(span(value) for value in every)
    assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))
    assert memory.data_ptr() <= spans[0][0]
    assert spans[-1][1] <= memory.data_ptr() + memory.nbytes
    assert sorted(i for each in found for i in each.mine) == list(range(len(shapes)))


def test_a_tensor_with_gaps_gets_a_place_without():
    wide = torch.arange(12.0).view(3, 4)[:, :2]
    place = shared_weights._move_into(wide, torch.zeros(6), 0)
    assert torch.equal(place, wide)
    assert place.is_contiguous()


# --- averaging


class Threads:
    """`torch.distributed` among threads of this process."""

    def __init__(self, world):
        self.gate, self.lock, self.sums = threading.Barrier(world, timeout=20), threading.Lock(), []

    def barrier(self):
        self.gate.wait()

    def all_reduce(self, value):
        with self.lock:
            self.sums.append(value.clone())
        self.gate.wait()
        total = sum(self.sums)
        self.gate.wait()
        self.sums.clear()
        value.copy_(total)


def together(work, world):
    """Return what ``work(rank)`` returns in threads that run side by side."""
    answers = [None] * world

    def run(rank):
        answers[rank] = work(rank)

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return answers


@settings(max_examples=15)
@given(shapes=SHAPES, world=st.integers(2, 4), data=st.data())
def test_owners_get_the_mean_of_what_ranks_found_and_all_get_its_norm(shapes, world, data):
    players = [player(shapes) for _ in range(world)]
    memory = torch.zeros(_Plan.of(players[0], world).size)
    found = [_Plan.of(one, world).place(memory, Ranks(rank=rank, world=world)) for rank, one in enumerate(players)]
    scale = data.draw(st.sampled_from([1e-15, 1.0, 1e15]))
    owners = _Plan.of(players[0], world).owners
    with patch.object(shared_weights, "dist", Threads(world)):
        for turn in range(2):
            draw = torch.Generator().manual_seed(turn)
            uses = [[data.draw(st.booleans()) for _ in shapes] for _ in range(world)]
            gradients = [[scale * torch.randn(shape, generator=draw) for shape in shapes] for _ in range(world)]
            for one, own, use in zip(players, gradients, uses, strict=True):
                for parameter, gradient, is_used in zip(one.parameters, own, use, strict=True):
                    parameter.grad = gradient.clone() if is_used else None
            norms = together(lambda rank: found[rank].average(), world)
            total = 0.0
            for i, owner in enumerate(owners):
                given_up = [own[i].double() * use[i] for own, use in zip(gradients, uses, strict=True)]
                mean = sum(given_up) / world
                total += float(mean.square().sum())
                for rank, one in enumerate(players):
                    if rank != owner or not any(use[i] for use in uses):
                        assert one.parameters[i].grad is None
                    else:
                        torch.testing.assert_close(one.parameters[i].grad.double(), mean, rtol=1e-5, atol=1e-6 * scale)
            assert len({float(norm) for norm in norms}) == 1
            assert float(norms[0]) == pytest.approx(total**0.5, rel=1e-4)


# --- ranks that are processes


@pytest.fixture(scope="module", params=[2, pytest.param(3, marks=pytest.mark.slow)])
def ranks(request, tmp_path_factory):
    """Return what ranks came to in every way: their tensors by name, and what they say."""
    folder = tmp_path_factory.mktemp(f"ranks-{request.param}")
    said = run_processes("shared_weights_work:everything", {"folder": str(folder)}, request.param)
    return request.param, said, {path.stem: load_file(path) for path in folder.glob("*.safetensors")}


@pytest.fixture(scope="module")
def alone():
    """Return what a process that is alone comes to in a way."""
    known = {}

    def found(way):
        if way not in known:
            known[way] = shared_weights_work.learned(way, Ranks())
        return known[way]

    return found


def close(ours, theirs, **tolerance):
    """Compare all that two trainings hold; moments that nobody has used are 0, or not there."""
    for key in sorted({*ours, *theirs}):
        if key in ours and key in theirs:
            torch.testing.assert_close(ours[key], theirs[key], msg=lambda m, k=key: f"{k}: {m}", **tolerance)
        else:
            assert key.startswith("optimiser/")
            assert not (ours if key in ours else theirs)[key].any()


@pytest.mark.parametrize("way", [*shared_weights_work.WAYS, *shared_weights_work.NETS])
def test_ranks_that_share_learn_what_one_alone_learns(ranks, alone, way):
    _, said, tensors = ranks
    expected, norms, _ = alone(way)
    assert said[f"{way}-shared"]["shared"], "there is memory to share"
    close(tensors[f"{way}-shared"], expected, **TOLERANT)
    for one, other in zip(said[f"{way}-shared"]["norms"], norms, strict=True):
        assert one == pytest.approx(other, rel=1e-3, nan_ok=True)


@pytest.mark.parametrize("way", shared_weights_work.SENT)
def test_ranks_that_send_learn_what_ranks_that_share_do(ranks, way):
    _, said, tensors = ranks
    assert said[f"{way}-sent"]["shared"] == []
    close(tensors[f"{way}-sent"], tensors[f"{way}-shared"], **TOLERANT)


def test_all_ranks_end_with_the_same_bits(ranks):
    said = {name: facts["alike"] for name, facts in ranks[1].items() if isinstance(facts, dict) and "alike" in facts}
    assert len(said) > 25
    assert all(said.values()), said


def test_a_step_that_is_no_good_moves_nobody_and_the_next_one_does(ranks):
    norms = ranks[1]["bad-shared"]["norms"]
    assert [np.isfinite(list(norm.values())).all() for norm in norms] == [True, False, True, True]


def test_what_nobody_uses_stays_as_it_is_and_what_one_rank_uses_moves(ranks):
    start = shared_weights_work.made("branches", Ranks())[1]["generator"].module.state_dict()
    end = ranks[2]["branches-shared"]
    for name in ("weight", "bias"):
        assert torch.equal(end[f"net/generator/none.{name}"], start[f"none.{name}"]), "not even by weight decay"
        assert not torch.equal(end[f"net/generator/some.{name}"], start[f"some.{name}"])


@pytest.mark.parametrize("way", ["bright-shared", "bright-sent", "bright-parts-shared", "bright-parts-sent"])
def test_a_net_whose_parts_only_some_ranks_use_learns_on_several_ranks(ranks, way):
    world, _, tensors = ranks
    share = shared_weights_work.BATCH // world
    seen = []
    for step in range(shared_weights_work.STEPS):
        bright = shared_weights_work.is_bright(shared_weights_work.batch(step, range(shared_weights_work.BATCH)).x)
        seen.append([bool(part.any()) for part in bright.split(share)])
    assert any(len(set(uses)) == 2 for uses in seen), "one rank has a bright patch, another has none"
    start = shared_weights_work.made("bright", Ranks())[1]["generator"].module.state_dict()
    assert torch.equal(tensors[way]["net/generator/none.weight"], start["none.weight"]), "not even by weight decay"
    assert not torch.equal(tensors[way]["net/generator/some.weight"], start["some.weight"])


def test_averaged_weights_follow_weights_that_moved_to_other_memory(ranks):
    tensors = ranks[2]["ema-shared"]
    start = shared_weights_work.made("ema", Ranks())[1]["generator"].module.state_dict()
    moved = [key for key, value in start.items() if not torch.equal(tensors[f"average/{key}"], value)]
    assert len(moved) > len(start) / 2


@pytest.mark.parametrize("way", ["adamw", "all"])
def test_interrupted_ranks_go_on_bit_for_bit(ranks, way):
    close(ranks[2][f"{way}-resumed"], ranks[2][f"{way}-shared"], rtol=0, atol=0)


@pytest.mark.parametrize("way", ["adamw", "all", "branches"])
def test_ranks_go_on_with_what_one_alone_began(ranks, alone, way):
    close(ranks[2][f"{way}-grown"], alone(way)[0], **TOLERANT)


def test_a_rank_that_is_late_changes_no_bit(ranks):
    world, _, tensors = ranks
    late = [name for name in tensors if "-late-" in name]
    assert len(late) == 3 * world + 1
    for name in late:
        close(tensors[name], tensors["ema-shared"], rtol=0, atol=0)


def test_when_one_rank_cannot_share_none_does(ranks):
    world, said, _ = ranks
    assert len(said["refused"]) == 2 + 2 * world + 2 * (world - 1)
    assert all(said["refused"].values()), said["refused"]


def test_nothing_is_left_open_in_ranks_or_here(ranks):
    assert ranks[1]["left"] == []
    assert ranks[1]["no maps"]
    assert not [handle for handle in shared_weights_work.handles() if "tilespec" in handle[1]]


def test_what_is_not_float32_is_not_shared(monkeypatch):
    net = nn.Conv2d(1, 1, 1).double()
    one = Player(module=net, net=net, optimiser=torch.optim.SGD(net.parameters(), lr=0.1))
    monkeypatch.setattr(shared_weights, "common", lambda *_: pytest.fail("asked for"))
    assert shared_weights.share_weights({"generator": one}, Ranks(rank=0, world=2, hosts=("here", "here"))) == {}


@pytest.mark.parametrize("differs", [{"world": 1}, {"device": "cuda:0"}, {"hosts": ("here", "there")}])
def test_ranks_that_are_alone_on_gpus_or_on_several_machines_do_not_share(monkeypatch, differs):
    monkeypatch.setattr(shared_weights, "common", lambda *_: pytest.fail("asked for"))
    found = replace(Ranks(rank=0, world=2, hosts=("here", "here")), **differs)
    assert shared_weights.share_weights({"generator": player([(2, 2)])}, found) == {}


def test_moments_are_made_as_the_first_step_would_make_them_and_weights_stay():
    torch.manual_seed(0)
    for optimiser in (torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop):
        nets = [nn.Conv2d(2, 3, 3) for _ in range(2)]
        nets[1].load_state_dict(nets[0].state_dict())
        ours, theirs = (optimiser(net.parameters(), lr=0.1, weight_decay=0.1) for net in nets)
        _with_moments(ours)
        assert all(torch.equal(a, b) for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True))
        assert not any(value.any() for slots in ours.state.values() for value in slots.values())
        assert [group["lr"] for group in ours.param_groups] == [0.1]
        for net, one in zip(nets, (ours, theirs), strict=True):
            assert all(parameter.grad is None for parameter in net.parameters())
            net(torch.ones(1, 2, 3, 3)).sum().backward()
            one.step()
        assert all(torch.equal(a, b) for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True))
