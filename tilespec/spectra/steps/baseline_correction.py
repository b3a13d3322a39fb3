"""Baseline: asymmetric least squares baselines as steps."""

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from tilespec.spectra.bands import Bands
from tilespec.spectra.operators import Baseline
from tilespec.spectra.steps.base import Fitted, Fitting, Kind, bad_step, numbers, two_bands

ALS = "als[=LAMBDA[:P[:ITERATIONS]]], LAMBDA > 0 (1e5), 0 < P < 1 (0.01), ITERATIONS >= 0 (20)"
ARPLS = "arpls[=LAMBDA[:ITERATIONS]], LAMBDA > 0 (1e5), ITERATIONS >= 0 (50)"
LARGEST = 1e10
"""The largest lambda; above it, float64 rounding errors dominate the baseline."""


@final
@dataclass(frozen=True, kw_only=True)
class Als:
    """Subtract the asymmetric least squares baseline (Eilers and Boelens 2005): smooth, and below positive peaks.

    Bands are treated as evenly spaced, as in the paper.
    """

    kind: ClassVar[Kind] = "plain"
    smoothness: float = 1e5
    """The parameter lambda, 1e2 (flexible) to 1e9 (stiff); it scales with the fourth power of the number of bands."""
    asymmetry: float = 0.01
    """The parameter p, the weight of bands above the baseline: 0.001 to 0.1."""
    iterations: int = 20
    """The largest number of iterations of the weights; spectra whose weights are constant end earlier."""

    def __post_init__(self) -> None:
        if not (0 < self.smoothness <= LARGEST and 0 < self.asymmetry < 1 and self.iterations >= 0):
            raise bad_step("als", f"{self.smoothness:g}:{self.asymmetry:g}:{self.iterations}", ALS)

    @classmethod
    def parse(cls, args: tuple[str, ...]) -> "Als":
        """Return the step ``als[=LAMBDA[:P[:ITERATIONS]]]``."""
        values = numbers("als", args, ALS, (float, float, int))
        return cls(**dict(zip(("smoothness", "asymmetry", "iterations"), values, strict=False)))

    def plan(self, bands: Bands) -> Bands:
        """Return the same bands."""
        return two_bands("als", bands)

    def fit(self, on: Fitting) -> Fitted:
        """Return the operator of the subtraction."""
        del on
        return Fitted(operator=_baseline(self.smoothness, self.asymmetry, self.iterations))


@final
@dataclass(frozen=True, kw_only=True)
class Arpls:
    """Subtract the asymmetrically reweighted baseline (Baek et al. 2015), which needs no asymmetry parameter."""

    kind: ClassVar[Kind] = "plain"
    smoothness: float = 1e5
    """The parameter lambda, as in `Als`."""
    iterations: int = 50
    """The largest number of iterations; spectra whose weights change by less than 0.1 % end earlier."""

    def __post_init__(self) -> None:
        if not (0 < self.smoothness <= LARGEST and self.iterations >= 0):
            raise bad_step("arpls", f"{self.smoothness:g}:{self.iterations}", ARPLS)

    @classmethod
    def parse(cls, args: tuple[str, ...]) -> "Arpls":
        """Return the step ``arpls[=LAMBDA[:ITERATIONS]]``."""
        values = numbers("arpls", args, ARPLS, (float, int))
        return cls(**dict(zip(("smoothness", "iterations"), values, strict=False)))

    def plan(self, bands: Bands) -> Bands:
        """Return the same bands."""
        return two_bands("arpls", bands)

    def fit(self, on: Fitting) -> Fitted:
        """Return the operator of the subtraction."""
        del on
        return Fitted(operator=_baseline(self.smoothness, 0.0, self.iterations))


def _baseline(smoothness: float, asymmetry: float, iterations: int) -> Baseline:
    return Baseline(
        smoothness=np.array(smoothness, np.float64),
        asymmetry=np.array(asymmetry, np.float64),
        iterations=np.array(iterations, np.int64),
    )
