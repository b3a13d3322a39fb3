"""Colours: the mean colour difference CIEDE2000 between predicted and true spectra, as a statistic."""

from dataclasses import dataclass, replace
from typing import Any, Final, final

import numpy as np
from jaxtyping import Float64

from tilespec.core.errors import UserError
from tilespec.core.types import SpectralAxis
from tilespec.evaluate.metrics.channel_errors import PIECE, FieldPair
from tilespec.evaluate.options import ScoreOptions

NO_COLOUR: Final = "none"
"""The name of the illuminant with which no colours are compared."""
BRIGHT: Final = 2.0
"""The share of white above which true values must be in another unit."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Colours:
    """Sums of colour differences over pixels with every channel in both; a statistic of (truth, prediction)."""

    observer: Any
    """The `tilespec.spectra.colour.observer.Observer`; its ``lab`` takes spectra ``pixel band`` in which 1 is white."""
    white: float
    """The value of white."""
    sums: Float64[np.ndarray, "3"]
    """The number of pixels, the sum of the differences, and the sum of their squares."""
    high: float = 0.0
    """The largest true value as a share of white."""

    ADDS = ("sums",)
    """The names of the fields that are sums, and so can be weighted."""

    def of(self, block: FieldPair, origin: tuple[int, int] = (0, 0)) -> "Colours":
        """Return the differences of one block; its position does not matter."""
        del origin
        total = replace(self, sums=np.zeros(3), high=0.0)
        step = max(1, PIECE // max(block[0, 0].size, 1))
        for y in range(0, block.shape[1], step):
            total = total + self._piece(block[:, y : y + step].reshape(2, -1, block.shape[3]))
        return total

    def __add__(self, other: "Colours") -> "Colours":
        return replace(self, sums=self.sums + other.sums, high=max(self.high, other.high))

    def finish(self) -> dict[str, Any]:
        """Return the mean and the population deviation of CIEDE2000, or only ``delta_e_high`` if 1 cannot be white.

        Spectra are shares of the illuminant's light, or radiance (``radiance``); negative values count as 0 here, and
        only here.
        """
        pixels, total, square = self.sums.tolist()
        if not pixels or self.high > BRIGHT:
            return {"delta_e": None, "delta_e_std": None} | ({"delta_e_high": self.high} if pixels else {})
        mean = total / pixels
        return {"delta_e": mean, "delta_e_std": float(np.sqrt(max(square / pixels - mean**2, 0.0)))}

    def _piece(self, pair: Any) -> "Colours":
        """Return the differences of some pixels, ``2 pixel channel``."""
        from tilespec.spectra.colour.lab import ciede2000

        spectra_pair = pair[:, np.isfinite(pair).all(axis=(0, 2))].astype(np.float64) / self.white
        difference = ciede2000(*(self.observer.lab(spectra) for spectra in spectra_pair))
        sums = np.array([len(difference), difference.sum(), difference @ difference])
        return replace(self, sums=sums, high=float(spectra_pair[0].max(initial=0.0)))


def colours_of(axis: SpectralAxis | None, options: ScoreOptions) -> tuple[tuple[Colours, ...], tuple[str, ...]]:
    """Return the statistic of colours and notes; without colours a note gives the reason, unless none are requested.

    Raises:
        UserError: the illuminant is unknown.
    """
    if axis is None or axis.name != "wavelength" or options.illuminant == NO_COLOUR:
        return (), ()
    from tilespec.spectra.colour.observer import Observer

    try:
        Observer.at(axis.values, "E")
    except UserError as error:
        return (), (f"no colour difference: {error}",)
    observer = Observer.at(axis.values, options.illuminant, radiance=options.radiance)
    return (Colours(observer=observer, white=options.whole, sums=np.zeros(3)),), ()
