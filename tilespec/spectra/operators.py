"""Operators: the six things that a fitted recipe does to spectra.

Each maps ``pixel band`` to ``pixel band'``, pixel by pixel, and is written on the array namespace: NumPy arrays and
torch tensors (with `on_torch`) go through the same lines. An operator owns the array it is given and may overwrite it.
A pixel that cannot be mapped (a constant spectrum has no SNV) becomes NaN in at least one band.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any, ClassVar, Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64, Int64

from tilespec.spectra.rowwise import rowwise
from tilespec.types import SpectralAxis

Vector = Float32[np.ndarray, " band"]
FLAT = 8 * float(np.finfo(np.float32).eps)
"""A deviation below this share of the mean is rounding, not signal."""


@final
@dataclass(frozen=True, kw_only=True)
class Bands:
    """What the last axis of spectra is."""

    count: int
    """How many bands there are."""
    axis: SpectralAxis | None
    """Their coordinate, where it is known."""


@runtime_checkable
class Operator(Protocol):
    """What a fitted recipe is a tuple of; a frozen dataclass of arrays."""

    name: ClassVar[str]

    def apply(self, x: Any) -> Any:
        """Return the transformed ``pixel band``; ``x`` may be overwritten."""

    def out(self, bands: Bands) -> Bands:
        """Return what the bands are afterwards."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Take:
    """Keep some bands."""

    name: ClassVar[str] = "take"
    index: Int64[np.ndarray, " kept"]
    """Bands that stay, ascending."""

    def apply(self, x: Any) -> Any:
        """Return the bands that stay."""
        first, last = int(self.index[0]), int(self.index[-1]) + 1
        return x[:, first:last] if last - first == len(self.index) else x[:, self.index]

    def out(self, bands: Bands) -> Bands:
        """Return the bands that stay."""
        return Bands(count=len(self.index), axis=None if bands.axis is None else bands.axis.take(self.index))


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Normalise:
    """Subtract each spectrum's weighted mean, divide by its weighted deviation: SNV and VSN.

    ``z = c / sqrt(sum((scale * c)**2))`` with ``c = x - sum(weights * x)``. SNV (Barnes, Dhanoa and Lister, Applied
    Spectroscopy 43, 1989) has ``weights = 1/p`` and ``scale = 1/sqrt(p - 1)``.
    """

    name: ClassVar[str] = "normalise"
    weights: Vector
    """Weights of the mean; they sum to 1."""
    scale: Vector
    """Weights of the deviation."""

    def apply(self, x: Any) -> Any:
        """Return normalised spectra; NaN for a spectrum that is constant wherever the weights look."""
        mean = rowwise(x, self.weights)
        x -= mean[:, None]
        square = rowwise(x * x, self.scale * self.scale)
        square[square <= (FLAT * mean) ** 2 * float(self.scale @ self.scale)] = np.nan
        x /= (square**0.5)[:, None]
        return x

    def out(self, bands: Bands) -> Bands:
        """Return the same bands."""
        return bands


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Scatter:
    """Remove a polynomial baseline and the gain on a reference spectrum: weighted (extended) MSC.

    Each spectrum is fitted as ``gain * reference + polynomial``; what is returned is ``(x - polynomial) / gain``.
    """

    name: ClassVar[str] = "scatter"
    solve: Float32[np.ndarray, "band term"]
    """Maps spectra to coefficients: the gain first, then the polynomial's."""
    terms: Float32[np.ndarray, "term-1 band"]
    """The polynomial's terms along the bands."""

    def apply(self, x: Any) -> Any:
        """Return corrected spectra; NaN where the gain is 0."""
        found = rowwise(x, self.solve)
        gain = found[:, 0]
        gain[gain == 0] = np.nan
        x -= rowwise(found[:, 1:], self.terms)
        x /= gain[:, None]
        return x

    def out(self, bands: Bands) -> Bands:
        """Return the same bands."""
        return bands


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Linear:
    """Multiply each spectrum by a matrix: Savitzky-Golay filters."""

    name: ClassVar[str] = "linear"
    matrix: Float32[np.ndarray, "band band"]
    """Columns are filters."""

    def apply(self, x: Any) -> Any:
        """Return filtered spectra."""
        return rowwise(x, self.matrix)

    def out(self, bands: Bands) -> Bands:
        """Return the same bands."""
        return bands


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Affine:
    """Subtract an offset from each band, then multiply by a gain: min-max, scale, mean."""

    name: ClassVar[str] = "affine"
    offset: Vector
    """Subtracted from each band."""
    gain: Vector
    """Then multiplied with."""

    def apply(self, x: Any) -> Any:
        """Return scaled bands."""
        x -= self.offset
        x *= self.gain
        return x

    def out(self, bands: Bands) -> Bands:
        """Return the same bands."""
        return bands


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Project:
    """Centre, then project on principal components. ``restore(apply(x)) == x`` at full rank."""

    name: ClassVar[str] = "project"
    mean: Vector
    """Mean spectrum of the pixels it was fitted on."""
    loadings: Float32[np.ndarray, "component band"]
    """Orthonormal rows, the largest absolute loading of each positive."""
    variance: Float64[np.ndarray, " component"]
    """Variance of each component (ddof 1)."""
    ratio: Float64[np.ndarray, " component"]
    """Share of each component in the total variance."""

    def apply(self, x: Any) -> Any:
        """Return the scores."""
        x -= self.mean
        return rowwise(x, self.loadings.T)

    def restore(self, scores: Any) -> Any:
        """Return the spectra that have these scores."""
        return scores @ self.loadings + self.mean

    def out(self, bands: Bands) -> Bands:
        """Return an axis of components, numbered from 1."""
        del bands
        numbers = tuple(float(i + 1) for i in range(len(self.loadings)))
        return Bands(count=len(numbers), axis=SpectralAxis(name="component", unit="1", values=numbers))


OPERATORS: dict[str, type[Any]] = {kind.name: kind for kind in (Take, Normalise, Scatter, Linear, Affine, Project)}


def arrays(operator: Operator) -> dict[str, np.ndarray]:
    """Return the arrays of an operator by name: all that it is."""
    return dict(vars(operator))


def on_torch(operator: Operator, device: Any = "cpu") -> Callable[[Any], Any]:
    """Return ``operator.apply`` for torch tensors on ``device``: the same lines, with tensors for arrays."""
    import torch

    twin: Any = SimpleNamespace(**{key: torch.from_numpy(value).to(device) for key, value in arrays(operator).items()})
    return partial(type(operator).apply, twin)
