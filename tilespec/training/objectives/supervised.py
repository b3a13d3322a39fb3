"""Supervised: one net, one loss against what it should answer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor, nn

from tilespec.models.tasks.base import Task
from tilespec.training.objectives.base import Batch, Move
from tilespec.training.objectives.losses import loss, measured
from tilespec.training.player import Player


@final
@dataclass(frozen=True, kw_only=True)
class Supervised:
    """Minimise ``loss`` between what the net answers and what it should answer."""

    task: Task
    """What is predicted."""
    loss: str = "cross_entropy"
    """``cross_entropy`` (of classes), ``l1``, ``mse`` or ``mrae``."""
    class_weights: Sequence[float] | None = None
    """One for each class, or channel; None: all equal."""

    def __post_init__(self) -> None:
        loss(self.loss, self.class_weights, self.task)

    def opponents(self, channels: tuple[int, int]) -> dict[str, nn.Module]:
        """Return nothing: the generator learns alone."""
        del channels
        return {}

    def moves(self, players: Mapping[str, Player], batch: Batch) -> Iterator[Move]:
        """Yield the generator's move."""
        logs: dict[str, Tensor] = {}
        measure = loss(self.loss, self.class_weights, self.task)

        def terms() -> Iterator[Tensor]:
            raw = players["generator"].net(batch.x)
            logs[self.loss] = measured(measure, raw, batch, self.task, self.class_weights)
            yield logs[self.loss]

        yield Move(player="generator", terms=terms(), logs=logs)
