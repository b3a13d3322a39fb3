"""Row reader: a scene is read by rows of chunks and prepared meanwhile; ascending rows decode every chunk only once."""

import itertools
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Int64

from tilespec.core.arrays import cut, namespace, on_host
from tilespec.core.buffers import Buffers
from tilespec.core.device import copying, keep, staging
from tilespec.core.types import Roi
from tilespec.storage.scene import Scene

CALL = 1 << 22
"""The least bytes that one call of Zarr reads, if a strip has as many, because a call costs a millisecond by itself."""


@runtime_checkable
class HasRecipe(Protocol):
    """The part of a predictor that reading needs."""

    @property
    def channels(self) -> tuple[int, int]:
        """The number of channels in and out."""
        ...

    @property
    def device(self) -> Any:
        """The device of torch that computes, or None for NumPy."""
        ...

    @property
    def prepare(self) -> Callable[[Float32[np.ndarray, "pixel band"]], Float32[np.ndarray, "pixel channel"]]:
        """Apply the recipe to each pixel."""
        ...


@final
@dataclass(frozen=True, kw_only=True)
class Piece:
    """Some columns of a strip after the recipe, on the device that computes."""

    values: Float32[Any, "y x channel"]
    """The values, 0 for pixels without data."""
    valid: Bool[np.ndarray, "y x"] | None
    """Whether each pixel has data; None means all have."""


@final
@dataclass(frozen=True, kw_only=True)
class PreparedRows:
    """Some rows of a region after the recipe, in pieces as stored, so that no copy joins them."""

    top: int
    """The first row relative to the region."""
    pieces: tuple[Piece, ...]
    """The pieces from left to right."""


@final
@dataclass(frozen=True, kw_only=True)
class Rows:
    """The strips that some rows of a region need: a value that threads may share."""

    strips: Mapping[int, PreparedRows]
    """The strips by number, ascending."""
    number: Callable[[int], int]
    """The function from a row to the number of its strip."""
    edges: Int64[np.ndarray, " edge"]
    """The first column of each piece, and the end of the last."""

    def tile(
        self, out: Float32[Any, "y x channel"], y: Int64[np.ndarray, " y"], x: Int64[np.ndarray, " x"]
    ) -> Bool[np.ndarray, "y x"] | None:
        """Copy rows ``y`` and columns ``x`` into ``out``, 0 without data; return which have data, or None for all."""
        mask = np.ones(out.shape[:2], bool)
        rows = list(_runs(y, np.asarray([self.number(int(row)) for row in y])))
        columns = list(_runs(x, np.searchsorted(self.edges, x, side="right") - 1))
        for number, into_y, from_y in rows:
            strip = self.strips[number]
            for piece, into_x, from_x in columns:
                piece_values = strip.pieces[piece]
                at = _shifted(from_y, strip.top), _shifted(from_x, int(self.edges[piece]))
                out[into_y, into_x] = cut(piece_values.values, at)
                if piece_values.valid is not None:
                    mask[into_y, into_x] = piece_values.valid[at]
        return None if mask.all() else mask


def _runs(index: Int64[np.ndarray, " n"], owner: Int64[np.ndarray, " n"]) -> Iterator[tuple[int, slice, slice]]:
    """Yield runs of an index with one owner and steps of +1 or -1: owner, slice of the target, slice of the source.

    Copying slices is a plain copy of memory. A reflected index changes direction at its ends; a new run begins there.
    """
    for start, stop in _cuts(np.flatnonzero(np.diff(owner)) + 1, len(index)):
        for into, lie in _slices(index[start:stop]):
            yield int(owner[start]), slice(start + into.start, start + into.stop), lie


def _shifted(run: slice, by: int) -> slice:
    """Return a run relative to its owner's first element; a run down to 0 has None as its end."""
    stop = None if run.stop is None else run.stop - by
    return slice(run.start - by, stop if stop is None or stop >= 0 else None, run.step)


