"""Pool: weights, moments and gradients of nets in memory that the ranks of one machine have in common.

Each rank brings its own gradients; then each averages, and moves, one share of the weights, which all see at once.
Nothing is sent, no rank repeats what another does, and weights and moments exist once. It is the sharding of
Rajbhandari et al. (2020), "ZeRO", without its traffic. Ranks that have no such memory send each other their gradients.
"""

import json
import mmap
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, final, runtime_checkable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tilespec.ranks import Ranks

ALIGNED = 64
"""Bytes: every tensor begins at a multiple of a cache line."""


@runtime_checkable
class Learner(Protocol):
    """A net and its optimiser."""

    @property
    def module(self) -> nn.Module:
        """The net."""

    @property
    def optimiser(self) -> torch.optim.Optimizer:
        """What moves it."""

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What the optimiser moves, in its order."""


@final
@dataclass(frozen=True, kw_only=True)
class Pooled:
    """What the ranks have in common of one net."""

    own: Sequence[nn.Parameter]
    """All parameters, in the optimiser's order."""
    mine: frozenset[int]
    """Indices of those that this rank moves."""
    gradients: Sequence[Tensor]
    """Of this rank, like the parameters."""
    shares: Sequence[Tensor]
    """For each rank, what it found of the gradients of the parameters that this rank moves; one after another."""
    rank: int
    """This one."""

    def average(self) -> Tensor:
        """Leave in the parameters that this rank moves the mean gradient, in the others none; return the mean's norm.

        It is the norm over all parameters, and the same number in all ranks.
        """
        for parameter, place in zip(self.own, self.gradients, strict=True):
            if parameter.grad is None:
                place.zero_()
            else:
                place.copy_(parameter.grad)
        dist.barrier()
        total = self.shares[self.rank]
        for rank, share in enumerate(self.shares):
            if rank != self.rank:
                total.add_(share)
        total.div_(len(self.shares))
        for index, (parameter, place) in enumerate(zip(self.own, self.gradients, strict=True)):
            found = index in self.mine and parameter.grad is not None  # one that nobody used stays as it is
            parameter.grad = place if found else None
        squares = torch.linalg.vector_norm(total).square()
        dist.all_reduce(squares)
        return squares.sqrt()

    def moved(self) -> None:
        """Wait until all ranks have moved their shares."""
        dist.barrier()


def pooled(players: Mapping[str, Learner], ranks: Ranks) -> dict[str, Pooled]:
    """Move what players are made of into memory that all ranks have in common; empty where there is none.

    The players are the same in all ranks when this is called, and afterwards they are the same memory.
    """
    if ranks.world == 1 or ranks.device != "cpu" or len(set(ranks.hosts)) > 1:
        return {}
    for player in players.values():
        _with_moments(player.optimiser)
    plans = {name: _Plan.of(player, ranks.world) for name, player in players.items()}
    memory = _common(ranks, sum(plan.size for plan in plans.values()))
    if memory is None:
        return {}
    sizes = [plan.size for plan in plans.values()]
    parts = dict(zip(plans, torch.split(memory, sizes), strict=True))
    found = {name: plan.placed(parts[name], ranks) for name, plan in plans.items()}
    dist.barrier()  # what rank 0 wrote is there
    return found


def _with_moments(optimiser: torch.optim.Optimizer) -> None:
    """Let an optimiser make its moments now, as they are before the first step: it makes them when it first steps.

    It steps by nothing along nothing, which leaves the weights as they are; one that was resumed has its moments.
    """
    if optimiser.state:
        return
    rates = [group["lr"] for group in optimiser.param_groups]
    for group in optimiser.param_groups:
        group["lr"] = 0.0
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    for group, rate in zip(optimiser.param_groups, rates, strict=True):
        group["lr"] = rate
    for slots in optimiser.state.values():
        for value in slots.values():
            value.zero_()


