"""Binning at ingest: fewer, larger pixels and fewer, wider bands, equal to those of a coarser camera.

A value is the mean of its bin: elements without data do not count, and bins at the edge have fewer elements.
Calibration comes first, and pictures are averaged in linear light (`tilespec.ingest.readers.image_light`). So binning
by ``a`` and then by ``b`` equals binning by ``a b`` if the sizes divide and no data is missing, and the mean of a scene
does not change.
"""

import math
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, final

import numpy as np
from jaxtyping import Float, Integer, Shaped

from tilespec.core.buffers import Buffers
from tilespec.core.errors import UserError
from tilespec.core.types import UNLABELLED, Cube, SpectralAxis
from tilespec.ingest.calibration.white_dark import Calibration, Terms
from tilespec.ingest.encode import Counts, Encoder, Piece, add, encoder
from tilespec.ingest.labels.class_map import Labels, survey
from tilespec.ingest.readers.source import Facts, Source, SourceLayer, lines_per_read
from tilespec.spectra.numerics.srgb import decode, encode
from tilespec.storage.selection import is_class_map
from tilespec.storage.source_header import with_bands, without_pixels

Values = Float[np.ndarray, "_y _x _band"]
"""A cube whose size changes by binning."""
Codes = Integer[np.ndarray, "_y _x"]
"""Numbers of classes."""
Lines = Shaped[np.ndarray, "_y _x _band"]
"""Lines of a cube as they are read."""

WIDTH: Final = 8 * math.log(2)
"""The square of the full width at half maximum of a Gaussian with variance 1."""
LINES: Final = 16
"""The smallest number of lines that are read and calibrated at once."""
COLUMNS: Final = 128
"""The number of columns that are calibrated and averaged at once."""
FIRST: Final = ("saturated", "infinities")
"""The names of the counts before binning; all other counts are of stored values."""


