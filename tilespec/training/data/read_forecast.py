"""Read forecast: the expected reading of a stream of patches, calculated without reading.

The stream and the cache follow fixed rules, so the number of decoded pixels can be calculated beforehand.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, final, runtime_checkable

from tilespec.core.cache import Cache
from tilespec.core.types import Roi
from tilespec.storage.blocks import edges
from tilespec.training.data.score_cache import parts, size, stored
from tilespec.training.data.training_set import TrainingRegion

EPOCHS = 2
"""The number of calculated epochs: the first fills the cache, and the second is like all later ones."""
MUCH = 0.5
"""The number of decoded pixels per used pixel, after the first epoch, from which a note gives advice."""
WINDOW = 16
"""The proposed window, with which a patch of 512 shares most of its blocks with those before it."""


@runtime_checkable
class Stream(Protocol):
    """A stream of patches, or of samples."""

    def windows(self, epoch: int) -> Iterable[tuple[int, Roi]]:
        """Return the regions that are read in an epoch in order, each with the number of its scene."""
        ...


@final
@dataclass(frozen=True, kw_only=True)
class ReadForecast:
    """The expected reading of an epoch."""

    decoded: int
    """The number of decoded pixels of stored objects."""
    used: int
    """The number of pixels of patches."""

    @property
    def amplification(self) -> float:
        """The number of decoded pixels for each used pixel."""
        return self.decoded / self.used


def forecast(stream: Stream, regions: tuple[TrainingRegion, ...], *, bands: int, budget: int) -> list[ReadForecast]:
    """Return the reading of each of the first epochs with a cache of ``budget`` bytes for ``bands`` scores and target.

    The order is that of one thread; several threads are a few patches ahead of each other.
    """
    cache: Cache[None] = Cache(budget)
    sizes = {
        (scene, part): size(region, part, bands)
        for scene, region in enumerate(regions)
        for part in parts(region, region.roi)
    }
    kept: set[tuple[int, Roi]] = set()  # blocks that are in memory and stay there
    fits, blocks_of = sum(sizes.values()) <= budget, _Blocks(regions)
    epochs = []
    for epoch in range(EPOCHS):
        decoded: list[int] = []
        used = 0
        for scene, roi in stream.windows(epoch):
            used += math.prod(roi.shape)
            for block in blocks_of(scene, roi):
                if block not in kept:
                    with cache.lent(block, sizes[block], partial(_decode, decoded, regions[scene], block[1])):
                        kept |= {block} if fits else set()
        epochs.append(ReadForecast(decoded=sum(decoded), used=used))
    return epochs


class _Blocks:
    """The blocks of windows: windows from and to the same stored objects, which most are, have the same ones."""

    def __init__(self, regions: tuple[TrainingRegion, ...]) -> None:
        self.regions, self.sides = regions, [edges(region.scene) for region in regions]
        self.known: dict[tuple[int, ...], list[tuple[int, Roi]]] = {}

    def __call__(self, scene: int, roi: Roi) -> list[tuple[int, Roi]]:
        height, width = self.sides[scene]
        key = (scene, roi.y0 // height, (roi.y1 - 1) // height, roi.x0 // width, (roi.x1 - 1) // width)
        if key not in self.known:
            self.known[key] = [(scene, part) for part in parts(self.regions[scene], roi)]
        return self.known[key]


def _decode(decoded: list[int], region: TrainingRegion, part: Roi) -> None:
    """Record that a block is decoded."""
    decoded.append(stored(region, part))


def summary(stream: Stream, regions: tuple[TrainingRegion, ...], *, bands: int, budget: int) -> dict[str, Any]:
    """Return the expected reading of a training as plain data, and notes when each pixel will be decoded repeatedly."""
    first, later = forecast(stream, regions, bands=bands, budget=budget)
    whole = sum(size(region, part, bands) for region in regions for part in parts(region, region.roi))
    notes = []
    if later.amplification > MUCH:
        notes.append(
            f"the scores of all regions take {whole} bytes and data.cache holds {budget}: each pixel of a patch costs "
            f"{later.amplification:.2f} decoded ones for ever. Raise data.cache, or set data.window={WINDOW}."
        )
    return {
        "bytes_of_scores": whole,
        "cache": budget,
        "read_amplification": {"first_epoch": first.amplification, "later_epochs": later.amplification},
        "notes": notes,
    }
