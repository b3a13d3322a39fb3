"""What stored values stand for: absorbance from reflectance, and back; linear light from sRGB."""

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from tilespec.spectra.bands import Bands
from tilespec.spectra.operators import Absorb, Light
from tilespec.spectra.steps.base import Fitted, Fitting, Kind, no_parameters


@final
@dataclass(frozen=True, kw_only=True)
class Absorbance:
    """``-log10 R``. A pixel with a value <= 0 has no absorbance: it is NaN, and counted with the invalid ones."""

    kind: ClassVar[Kind] = "plain"

    @classmethod
    def parse(cls, args: tuple[str, ...]) -> "Absorbance":
        """Return ``absorbance``."""
        no_parameters("absorbance", args)
        return cls()

    def plan(self, bands: Bands) -> Bands:
        """Return the same bands."""
        return bands

    def fit(self, on: Fitting) -> Fitted:
        """Return the logarithm."""
        del on
        return Fitted(operator=Absorb(back=np.array(0, np.int64)))


@final
@dataclass(frozen=True, kw_only=True)
class Reflectance:
    """``10**-A``: what absorbance was made from."""

    kind: ClassVar[Kind] = "plain"

    @classmethod
    def parse(cls, args: tuple[str, ...]) -> "Reflectance":
        """Return ``reflectance``."""
        no_parameters("reflectance", args)
        return cls()

    def plan(self, bands: Bands) -> Bands:
        """Return the same bands."""
        return bands

    def fit(self, on: Fitting) -> Fitted:
        """Return the power."""
        del on
        return Fitted(operator=Absorb(back=np.array(1, np.int64)))


@final
@dataclass(frozen=True, kw_only=True)
class LinearLight:
    """sRGB, 0 to 1, to what it encodes: values in proportion to light, as spectra are."""

    kind: ClassVar[Kind] = "plain"

    @classmethod
    def parse(cls, args: tuple[str, ...]) -> "LinearLight":
        """Return ``light``."""
        no_parameters("light", args)
        return cls()

    def plan(self, bands: Bands) -> Bands:
        """Return the same bands."""
        return bands

    def fit(self, on: Fitting) -> Fitted:
        """Return the decoding."""
        del on
        return Fitted(operator=Light())
