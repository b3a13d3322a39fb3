"""Absorbance from reflectance, and back; linear light from sRGB."""

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from tilespec.spectra.bands import Bands
from tilespec.spectra.operators import Absorb, Light
from tilespec.spectra.steps.base import Fitted, Fitting, Kind, no_parameters


@final
@dataclass(frozen=True, kw_only=True)
class Absorbance:
    """Absorbance ``-log10 R``; a pixel with a value <= 0 becomes NaN and counts as invalid."""

    kind: ClassVar[Kind] = "plain"

    @classmethod
    def parse(cls, args: tuple[str, ...]) -> "Absorbance":
        """Return the step ``absorbance``; it has no parameters."""
        no_parameters("absorbance", args)
        return cls()

    def plan(self, bands: Bands) -> Bands:
        """Return the same bands."""
        return bands

    def fit(self, on: Fitting) -> Fitted:
        """Return the operator of the logarithm."""
        del on
        return Fitted(operator=Absorb(back=np.array(0, np.int64)))


@final
@dataclass(frozen=True, kw_only=True)
class Reflectance:
    """Reflectance ``10**-A`` from absorbance."""

    kind: ClassVar[Kind] = "plain"

    @classmethod
    def parse(cls, args: tuple[str, ...]) -> "Reflectance":
        """Return the step ``reflectance``; it has no parameters."""
        no_parameters("reflectance", args)
        return cls()

    def plan(self, bands: Bands) -> Bands:
        """Return the same bands."""
        return bands

    def fit(self, on: Fitting) -> Fitted:
        """Return the operator of the power."""
        del on
        return Fitted(operator=Absorb(back=np.array(1, np.int64)))


@final
@dataclass(frozen=True, kw_only=True)
class LinearLight:
    """Linear light from sRGB values of 0 to 1; the results are proportional to light, as spectra are."""

    kind: ClassVar[Kind] = "plain"

    @classmethod
    def parse(cls, args: tuple[str, ...]) -> "LinearLight":
        """Return the step ``light``; it has no parameters."""
        no_parameters("light", args)
        return cls()

    def plan(self, bands: Bands) -> Bands:
        """Return the same bands."""
        return bands

    def fit(self, on: Fitting) -> Fitted:
        """Return the operator of the decoding."""
        del on
        return Fitted(operator=Light())
