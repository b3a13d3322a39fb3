"""Base: the interface of an objective: batches, players, and moves."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, final, runtime_checkable

from jaxtyping import Bool, Float, Float32, Shaped, UInt8
from torch import Tensor, nn

from tilespec.training.player import Player


@final
@dataclass(frozen=True, kw_only=True)
class Mixed:
    """The second targets of mixed patches (mixup), whose losses are weighted by shares."""

    y: UInt8[Tensor, "batch y x"]
    """The targets of the partners: classes, 255 = unlabelled. Targets of values are mixed themselves."""
    share: Float32[Tensor, " batch"]
    """The share of each patch in its mixture, 0 to 1; the partner has the remainder."""


@final
@dataclass(frozen=True, kw_only=True)
class Batch:
    """The patches of one rank at one step."""

    x: Float32[Tensor, "batch band y x"]
    """What the recipe gives, in channels-last memory."""
    y: Shaped[Tensor, "batch y2 x2"] | Float32[Tensor, "batch channel y2 x2"]
    """What it should answer, on the output plane: classes, 255 = unlabelled; or values, NaN = unknown."""
    ids: tuple[int, ...]
    """The positions of the patches in the stream of all ranks, which seed dropout."""
    step: int = 0
    """The number of the step, for objectives whose players alternate."""
    mixed: Mixed | None = None
    """The second targets of mixed patches; None without mixing."""

    def to(self, device: str) -> "Batch":
        """Return the batch on a device."""
        other = self.mixed
        mixed = None if other is None else Mixed(y=other.y.to(device), share=other.share.to(device))
        # from pinned memory the loop goes on while they are copied; from other memory this makes no difference
        x, y = (values.to(device, non_blocking=True) for values in (self.x, self.y))
        return replace(self, x=x, y=y, mixed=mixed)

    def cut(self, parts: int) -> tuple["Batch", ...]:
        """Return the batch in ``parts`` of equal size, in order; the number of patches is a multiple of ``parts``."""
        size, rest = divmod(len(self.ids), parts)
        assert rest == 0, f"{len(self.ids)} patches, {parts} parts"
        return tuple(self._part(slice(i * size, (i + 1) * size)) for i in range(parts))

    def dealt(self, parts: int) -> tuple["Batch", ...]:
        """Return the batch in ``parts`` of equal size, each with every ``parts``-th patch.

        Those of all ranks are then together those of the whole batch, because each rank has a slice of it.
        """
        assert len(self.ids) % parts == 0, f"{len(self.ids)} patches, {parts} parts"
        return tuple(self._part(slice(i, None, parts)) for i in range(parts))

    def _part(self, some: slice) -> "Batch":
        """Return some of the patches."""
        other = self.mixed
        mixed = None if other is None else Mixed(y=other.y[some], share=other.share[some])
        return replace(self, x=self.x[some], y=self.y[some], ids=self.ids[some], mixed=mixed)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class MapTile:
    """A part of the map of a sample: pixels of its own, and one more row and column where the map goes on.

    A pair of neighbours belongs to its upper, or left, pixel, so each pair of the map belongs to one tile.
    """

    x: Float[Tensor, "1 band y x"]
    """What the recipe gives where the net must look for the part."""
    mask: Bool[Tensor, "y2 x2"]
    """Which pixels of the part belong to the sample."""
    corner: tuple[int, int]
    """The pixel of the net's output, y and x, where the part begins."""
    own: tuple[int, int]
    """The height and the width of the tile's own pixels."""

    def to(self, device: str) -> "MapTile":
        """Return the tile on a device."""
        x, mask = (values.to(device, non_blocking=True) for values in (self.x, self.mask))
        return replace(self, x=x, mask=mask)

    def within(self, answer: Float[Tensor, "1 channel y3 x3"]) -> Float[Tensor, "channel y2 x2"]:
        """Return the part of what the net answers to ``x``."""
        (top, left), (height, width) = self.corner, self.mask.shape
        return answer[0, :, top : top + height, left : left + width]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class TiledSample:
    """A whole sample with its reference numbers, whose map is computed tile by tile."""

    references: tuple[float, ...]
    """The number of each quantity, NaN where there is none."""
    count: int
    """The number of its tiles."""
    tiles: Callable[[], Iterator[MapTile]]
    """The function that reads the tiles, each time anew and in the same order."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SampleBatch:
    """The whole samples of one rank at one step, which differ in size."""

    samples: tuple[TiledSample, ...]
    """The samples of the batch, each as a whole."""
    ids: tuple[int, ...]
    """The positions of the samples in the stream of all ranks."""
    step: int = 0
    """The number of the step."""
    device: str = "cpu"
    """The device to which tiles are brought."""

    def to(self, device: str) -> "SampleBatch":
        """Return the batch with its tiles on a device, each when it is read."""
        return replace(self, device=device)

    def tiles(self, sample: TiledSample) -> Iterator[MapTile]:
        """Yield the tiles of a sample on the device."""
        return (tile.to(self.device) for tile in sample.tiles())

    def cut(self, parts: int) -> tuple["SampleBatch", ...]:
        """Return the batch in ``parts`` of equal size, in order; the number of samples is a multiple of ``parts``."""
        size, rest = divmod(len(self.ids), parts)
        assert rest == 0, f"{len(self.ids)} samples, {parts} parts"
        cuts = (slice(i * size, (i + 1) * size) for i in range(parts))
        return tuple(replace(self, samples=self.samples[some], ids=self.ids[some]) for some in cuts)


Items = Batch | SampleBatch
"""What a step learns from."""


@final
@dataclass(frozen=True, kw_only=True)
class Move:
    """One optimisation step of one player."""

    player: str
    """The name of the player whose parameters change."""
    terms: Iterable[Tensor]
    """The losses, each drawn after the backward pass of the one before; their gradients are added."""
    logs: dict[str, Tensor] = field(default_factory=dict)
    """The named values for the log, which are set while the terms are drawn."""


@runtime_checkable
class Objective(Protocol):
    """The interface of every objective."""

    def opponents(self, channels: tuple[int, int]) -> dict[str, nn.Module]:
        """Return the nets that are trained together with the ``generator``, which has ``channels`` in and out."""

    def moves(self, players: Mapping[str, Player], batch: Any) -> Iterator[Move]:
        """Yield the moves of one step. Losses are means over samples, so their mean over ranks is that of the batch.

        The ``batch`` is a `Batch` of patches, or a `SampleBatch` where the targets of the task are references. An
        objective whose number of terms may differ between ranks has an attribute ``uneven = True``.
        """
