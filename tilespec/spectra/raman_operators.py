"""Raman operators: spikes of single bands are replaced, and spectra are shifted onto a reference."""

from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
from jaxtyping import Float32, Float64, Int64

from tilespec.spectra.bands import Bands
from tilespec.spectra.numerics.columns import columns, strips
from tilespec.spectra.numerics.registration import shifted, shifts
from tilespec.spectra.numerics.spikes import bridge, spikes


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Despike:
    """Replace spikes by the line between their neighbours, see `tilespec.spectra.numerics.spikes`."""

    name: ClassVar[str] = "despike"
    threshold: Float64[np.ndarray, ""]
    """The modified z-score above which a difference between neighbours is a spike's."""
    width: Int64[np.ndarray, ""]
    """The largest number of bands of a spike."""

    def apply(self, x: Any) -> Any:
        """Return spectra without spikes; a spectrum without any keeps its bits."""
        for part in strips(x):
            y = columns(part)
            marked = spikes(y, float(self.threshold), int(self.width))
            some = marked.any(0)
            if bool(some.any()):
                y[:, some] = bridge(y[:, some], marked[:, some])
                part[...] = y.T
        return x

    def out(self, bands: Bands) -> Bands:
        """Return the same bands."""
        return bands


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Align:
    """Shift each spectrum onto a reference, see `tilespec.spectra.numerics.registration`."""

    name: ClassVar[str] = "align"
    templates: Float32[np.ndarray, "band lag"]
    """The middle of the reference at every lag."""
    windows: Float32[np.ndarray, "band lag"]
    """Where the middle lies at every lag: 1, elsewhere 0."""
    zero: Float32[np.ndarray, ""]
    """The shift that the reference itself seems to have, the bias of the parabola."""

    def apply(self, x: Any) -> Any:
        """Return spectra at the reference's place."""
        by = shifts(x, self.templates, self.windows)
        by[by != 0] -= float(self.zero)
        return shifted(x, by)

    def out(self, bands: Bands) -> Bands:
        """Return the same bands."""
        return bands
