"""What an objective is: batches, the players that learn, and the moves that it asks for."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, final, runtime_checkable

from jaxtyping import Float32, UInt8
from torch import Tensor, nn

from tilespec.training.player import Player


@final
@dataclass(frozen=True, kw_only=True)
class Mixed:
    """What else is in patches that were mixed with others (mixup): the losses weigh both answers by their shares."""

    y: UInt8[Tensor, "batch y x"]
    """What the net should answer on the partners: classes, 255 = unlabelled. Values are mixed themselves."""
    share: Float32[Tensor, " batch"]
    """Of each patch in its mixture, 0 to 1; its partner has the rest."""


@final
@dataclass(frozen=True, kw_only=True)
class Batch:
    """Patches of one rank at one step."""

    x: Float32[Tensor, "batch band y x"]
    """What the net reads, in channels-last memory."""
    y: UInt8[Tensor, "batch y x"] | Float32[Tensor, "batch channel y x"]
    """What it should answer: classes, 255 = unlabelled; or values, NaN = unknown."""
    ids: tuple[int, ...]
    """Places of the patches in the stream of all ranks; dropout is seeded by them."""
    step: int = 0
    """Of the training, for objectives whose players take turns."""
    mixed: Mixed | None = None
    """The other answer of mixed patches; None: every patch shows itself alone."""

    def to(self, device: str) -> "Batch":
        """Return the batch on a device."""
        other = self.mixed
        mixed = None if other is None else Mixed(y=other.y.to(device), share=other.share.to(device))
        # from pinned memory the loop goes on while they are copied; from other memory this makes no difference
        x, y = (values.to(device, non_blocking=True) for values in (self.x, self.y))
        return replace(self, x=x, y=y, mixed=mixed)

    def cut(self, parts: int) -> tuple["Batch", ...]:
        """Return the batch in ``parts`` of equal size, in order; it holds a multiple of so many patches."""
        size, rest = divmod(len(self.ids), parts)
        assert rest == 0, f"{len(self.ids)} patches, {parts} parts"
        return tuple(self._part(slice(i * size, (i + 1) * size)) for i in range(parts))

    def _part(self, some: slice) -> "Batch":
        """Return some of the patches."""
        other = self.mixed
        mixed = None if other is None else Mixed(y=other.y[some], share=other.share[some])
        return replace(self, x=self.x[some], y=self.y[some], ids=self.ids[some], mixed=mixed)


@final
@dataclass(frozen=True, kw_only=True)
class Move:
    """One player's turn."""

    player: str
    """Whose parameters move."""
    terms: Iterable[Tensor]
    """Losses, each drawn when the one before has been sent back; their gradients add up."""
    logs: dict[str, Tensor] = field(default_factory=dict)
    """Named values to log, filled while the terms are drawn."""


@runtime_checkable
class Objective(Protocol):
    """What every objective has."""

    def opponents(self, channels: tuple[int, int]) -> dict[str, nn.Module]:
        """Return the nets that learn beside the ``generator``, which has ``channels`` in and out."""

    def moves(self, players: Mapping[str, Player], batch: Batch) -> Iterator[Move]:
        """Yield the moves of one step. Losses are means over samples, so that ranks average to the whole batch."""
