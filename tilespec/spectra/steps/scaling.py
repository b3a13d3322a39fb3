"""Scaling of bands by statistics of every pixel (min-max, standard deviation, mean), or by a known range."""

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from tilespec.core.errors import UserError
from tilespec.spectra.bands import Bands
from tilespec.spectra.operators import Affine, Project
from tilespec.spectra.statistics import Spread
from tilespec.spectra.steps.base import Fitted, Fitting, Kind, bad_step, no_parameters, numbers


def spread_of(on: Fitting) -> Spread:
    """Return the spread of every band from a pass over all pixels."""
    shift = on.sample.mean(axis=0, dtype=np.float64).astype(np.float32)
    spread: Spread = on.reduce(Spread.zero(shift))
    if spread.n == 0:
        raise UserError("fit", found="no valid pixel", expected="at least one", do="Choose another region.")
    return spread


def spread_facts(spread: Spread) -> dict[str, int]:
    """Return the counts of valid and invalid pixels of a pass."""
    return {
        "pixels": spread.n,
        "invalid_pixels": spread.invalid,
        "constant_bands": int((spread.high == spread.low).sum()),
    }


@final
@dataclass(frozen=True, kw_only=True)
class Spanning:
    """Map a range that is known beforehand to -1..1, the same for all bands: ``span=0:1`` for sRGB."""

    kind: ClassVar[Kind] = "plain"

    low: float
    """The value that becomes -1."""
    high: float
    """The value that becomes 1."""

    @classmethod
    def parse(cls, args: tuple[str, ...]) -> "Spanning":
        """Return the step ``span=LOW:HIGH``."""
        usage = "span=LOW:HIGH with LOW < HIGH"
        ends = numbers("span", args, usage, (float, float))
        if len(ends) != 2 or not -np.inf < ends[0] < ends[1] < np.inf:
            raise bad_step("span", ":".join(args), usage)
        return cls(low=ends[0], high=ends[1])

    def plan(self, bands: Bands) -> Bands:
        """Return the same bands."""
        return bands

    def fit(self, on: Fitting) -> Fitted:
        """Return the scaling; it needs no data."""
        ones = np.ones(on.bands.count, np.float32)
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        return Fitted(operator=Affine(offset=ones * np.float32(middle), gain=ones * np.float32(1 / half)))


@final
@dataclass(frozen=True, kw_only=True)
class MinMax:
    """Map the range of each band over all pixels, or that of all bands, to 0..1; a constant range becomes 0."""

    kind: ClassVar[Kind] = "folded"

    shared: bool = False
    """Whether all bands have one range, so that the shape of a spectrum remains."""

    @classmethod
    def parse(cls, args: tuple[str, ...]) -> "MinMax":
        """Return the step ``minmax``, for each band, or ``minmax=shared``."""
        if args not in ((), ("shared",)):
            raise bad_step("minmax", ":".join(args), "minmax, or minmax=shared for one range of all bands")
        return cls(shared=bool(args))

    def plan(self, bands: Bands) -> Bands:
        """Return the same bands."""
        return bands

    def fit(self, on: Fitting) -> Fitted:
        """Return the scaling by the range of each band."""
        spread = spread_of(on)
        low, high = (spread.low.astype(np.float64), spread.high.astype(np.float64))
        if self.shared:
            low, high = np.full_like(low, low.min()), np.full_like(high, high.max())
        width = high - low
        gain = 1 / np.where(width > 0, width, 1)
        return Fitted(
            operator=Affine(offset=low.astype(np.float32), gain=gain.astype(np.float32)), facts=spread_facts(spread)
        )


@final
@dataclass(frozen=True, kw_only=True)
class Scale:
    """Divide each band, or component, by its standard deviation over all pixels, without centring.

    Just after a PCA the deviations are the roots of its eigenvalues, and no pass is needed.
    """

    kind: ClassVar[Kind] = "folded"
    takes_deviations: ClassVar[bool] = True

    @classmethod
    def parse(cls, args: tuple[str, ...]) -> "Scale":
        """Return the step ``scale``; it has no parameters."""
        no_parameters("scale", args)
        return cls()

    def plan(self, bands: Bands) -> Bands:
        """Return the same bands."""
        return bands

    def fit(self, on: Fitting) -> Fitted:
        """Return the division by deviations; a constant band is divided by 1."""
        last = on.before[-1] if on.before else None
        if isinstance(last, Project):
            deviation, facts = np.sqrt(last.variance), {}
        else:
            spread = spread_of(on)
            deviation, facts = spread.finish(), spread_facts(spread)
        gain = (1 / np.where(deviation > 0, deviation, 1)).astype(np.float32)
        return Fitted(operator=Affine(offset=np.zeros_like(gain), gain=gain), facts=facts)


@final
@dataclass(frozen=True, kw_only=True)
class Centre:
    """Subtract the mean spectrum of all pixels."""

    kind: ClassVar[Kind] = "folded"

    @classmethod
    def parse(cls, args: tuple[str, ...]) -> "Centre":
        """Return the step ``mean``; it has no parameters."""
        no_parameters("mean", args)
        return cls()

    def plan(self, bands: Bands) -> Bands:
        """Return the same bands."""
        return bands

    def fit(self, on: Fitting) -> Fitted:
        """Return the subtraction of the mean."""
        spread = spread_of(on)
        mean = spread.mean.astype(np.float32)
        return Fitted(operator=Affine(offset=mean, gain=np.ones_like(mean)), facts=spread_facts(spread))


@final
@dataclass(frozen=True, kw_only=True)
class Autoscale:
    """Subtract the mean spectrum of all pixels, divide each band by its standard deviation (ddof 1)."""

    kind: ClassVar[Kind] = "folded"

    @classmethod
    def parse(cls, args: tuple[str, ...]) -> "Autoscale":
        """Return the step ``autoscale``; it has no parameters."""
        no_parameters("autoscale", args)
        return cls()

    def plan(self, bands: Bands) -> Bands:
        """Return the same bands."""
        return bands

    def fit(self, on: Fitting) -> Fitted:
        """Return the scaling; a constant band becomes 0."""
        spread = spread_of(on)
        deviation = spread.finish()
        gain = 1 / np.where(deviation > 0, deviation, 1)
        affine = Affine(offset=spread.mean.astype(np.float32), gain=gain.astype(np.float32))
        return Fitted(operator=affine, facts=spread_facts(spread))
