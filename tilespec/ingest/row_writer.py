"""Object rows: each object of a row is filled by one of a few threads, a few lines at a time, and written.

An object without compression is never complete in memory (`tilespec.storage.chunk_writer`). With other codecs, or
another kind of store, one complete object is filled and written by Zarr.
"""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Final, final

import numpy as np
import zarr

from tilespec.core.buffers import Buffers
from tilespec.core.cpu import cores
from tilespec.core.threads import in_order
from tilespec.ingest.encode import Counts, Piece, add
from tilespec.storage.backends.paths import store_path
from tilespec.storage.chunk_writer import LINES, checked_only, stream
from tilespec.storage.product import OpenRow, Product

THREADS: Final = 4
"""The largest number of objects that are filled at once, if there are as many cores."""

Lines = Callable[[slice, Piece, Buffers], Counts]
"""A function that fills a few lines of an object, ``(lines, out, room)``, and returns the counts of values."""
Fill = Callable[[slice], Lines]
"""A function from the columns of an object to the function that fills it."""


@final
class RowWriter:
    """Cubes written by rows: ``with RowWriter() as rows: rows.write(product, row, fill, layers)``."""

    def __init__(self, name: str = "cube") -> None:
        self._name = name
        self._threads = min(THREADS, cores())
        self._rooms = threading.local()

    def __enter__(self) -> "RowWriter":
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="tilespec-tile")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def write(self, product: Product, row: int, fill: Fill, layers: Mapping[str, np.ndarray]) -> None:
        """Write one row of objects of the cube and of ``layers``, then record it, as `Product.write` does.

        Args:
            product: The product.
            row: The number of the row.
            fill: The function that fills the objects of the cube; several threads call it at once.
            layers: The complete rows of ``y, x`` arrays by name.
        """
        rows, root = slice(*product.span(row)), store_path(product.url).on_disk
        with product.open_row(row, (self._name, *layers)) as begun:
            for name, values in layers.items():
                product.put(begun, name, values, (rows.start, 0))
            folder = root if checked_only(begun.arrays[self._name]) else None
            begun.facts["counts"] = self._objects(begun, folder, fill, rows)

    def _objects(self, row: OpenRow, folder: Path | None, fill: Fill, rows: slice) -> Counts:
        """Fill and write the objects of one row, without Zarr into a folder; return the counts of values."""
        array, store, named = row.arrays[self._name], row.store, row.keys[self._name]
        whole = (array.shards or array.chunks)[1]

        def work(item: tuple[int, str]) -> Counts:
            self._rooms.own = buffers = getattr(self._rooms, "own", None) or Buffers()
            cols = slice(item[0] * whole, min((item[0] + 1) * whole, array.shape[1]))
            if folder is None:
                return put(array, (rows, cols), fill(cols), buffers)
            shape = (rows.stop - rows.start, cols.stop - cols.start, array.shape[2])
            lines = fill(cols)
            counted: Counts = {}
            some = lambda which, out: add(counted, lines(which, out, buffers))  # noqa: E731 - counts on the way
            store.entries[item[1]] = stream(folder / item[1], array, shape, some, buffers)
            return counted

        total: Counts = {}
        for _, counts in in_order(self._pool, work, enumerate(named), depth=2 * self._threads):
            add(total, counts)
        return total


def put(array: "zarr.Array[Any]", region: tuple[slice, slice], fill: Lines, buffers: Buffers) -> Counts:
    """Fill one object of an array, which Zarr writes; return the counts of values."""
    height, width = (s.stop - s.start for s in region)
    out = buffers.array("object", (height, width, array.shape[2]), array.dtype)
    total: Counts = {}
    for y0 in range(0, height, LINES):
        lines = slice(y0, min(y0 + LINES, height))
        add(total, fill(lines, out[lines], buffers))
    array[region] = out
    return total
