"""Colours: how different predicted and true spectra look to an eye, as a fold: CIEDE2000, mean over pixels."""

from dataclasses import dataclass, replace
from typing import Any, Final, final

import numpy as np
from jaxtyping import Float64

from tilespec.core.errors import UserError
from tilespec.core.types import SpectralAxis
from tilespec.evaluate.metrics.channel_errors import PIECE, FieldPair
from tilespec.evaluate.options import ScoreOptions

NO_COLOUR: Final = "none"
"""The illuminant under which nothing is seen, for those who want no colours."""
BRIGHT: Final = 2.0
"""True values above this share of white are in another unit, not glossy."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Colours:
    """Sums of colour differences, over pixels that have every channel in both. A fold over (truth, prediction)."""

    observer: Any
    """A `tilespec.spectra.colour.observer.Observer`: its ``lab`` takes spectra ``pixel band`` of which 1 is white."""
    white: float
    """The value that is white."""
    sums: Float64[np.ndarray, "3"]
    """Pixels, sum of the differences, and of their squares."""
    high: float = 0.0
    """Largest true value, as a share of white."""

    ADDS = ("sums",)
    """Fields that are sums, and so can be weighted."""

    def of(self, block: FieldPair, origin: tuple[int, int] = (0, 0)) -> "Colours":
        """Return the differences of one block; where it lies does not matter."""
        del origin
        total = replace(self, sums=np.zeros(3), high=0.0)
        step = max(1, PIECE // max(block[0, 0].size, 1))
        for y in range(0, block.shape[1], step):
            total = total + self._piece(block[:, y : y + step].reshape(2, -1, block.shape[3]))
        return total

    def __add__(self, other: "Colours") -> "Colours":
        return replace(self, sums=self.sums + other.sums, high=max(self.high, other.high))

    def finish(self) -> dict[str, Any]:
        """Return mean and population deviation of CIEDE2000; neither, but ``delta_e_high``, where 1 cannot be white.

        Spectra are shares of the illuminant's light, or light themselves (``radiance``); negative values count as 0
        here, and only here.
        """
        pixels, total, square = self.sums.tolist()
        if not pixels or self.high > BRIGHT:
            return {"delta_e": None, "delta_e_std": None} | ({"delta_e_high": self.high} if pixels else {})
        mean = total / pixels
        return {"delta_e": mean, "delta_e_std": float(np.sqrt(max(square / pixels - mean**2, 0.0)))}

    def _piece(self, pair: Any) -> "Colours":
        """Return the differences of some pixels, ``2 pixel channel``."""
        from tilespec.spectra.colour.lab import ciede2000

        seen = pair[:, np.isfinite(pair).all(axis=(0, 2))].astype(np.float64) / self.white
        difference = ciede2000(*(self.observer.lab(spectra) for spectra in seen))
        sums = np.array([len(difference), difference.sum(), difference @ difference])
        return replace(self, sums=sums, high=float(seen[0].max(initial=0.0)))


def colours_of(axis: SpectralAxis | None, asked: ScoreOptions) -> tuple[tuple[Colours, ...], tuple[str, ...]]:
    """Return the fold of colours, or none and why; without a word where channels are no wavelengths, or none is asked.

    Raises:
        UserError: an unknown illuminant.
    """
    if axis is None or axis.name != "wavelength" or asked.illuminant == NO_COLOUR:
        return (), ()
    from tilespec.spectra.colour.observer import Observer

    try:
        Observer.at(axis.values, "E")
    except UserError as error:
        return (), (f"no colour difference: {error}",)
    observer = Observer.at(axis.values, asked.illuminant, radiance=asked.radiance)
    return (Colours(observer=observer, white=asked.whole, sums=np.zeros(3)),), ()
