"""Reading a scene by rows of chunks, prepared while it is read, every chunk decoded once as long as rows ascend."""

import itertools
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Int64

from tilespec.scene import Scene
from tilespec.types import Roi

CALL = 1 << 22
"""Bytes that one call of the store reads at least, where a strip has so many: a call costs a millisecond by itself."""


@runtime_checkable
class Prepares(Protocol):
    """What is needed of a predictor to read for it."""

    @property
    def channels(self) -> tuple[int, int]:
        """Channels in and out."""
        ...

    @property
    def prepare(self) -> Callable[[Float32[np.ndarray, "pixel band"]], Float32[np.ndarray, "pixel channel"]]:
        """The recipe, pixelwise."""
        ...


@final
@dataclass(frozen=True, kw_only=True)
class Strip:
    """Some rows of a region after the recipe."""

    top: int
    """First row, relative to the region."""
    values: Float32[np.ndarray, "y x channel"]
    """0 where there is no data."""
    valid: Bool[np.ndarray, "y x"] | None
    """Where there are data; None where everywhere."""


@final
@dataclass(frozen=True, kw_only=True)
class Rows:
    """The strips that some rows of a region need: a value that threads may share."""

    strips: Mapping[int, Strip]
    """By number, ascending."""
    number: Callable[[int], int]
    """The strip of a row."""

    def tile(
        self, out: Float32[np.ndarray, "y x channel"], y: Int64[np.ndarray, " y"], x: Int64[np.ndarray, " x"]
    ) -> Bool[np.ndarray, "y x"] | None:
        """Copy rows ``y`` and columns ``x`` into ``out``, 0 without data; return where data are, None: everywhere."""
        mask = np.ones(out.shape[:2], bool)
        for into_y, number, rows in self._runs(y):
            strip = self.strips[number]
            for into_x, columns in _slices(x):
                out[into_y, into_x] = strip.values[rows, columns]
                if strip.valid is not None:
                    mask[into_y, into_x] = strip.valid[rows, columns]
        return None if mask.all() else mask

    def _runs(self, y: Int64[np.ndarray, " y"]) -> Iterator[tuple[slice, int, slice]]:
        """Yield runs of rows that lie in one strip, in one direction: where they go, the strip, where they lie."""
        numbers = np.asarray([self.number(int(row)) for row in y])
        for start, stop in _cuts(np.flatnonzero(np.diff(numbers)) + 1, len(y)):
            number = int(numbers[start])
            for into, rows in _slices(y[start:stop] - self.strips[number].top):
                yield slice(start + into.start, start + into.stop), number, rows


def _slices(index: Int64[np.ndarray, " n"]) -> Iterator[tuple[slice, slice]]:
    """Yield runs of an index that goes up or down by ones, as slices: copying those is a copy of memory.

    A reflected index turns round at its ends; where it turns or repeats, a new run begins.
    """
    steps = np.diff(index)
    assert np.all(np.abs(steps) <= 1), "an index of neighbours"
    start = 0
    while start < len(index):
        step = int(steps[start]) if start < len(steps) and steps[start] else 1
        breaks = np.flatnonzero(steps[start:] != step)
        stop = start + int(breaks[0]) + 1 if len(breaks) else len(index)
        first, last = int(index[start]), int(index[stop - 1])
        end = last + step
        yield slice(start, stop), slice(first, end if end >= 0 else None, step)
        start = stop


def _cuts(inner: np.ndarray, length: int) -> Iterator[tuple[int, int]]:
    """Yield the pieces of ``range(length)`` between cuts."""
    return itertools.pairwise([0, *inner.tolist(), length])


