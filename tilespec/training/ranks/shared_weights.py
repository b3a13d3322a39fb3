"""Shared weights: weights, moments and gradients of nets in memory that the ranks of one machine share.

Each rank computes its own gradients; then each averages the gradients of one share of the weights and updates it, which
all ranks see. No data are sent, no work is repeated, and weights and moments exist only once. It is the sharding of
Rajbhandari et al. (2020), "ZeRO", without its traffic. Ranks without such memory send each other their gradients.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tilespec.training.player import Player
from tilespec.training.ranks.group import Ranks
from tilespec.training.ranks.shared_memory import ALIGNED, common


@final
@dataclass(frozen=True, kw_only=True)
class SharedWeights:
    """The shared memory of one net."""

    own: Sequence[nn.Parameter]
    """All parameters in the optimiser's order."""
    mine: frozenset[int]
    """The indices of the parameters that this rank updates."""
    gradients: Sequence[Tensor]
    """The gradients of this rank, in the shapes of the parameters."""
    shares: Sequence[Tensor]
    """The gradients from each rank, for the parameters that this rank updates, in sequence."""
    has_gradient: Tensor
    """The flags ``rank, parameter``: 1 if a rank has a gradient, else 0."""
    rank: int
    """The number of this rank."""

    def average(self) -> Tensor:
        """Set the mean gradient of the parameters that this rank updates, and none for others; return the mean's norm.

        The norm is over all parameters, and the same in all ranks. A parameter that no rank used has no gradient and
        does not change.
        """
        for parameter, place in zip(self.own, self.gradients, strict=True):
            if parameter.grad is None:
                place.zero_()
            else:
                place.copy_(parameter.grad)
        self.has_gradient[self.rank] = torch.tensor([float(parameter.grad is not None) for parameter in self.own])
        dist.barrier()  # all ranks have written, and no rank reads weights now
        total = self.shares[self.rank]
        for rank, share in enumerate(self.shares):
            if rank != self.rank:
                total.add_(share)
        total.div_(len(self.shares))
        used = self.has_gradient.any(dim=0).tolist()
        for index, (parameter, place) in enumerate(zip(self.own, self.gradients, strict=True)):
            parameter.grad = place if used[index] and index in self.mine else None
        squares = torch.linalg.vector_norm(total).double().square()  # the square of a norm may exceed float32
        dist.all_reduce(squares)  # all ranks have read the gradients, which may be overwritten
        return squares.sqrt().float()

    def wait(self) -> None:
        """Wait until all ranks have updated their shares."""
        dist.barrier()


def share_weights(players: Mapping[str, Player], ranks: Ranks) -> dict[str, SharedWeights]:
    """Move the tensors of players into memory that all ranks share; return an empty result without such memory.

    The players must be the same in all ranks before the call; after it they are the same memory.
    """
    if ranks.device != "cpu" or not ranks.together:
        return {}
    for player in players.values():
        _with_moments(player.optimiser)
    if not all(map(_suits, players.values())):
        return {}
    plans = {name: _Plan.of(player, ranks.world) for name, player in players.items()}
    sizes = [plan.size for plan in plans.values()]
    memory = common(ranks, 4 * sum(sizes))
    if memory is None:
        return {}
    parts = dict(zip(plans, torch.split(torch.frombuffer(memory, dtype=torch.float32), sizes), strict=True))
    weights = {name: plan.place(parts[name], ranks) for name, plan in plans.items()}
    dist.barrier()  # the values of rank 0 are visible to all
    return weights


def _with_moments(optimiser: torch.optim.Optimizer) -> None:
    """Create the moments of an optimiser before the first step, which otherwise creates them.

    A step with rate 0 and zero gradients does this without changing the weights. A resumed optimiser has its moments,
    except for parameters that were never used.
    """
    new = [p for group in optimiser.param_groups for p in group["params"] if not optimiser.state.get(p)]
    rates = [group["lr"] for group in optimiser.param_groups]
    optimiser.zero_grad(set_to_none=True)
    for parameter in new:
        parameter.grad = torch.zeros_like(parameter)
    for group in optimiser.param_groups:
        group["lr"] = 0.0
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    for group, rate in zip(optimiser.param_groups, rates, strict=True):
        group["lr"] = rate
    for parameter in new:
        for value in optimiser.state[parameter].values():
            if isinstance(value, Tensor):
                value.zero_()