@final
@dataclass(frozen=True, kw_only=True)
class _Plan:
    """Where each tensor of a net lies, in numbers of float32 from the beginning of its part of the memory."""

    player: Learner
    """The net."""
    owners: Sequence[int]
    """Rank that moves each parameter."""
    offsets: Sequence[int]
    """Of each parameter within the weights, and within each rank's gradients; those of one owner follow one another."""
    edges: Sequence[int]
    """Where the shares of the ranks begin, and the last one ends."""
    world: int
    """Ranks."""

    @classmethod
    def of(cls, player: Learner, world: int) -> "_Plan":
        """Return a plan that gives each rank about as many weights: the same one in all ranks."""
        sizes = [_room(parameter) for parameter in player.parameters]
        owners, loads = [0] * len(sizes), [0] * world
        for index in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
            owners[index] = loads.index(min(loads))
            loads[owners[index]] += sizes[index]
        offsets, at, edges = [0] * len(sizes), 0, [0]
        for rank in range(world):
            for index in (i for i, owner in enumerate(owners) if owner == rank):
                offsets[index] = at
                at += sizes[index]
            edges.append(at)
        return cls(player=player, owners=owners, offsets=offsets, edges=edges, world=world)

    @property
    def size(self) -> int:
        """Numbers in all: weights, gradients of each rank, moments."""
        return self.edges[-1] * (1 + self.world) + sum(map(_room, self._moments()))

    def _moments(self) -> Iterable[Tensor]:
        """Yield the optimiser's tensors, in the order of its parameters."""
        for parameter in self.player.parameters:
            yield from self.player.optimiser.state[parameter].values()

    def placed(self, memory: Tensor, ranks: Ranks) -> Pooled:
        """Move the net and its optimiser into their part of the memory; rank 0 writes what they hold."""
        own, whole = self.player.parameters, self.edges[-1]
        weights, *gradients = torch.split(memory[: whole * (1 + self.world)], whole)
        for parameter, offset in zip(own, self.offsets, strict=True):
            parameter.data = _moved(parameter.detach(), weights[offset:], ranks.rank)
        at = whole * (1 + self.world)
        for parameter in own:
            slots = self.player.optimiser.state[parameter]
            for name, value in slots.items():
                slots[name] = _moved(value, memory[at:], ranks.rank)
                at += _room(value)
        low, high = self.edges[ranks.rank], self.edges[ranks.rank + 1]
        places = zip(own, self.offsets, strict=True)
        return Pooled(
            own=own,
            mine=frozenset(i for i, owner in enumerate(self.owners) if owner == ranks.rank),
            gradients=[_like(parameter, gradients[ranks.rank][offset:]) for parameter, offset in places],
            shares=[each[low:high] for each in gradients],
            rank=ranks.rank,
        )


def _room(value: Tensor) -> int:
    """Return the numbers that a tensor takes, up to where the next one may begin."""
    step = ALIGNED // 4
    return -(-value.numel() // step) * step


def _like(value: Tensor, memory: Tensor) -> Tensor:
    """Return the beginning of a flat ``memory`` in the shape and the order of a tensor."""
    return memory.as_strided(value.shape, value.stride(), memory.storage_offset())


def _moved(value: Tensor, memory: Tensor, rank: int) -> Tensor:
    """Return a tensor's place in the memory; rank 0 fills it."""
    place = _like(value, memory)
    if rank == 0:
        place.copy_(value)
    return place


def _common(ranks: Ranks, size: int) -> Tensor | None:
    """Return ``size`` numbers, float32 and zero, that all ranks see; None where one of them cannot.

    They lie in memory without a name: nothing is left of them when the last rank ends, however it ends.
    """
    assert ranks.meeting is not None
    told = ranks.meeting.store
    fd = _made(size * 4) if ranks.rank == 0 else None
    if ranks.rank == 0:
        told.set("pool", json.dumps([f"/proc/{os.getpid()}/fd/{fd}", _identity(fd)] if fd is not None else []))
    else:
        fd = _opened(*json.loads(told.get("pool")))
    everyone = float(ranks.mean(torch.tensor([float(fd is not None)]))) == 1  # and rank 0's file is open until then
    if fd is None:
        return None
    try:
        return torch.frombuffer(mmap.mmap(fd, size * 4), dtype=torch.float32) if everyone else None
    finally:
        os.close(fd)


def _made(size: int) -> int | None:
    """Return a file in memory, all of which is there; None where there is no such thing, or too little."""
    if not hasattr(os, "memfd_create"):
        return None
    fd = os.memfd_create("tilespec-pool", os.MFD_CLOEXEC)
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError:
        os.close(fd)
        return None
    return fd


def _opened(path: str = "", identity: Sequence[object] = ()) -> int | None:
    """Return rank 0's file, if it can be seen from here and is the one that rank 0 means."""
    if not path:
        return None
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    if _identity(fd) != list(identity):
        os.close(fd)
        return None
    return fd


def _identity(fd: int) -> list[object]:
    """Return what tells a file in memory from all others, of other machines and of other networks too."""
    state = os.fstat(fd)
    machine = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    network = str(Path("/proc/self/ns/net").readlink())
    return [machine, network, state.st_dev, state.st_ino, state.st_size]
