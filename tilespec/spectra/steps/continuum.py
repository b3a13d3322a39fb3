"""Continuum removal, as a step."""

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from tilespec.spectra.bands import Bands
from tilespec.spectra.numerics.curve_files import places
from tilespec.spectra.operators import Continuum
from tilespec.spectra.steps.base import Fitted, Fitting, Kind, bad_step

USAGE = "continuum, or continuum=subtract"
MODES = ("divide", "subtract")


@final
@dataclass(frozen=True, kw_only=True)
class ContinuumRemoval:
    """Divide each spectrum by its continuum, the upper convex hull over the band centres, or subtract it.

    Clark and Roush, J. Geophys. Res. 89 (1984) 6329-6340. Divided, a spectrum is 1 at the hull's corners and below 1 in
    absorptions; subtracted, 0 and below 0. A hull that is not positive cannot be divided by: the pixel is NaN.
    """

    kind: ClassVar[Kind] = "plain"
    mode: str = "divide"
    """The operation: ``divide`` or ``subtract``."""

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise bad_step("continuum", self.mode, USAGE)

    @classmethod
    def parse(cls, args: tuple[str, ...]) -> "ContinuumRemoval":
        """Return the step ``continuum[=divide|subtract]``."""
        if len(args) > 1:
            raise bad_step("continuum", ":".join(args), USAGE)
        return cls(mode=args[0] if args else "divide")

    def plan(self, bands: Bands) -> Bands:
        """Return the same bands; refuse a single band, and two bands with one centre."""
        at = places(bands, "continuum")
        if len(np.unique(at)) < max(2, len(at)):
            raise bad_step("continuum", f"{len(at)} bands at {len(np.unique(at))} places", "2 or more different ones")
        return bands

    def fit(self, on: Fitting) -> Fitted:
        """Return the operator of the removal; unordered bands (detectors that overlap) are sorted by centre."""
        at = places(on.bands, "continuum")
        order, mode = np.argsort(at).astype(np.int64), np.array(MODES.index(self.mode), np.int64)
        return Fitted(operator=Continuum(order=order, places=at[order], subtract=mode))