def _suits(player: Player) -> bool:
    """Return whether all tensors of a net and its optimiser are float32, as the memory is."""
    moments = (value for slots in player.optimiser.state.values() for value in slots.values())
    tensors = [*player.parameters, *moments]
    return all(isinstance(value, Tensor) and value.dtype == torch.float32 for value in tensors)


@final
@dataclass(frozen=True, kw_only=True)
class _Plan:
    """The positions of the tensors of a net, as numbers of float32 from the beginning of its part of the memory."""

    player: Player
    """The net and its optimiser."""
    owners: Sequence[int]
    """The rank that updates each parameter."""
    offsets: Sequence[int]
    """The offset of each parameter in the weights and in each rank's gradients; those of one rank are contiguous."""
    edges: Sequence[int]
    """The starts of the shares of the ranks, and the end of the last one."""
    world: int
    """The number of ranks."""

    @classmethod
    def of(cls, player: Player, world: int) -> "_Plan":
        """Return a plan with about equally many weights for each rank, the same in all ranks."""
        sizes = [_padded_size(parameter) for parameter in player.parameters]
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
        """The total count of numbers: weights, gradients of each rank, flags of each rank, moments."""
        return (self.edges[-1] + self._row) * self.world + self.edges[-1] + sum(map(_padded_size, self._moments()))

    @property
    def _row(self) -> int:
        """The count of numbers for a rank's flags of gradients."""
        return _up(len(self.owners))

    def _moments(self) -> Iterable[Tensor]:
        """Yield the optimiser's tensors in the order of its parameters."""
        for parameter in self.player.parameters:
            yield from self.player.optimiser.state[parameter].values()

    def place(self, memory: Tensor, ranks: Ranks) -> SharedWeights:
        """Move the net and its optimiser into their part of the memory; rank 0 writes their values."""
        own, whole = self.player.parameters, self.edges[-1]
        rest = memory.numel() - whole * (1 + self.world)
        weights, *gradients, memory = torch.split(memory, [whole] * (1 + self.world) + [rest])
        for parameter, offset in zip(own, self.offsets, strict=True):
            parameter.data = _move_into(parameter.detach(), weights[offset:], ranks.rank)
        at = self._row * self.world
        for parameter in own:
            slots = self.player.optimiser.state[parameter]
            for name, value in slots.items():
                slots[name] = _move_into(value, memory[at:], ranks.rank)
                at += _padded_size(value)
        low, high = self.edges[ranks.rank], self.edges[ranks.rank + 1]
        places = zip(own, self.offsets, strict=True)
        return SharedWeights(
            own=own,
            mine=frozenset(i for i, owner in enumerate(self.owners) if owner == ranks.rank),
            gradients=[_like(parameter, gradients[ranks.rank][offset:]) for parameter, offset in places],
            shares=[each[low:high] for each in gradients],
            has_gradient=memory[: self._row * self.world].view(self.world, self._row)[:, : len(own)],
            rank=ranks.rank,
        )


def _padded_size(value: Tensor) -> int:
    """Return the count of numbers of a tensor, up to the next possible start."""
    return _up(value.numel())


def _up(size: int) -> int:
    """Return the next multiple of the alignment in numbers."""
    step = ALIGNED // 4
    return -(-size // step) * step


def _like(value: Tensor, memory: Tensor) -> Tensor:
    """Return the start of a flat ``memory`` in the shape and the order of a tensor, without its gaps."""
    dense = torch.empty_like(value, device="meta", memory_format=torch.preserve_format)
    return memory.as_strided(value.shape, dense.stride(), memory.storage_offset())


def _move_into(value: Tensor, memory: Tensor, rank: int) -> Tensor:
    """Return the view of a tensor in the memory; rank 0 fills it."""
    place = _like(value, memory)
    if rank == 0:
        place.copy_(value)
    return place
