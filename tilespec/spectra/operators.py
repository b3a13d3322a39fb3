"""Operators: what a fitted recipe does to spectra.

Each maps ``pixel band`` to ``pixel band'``, pixel by pixel, and is written on the array namespace: NumPy arrays and
torch tensors (with `on_torch`) go through the same lines. An operator owns the array it is given and may overwrite it.
A pixel that cannot be mapped (a constant spectrum has no SNV) becomes NaN in every band.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any, ClassVar, Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64, Int64

from tilespec.core.types import SpectralAxis
from tilespec.spectra.bands import Bands
from tilespec.spectra.numerics.hull import upper_hull
from tilespec.spectra.numerics.namespace import columns, namespace, strips
from tilespec.spectra.numerics.rowwise import rowwise
from tilespec.spectra.numerics.srgb import decode
from tilespec.spectra.numerics.whittaker import arpls, asls, chord

Vector = Float32[np.ndarray, " band"]
FLAT = 8 * float(np.finfo(np.float32).eps)
"""A deviation below this share of the mean is rounding, not signal."""
LARGEST_LOG = 38.0
"""10 to more than this is no float32."""


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
        x, deviation = Normalise.centred(self, x)
        x /= deviation[:, None]
        return x

    def centred(self, x: Any) -> tuple[Any, Any]:
        """Return spectra minus their mean, and what is left to divide each by: NaN where that cannot be."""
        mean = rowwise(x, self.weights)
        x -= mean[:, None]
        square = rowwise(x * x, self.scale * self.scale)
        lost = (square <= (FLAT * mean) ** 2 * float(self.scale @ self.scale)) | (square == np.inf)
        square[lost] = np.nan
        return x, square**0.5

    def out(self, bands: Bands) -> Bands:
        """Return the same bands."""
        return bands


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Scatter:
    """Remove known curves and the gain on a reference spectrum: MSC, weighted MSC, extended MSC.

    Least squares fit each spectrum as ``gain * reference + coefficients @ curves``; what is returned is
    ``(x - coefficients @ curves) / gain`` (Martens and Stark 1991). With curves that are orthonormal under the weights
    that is ``x' / gain + kept``, where ``x'`` is what of ``x`` the curves do not explain: well conditioned in float32.
    """

    name: ClassVar[str] = "scatter"
    curves: Float32[np.ndarray, "curve band"]
    """Offset, polynomial and interferents, made orthonormal under the weights."""
    solve: Float32[np.ndarray, "band curve"]
    """Weights times curves: maps spectra to the curves' coefficients."""
    gain: Vector
    """Maps what the curves leave of a spectrum to its gain on the reference."""
    energy: Vector
    """Weights over the squared norm of what the curves leave of the reference."""
    kept: Vector
    """The reference's own share of the curves."""

    def apply(self, x: Any) -> Any:
        """Return corrected spectra; NaN where the gain is nothing but rounding."""
        energy = rowwise(x * x, self.energy)
        x -= rowwise(rowwise(x, self.solve), self.curves)
        gain = rowwise(x, self.gain)
        gain[gain * gain <= FLAT**2 * energy] = np.nan
        x /= gain[:, None]
        x += self.kept
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


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Resample:
    """Multiply each spectrum by a matrix that makes the bands of another sensor."""

    name: ClassVar[str] = "resample"
    matrix: Float32[np.ndarray, "band target"]
    """Columns are responses; each sums to 1."""
    centres: Float64[np.ndarray, " target"]
    """Centres of the new bands, in the unit of the axis."""
    fwhm: Float64[np.ndarray, " target"]
    """Their full widths at half maximum."""

    def apply(self, x: Any) -> Any:
        """Return the bands of the other sensor."""
        return rowwise(x, self.matrix)

    def out(self, bands: Bands) -> Bands:
        """Return the other sensor's axis, of the same name and unit."""
        centres, fwhm = tuple(self.centres.tolist()), tuple(self.fwhm.tolist())
        axis = bands.axis and SpectralAxis(name=bands.axis.name, unit=bands.axis.unit, values=centres, fwhm=fwhm)
        return Bands(count=len(centres), axis=axis)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Absorb:
    """Reflectance to absorbance, ``-log10 R``, or back, ``10**-A``."""

    name: ClassVar[str] = "absorb"
    back: Int64[np.ndarray, ""]
    """0: to absorbance; 1: to reflectance."""

    def apply(self, x: Any) -> Any:
        """Return absorbance, NaN for a pixel with a value <= 0; or reflectance, NaN where it would overflow."""
        xp, back = namespace(x), int(self.back)
        lost = ((x <= -LARGEST_LOG) if back else (x <= 0)).any(1)
        x[lost] = 1
        x = 10 ** (-x) if back else -xp.log10(x)
        x[lost] = np.nan
        return x

    def out(self, bands: Bands) -> Bands:
        """Return the same bands."""
        return bands


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Light:
    """sRGB to linear light (IEC 61966-2-1)."""

    name: ClassVar[str] = "light"

    def apply(self, x: Any) -> Any:
        """Return values that are proportional to light; the toe's line goes on below 0."""
        return decode(x)

    def out(self, bands: Bands) -> Bands:
        """Return the same bands."""
        return bands


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Baseline:
    """Subtract an asymmetric least squares baseline: `tilespec.spectra.numerics.whittaker`."""

    name: ClassVar[str] = "baseline"
    smoothness: Float64[np.ndarray, ""]
    """Lambda: weight of the squared second differences of the baseline."""
    asymmetry: Float64[np.ndarray, ""]
    """Weight of bands above the baseline (asls); 0 for arpls, which finds weights itself."""
    iterations: Int64[np.ndarray, ""]
    """Most times that a spectrum's weights are found anew."""

    def apply(self, x: Any) -> Any:
        """Return spectra without their baselines."""
        smoothness, asymmetry, iterations = float(self.smoothness), float(self.asymmetry), int(self.iterations)
        for part in strips(x):
            y = columns(part)
            y -= chord(y)
            y -= asls(y, smoothness, asymmetry, iterations) if asymmetry else arpls(y, smoothness, iterations)
            part[...] = y.T
        return x

    def out(self, bands: Bands) -> Bands:
        """Return the same bands."""
        return bands


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Continuum:
    """Divide by the upper convex hull, or subtract it: Clark and Roush, J. Geophys. Res. 89 (1984) 6329-6340."""

    name: ClassVar[str] = "continuum"
    order: Int64[np.ndarray, " band"]
    """Bands by ascending place."""
    places: Float64[np.ndarray, " band"]
    """Those places."""
    subtract: Int64[np.ndarray, ""]
    """0: ``x / hull``; 1: ``x - hull``."""

    def apply(self, x: Any) -> Any:
        """Return spectra without their hulls; NaN where a hull to divide by is not positive."""
        for part in strips(x):
            y = columns(part)[self.order]
            hull = upper_hull(y, self.places)
            if int(self.subtract):
                y -= hull
            else:
                hull[:, (hull <= 0).any(0)] = np.nan
                y /= hull
            part[:, self.order] = namespace(x).asarray(y.T, dtype=x.dtype)
        return x

    def out(self, bands: Bands) -> Bands:
        """Return the same bands."""
        return bands


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class NoiseAdjust:
    """Centre, whiten the noise, project on principal components: MNF. ``restore(apply(x)) == x`` at full rank."""

    name: ClassVar[str] = "mnf"
    mean: Vector
    """Mean spectrum of the pixels it was fitted on."""
    loadings: Float32[np.ndarray, "component band"]
    """Rows in which the noise has variance 1, the largest absolute loading of each positive."""
    back: Float32[np.ndarray, "component band"]
    """Spectra of the components."""
    snr: Float64[np.ndarray, " component"]
    """Variance of the signal in each component, over that of the noise."""

    def apply(self, x: Any) -> Any:
        """Return the scores."""
        x -= self.mean
        return rowwise(x, self.loadings.T)

    def restore(self, scores: Any) -> Any:
        """Return the spectra that have these scores."""
        return scores @ self.back + self.mean

    def out(self, bands: Bands) -> Bands:
        """Return an axis of components, numbered from 1."""
        del bands
        numbers = tuple(float(i + 1) for i in range(len(self.loadings)))
        return Bands(count=len(numbers), axis=SpectralAxis(name="component", unit="1", values=numbers))


_KINDS = (Take, Normalise, Scatter, Linear, Affine, Project, NoiseAdjust, Resample, Absorb, Light, Baseline, Continuum)
OPERATORS: dict[str, type[Any]] = {kind.name: kind for kind in _KINDS}


def arrays(operator: Operator) -> dict[str, np.ndarray]:
    """Return the arrays of an operator by name: all that it is."""
    return dict(vars(operator))


def on_torch(operator: Operator, device: Any = "cpu") -> Callable[[Any], Any]:
    """Return ``operator.apply`` for torch tensors on ``device``: the same lines, with tensors for arrays."""
    import torch

    twin: Any = SimpleNamespace(**{key: torch.from_numpy(value).to(device) for key, value in arrays(operator).items()})
    return partial(type(operator).apply, twin)