@final
@dataclass(frozen=True, kw_only=True)
class Bins:
    """The numbers of pixels and bands in a bin."""

    pixels: int = 1
    """The number of rows, and of columns, in a bin."""
    bands: int = 1
    """The number of adjacent bands in a bin."""

    def __post_init__(self) -> None:
        for flag, value in (("--bin", self.pixels), ("--bin-bands", self.bands)):
            if value < 1 or value != int(value):
                raise UserError(flag, found=value, expected="a whole number from 1", do=f"Give {flag} 2.")

    @property
    def single(self) -> bool:
        """Whether bins have a single element."""
        return self.pixels == self.bands == 1

    def size(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return the shape of a binned cube ``y, x, band``."""
        return -(-shape[0] // self.pixels), -(-shape[1] // self.pixels), -(-shape[2] // self.bands)


@final
@dataclass(frozen=True, kw_only=True)
class BinnedSource:
    """A source of bins: pixels are read, calibrated and averaged a few lines at a time."""

    facts: Facts
    """The facts of the binned cube, whose values are floats."""
    inner: Source
    """The source before binning."""
    values: Encoder
    """The encoder from stored values to floats, with NaN for no data."""
    bins: Bins
    """The size of the bins."""
    calibration: Calibration | None
    """The white and dark calibration, if there is one."""
    counted: deque[Counts] = field(default_factory=deque)
    """The counts of the rows read last, before binning; the encoder removes them."""
    _room: Buffers = field(default_factory=Buffers)

    def read_rows(self, y0: int, y1: int) -> Cube:
        """Return rows of bins as ``y, x, band``."""
        out = np.empty((y1 - y0, *self.facts.shape[1:]), self.facts.dtype)
        last, k = self.inner.facts.shape[0], self.bins.pixels
        step = max(1, max(lines_per_read(self.inner.facts), LINES) // k)
        self.counted.clear()
        for first in range(y0, y1, step):
            raw = self.inner.read_rows(first * k, min((first + step) * k, y1 * k, last))
            for x0 in range(0, out.shape[1], step_of(COLUMNS, k)):
                cols = slice(x0, min(x0 + step_of(COLUMNS, k), out.shape[1]))
                self._bin(raw, cols, out[first - y0 : first - y0 + step, cols])
        return out

    def _bin(self, raw: Lines, cols: slice, out: Values) -> None:
        """Calibrate and average the columns ``cols`` of bins, a few lines at a time."""
        k, step = self.bins.pixels, step_of(LINES, self.bins.pixels)
        wide = slice(cols.start * k, min(cols.stop * k, raw.shape[1]))
        along = (raw.strides[1], raw.strides[2])
        terms = None if self.calibration is None else self.calibration.terms(wide, along=along)
        for first in range(0, out.shape[0], step):
            lines = raw[first * k : (first + step) * k, wide]
            work = self._room.array("values", lines.shape, self.values.dtype)
            counts = self.values.encode(lines, terms, work, self._room)
            self.counted.append({key: counts[key] for key in FIRST if key in counts})
            out[first : first + step] = self._mean(work)

    def _mean(self, work: Values) -> Values:
        """Return the means of bins: means of light if the values are sRGB."""
        bins, scale = self.bins, self.facts.scale
        if self.facts.colour_space is None:
            return mean(work, bins.pixels, bins.bands)
        light = decode((work * scale).astype(work.dtype))
        return (encode(mean(light, bins.pixels, bins.bands)) / scale).astype(work.dtype)


def step_of(size: int, bin: int) -> int:  # noqa: A002 - as the option is called
    """Return the number of bins in about ``size`` lines or columns."""
    return max(1, size // bin)


@final
@dataclass(frozen=True, kw_only=True)
class BinnedEncoder:
    """An encoder of bins that also returns the counts before binning."""

    stored: Encoder
    """The encoder from binned floats to stored values."""
    source: BinnedSource
    """The source of the bins."""

    @property
    def dtype(self) -> str:
        """The data type of the stored cube."""
        return self.stored.dtype

    @property
    def scale(self) -> float:
        """The factor from stored values to values."""
        return self.stored.scale

    @property
    def nodata(self) -> float | None:
        """The stored value for no data; None or NaN for floats."""
        return self.stored.nodata

    def encode(self, raw: Piece, terms: Terms | None, out: Piece, buffers: Buffers) -> Counts:  # noqa: ARG002
        """Store a piece of calibrated bins; the first piece also returns the counts before binning."""
        counts = self.stored.encode(raw, None, out, buffers)
        with suppress(IndexError):  # several threads empty the queue, each count once
            while True:
                add(counts, self.source.counted.popleft())
        return counts


@final
@dataclass(frozen=True, kw_only=True)
class Majority:
    """A class map whose pixels have the most frequent class of a bin."""

    facts: Facts
    """The facts of the binned map: ``uint8``, 255 is nodata."""
    codes: Callable[[int, int], Codes]
    """The function that returns rows ``y x`` of the stored map without bins."""
    pixels: int
    """The number of rows, and of columns, in a bin."""
    height: int
    """The height of the map without bins, in pixels."""

    def read_rows(self, y0: int, y1: int) -> Cube:
        """Return rows of bins as ``y, x, 1``."""
        rows = self.codes(y0 * self.pixels, min(y1 * self.pixels, self.height))
        return majority(rows, self.pixels)[..., None]


def mean(values: Values, pixels: int, bands: int) -> Values:
    """Return the means of bins of ``pixels x pixels`` pixels and ``bands`` bands, in the data type of ``values``.

    Elements that are NaN do not count; a bin of only NaN is NaN. Sums are float64.
    """
    steps = (pixels, pixels, bands)
    shape = tuple(-(-n // k) for n, k in zip(values.shape, steps, strict=True))
    total, count = np.zeros(shape), np.zeros(shape, np.int32)
    for offset in np.ndindex(steps):
        part = values[tuple(slice(o, None, k) for o, k in zip(offset, steps, strict=True))]
        at = tuple(slice(0, n) for n in part.shape)
        finite = ~np.isnan(part)
        np.add(total[at], part, out=total[at], where=finite)
        count[at] += finite
    out = np.full(shape, np.nan)
    np.divide(total, count, out=out, where=count > 0)
    return out.astype(values.dtype)


def majority(codes: Codes, pixels: int, none: int = UNLABELLED) -> Codes:
    """Return the most frequent class of each bin, the lowest of equals; ``none`` only for bins without any class."""
    height, width = (-(-n // pixels) for n in codes.shape)
    ends = [(0, n * pixels - m) for n, m in zip((height, width), codes.shape, strict=True)]
    bins = np.pad(codes, ends, constant_values=none).reshape(height, pixels, width, pixels).swapaxes(1, 2)
    cells = np.sort(bins.reshape(height * width, pixels * pixels), axis=1)
    place = np.arange(cells.shape[1])
    begins = np.diff(cells, axis=1, prepend=cells[:, :1]) != 0
    votes = place - np.maximum.accumulate(np.where(begins, place, 0), axis=1) + 1
    best = np.where(cells == none, 0, votes).argmax(axis=1)
    return np.take_along_axis(cells, best[:, None], axis=1).reshape(height, width)


def binned_axis(axis: SpectralAxis, bands: int) -> SpectralAxis:
    """Return the spectral axis of bins of adjacent bands.

    A centre is the mean of its bands' centres. The width is that of the Gaussian whose variance is the variance of
    the mean response: ``fwhm**2 = mean(fwhm_i**2) + 8 ln 2 var(centre_i)``, for the mean of Gaussians (law of total
    variance). A bin is good when all its bands are.
    """
    groups = [slice(first, first + bands) for first in range(0, len(axis.values), bands)]
    fwhm, good = axis.fwhm, axis.good
    return SpectralAxis(
        name=axis.name,
        unit=axis.unit,
        values=tuple(float(np.mean(axis.values[group])) for group in groups),
        fwhm=None if fwhm is None else tuple(_width(axis.values[group], fwhm[group]) for group in groups),
        good=None if good is None else tuple(all(good[group]) for group in groups),
    )


def _width(centres: tuple[float, ...], fwhm: tuple[float, ...]) -> float:
    """Return the full width at half maximum of the mean of Gaussians."""
    return math.sqrt(float(np.mean(np.square(fwhm))) + WIDTH * float(np.var(centres)))


def binned_georef(georef: dict[str, Any] | None, pixels: int) -> dict[str, Any] | None:
    """Return a grid mapping whose pixels are larger by the bin's size, with the same origin."""
    if georef is None or "GeoTransform" not in georef:
        return georef
    x, a, b, y, d, e = (float(word) for word in str(georef["GeoTransform"]).split())
    transform = (x, a * pixels, b * pixels, y, d * pixels, e * pixels)
    return georef | {"GeoTransform": " ".join(repr(value) for value in transform)}


def binned_source(source: Source, values: Encoder, calibration: Calibration | None, bins: Bins) -> BinnedSource:
    """Return the binned source, with the shape, axis, georeference and layers of the binned cube.

    Args:
        source: The source before binning.
        values: The encoder from stored values to floats, with their data type and scale.
        calibration: The white and dark calibration, if there is one.
        bins: The size of the bins.

    Raises:
        UserError: a bin is larger than the cube.
    """
    facts = source.facts
    for flag, count, size in (
        ("--bin", bins.pixels, min(facts.shape[:2])),
        ("--bin-bands", bins.bands, facts.shape[2]),
    ):
        if count > size:
            raise UserError(flag, found=count, expected=f"at most {size}, as the cube has", do="Give a smaller bin.")
    shape, dtype = bins.size(facts.shape), np.dtype(values.dtype)
    header, notes = _header(facts, bins)
    binned_facts = replace(
        facts,
        shape=shape,
        dtype=dtype,
        spectral=None if facts.spectral is None else binned_axis(facts.spectral, bins.bands),
        georef=binned_georef(facts.georef, bins.pixels),
        nodata=None,
        scale=values.scale,
        layers=tuple(_plane(layer, bins.pixels, facts.shape[0]) for layer in facts.layers),
        header=header,
        notes=(*facts.notes, *notes, *_partial(facts.shape, bins)),
    )
    return BinnedSource(facts=binned_facts, inner=source, values=values, bins=bins, calibration=calibration)


def _header(facts: Facts, bins: Bins) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return a header without what speaks of bands or pixels before binning, and a note on it."""
    header, lists = with_bands(facts.header, facts.shape[2], None) if bins.bands > 1 else (facts.header, ())
    header, pixels = without_pixels(header) if bins.pixels > 1 else (header, ())
    notes = ((lists, "bands"), (pixels, "pixels"))
    return dict(header), tuple(f"{', '.join(left)} of the unbinned {what} left out" for left, what in notes if left)


def _partial(shape: tuple[int, int, int], bins: Bins) -> tuple[str, ...]:
    """Return a note if the last bins have fewer elements than the others."""
    steps = {"rows": bins.pixels, "columns": bins.pixels, "bands": bins.bands}
    short = [axis for size, (axis, step) in zip(shape, steps.items(), strict=True) if size % step]
    return (f"the last bin of the {' and of the '.join(short)} holds fewer than the others",) if short else ()


def _plane(layer: SourceLayer, pixels: int, height: int) -> SourceLayer:
    """Return a layer of bin means, or of the classes of most pixels.

    Longitudes are averaged as directions, for bins across the 180th meridian.
    """
    if is_class_map(layer.attrs):
        return replace(layer, read=partial(_classes, layer, pixels, height))
    dtype = layer.dtype if layer.dtype.kind == "f" else np.dtype(np.float64)

    def read(y0: int, y1: int) -> np.ndarray:
        rows = layer.read(y0 * pixels, min(y1 * pixels, height)).astype(np.float64)[..., None]
        if layer.attrs.get("units") == "degrees_east":
            east, north = (mean(part(np.radians(rows)), pixels, 1) for part in (np.sin, np.cos))
            return np.degrees(np.arctan2(east, north))[..., 0].astype(dtype)
        return mean(rows, pixels, 1)[..., 0].astype(dtype)

    return replace(layer, dtype=dtype, read=read)


def _classes(layer: SourceLayer, pixels: int, height: int, y0: int, y1: int) -> Codes:
    """Return rows of bins of a map of classes."""
    return majority(layer.read(y0 * pixels, min(y1 * pixels, height)), pixels, layer.attrs["nodata"])


def binned(source: Source, dtype: str | None, calibration: Calibration | None, bins: Bins) -> tuple[Source, Encoder]:
    """Return the binned cube and its encoder: float32, because means are not integers, or steps of 1e-4.

    Raises:
        UserError: a bin is larger than the cube, or means of counts are to be stored as integers.
    """
    facts = source.facts
    if dtype == "uint16" and calibration is None and facts.dtype.kind in "iu" and facts.scale == 1.0:
        raise UserError(
            "--dtype",
            found="uint16 for binned counts",
            expected="float32: means of counts are no whole numbers, and counts are no reflectance in steps of 1e-4",
            do="Give --dtype float32, or calibrate with --white.",
        )
    wide = dtype == "float64" or (facts.dtype == np.float64 and dtype is None)
    values = encoder(facts, "float64" if wide else "float32", calibration)
    cube = binned_source(source, values, calibration, bins)
    return cube, BinnedEncoder(stored=encoder(cube.facts, dtype, None), source=cube)


def binned_labels(where: str, labels: Labels, shape: tuple[int, int], pixels: int) -> Labels:
    """Return labels of bins by majority from a class map of ``shape``, with new counts of pixels."""
    facts = Facts(
        shape=(-(-shape[0] // pixels), -(-shape[1] // pixels), 1),
        dtype=np.dtype(np.uint8),
        nodata=float(UNLABELLED),
        classes=labels.classes,
        files=labels.source.facts.files,
        notes=labels.source.facts.notes,
    )
    codes = Majority(facts=facts, codes=labels.read_rows, pixels=pixels, height=shape[0])
    return survey(where, codes, facts.shape[:2], None)
