"""Reconstructed: predicted channels, their truth and their errors on every n-th pixel, and the drawn pixels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Final, final

import numpy as np
from jaxtyping import Float32

from tilespec.core.errors import UserError
from tilespec.core.types import Reflectance, Roi
from tilespec.output.pictures import picture_bands
from tilespec.output.report.inputs import FieldRun, Runs
from tilespec.output.report.overview import SIDE
from tilespec.spectra.bands import Bands, same_bands
from tilespec.storage.layout import CHUNK
from tilespec.storage.rasters import ValueRaster, inside

SAMPLE: Final = 32
"""The number of pixels on a side of the grid whose true spectra are stored."""
QUANTILES: Final = (0.05, 0.5, 0.95, 0.999)
"""The quantiles of the errors; at each of them the spectra of one pixel are drawn."""
Colours = Float32[np.ndarray, "y x 3"]
Errors = Float32[np.ndarray, "y x"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Reconstruction:
    """A reconstruction, on every ``stride``-th pixel."""

    run: FieldRun
    """The prediction of the reconstruction."""
    colours: Colours
    """The three channels that are shown."""
    errors: Errors
    """The root mean square over the channels of prediction minus truth, in the truth's unit; NaN is unknown."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ReconstructionSet:
    """The reconstructions of one truth."""

    truth: ValueRaster
    """The true channels."""
    roi: Roi
    """The region in pixels of the scene."""
    stride: int
    """The distance in pixels between used pixels."""
    bands: tuple[int, int, int]
    """The channels that are shown as red, green and blue."""
    colours: Colours
    """The three shown channels of the truth."""
    reconstructions: tuple[Reconstruction, ...]
    """The reconstructions that are compared."""
    sample: Float32[np.ndarray, "pixel band"]
    """The true spectra of some pixels with all channels known."""
    places: tuple[tuple[int, int], ...]
    """The row and the column of each of them in the scene."""

    def spectra(self, y: int, x: int) -> list[Float32[np.ndarray, " band"]]:
        """Return the spectra of a pixel of the scene: the true one, and that of each method."""
        one = Roi(y0=y, y1=y + 1, x0=x, x1=x + 1)
        return [
            field.read(one)[0, 0]
            for field in (self.truth, *(reconstruction.run.map for reconstruction in self.reconstructions))
        ]


def reconstruction_sets(runs: Runs, side: int = SIDE) -> list[ReconstructionSet]:
    """Return the reconstructions that have a truth, grouped by truth and region."""
    groups: dict[tuple[str, Roi], list[FieldRun]] = {}
    truths: dict[str, ValueRaster] = {}
    for run in runs.fields:
        truth = truth_of(run, runs)
        if truth is not None:
            truths[truth.url] = truth
            groups.setdefault((truth.url, run.map.roi), []).append(run)
    return [_look(truths[url], roi, members, side) for (url, roi), members in groups.items()]


def truth_of(run: FieldRun, runs: Runs) -> ValueRaster | None:
    """Return the truth of a reconstruction's evaluation, or else a matching scene of the report."""
    urls = [scene.url for scene in runs.scenes]
    named = None if run.scores is None else str(run.scores["truth"])
    if named is not None and ("://" in named or Path(named).exists()):
        urls.insert(0, named)
    for url in urls:
        try:
            truth = ValueRaster.open(url)
        except UserError:
            continue
        if inside(run.map.roi, truth.roi) and _alike(truth, run.map):
            return truth
    return None


def chosen(reconstructions: ReconstructionSet, quantiles: Sequence[float] = QUANTILES) -> Mapping[tuple[int, int], str]:
    """Return pixels of the scene, each with its description: one at each quantile of the methods' mean error.

    It is the pixel whose error is nearest to the quantile, and the first one from the upper left among equals.
    """
    with np.errstate(invalid="ignore"):
        errors = np.mean([one.errors for one in reconstructions.reconstructions], axis=0)
    finite = np.flatnonzero(np.isfinite(errors))
    texts: dict[tuple[int, int], str] = {}
    for quantile in quantiles if len(finite) else ():
        values = errors.flat[finite]
        at = finite[np.abs(values - np.quantile(values, quantile)).argmin()]
        y, x = (int(v) * reconstructions.stride for v in np.unravel_index(at, errors.shape))
        share = f"{100 * quantile:g} %"
        text = "The median error." if quantile == 0.5 else f"{share} of the pixels have a smaller error."
        texts.setdefault((reconstructions.roi.y0 + y, reconstructions.roi.x0 + x), text)
    return texts


