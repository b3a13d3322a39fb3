"""Operators: the fitted steps of a recipe as functions of spectra.

Each maps ``pixel band`` to ``pixel band'``, pixel by pixel, and uses the array namespace: NumPy arrays and torch
tensors (`tilespec.spectra.tensors`) run through the same code. An operator may overwrite its argument. A pixel that
cannot be mapped (a constant spectrum has no SNV) becomes NaN in every band.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64, Int64

from tilespec.core.arrays import namespace
from tilespec.core.types import SpectralAxis
from tilespec.spectra.bands import Bands
from tilespec.spectra.level_operators import AreaNorm, MaximumNorm, MinimumOffset
from tilespec.spectra.numerics.columns import columns, strips
from tilespec.spectra.numerics.hull import upper_hull
from tilespec.spectra.numerics.rowwise import rowwise
from tilespec.spectra.numerics.srgb import decode
from tilespec.spectra.numerics.whittaker import arpls, asls, chord
from tilespec.spectra.raman_operators import Align, Despike

Vector = Float32[np.ndarray, " band"]
FLAT = 8 * float(np.finfo(np.float32).eps)
"""A deviation below this share of the mean is a rounding error."""
LARGEST_LOG = 38.0
"""The largest exponent of 10 whose power is a finite float32."""


@runtime_checkable
class Operator(Protocol):
    """One fitted step of a recipe; a frozen dataclass of arrays."""

    name: ClassVar[str]

    def apply(self, x: Any) -> Any:
        """Return the transformed spectra ``pixel band``; ``x`` may be overwritten."""

    def out(self, bands: Bands) -> Bands:
        """Return the bands of the transformed spectra."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Take:
    """Select some of the bands."""

    name: ClassVar[str] = "take"
    index: Int64[np.ndarray, " kept"]
    """The indices of the selected bands, ascending."""

    def apply(self, x: Any) -> Any:
        """Return the selected bands of the spectra."""
        first, last = int(self.index[0]), int(self.index[-1]) + 1
        return x[:, first:last] if last - first == len(self.index) else x[:, self.index]

    def out(self, bands: Bands) -> Bands:
        """Return the selected bands."""
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
    """The weights of the mean, which sum to 1."""
    scale: Vector
    """The weights of the deviation."""

    def apply(self, x: Any) -> Any:
        """Return normalised spectra; NaN for a spectrum that is constant in all bands with a weight."""
        x, deviation = Normalise.centred(self, x)
        x /= deviation[:, None]
        return x

    def centred(self, x: Any) -> tuple[Any, Any]:
        """Return spectra minus their mean, and the divisor of each; NaN where a spectrum cannot be normalised."""
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

    Each spectrum is fitted by least squares as ``gain * reference + coefficients @ curves``; the result is ``(x -
    coefficients @ curves) / gain`` (Martens and Stark 1991). With curves that are orthonormal under the weights this
    equals ``x' / gain + kept``, where ``x'`` is the part of ``x`` that the curves do not explain; this form is well
    conditioned in float32.
    """

    name: ClassVar[str] = "scatter"
    curves: Float32[np.ndarray, "curve band"]
    """The curves offset, polynomial and interferents, made orthonormal under the weights."""
    solve: Float32[np.ndarray, "band curve"]
    """The product of weights and curves, which maps spectra to the coefficients of the curves."""
    gain: Vector
    """The vector that maps a spectrum without the part of the curves to its gain on the reference."""
    energy: Vector
    """The weights divided by the squared norm of the reference without the part of the curves."""
    kept: Vector
    """The part of the reference that the curves explain."""

    def apply(self, x: Any) -> Any:
        """Return corrected spectra; NaN where the gain is only a rounding error."""
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
class BandMatrix:
    """Multiply each spectrum by a matrix, as Savitzky-Golay filters do."""

    name: ClassVar[str] = "linear"
    matrix: Float32[np.ndarray, "band band"]
    """The matrix, whose columns are filters."""

    def apply(self, x: Any) -> Any:
        """Return filtered spectra."""
        return rowwise(x, self.matrix)

    def out(self, bands: Bands) -> Bands:
        """Return the same bands."""
        return bands


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Affine:
    """Subtract an offset from each band, then multiply by a gain: min-max, scale and mean. ``restore`` undoes it."""

    name: ClassVar[str] = "affine"
    offset: Vector
    """The value that is subtracted from each band."""
    gain: Vector
    """The factor of each band after the subtraction."""

    def apply(self, x: Any) -> Any:
        """Return scaled bands."""
        x -= self.offset
        x *= self.gain
        return x

    def restore(self, scaled: Any) -> Any:
        """Return the spectra whose scaled bands are given, up to rounding."""
        return scaled / self.gain + self.offset

    def out(self, bands: Bands) -> Bands:
        """Return the same bands."""
        return bands


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Project:
    """Centre spectra, then project them on principal components. ``restore(apply(x)) == x`` at full rank."""

    name: ClassVar[str] = "project"
    mean: Vector
    """The mean spectrum of the fitted pixels."""
    loadings: Float32[np.ndarray, "component band"]
    """The loadings as orthonormal rows; the largest absolute loading of each is positive."""
    variance: Float64[np.ndarray, " component"]
    """The variance of each component (ddof 1)."""
    ratio: Float64[np.ndarray, " component"]
    """The share of each component in the total variance."""

    def apply(self, x: Any) -> Any:
        """Return the scores ``pixel component``."""
        x -= self.mean
        return rowwise(x, self.loadings.T)

    def restore(self, scores: Any) -> Any:
        """Return the spectra ``pixel band`` of scores."""
        return scores @ self.loadings + self.mean

    def out(self, bands: Bands) -> Bands:
        """Return an axis of components with numbers from 1."""
        del bands
        numbers = tuple(float(i + 1) for i in range(len(self.loadings)))
        return Bands(count=len(numbers), axis=SpectralAxis(name="component", unit="1", values=numbers))


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Resample:
    """Multiply each spectrum by a matrix whose results are the bands of another sensor."""

    name: ClassVar[str] = "resample"
    matrix: Float32[np.ndarray, "band target"]
    """The matrix, whose columns are responses that each sum to 1."""
    centres: Float64[np.ndarray, " target"]
    """The centres of the new bands in the unit of the axis."""
    fwhm: Float64[np.ndarray, " target"]
    """The full widths at half maximum of the new bands."""

    def apply(self, x: Any) -> Any:
        """Return the bands of the other sensor."""
        return rowwise(x, self.matrix)

    def out(self, bands: Bands) -> Bands:
        """Return the other sensor's axis with the same name and unit."""
        centres, fwhm = tuple(self.centres.tolist()), tuple(self.fwhm.tolist())
        axis = bands.axis and SpectralAxis(name=bands.axis.name, unit=bands.axis.unit, values=centres, fwhm=fwhm)
        return Bands(count=len(centres), axis=axis)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Absorb:
    """Convert reflectance to absorbance, ``-log10 R``, or back, ``10**-A``."""

    name: ClassVar[str] = "absorb"
    back: Int64[np.ndarray, ""]
    """The direction: 0 to absorbance, 1 to reflectance."""

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
    """Convert sRGB to linear light (IEC 61966-2-1)."""

    name: ClassVar[str] = "light"

    def apply(self, x: Any) -> Any:
        """Return linear values, proportional to light; negative values remain on the straight line near 0."""
        return decode(x)

    def out(self, bands: Bands) -> Bands:
        """Return the same bands."""
        return bands


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Baseline:
    """Subtract an asymmetric least squares baseline, see `tilespec.spectra.numerics.whittaker`."""

    name: ClassVar[str] = "baseline"
    smoothness: Float64[np.ndarray, ""]
    """The parameter lambda, the weight of the squared second differences of the baseline."""
    asymmetry: Float64[np.ndarray, ""]
    """The weight of bands above the baseline (asls); 0 selects arpls, which computes its own weights."""
    iterations: Int64[np.ndarray, ""]
    """The largest number of iterations of a spectrum's weights."""

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
    """The indices of the bands by ascending centre."""
    places: Float64[np.ndarray, " band"]
    """The centres in that order."""
    subtract: Int64[np.ndarray, ""]
    """The operation: 0 for ``x / hull``, 1 for ``x - hull``."""

    def apply(self, x: Any) -> Any:
        """Return spectra divided by or minus their hulls; NaN where a hull to divide by is not positive."""
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
    """Centre, whiten the noise, project on components (MNF). ``restore(apply(x)) == x`` at full rank."""

    name: ClassVar[str] = "mnf"
    mean: Vector
    """The mean spectrum of the fitted pixels."""
    loadings: Float32[np.ndarray, "component band"]
    """The rows with which the noise has variance 1; the largest absolute loading of each is positive."""
    back: Float32[np.ndarray, "component band"]
    """The spectrum of each component."""
    snr: Float64[np.ndarray, " component"]
    """The variance of the signal divided by that of the noise, for each component."""

    def apply(self, x: Any) -> Any:
        """Return the scores ``pixel component``."""
        x -= self.mean
        return rowwise(x, self.loadings.T)

    def restore(self, scores: Any) -> Any:
        """Return the spectra ``pixel band`` of scores."""
        return scores @ self.back + self.mean

    def out(self, bands: Bands) -> Bands:
        """Return an axis of components with numbers from 1."""
        del bands
        numbers = tuple(float(i + 1) for i in range(len(self.loadings)))
        return Bands(count=len(numbers), axis=SpectralAxis(name="component", unit="1", values=numbers))


_KINDS = (
    Take,
    Normalise,
    Scatter,
    BandMatrix,
    Affine,
    Project,
    NoiseAdjust,
    Resample,
    Absorb,
    Light,
    Baseline,
    Continuum,
    MinimumOffset,
    MaximumNorm,
    AreaNorm,
    Despike,
    Align,
)
OPERATORS: dict[str, type[Any]] = {kind.name: kind for kind in _KINDS}


def arrays(operator: Operator) -> dict[str, np.ndarray]:
    """Return all arrays of an operator by name."""
    return dict(vars(operator))
