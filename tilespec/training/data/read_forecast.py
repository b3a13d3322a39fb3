"""Read forecast: what a stream of patches will take from its stores, foreseen without reading them.

The stream is a law and the cache forgets by a rule, so what is decoded can be counted beforehand.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, final

from tilespec.core.cache import Cache
from tilespec.training.data.corpus import Ground
from tilespec.training.data.patches import Law
from tilespec.training.data.score_cache import parts, size, stored

EPOCHS = 2
"""The first fills the cache, and the second is as all after it."""
MUCH = 0.5
"""Pixels decoded for each pixel used, after the first epoch, from which on a note says what would help."""
WINDOW = 16
"""A window that is proposed: a patch of 512 then shares most of its blocks with those before it."""


@final
@dataclass(frozen=True, kw_only=True)
class Foreseen:
    """What an epoch reads."""

    decoded: int
    """Pixels of stored objects."""
    used: int
    """Pixels of patches."""

    @property
    def amplification(self) -> float:
        """Pixels decoded for each pixel used."""
        return self.decoded / self.used


def foreseen(law: Law, grounds: tuple[Ground, ...], *, bands: int, budget: int) -> list[Foreseen]:
    """Return what each of the first epochs reads through a cache of ``budget`` bytes of ``bands`` scores and truth.

    One thread's order; several threads are a few patches ahead of each other.
    """
    cache: Cache[None] = Cache(budget)
    epochs = []
    for epoch in range(EPOCHS):
        decoded: list[int] = []
        for k in range(law.length):
            patch = law.patch(epoch * law.length + k)
            ground = grounds[patch.scene]
            for part in parts(ground, law.roi(patch)):
                make = partial(decoded.append, stored(ground, part))
                with cache.lent((patch.scene, part), size(ground, part, bands), make):
                    pass
        epochs.append(Foreseen(decoded=sum(decoded), used=law.length * law.side**2))
    return epochs


def summary(law: Law, grounds: tuple[Ground, ...], *, bands: int, budget: int) -> dict[str, Any]:
    """Return, as plain data, what a training will read, and notes when each pixel will be decoded again and again."""
    first, later = foreseen(law, grounds, bands=bands, budget=budget)
    whole = sum(size(ground, part, bands) for ground in grounds for part in parts(ground, ground.roi))
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