@final
@dataclass(kw_only=True)
class RowReader:
    """A region of a scene after the recipe, strip by strip; the strips of the last `load` are kept."""

    scene: Scene
    """Where values come from."""
    roi: Roi
    """The region; indices below are relative to it."""
    prepares: Prepares
    """The recipe that is applied at reading."""
    pool: Executor
    """Threads that decode and prepare."""
    strips: dict[int, Strip] = field(default_factory=dict)
    """Prepared rows by strip number."""
    free: list[np.ndarray] = field(default_factory=list)
    """Memory of strips that nobody holds any more."""
    seconds: float = 0.0
    """Time spent reading and preparing."""
    bytes: int = 0
    """Stored bytes decoded."""

    @property
    def height(self) -> int:
        """Rows of the region."""
        return self.roi.shape[0]

    def load(self, index: Int64[np.ndarray, " y"]) -> Rows:
        """Return what the rows ``index`` need, and forget every other strip. One caller at a time."""
        needed = sorted({self._number(int(row)) for row in np.unique(index)})
        self.strips = {number: self.strips[number] for number in needed if number in self.strips}
        for number in needed:
            if number not in self.strips:
                self.strips[number] = self._strip(number)
        return Rows(strips=dict(self.strips), number=self._number)

    def _number(self, row: int) -> int:
        """Return the strip of a row: strips are the rows of chunks of the store."""
        return (row + self.roi.y0) // self.scene.chunks[0] - self.roi.y0 // self.scene.chunks[0]

    def _span(self, number: int) -> tuple[int, int]:
        """Return first and last row (exclusive) of a strip, relative to the region."""
        edge = self.scene.chunks[0]
        top = (self.roi.y0 // edge + number) * edge
        return max(top - self.roi.y0, 0), min(top + edge - self.roi.y0, self.height)

    def _strip(self, number: int) -> Strip:
        """Read and prepare a strip, column by column of chunks."""
        began = time.monotonic()
        y0, y1 = self._span(number)
        values = self._empty((y1 - y0, self.roi.shape[1], self.prepares.channels[0]))
        valid = np.empty(values.shape[:2], bool)

        def fill(columns: tuple[int, int]) -> bool:
            x0, x1 = columns
            block = self.scene.read(self._roi(y0, y1, x0, x1))
            flat = self.prepares.prepare(block.reshape(-1, block.shape[2]))
            # a sum is finite unless a value is not (or values are absurd): one pass, no mask, for nearly every chunk
            with np.errstate(over="ignore", invalid="ignore"):
                finite = np.isfinite(flat.sum())
            seen = None if finite else np.isfinite(flat).all(axis=1)
            if seen is not None:
                flat = np.where(seen[:, None], flat, np.float32(0))
            values[:, x0:x1] = flat.reshape(y1 - y0, x1 - x0, -1)
            valid[:, x0:x1] = True if seen is None else seen.reshape(y1 - y0, x1 - x0)
            return seen is None or bool(seen.all())

        whole = all(list(self.pool.map(fill, self._columns())))
        self.seconds += time.monotonic() - began
        self.bytes += (y1 - y0) * self.roi.shape[1] * self.scene.shape[2] * self.scene.dtype.itemsize
        strip = Strip(top=y0, values=values, valid=None if whole else valid)
        weakref.finalize(strip, self.free.append, values)
        return strip

    def _empty(self, shape: tuple[int, int, int]) -> Float32[np.ndarray, "y x channel"]:
        """Return memory for a strip, of one that nobody needs any more if there is one: fresh pages cost as much."""
        for index, old in enumerate(self.free):
            if old.shape == shape:
                return self.free.pop(index)
        return np.empty(shape, np.float32)

    def _columns(self) -> list[tuple[int, int]]:
        """Return the spans of columns that are read at once: whole chunks, as many as make a call worth its while."""
        edge, x0, width = self.scene.chunks[1], self.roi.x0, self.roi.shape[1]
        bytes_of_chunk = self.scene.chunks[0] * edge * self.scene.shape[2] * self.scene.dtype.itemsize
        step = edge * max(1, CALL // bytes_of_chunk)
        return list(_cuts(np.arange(step - x0 % edge, width, step), width))

    def _roi(self, y0: int, y1: int, x0: int, x1: int) -> Roi:
        oy, ox = self.roi.y0, self.roi.x0
        return Roi(y0=oy + y0, y1=oy + y1, x0=ox + x0, x1=ox + x1)
