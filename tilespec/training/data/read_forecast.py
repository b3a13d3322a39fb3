"""Read forecast: the expected reading of a stream of patches, calculated without reading.

The stream and the cache follow fixed rules, so the number of decoded pixels can be calculated beforehand.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, final

from tilespec.core.cache import Cache
from tilespec.training.data.patches import PatchStream
from tilespec.training.data.score_cache import parts, size, stored
from tilespec.training.data.training_set import TrainingRegion

EPOCHS = 2
"""The number of calculated epochs: the first fills the cache, and the second is like all later ones."""
MUCH = 0.5
"""The number of decoded pixels per used pixel, after the first epoch, from which a note gives advice."""
WINDOW = 16
"""The proposed window, with which a patch of 512 shares most of its blocks with those before it."""


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


def forecast(
    stream: PatchStream, regions: tuple[TrainingRegion, ...], *, bands: int, budget: int
) -> list[ReadForecast]:
    """Return the reading of each of the first epochs with a cache of ``budget`` bytes for ``bands`` scores and target.

    The order is that of one thread; several threads are a few patches ahead of each other.
    """
    cache: Cache[None] = Cache(budget)
    epochs = []
    for epoch in range(EPOCHS):
        decoded: list[int] = []
        for k in range(stream.length):
            patch = stream.patch(epoch * stream.length + k)
            region = regions[patch.scene]
            for part in parts(region, stream.roi(patch)):
                make = partial(decoded.append, stored(region, part))
                with cache.lent((patch.scene, part), size(region, part, bands), make):
                    pass
        epochs.append(ReadForecast(decoded=sum(decoded), used=stream.length * stream.side**2))
    return epochs


def summary(stream: PatchStream, regions: tuple[TrainingRegion, ...], *, bands: int, budget: int) -> dict[str, Any]:
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
