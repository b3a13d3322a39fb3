"""Moves: the contents of one step of a training, for any task, net or objective.

For each move of the objective: clear the gradients, propagate each loss term back, and step. The batch may be divided
into parts in sequence: their moves run side by side and their gradients add up to those of the whole batch, so that
less memory is needed. Activations of a part between two moves are not stored but computed again on the way back (Chen
et al. 2016). Norms over a batch use the statistics of a part only, as they do with ranks.

If the gradients of a move are NaN or infinite, no player steps. All ranks have the same gradients, so all decide
equally.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar, final

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.utils.checkpoint import checkpoint

from tilespec.models.nets.norms import SeededDropout, set_sample_ids
from tilespec.training.objectives.base import Items, Move, Objective
from tilespec.training.player import Player
from tilespec.training.ranks.group import Ranks
from tilespec.training.ranks.shared_weights import SharedWeights, share_weights
from tilespec.training.settings import Train

Drawn = TypeVar("Drawn")
Named = dict[str, Tensor]


@final
class Statistics:
    """The running means of norms, which a step changes before it is known whether the step is valid."""

    def __init__(self, players: Mapping[str, Player]) -> None:
        self._live = [buffer for player in players.values() for buffer in player.module.buffers()]
        self._kept = [buffer.clone() for buffer in self._live]

    def keep(self) -> None:
        """Copy the running means before a step."""
        if self._live:
            torch._foreach_copy_(self._kept, self._live)

    def put_back(self) -> None:
        """Restore the running means from before the step."""
        if self._live:
            torch._foreach_copy_(self._live, self._kept)


@final
class Recomputed(nn.Module):
    """A net whose activations are not stored between two moves; it is called again for its gradients."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.between = net, False

    def forward(self, x: Tensor) -> Tensor:
        """Return the net's output; its dropout depends on the patches, not on the time of the call."""
        if not self.between:
            return self.net(x)
        answer: Tensor = checkpoint(self.net, x, use_reentrant=False, preserve_rng_state=False)
        return answer


@final
@dataclass(frozen=True, kw_only=True)
class StepRunner:
    """The execution of the moves of a step."""

    players: Mapping[str, Player]
    """The nets that are trained."""
    objective: Objective
    """The objective that yields the moves."""
    ranks: Ranks
    """This process among all ranks."""
    train: Train
    """The settings: parts, clipping, precision, seed of dropout."""
    dropouts: nn.ModuleList
    """The dropout layers, which need the samples' ids."""
    statistics: Statistics
    """The running means of norms of all players."""
    pools: Mapping[str, SharedWeights]
    """The memory of each player that ranks of one machine share."""
    averaged_late: bool
    """Whether gradients are averaged over the ranks behind the last term, and not while each is propagated back."""

    @classmethod
    def of(cls, train: Train, players: Mapping[str, Player], objective: Objective, ranks: Ranks) -> "StepRunner":
        """Return the execution of moves for a configuration.

        Gradients are averaged over the ranks in shared memory; or during the backward pass; or, for several parts of a
        batch and for an objective whose terms differ in number between ranks, after the last one.
        """
        pools = share_weights(players, ranks)
        layers = [layer for player in players.values() for layer in player.module.modules()]
        dropouts = nn.ModuleList(layer for layer in layers if isinstance(layer, SeededDropout))
        late = train.accumulate > 1 or getattr(objective, "uneven", False)
        if train.accumulate > 1:
            players = {name: replace(player, net=Recomputed(player.net)) for name, player in players.items()}
        elif not pools and not late:
            players = {name: replace(player, net=ranks.wrap(player.net)) for name, player in players.items()}
        return cls(
            players=players,
            objective=objective,
            ranks=ranks,
            train=train,
            dropouts=dropouts,
            statistics=Statistics(players),
            pools=pools,
            averaged_late=late,
        )

    def step(self, batch: Items) -> tuple[Named, Named]:
        """Run the moves of all players, and return losses (of this rank) and norms of gradients (of all ranks)."""
        self.statistics.keep()
        parts = batch.cut(self.train.accumulate)
        streams = [self._drawn(part, self.objective.moves(self.players, part), between=True) for part in parts]
        losses: Named = {}
        norms: Named = {}
        for moves in zip(*streams, strict=True):
            name = moves[0].player
            norm = self._move(name, parts, moves)
            norms[name] = torch.maximum(norms[name], norm) if name in norms else norm  # NaN remains NaN
            for key in moves[0].logs:
                losses[key] = torch.stack([move.logs[key].detach().float() for move in moves]).mean()
        return losses, norms

    def _move(self, name: str, parts: Iterable[Items], moves: tuple[Move, ...]) -> Tensor:
        """Run one move of a player, one `Move` for each part; return the norm of its gradients."""
        player, pool = self.players[name], self.pools.get(name)
        own = player.parameters
        player.optimiser.zero_grad(set_to_none=True)
        for part, move in zip(parts, moves, strict=True):
            for loss in self._drawn(part, move.terms, between=False):
                torch.autograd.backward(loss / self.train.accumulate if self.train.accumulate > 1 else loss, inputs=own)
        norm = self._norm(own) if pool is None else pool.average()
        if self.train.clip is not None:
            clip_grads_with_norm_(own, self.train.clip, norm)
        if torch.isfinite(norm):
            player.optimiser.step()
        if pool is not None:
            pool.wait()
        return norm

    def _drawn(self, part: Items, items: Iterable[Drawn], *, between: bool) -> Iterator[Drawn]:
        """Yield ``items``; each is computed with the dropout of a part and in the requested precision.

        Autocast caches cast weights until it ends, so it ends with each item: the next one is computed after a step,
        with the new weights.
        """
        source, kind = iter(items), self.ranks.device.partition(":")[0]
        forgetful = [player.net for player in self.players.values() if isinstance(player.net, Recomputed)]
        while True:
            for net in forgetful:
                net.between = between
            set_sample_ids(self.dropouts, part.ids, self.train.seed)
            with torch.autocast(kind, torch.bfloat16, enabled=self.train.bf16):
                item = next(source, None)
            if item is None:
                return
            yield item

    def _norm(self, own: Iterable[nn.Parameter]) -> Tensor:
        """Return the norm of gradients after their average over the ranks."""
        if self.averaged_late and self.ranks.world > 1:
            self._average(list(own))
        return get_total_norm([parameter.grad for parameter in own if parameter.grad is not None])

    def _average(self, own: list[nn.Parameter]) -> None:
        """Average gradients over the ranks, once for all parts and terms; one that no rank has is none afterwards."""
        used = own[0].new_tensor([float(parameter.grad is not None) for parameter in own])
        found = [torch.zeros_like(one) if one.grad is None else one.grad for one in own]
        means = self.ranks.mean(torch.cat([used, *(gradient.flatten() for gradient in found)]))
        shares, *parts = torch.split(means, [len(own), *(gradient.numel() for gradient in found)])
        for parameter, gradient, share, mean in zip(own, found, shares.tolist(), parts, strict=True):
            parameter.grad = gradient.copy_(mean.view(gradient.shape)) if share else None  # in the memory order of both
