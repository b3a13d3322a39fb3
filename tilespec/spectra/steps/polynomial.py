"""Polynomial backgrounds, as a step."""

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from numpy.polynomial.legendre import legvander

from tilespec.spectra.bands import Bands
from tilespec.spectra.numerics.curve_files import places
from tilespec.spectra.operators import BandMatrix
from tilespec.spectra.steps.base import Fitted, Fitting, Kind, bad_step, numbers

USAGE = "poly=ORDER, 0 <= ORDER < different places of bands - 1 (poly=3)"


@final
@dataclass(frozen=True, kw_only=True)
class PolynomialRemoval:
    """Fit a polynomial over the band centres to each spectrum by least squares, and subtract it.

    What is left sums to 0 over the bands, so its minimum is never positive; ``poly=3,minoffset`` lifts it to 0.
    """

    kind: ClassVar[Kind] = "plain"
    order: int
    """The order of the polynomial; 0 subtracts the mean."""

    def __post_init__(self) -> None:
        if self.order < 0:
            raise bad_step("poly", self.order, USAGE)

    @classmethod
    def parse(cls, args: tuple[str, ...]) -> "PolynomialRemoval":
        """Return the step ``poly=ORDER``."""
        if not args:
            raise bad_step("poly", "", USAGE)
        return cls(order=numbers("poly", args, USAGE, (int,))[0])

    def plan(self, bands: Bands) -> Bands:
        """Return the same bands; refuse an order that would leave nothing of any spectrum."""
        distinct = len(np.unique(places(bands, "poly")))
        if self.order + 1 >= distinct:
            raise bad_step("poly", f"order {self.order} on {distinct} places of bands", USAGE)
        return bands

    def fit(self, on: Fitting) -> Fitted:
        """Return the operator of the subtraction, a projection off the polynomials."""
        at = places(on.bands, "poly")
        terms = legvander(2 * (at - at.min()) / np.ptp(at) - 1, self.order)
        basis = np.linalg.qr(terms).Q
        return Fitted(operator=BandMatrix(matrix=(np.eye(len(at)) - basis @ basis.T).astype(np.float32)))
