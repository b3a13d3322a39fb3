"""One row of objects, object by object: each is filled by one of a few threads, a few lines at a time, and put.

An object without compression never exists in memory (`tilespec.storage.chunk_writer`). Where there are other codecs, or
another kind of store, one whole object is filled and left to Zarr.
"""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Final, final

import numpy as np
import zarr

from tilespec.core.buffers import Room
from tilespec.core.cpu import cores
from tilespec.core.threads import in_order
from tilespec.ingest.encode import Counts, Piece, add
from tilespec.storage.backends.paths import at
from tilespec.storage.backends.zarr_store import Recording
from tilespec.storage.chunk_writer import LINES, checked_only, stream
from tilespec.storage.product import Product

THREADS: Final = 4
"""Objects in work at once: at most, and no more than there are cores."""

Lines = Callable[[slice, Piece, Room], Counts]
"""Fills a few lines of an object, ``(lines, out, room)``, and returns what was counted."""
Fill = Callable[[slice], Lines]
"""What fills the object of some columns."""


@final
class Tiles:
    """The cube of a product, written row by row: ``with Tiles(product) as tiles: tiles.write(row, fill, layers)``."""

    def __init__(self, product: Product, name: str = "cube") -> None:
        self._product, self._name, self._root = product, name, at(product.url).on_disk
        self._threads = min(THREADS, cores())
        self._rooms = threading.local()

    def __enter__(self) -> "Tiles":
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="tilespec-tile")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def write(self, row: int, fill: Fill, layers: Mapping[str, np.ndarray]) -> None:
        """Write one row of objects of the cube, and of ``layers`` beside it; then record it, as `Product.write` does.

        Args:
            row: Which one.
            fill: Fills the objects of the cube; called on several threads at once.
            layers: Rows of ``y, x`` arrays, whole.
        """
        rows = slice(*self._product.span(row))
        with self._product.begun(row, (self._name, *layers)) as begun:
            for name, values in layers.items():
                self._product.put(begun, name, values, (rows.start, 0))
            array, named = begun.arrays[self._name], begun.keys[self._name]
            begun.facts["counts"] = self._objects(array, begun.store, named, fill, rows)

    def _objects(self, array: "zarr.Array[Any]", store: Recording, named: list[str], fill: Fill, rows: slice) -> Counts:
        """Fill and put the objects of one row; return what was counted."""
        whole = (array.shards or array.chunks)[1]
        folder = self._root if checked_only(array) else None

        def work(item: tuple[int, str]) -> Counts:
            self._rooms.own = room = getattr(self._rooms, "own", None) or Room()
            cols = slice(item[0] * whole, min((item[0] + 1) * whole, array.shape[1]))
            if folder is None:
                return put(array, (rows, cols), fill(cols), room)
            shape = (rows.stop - rows.start, cols.stop - cols.start, array.shape[2])
            lines = fill(cols)
            counted: Counts = {}
            some = lambda which, out: add(counted, lines(which, out, room))  # noqa: E731 - counts on the way
            store.entries[item[1]] = stream(folder / item[1], array, shape, some, room)
            return counted

        total: Counts = {}
        for _, counts in in_order(self._pool, work, enumerate(named), depth=2 * self._threads):
            add(total, counts)
        return total


def put(array: "zarr.Array[Any]", region: tuple[slice, slice], fill: Lines, room: Room) -> Counts:
    """Fill one object of an array and leave it to Zarr; return what was counted."""
    height, width = (s.stop - s.start for s in region)
    out = room.array("object", (height, width, array.shape[2]), array.dtype)
    total: Counts = {}
    for y0 in range(0, height, LINES):
        lines = slice(y0, min(y0 + LINES, height))
        add(total, fill(lines, out[lines], room))
    array[region] = out
    return total
