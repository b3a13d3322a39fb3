"""Level operators: each spectrum is moved or divided by its own minimum, maximum or area."""

from dataclasses import dataclass
from typing import Any, ClassVar, Final, final

import numpy as np
from jaxtyping import Float32

from tilespec.core.arrays import namespace
from tilespec.spectra.bands import Bands
from tilespec.spectra.numerics.rowwise import rowwise

ROUNDING: Final = 8 * float(np.finfo(np.float32).eps)
"""A maximum or an area below this share of the absolute values is a rounding error."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class MinimumOffset:
    """Subtract the minimum of each spectrum."""

    name: ClassVar[str] = "minimum_offset"

    def apply(self, x: Any) -> Any:
        """Return spectra whose minimum is 0."""
        x -= namespace(x).amin(x, 1)[:, None]
        return x

    def out(self, bands: Bands) -> Bands:
        """Return the same bands."""
        return bands


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class MaximumNorm:
    """Divide each spectrum by its maximum."""

    name: ClassVar[str] = "maximum_norm"

    def apply(self, x: Any) -> Any:
        """Return spectra whose maximum is 1; NaN where the maximum is not positive."""
        xp = namespace(x)
        top = xp.amax(x, 1)
        top[top <= ROUNDING * -xp.amin(x, 1)] = np.nan
        top[top <= 0] = np.nan
        x /= top[:, None]
        return x

    def out(self, bands: Bands) -> Bands:
        """Return the same bands."""
        return bands


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class AreaNorm:
    """Divide each spectrum by its area."""

    name: ClassVar[str] = "area_norm"
    widths: Float32[np.ndarray, " band"]
    """The width of each band in the unit of the axis, by which its value counts in the area."""

    def apply(self, x: Any) -> Any:
        """Return spectra whose area is 1; NaN where the area is not positive."""
        area = rowwise(x, self.widths)
        area[area <= ROUNDING * rowwise(abs(x), self.widths)] = np.nan
        x /= area[:, None]
        return x

    def out(self, bands: Bands) -> Bands:
        """Return the same bands."""
        return bands
