"""Savitzky-Golay smoothing and derivatives as a matrix for the actual band centres."""

from dataclasses import dataclass
from math import factorial
from typing import ClassVar, final

import numpy as np
from jaxtyping import Float64

from tilespec.spectra.bands import Bands
from tilespec.spectra.operators import BandMatrix
from tilespec.spectra.steps.base import Fitted, Fitting, Kind, bad_step, numbers

USAGE = "sg=WINDOW:POLYORDER[:DERIVATIVE], WINDOW odd, DERIVATIVE <= POLYORDER < WINDOW <= bands (sg=11:2:1)"


@final
@dataclass(frozen=True, kw_only=True)
class SavGol:
    """Fit a polynomial to the bands around each band; return its value or derivative there.

    Savitzky and Golay, Analytical Chemistry 36 (1964). Derivatives are per unit of the spectral coordinate (per nm),
    or per band without one. The first and the last bands take their values from the polynomial of the outermost full
    window.
    """

    kind: ClassVar[Kind] = "plain"
    window: int
    """The number of bands that a polynomial is fitted to; odd."""
    polyorder: int
    """The degree of the polynomial."""
    deriv: int
    """The order of the derivative; 0 smooths."""

    def __post_init__(self) -> None:
        if self.window % 2 == 0 or not 0 <= self.deriv <= self.polyorder < self.window:
            raise bad_step("sg", f"{self.window}:{self.polyorder}:{self.deriv}", USAGE)

    @classmethod
    def parse(cls, args: tuple[str, ...]) -> "SavGol":
        """Return the step ``sg=WINDOW:POLYORDER[:DERIVATIVE]``."""
        values = numbers("sg", args, USAGE, (int, int, int))
        if len(values) < 2:
            raise bad_step("sg", ":".join(args), USAGE)
        return cls(window=values[0], polyorder=values[1], deriv=values[2] if len(values) == 3 else 0)

    def plan(self, bands: Bands) -> Bands:
        """Return the same bands; refuse a window that is wider than the spectrum."""
        if self.window > bands.count:
            raise bad_step("sg", f"a window of {self.window} on {bands.count} bands", USAGE)
        return bands

    def fit(self, on: Fitting) -> Fitted:
        """Return the operator of the filters' matrix."""
        places = np.arange(on.bands.count) if on.bands.axis is None else np.asarray(on.bands.axis.values)
        return Fitted(operator=BandMatrix(matrix=filters(self, places.astype(np.float64)).astype(np.float32)))


def filters(step: SavGol, places: Float64[np.ndarray, " band"]) -> Float64[np.ndarray, "band band"]:
    """Return the filter matrix ``band band``, by which spectra (as rows) are multiplied.

    For evenly spaced bands it equals `scipy.signal.savgol_filter` with ``mode="interp"``; for others the polynomials
    are fitted at the actual centres, where a filter with fixed coefficients would be wrong.
    """
    p, half = len(places), step.window // 2
    matrix = np.zeros((p, p))
    powers = np.arange(step.polyorder + 1)
    for band in range(p):
        start = min(max(band - half, 0), p - step.window)
        around = places[start : start + step.window]
        unit = np.abs(around - places[band]).max() or 1.0  # keeps the powers near 1
        fit = np.linalg.pinv(((around - places[band]) / unit)[:, None] ** powers)
        matrix[start : start + step.window, band] = fit[step.deriv] * factorial(step.deriv) / unit**step.deriv
    return matrix
