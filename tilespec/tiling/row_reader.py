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

from tilespec.core.buffers import Room
from tilespec.core.types import Roi
from tilespec.storage.scene import Scene

CALL = 1 << 22
"""Bytes that one call of Zarr reads at least, where a strip has so many: a call costs a millisecond by itself."""


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
class Piece:
    """Some columns of a strip, after the recipe."""

    values: Float32[np.ndarray, "y x channel"]
    """0 where there is no data."""
    valid: Bool[np.ndarray, "y x"] | None
    """Where there are data; None where everywhere."""


@final
@dataclass(frozen=True, kw_only=True)
class Strip:
    """Some rows of a region after the recipe, in pieces as the store holds them: nothing is put together twice."""

    top: int
    """First row, relative to the region."""
    pieces: tuple[Piece, ...]
    """From left to right."""


@final
@dataclass(frozen=True, kw_only=True)
class Rows:
    """The strips that some rows of a region need: a value that threads may share."""

    strips: Mapping[int, Strip]
    """By number, ascending."""
    number: Callable[[int], int]
    """The strip of a row."""
    edges: Int64[np.ndarray, " edge"]
    """First column of each piece, and the end."""

    def tile(
        self, out: Float32[np.ndarray, "y x channel"], y: Int64[np.ndarray, " y"], x: Int64[np.ndarray, " x"]
    ) -> Bool[np.ndarray, "y x"] | None:
        """Copy rows ``y`` and columns ``x`` into ``out``, 0 without data; return where data are, None: everywhere."""
        mask = np.ones(out.shape[:2], bool)
        rows = list(_runs(y, np.asarray([self.number(int(row)) for row in y])))
        columns = list(_runs(x, np.searchsorted(self.edges, x, side="right") - 1))
        for number, into_y, from_y in rows:
            strip = self.strips[number]
            for piece, into_x, from_x in columns:
                found = strip.pieces[piece]
                at = _shifted(from_y, strip.top), _shifted(from_x, int(self.edges[piece]))
                out[into_y, into_x] = found.values[at]
                if found.valid is not None:
                    mask[into_y, into_x] = found.valid[at]
        return None if mask.all() else mask


def _runs(index: Int64[np.ndarray, " n"], owner: Int64[np.ndarray, " n"]) -> Iterator[tuple[int, slice, slice]]:
    """Yield runs of an index that have one owner and go up or down by ones: the owner, where they go, where they lie.

    Copying slices is a copy of memory. A reflected index turns round at its ends; there a new run begins.
    """
    for start, stop in _cuts(np.flatnonzero(np.diff(owner)) + 1, len(index)):
        for into, lie in _slices(index[start:stop]):
            yield int(owner[start]), slice(start + into.start, start + into.stop), lie


def _shifted(run: slice, by: int) -> slice:
    """Return a run relative to its owner's first; one that goes down to 0 has no end to name."""
    stop = None if run.stop is None else run.stop - by
    return slice(run.start - by, stop if stop is None or stop >= 0 else None, run.step)


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
    free: list[Room] = field(default_factory=list)
    """Memory that nobody holds any more."""
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
        return Rows(strips=dict(self.strips), number=self._number, edges=np.asarray(self._edges()))

    def _number(self, row: int) -> int:
        """Return the strip of a row: strips are the rows of chunks of the store."""
        return (row + self.roi.y0) // self.scene.chunks[0] - self.roi.y0 // self.scene.chunks[0]

    def _span(self, number: int) -> tuple[int, int]:
        """Return first and last row (exclusive) of a strip, relative to the region."""
        edge = self.scene.chunks[0]
        top = (self.roi.y0 // edge + number) * edge
        return max(top - self.roi.y0, 0), min(top + edge - self.roi.y0, self.height)

    def _strip(self, number: int) -> Strip:
        """Read and prepare a strip, piece by piece."""
        began = time.monotonic()
        y0, y1 = self._span(number)
        spans = itertools.pairwise(self._edges())
        pieces = tuple(self.pool.map(lambda span: self._piece(self._roi(y0, y1, *span)), spans))
        self.seconds += time.monotonic() - began
        self.bytes += (y1 - y0) * self.roi.shape[1] * self.scene.shape[2] * self.scene.dtype.itemsize
        return Strip(top=y0, pieces=pieces)

    def _piece(self, roi: Roi) -> Piece:
        """Read and prepare a piece, in memory that nobody holds any more: fresh pages cost as much as reading."""
        room = self.free.pop() if self.free else Room()
        block = self.scene.read(roi, room)
        flat = self.prepares.prepare(block.reshape(-1, block.shape[2]))
        values, valid = flat.reshape(*roi.shape, -1), None
        # a sum is finite unless a value is not (or values are absurd): one pass, no mask, for nearly every piece
        with np.errstate(over="ignore", invalid="ignore"):
            finite = np.isfinite(flat.sum())
        if not finite:
            seen = np.isfinite(flat).all(axis=1)
            flat[~seen] = 0
            valid = None if seen.all() else seen.reshape(roi.shape)
        piece = Piece(values=values, valid=valid)
        if np.may_share_memory(values, block):
            weakref.finalize(piece, self.free.append, room)
        else:
            self.free.append(room)
        return piece

    def _edges(self) -> list[int]:
        """Return where pieces begin and end: objects, or as many as make a call of the store worth its while."""
        edge, x0, width = self.scene.chunks[1], self.roi.x0, self.roi.shape[1]
        bytes_of_chunk = self.scene.chunks[0] * edge * self.scene.shape[2] * self.scene.dtype.itemsize
        step = edge * max(1, CALL // bytes_of_chunk) if self.scene.cube.objects is None else edge
        return [0, *range(step - x0 % edge, width, step), width]

    def _roi(self, y0: int, y1: int, x0: int, x1: int) -> Roi:
        oy, ox = self.roi.y0, self.roi.x0
        return Roi(y0=oy + y0, y1=oy + y1, x0=ox + x0, x1=ox + x1)
