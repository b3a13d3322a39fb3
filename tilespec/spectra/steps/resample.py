"""Resample: the bands of another sensor as weighted means of the scene's bands, by one matrix."""

from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
from jaxtyping import Float64
from scipy.special import ndtr

from tilespec.core.errors import UserError
from tilespec.core.types import SpectralAxis
from tilespec.spectra.bands import Bands
from tilespec.spectra.numerics.curve_files import PHYSICAL, Curves, read_curves
from tilespec.spectra.operators import Resample
from tilespec.spectra.steps.base import Fitted, Fitting, Kind, bad_step

USAGE = "resample=FILE, a text table with a header: wavelength,fwhm or wavelength and one response for each band"
SIGMA = 1 / np.sqrt(8 * np.log(2))
"""The standard deviation of a Gaussian whose full width at half maximum is 1."""
COVERED = 0.95
"""The smallest share of a response that the scene's bands must cover."""
FINE = 64
"""The number of nodes of a response at which its coverage is measured."""

Vector = Float64[np.ndarray, " band"]
Target = Float64[np.ndarray, " target"]
Matrix = Float64[np.ndarray, "band target"]


@final
@dataclass(frozen=True, kw_only=True)
class Resampling:
    """Convert a scene's bands to those of another sensor, given by centres and widths or by measured responses.

    A band is refused if more than 5 % of its response lies outside the scene's bands, or in a gap between them.
    """

    kind: ClassVar[Kind] = "plain"
    sensor: Curves
    """The table: a column ``fwhm`` at the centres (Gaussian responses), or a response for each band, in the axis's
    unit.
    """

    def __post_init__(self) -> None:
        values, source = self.sensor.values, self.sensor.source
        if not len(self.sensor.names) or not len(values):
            raise bad_step("resample", f"{source} without a header, or with one column", USAGE)
        if len(values[0]) < 2 and not self.gaussian:
            raise bad_step("resample", f"responses at one place in {source}", USAGE)
        if (values <= 0).all(axis=1).any() or (values < 0).any() or (self.gaussian and (values == 0).any()):
            raise bad_step("resample", f"a negative response, none, or no width in {source}", USAGE)

    @classmethod
    def parse(cls, args: tuple[str, ...]) -> "Resampling":
        """Return the step ``resample=FILE``."""
        if len(args) != 1:
            raise bad_step("resample", ":".join(args), USAGE)
        return cls(sensor=read_curves(args[0], "resample"))

    @property
    def gaussian(self) -> bool:
        """Whether the sensor is given by centres and widths."""
        return [name.lower() for name in self.sensor.names] == ["fwhm"]

    def plan(self, bands: Bands) -> Bands:
        """Return the other sensor's bands; refuse those that the scene's bands do not cover."""
        return self._operator(bands).out(bands)

    def fit(self, on: Fitting) -> Fitted:
        """Return the operator of the matrix."""
        operator = self._operator(on.bands)
        names = [] if self.gaussian else list(self.sensor.names)
        return Fitted(operator=operator, facts={"responses": names} if names else {})

    def _operator(self, bands: Bands) -> Resample:
        axis = _axis(bands)
        if self.gaussian:
            centres, fwhm = self.sensor.places, self.sensor.values[0]
            matrix = gaussian_matrix(axis, centres, fwhm)
        else:
            matrix, centres, fwhm = response_matrix(axis, self.sensor)
        return Resample(matrix=matrix.astype(np.float32), centres=centres, fwhm=fwhm)


def gaussian_matrix(axis: SpectralAxis, centres: Target, fwhm: Target) -> Matrix:
    """Return the weights of Gaussian responses, ``band target``, as in `spectral.BandResampler`.

    A source band is constant over its width; its weight in a target is the integral of a Gaussian over the common part
    of the two widths; weights sum to 1. An unknown width reaches half way to the neighbours.

    Raises:
        UserError: the source bands do not cover the width of a target.
    """
    at, width = np.asarray(axis.values), widths(axis)
    low = np.maximum((at - width / 2)[:, None], centres - fwhm / 2)
    high = np.minimum((at + width / 2)[:, None], centres + fwhm / 2)
    sigma = SIGMA * fwhm
    shared = np.where(high > low, ndtr((high - centres) / sigma) - ndtr((low - centres) / sigma), 0.0)
    for band, (centre, full) in enumerate(zip(centres, fwhm, strict=True)):
        nodes = centre + full * np.linspace(-0.5, 0.5, FINE)
        _covered(axis, nodes, np.exp(-(((nodes - centre) / (SIGMA * full)) ** 2) / 2), f"band {band} at {centre:g}")
        if not shared[:, band].any():
            raise _uncovered(axis, f"band {band} at {centre:g}, that lies between the widths of the scene's bands")
    return shared / shared.sum(axis=0)


