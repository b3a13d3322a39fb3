"""Read forecast: the expected reading of a stream of patches, calculated without reading.

The stream and the cache follow fixed rules, so the number of decoded pixels can be calculated beforehand.
"""

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Protocol, final, runtime_checkable

from tilespec.core.cache import Cache
from tilespec.core.types import Roi
from tilespec.training.data.score_cache import parts, size, stored
from tilespec.training.data.training_set import TrainingRegion

EPOCHS = 2
"""The number of calculated epochs: the first fills the cache, and the second is like all later ones."""
MUCH = 0.5
"""The number of decoded pixels per used pixel, after the first epoch, from which a note gives advice."""
NEVER = (-1, Roi(y0=0, y1=1, x0=0, x1=1))
"""A block that no patch has, for blocks that are not all in memory at once."""
WINDOW = 16
"""The proposed window, with which a patch of 512 shares most of its blocks with those before it."""


@runtime_checkable
class Stream(Protocol):
    """A stream of patches, or of samples."""

    @property
    def length(self) -> int:
        """The number of patches, or samples, in an epoch."""
        ...

    def pixels(self, epoch: int) -> int:
        """Return the number of pixels that are read for all patches, or samples, of an epoch."""
        ...

    def windows(self, index: int) -> list[tuple[int, Roi]]:
        """Return the regions that are read for number ``index``, each with the number of its scene."""
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
    size_of = lru_cache(lambda scene, part: size(regions[scene], part, bands))  # of few parts, asked for each patch
    missing = {(scene, part) for scene, region in enumerate(regions) for part in parts(region, region.roi)}
    if sum(size_of(*block) for block in missing) > budget:
        missing.add(NEVER)
    epochs = []
    for epoch in range(EPOCHS):
        decoded: list[int] = []
        for k in range(stream.length):
            if not missing:  # all blocks are in memory, and stay there: whatever follows decodes nothing
                break
            for scene, roi in stream.windows(epoch * stream.length + k):
                for part in parts(regions[scene], roi):
                    make = partial(_decode, decoded, regions[scene], part)
                    with cache.lent((scene, part), size_of(scene, part), make):
                        missing.discard((scene, part))
        epochs.append(ReadForecast(decoded=sum(decoded), used=stream.pixels(epoch)))
    return epochs


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
