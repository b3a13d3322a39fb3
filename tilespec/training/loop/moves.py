"""Moves: what one step of a training does. Nothing here knows which task, net or objective it is.

For each move of the objective: clear, send each loss term back, step. The batch may be cut into parts that follow one
another: their moves are made side by side and their gradients add up to those of the whole batch, so that less memory
is needed. What a part computes between two moves is not remembered but computed again on the way back (Chen et al.
2016). Norms over a batch see parts only, as they see shares of ranks.

A move whose gradients are no numbers moves nobody. All ranks see the same gradients, so all decide alike.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar, final

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.utils.checkpoint import checkpoint

from tilespec.models.nets.norms import SeededDropout, set_sample_ids
from tilespec.training.objectives.base import Batch, Move, Objective
from tilespec.training.player import Player
from tilespec.training.ranks.group import Ranks
from tilespec.training.ranks.shared_weights import Pooled, pooled
from tilespec.training.settings import Train

Drawn = TypeVar("Drawn")
Named = dict[str, Tensor]


@final
class Statistics:
    """Running means of norms: a step changes them before anyone knows whether it is a good one."""

    def __init__(self, players: Mapping[str, Player]) -> None:
        self._live = [buffer for player in players.values() for buffer in player.module.buffers()]
        self._kept = [buffer.clone() for buffer in self._live]

    def keep(self) -> None:
        """Note what they are before a step."""
        if self._live:
            torch._foreach_copy_(self._kept, self._live)

    def put_back(self) -> None:
        """Undo what the step did to them."""
        if self._live:
            torch._foreach_copy_(self._live, self._kept)


@final
class Forgetful(nn.Module):
    """A net that remembers nothing of its calls between two moves: it is called again when their gradients come."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.between = net, False

    def forward(self, x: Tensor) -> Tensor:
        """Return what the net answers; its dropout is that of the patches, whenever it is called."""
        if not self.between:
            return self.net(x)
        answer: Tensor = checkpoint(self.net, x, use_reentrant=False, preserve_rng_state=False)
        return answer


@final
@dataclass(frozen=True, kw_only=True)
class Mover:
    """Makes the moves of a step."""

    players: Mapping[str, Player]
    """The nets that learn."""
    objective: Objective
    """How they do."""
    ranks: Ranks
    """This process among all."""
    train: Train
    """Settings: parts, clipping, precision, seed of dropout."""
    dropouts: nn.ModuleList
    """All that ask for the samples' ids."""
    statistics: Statistics
    """Of all players."""
    pools: Mapping[str, Pooled]
    """What ranks of one machine have in common of each player."""

    @classmethod
    def of(cls, train: Train, players: Mapping[str, Player], objective: Objective, ranks: Ranks) -> "Mover":
        """Return what makes the moves that a configuration asks for.

        Gradients are averaged over the ranks in the memory that these have in common; else as they come; else, when
        those of several parts of a batch add up, after the last part.
        """
        pools = pooled(players, ranks)
        layers = [layer for player in players.values() for layer in player.module.modules()]
        dropouts = nn.ModuleList(layer for layer in layers if isinstance(layer, SeededDropout))
        if train.accumulate > 1:
            players = {name: replace(player, net=Forgetful(player.net)) for name, player in players.items()}
        elif not pools:
            players = {name: replace(player, net=ranks.wrap(player.net)) for name, player in players.items()}
        return cls(
            players=players,
            objective=objective,
            ranks=ranks,
            train=train,
            dropouts=dropouts,
            statistics=Statistics(players),
            pools=pools,
        )

    def step(self, batch: Batch) -> tuple[Named, Named]:
        """Let the players move, and return losses (of this rank) and norms of gradients (of all ranks)."""
        self.statistics.keep()
        parts = batch.cut(self.train.accumulate)
        streams = [self._drawn(part, self.objective.moves(self.players, part), between=True) for part in parts]
        losses: Named = {}
        norms: Named = {}
        for moves in zip(*streams, strict=True):
            name = moves[0].player
            norm = self._move(name, parts, moves)
            norms[name] = torch.maximum(norms[name], norm) if name in norms else norm  # no number stays none
            for key in moves[0].logs:
                losses[key] = torch.stack([move.logs[key].detach().float() for move in moves]).mean()
        return losses, norms

    def _move(self, name: str, parts: Iterable[Batch], moves: tuple[Move, ...]) -> Tensor:
        """Make one move of a player, one `Move` for each part; return the norm of its gradients."""
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
            pool.moved()
        return norm

    def _drawn(self, part: Batch, items: Iterable[Drawn], *, between: bool) -> Iterator[Drawn]:
        """Yield ``items``; each is computed with the dropout of a part and in the precision that is asked for.

        Autocast keeps what it has cast for as long as it lasts, so it ends with each item: the next one is computed
        after a step, with the new weights.
        """
        source, kind = iter(items), self.ranks.device.partition(":")[0]
        forgetful = [player.net for player in self.players.values() if isinstance(player.net, Forgetful)]
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
        """Return the norm of gradients, averaged over the ranks by now."""
        gradients = [parameter.grad for parameter in own if parameter.grad is not None]
        if self.train.accumulate > 1:
            self._average(gradients)
        return get_total_norm(gradients)

    def _average(self, gradients: list[Tensor]) -> None:
        """Average gradients over the ranks, once for all parts."""
        if self.ranks.world == 1:
            return
        means = self.ranks.mean(torch.cat([gradient.flatten() for gradient in gradients]))
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, mean in zip(gradients, torch.split(means, sizes), strict=True):
            gradient.copy_(mean.view(gradient.shape))