def response_matrix(axis: SpectralAxis, sensor: Curves) -> tuple[Matrix, Target, Target]:
    """Return the weights, centres and widths of measured responses.

    A band's value is ``integral(S * R) / integral(S)`` with the response ``S`` and the spectrum ``R`` both linear
    between their positions. Simpson's rule between all of these positions is exact. A constant spectrum remains
    constant for all responses.

    Raises:
        UserError: the source bands do not cover a response.
    """
    source = np.asarray(axis.values)
    order = np.argsort(source)
    at = source[order]
    for name, response in zip(sensor.names, sensor.values, strict=True):
        _covered(axis, sensor.places, response, f"response {name}")
    low, high = max(at[0], sensor.places[0]), min(at[-1], sensor.places[-1])
    nodes = np.unique(np.clip(np.concatenate([at, sensor.places]), low, high))
    nodes = np.sort(np.concatenate([nodes, (nodes[1:] + nodes[:-1]) / 2]))
    simpson = np.zeros(len(nodes))
    third = (nodes[2::2] - nodes[:-2:2]) / 6
    simpson[:-2:2] += third
    simpson[1:-1:2] += 4 * third
    simpson[2::2] += third
    weighted = np.stack([simpson * np.interp(nodes, sensor.places, response) for response in sensor.values])
    weighted /= weighted.sum(axis=1, keepdims=True)
    left = np.clip(np.searchsorted(at, nodes, side="right") - 1, 0, len(at) - 2)
    share = (nodes - at[left]) / (at[left + 1] - at[left])
    matrix = np.zeros((len(at), len(weighted)))
    np.add.at(matrix, order[left], (weighted * (1 - share)).T)
    np.add.at(matrix, order[left + 1], (weighted * share).T)
    return matrix, weighted @ nodes, np.array([_half_width(sensor.places, response) for response in sensor.values])


def widths(axis: SpectralAxis) -> Vector:
    """Return full widths at half maximum; an unknown width reaches half way to either neighbour."""
    if axis.fwhm is not None and all(np.isfinite(axis.fwhm)) and min(axis.fwhm) > 0:
        return np.asarray(axis.fwhm, np.float64)
    left, right = _gaps(axis)
    return (left + right) / 2


def _gaps(axis: SpectralAxis) -> tuple[Vector, Vector]:
    """Return the distances to the neighbours on either side; an outermost band has its inner distance twice."""
    at = np.asarray(axis.values, np.float64)
    order = np.argsort(at)
    gaps = np.diff(at[order])
    left, right = np.empty(len(at)), np.empty(len(at))
    left[order], right[order] = np.r_[gaps[:1], gaps], np.r_[gaps, gaps[-1:]]
    return left, right


def _covered(axis: SpectralAxis, at: Any, response: Any, what: str) -> None:
    """Refuse a response of which too little lies within the width of source bands, or up to their neighbours."""
    source, half = np.asarray(axis.values), widths(axis) / 2
    reach = np.maximum(half, np.minimum(*_gaps(axis)))
    low, high = np.clip([source - reach, source + reach], (source - half).min(), (source + half).max())
    nodes = np.linspace(at[0], at[-1], max(FINE * FINE, 4 * len(at)))
    mass = np.interp(nodes, at, response)
    near = np.zeros(len(nodes) + 1, np.int64)  # the number of bands that reach a node, as differences
    np.add.at(near, np.searchsorted(nodes, low, side="left"), 1)
    np.add.at(near, np.searchsorted(nodes, high, side="right"), -1)
    share = mass[np.cumsum(near)[:-1] > 0].sum() / mass.sum()
    if share < COVERED:
        raise _uncovered(axis, f"{what}, of whose response the scene's bands cover {share:.0%}")


def _uncovered(axis: SpectralAxis, found: str) -> UserError:
    return UserError(
        "step 'resample'",
        found=found,
        expected=f"bands within {min(axis.values):g} to {max(axis.values):g} {axis.unit}, and in no gap there",
        do="Leave the band out of the file, or give the file in the unit of the scene's axis.",
    )


def _half_width(at: Any, response: Any) -> float:
    """Return the distance between the outermost positions where a response crosses half its maximum."""
    half = response.max() / 2
    over = np.flatnonzero(response >= half)
    first, last = int(over[0]), int(over[-1])
    low, high = at[first], at[last]
    if first:
        low = np.interp(half, response[first - 1 : first + 1], at[first - 1 : first + 1])
    if last < len(at) - 1:
        high = np.interp(half, response[last : last + 2][::-1], at[last : last + 2][::-1])
    return float(high - low)


def _axis(bands: Bands) -> SpectralAxis:
    """Return the axis; refuse a missing axis, components, and a single band."""
    if bands.axis is None or bands.axis.name not in PHYSICAL or len(set(bands.axis.values)) < max(2, bands.count):
        raise UserError(
            "step 'resample'",
            found="no wavelengths" if bands.axis is None else f"{bands.count} bands by {bands.axis.name}",
            expected="2 bands or more at different wavelengths or wavenumbers",
            do="Ingest the scene with --wavelengths, and resample before what makes components.",
        )
    return bands.axis
