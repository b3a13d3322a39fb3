"""Supervised: one net is trained with one loss."""

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
    """Minimise ``loss`` between the net's output and its target."""

    task: Task
    """The task that is predicted."""
    loss: str = "cross_entropy"
    """The name of the loss: ``l1``, ``mse``, ``huber``, ``mrae``; of classes also
    ``cross_entropy``, ``binary_cross_entropy``, ``focal``, ``dice``; of values also ``sam``."""
    class_weights: Sequence[float] | None = None
    """The weight of each class, or channel; None: all are equal."""

    def __post_init__(self) -> None:
        loss(self.loss, self.class_weights, self.task)

    def opponents(self, channels: tuple[int, int]) -> dict[str, nn.Module]:
        """Return no nets, because the generator is trained alone."""
        del channels
        return {}

    def moves(self, players: Mapping[str, Player], batch: Batch) -> Iterator[Move]:
        """Yield the generator's move."""
        logs: dict[str, Tensor] = {}
        measure = loss(self.loss, self.class_weights, self.task)

        def terms() -> Iterator[Tensor]:
            raw = players["generator"].net(self.task.inputs(batch.x))
            logs[self.loss] = measured(measure, raw, batch, self.task, self.class_weights)
            yield logs[self.loss]

        yield Move(player="generator", terms=terms(), logs=logs)