def _slices(index: Int64[np.ndarray, " n"]) -> Iterator[tuple[slice, slice]]:
    """Yield runs of an index that change by +1 or -1 as slices, whose copy is a plain copy of memory.

    A reflected index changes direction at its ends; a new run begins where it turns or repeats.
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
    """A region of a scene after the recipe, read strip by strip; the strips of the last `load` are in memory."""

    scene: Scene
    """The scene that is read."""
    roi: Roi
    """The region; the indices below are relative to it."""
    prepares: HasRecipe
    """The recipe that is applied while reading."""
    pool: Executor
    """The threads that decode and prepare."""
    strips: dict[int, PreparedRows] = field(default_factory=dict)
    """The prepared rows by strip number."""
    free: list[Buffers] = field(default_factory=list)
    """The buffers that are not in use."""
    seconds: float = 0.0
    """The time of reading and preparing in seconds."""
    bytes: int = 0
    """The decoded bytes that were read."""

    @property
    def height(self) -> int:
        """The number of rows of the region."""
        return self.roi.shape[0]

    def load(self, index: Int64[np.ndarray, " y"]) -> Rows:
        """Return the strips of the rows ``index``, and drop every other strip. One caller at a time."""
        needed = sorted({self._number(int(row)) for row in np.unique(index)})
        self.strips = {number: self.strips[number] for number in needed if number in self.strips}
        for number in needed:
            if number not in self.strips:
                self.strips[number] = self._strip(number)
        return Rows(strips=dict(self.strips), number=self._number, edges=np.asarray(self._edges()))

    def _number(self, row: int) -> int:
        """Return the number of a row's strip: a strip is a row of chunks of the store."""
        return (row + self.roi.y0) // self.scene.chunks[0] - self.roi.y0 // self.scene.chunks[0]

    def _span(self, number: int) -> tuple[int, int]:
        """Return the first and the last row (exclusive) of a strip relative to the region."""
        edge = self.scene.chunks[0]
        top = (self.roi.y0 // edge + number) * edge
        return max(top - self.roi.y0, 0), min(top + edge - self.roi.y0, self.height)

    def _strip(self, number: int) -> PreparedRows:
        """Read and prepare a strip, piece by piece."""
        began = time.monotonic()
        y0, y1 = self._span(number)
        spans = itertools.pairwise(self._edges())
        pieces = tuple(self.pool.map(lambda span: self._piece(self._roi(y0, y1, *span)), spans))
        self.seconds += time.monotonic() - began
        self.bytes += (y1 - y0) * self.roi.shape[1] * self.scene.shape[2] * self.scene.dtype.itemsize
        return PreparedRows(top=y0, pieces=pieces)

    def _piece(self, roi: Roi) -> Piece:
        """Read and prepare a piece in unused buffers, because fresh memory costs as much time as reading."""
        device = self.prepares.device
        buffers = self.free.pop() if self.free else staging(device)
        with copying(device):
            block = self.scene.read_on(device, roi, buffers)
            flat = keep(self.prepares.prepare(block.reshape(-1, block.shape[2])))
            valid = _blank(flat)
        values = flat.reshape(*roi.shape, -1)
        piece = Piece(values=values, valid=None if valid is None else valid.reshape(roi.shape))
        if device is None and np.may_share_memory(values, block):
            weakref.finalize(piece, self.free.append, buffers)
        else:
            self.free.append(buffers)
        return piece

    def _edges(self) -> list[int]:
        """Return the bounds of pieces: single objects, or as many as make a call of the store efficient."""
        edge, x0, width = self.scene.chunks[1], self.roi.x0, self.roi.shape[1]
        bytes_of_chunk = self.scene.chunks[0] * edge * self.scene.shape[2] * self.scene.dtype.itemsize
        step = edge * max(1, CALL // bytes_of_chunk) if self.scene.cube.objects is None else edge
        return [0, *range(step - x0 % edge, width, step), width]

    def _roi(self, y0: int, y1: int, x0: int, x1: int) -> Roi:
        oy, ox = self.roi.y0, self.roi.x0
        return Roi(y0=oy + y0, y1=oy + y1, x0=ox + x0, x1=ox + x1)


def _blank(flat: Float32[Any, "pixel channel"]) -> Bool[np.ndarray, " pixel"] | None:
    """Set pixels that are not finite to 0; return which pixels are, None for all."""
    xp = namespace(flat)
    with np.errstate(over="ignore", invalid="ignore"):
        # a finite sum proves finite values: one pass without a mask for nearly every piece
        if xp.isfinite(flat.sum()):
            return None
    valid = xp.isfinite(flat).all(1)
    flat[~valid] = 0
    return None if valid.all() else on_host(valid)