def pixels(texts: Sequence[str]) -> list[tuple[int, int]]:
    """Return the pixels ``Y,X`` from the user's text."""
    places = []
    for text in texts:
        y, comma, x = text.partition(",")
        if not (comma and y.strip().isdecimal() and x.strip().isdecimal()):
            raise UserError("--pixel", found=repr(text), expected="Y,X: row and column", do="Give --pixel 120,48.")
        places.append((int(y), int(x)))
    return places


def _alike(truth: ValueRaster, field: ValueRaster) -> bool:
    """Return whether two fields have the same channels."""
    if truth.channels != field.channels:
        return False
    axes = [one.axis for one in (truth, field)]
    if not all(axis is not None and axis.name in ("wavelength", "wavenumber") for axis in axes):
        return True
    try:
        true, own = (Bands(count=truth.channels, axis=axis) for axis in axes)
        same_bands(true, own, field.url)
    except UserError:
        return False
    return True


def _look(truth: ValueRaster, roi: Roi, runs: Sequence[FieldRun], side: int) -> ReconstructionSet:
    """Read a truth and its reconstructions once, block by block."""
    stride = max(1, -(-max(roi.shape) // side))
    bands = picture_bands(truth.axis, truth.channels)
    shape = tuple(-(-n // stride) for n in roi.shape)
    colours = [np.full((*shape, 3), np.nan, np.float32) for _ in range(1 + len(runs))]
    errors = [np.full(shape, np.nan, np.float32) for _ in runs]
    spread = stride * max(1, -(-max(shape) // SAMPLE))
    sample, places = [], []
    for y, x, block in _blocks(roi, stride):
        true = _thin(truth, block, roi, stride)
        at = (slice(y, y + true.shape[0]), slice(x, x + true.shape[1]))
        colours[0][at] = true[..., list(bands)]
        for index, run in enumerate(runs):
            values = _thin(run.map, block, roi, stride)
            colours[index + 1][at] = values[..., list(bands)]
            errors[index][at] = np.sqrt(np.square(values - true).mean(axis=2))
        for place in _grid(block, roi, spread):
            spectrum = true[
                tuple((a - b) // stride - c for a, b, c in zip(place, (roi.y0, roi.x0), (y, x), strict=True))
            ]
            if np.isfinite(spectrum).all():
                sample.append(spectrum)
                places.append(place)
    reconstructions = [
        Reconstruction(run=run, colours=c, errors=e) for run, c, e in zip(runs, colours[1:], errors, strict=True)
    ]
    return ReconstructionSet(
        truth=truth,
        roi=roi,
        stride=stride,
        bands=bands,
        colours=colours[0],
        reconstructions=tuple(reconstructions),
        sample=np.array(sample, np.float32).reshape(-1, truth.channels),
        places=tuple(places),
    )


def _blocks(roi: Roi, stride: int) -> list[tuple[int, int, Roi]]:
    """Return the blocks of a region with used pixels, each with the position of its first one among those."""
    listing = []
    for y0 in range(roi.y0, roi.y1, CHUNK):
        for x0 in range(roi.x0, roi.x1, CHUNK):
            block = Roi(y0=y0, y1=min(y0 + CHUNK, roi.y1), x0=x0, x1=min(x0 + CHUNK, roi.x1))
            y, x = (-(-(a - b) // stride) for a, b in ((y0, roi.y0), (x0, roi.x0)))
            if y * stride < block.y1 - roi.y0 and x * stride < block.x1 - roi.x0:
                listing.append((y, x, block))
    return listing


def _grid(block: Roi, roi: Roi, step: int) -> list[tuple[int, int]]:
    """Return the pixels of a block on every ``step``-th row and column of a region."""
    rows, cols = (
        range(first + -(first - corner) % step, last, step)
        for first, last, corner in ((block.y0, block.y1, roi.y0), (block.x0, block.x1, roi.x0))
    )
    return list(product(rows, cols))


def _thin(field: ValueRaster, block: Roi, roi: Roi, stride: int) -> Reflectance:
    """Return the used pixels of a block."""
    y, x = -(block.y0 - roi.y0) % stride, -(block.x0 - roi.x0) % stride
    return field.read(block)[y::stride, x::stride]
