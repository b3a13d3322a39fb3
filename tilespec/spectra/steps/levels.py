"""Levels: each spectrum loses its minimum, or is divided by its maximum or by its area."""

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from jaxtyping import Float64

from tilespec.spectra.bands import Bands
from tilespec.spectra.level_operators import AreaNorm, MaximumNorm, MinimumOffset
from tilespec.spectra.numerics.curve_files import places
from tilespec.spectra.steps.base import Fitted, Fitting, Kind, bad_step, no_parameters, two_bands


@final
@dataclass(frozen=True, kw_only=True)
class MinOffset:
    """Subtract the minimum of each spectrum, also a negative one, so that the minimum is 0."""

    kind: ClassVar[Kind] = "plain"

    @classmethod
    def parse(cls, args: tuple[str, ...]) -> "MinOffset":
        """Return the step ``minoffset``; it has no parameters."""
        no_parameters("minoffset", args)
        return cls()

    def plan(self, bands: Bands) -> Bands:
        """Return the same bands."""
        return two_bands("minoffset", bands)

    def fit(self, on: Fitting) -> Fitted:
        """Return the operator of the subtraction."""
        del on
        return Fitted(operator=MinimumOffset())


@final
@dataclass(frozen=True, kw_only=True)
class Max:
    """Divide each spectrum by its maximum, which is 1 then; without a positive maximum the pixel is NaN."""

    kind: ClassVar[Kind] = "plain"

    @classmethod
    def parse(cls, args: tuple[str, ...]) -> "Max":
        """Return the step ``max``; it has no parameters."""
        no_parameters("max", args)
        return cls()

    def plan(self, bands: Bands) -> Bands:
        """Return the same bands."""
        return two_bands("max", bands)

    def fit(self, on: Fitting) -> Fitted:
        """Return the operator of the division."""
        del on
        return Fitted(operator=MaximumNorm())


@final
@dataclass(frozen=True, kw_only=True)
class Area:
    """Divide each spectrum by the area under it, by the trapezoid rule over the band centres.

    The integral over the axis is 1 then, and values have the inverse of its unit (1/nm). A sum over bands would weigh
    a range with dense bands more; for evenly spaced bands the two differ by the spacing and the ends alone. A pixel
    whose area is not positive is NaN.
    """

    kind: ClassVar[Kind] = "plain"

    @classmethod
    def parse(cls, args: tuple[str, ...]) -> "Area":
        """Return the step ``area``; it has no parameters."""
        no_parameters("area", args)
        return cls()

    def plan(self, bands: Bands) -> Bands:
        """Return the same bands; refuse bands that all have one centre, or no place in a spectrum."""
        if bands.count > 1 and np.ptp(places(bands, "area")) == 0:
            raise bad_step("area", f"{bands.count} bands at one place", "bands at 2 places or more")
        return two_bands("area", bands)

    def fit(self, on: Fitting) -> Fitted:
        """Return the operator of the division; without an axis the distance between two bands is 1."""
        return Fitted(operator=AreaNorm(widths=trapezoid_widths(places(on.bands, "area")).astype(np.float32)))


def trapezoid_widths(at: Float64[np.ndarray, " band"]) -> Float64[np.ndarray, " band"]:
    """Return the weights of the trapezoid rule: half the distance between the neighbours of each place."""
    order = np.argsort(at, kind="stable")
    halves, widths = np.diff(at[order]) / 2, np.zeros(len(at))
    widths[order[:-1]] += halves
    widths[order[1:]] += halves
    return widths
