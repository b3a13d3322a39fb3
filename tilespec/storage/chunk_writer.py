"""Objects that are written without Zarr, with the same bytes that Zarr writes.

Zarr copies an object out of its row and once more to append its checksum, all in fresh memory, whose page faults cost
more than the copies; and a call costs a millisecond of Python, more than the whole of a small object. Objects without
compression are filled a few lines at a time in the processor's cache, and written from there; those of class maps are
compressed at once.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import FileIO
from math import prod
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import google_crc32c
import numpy as np
import xxhash
import zarr
from numcodecs import zstd

from tilespec.core.buffers import Buffers
from tilespec.storage.chunk_reader import CRC

LINES: Final = 8
"""The number of lines of an object that are filled at once: 0.8 MB of float32 at 128 columns and 186 bands."""
CACHED: Final = 1 << 20
"""The number of bytes that are filled at once where `LINES` lines have fewer."""

Fill = Callable[[slice, np.ndarray], None]
"""A function that fills a few lines of an object: ``(lines, out)``."""


def checked_only(array: "zarr.Array[Any]") -> bool:
    """Return whether an object consists of its little-endian values and their crc32c, without compression."""
    return _codecs(array) == ["Crc32cCodec"]


def compressed(array: "zarr.Array[Any]") -> bool:
    """Return whether an object consists of its little-endian values compressed by Zstandard, as a class map does."""
    return _codecs(array) == ["ZstdCodec"]


def _codecs(array: "zarr.Array[Any]") -> list[str] | None:
    """Return the codecs of the bytes of an array, or None when its values are transformed before they become bytes."""
    first, *others = array.metadata.codecs
    endian = getattr(getattr(first, "endian", None), "value", "little")
    plain = type(first).__name__ == "BytesCodec" and endian == "little"
    return [type(codec).__name__ for codec in others] if plain else None


def stream(
    path: Path, array: "zarr.Array[Any]", shape: tuple[int, ...], fill: Fill, buffers: Buffers, step: int | None = None
) -> list[Any]:
    """Write one object of a `checked_only` array, a few lines at a time; return its size and hash.

    Args:
        path: The path of the object.
        array: The array of the object.
        shape: The shape of the part of the object inside the array; the rest holds the fill value.
        fill: The function that fills the lines.
        buffers: The buffers that the lines are filled in.
        step: The number of lines that are filled at once; None takes as many as fit the processor's cache.
    """
    edges, state, crc = array.chunks, xxhash.xxh3_128(), 0
    step = step or max(LINES, CACHED // (prod(edges[1:]) * array.dtype.itemsize))
    with replacing(path) as file:
        for y0 in range(0, edges[0], step):
            lines = slice(y0, min(y0 + step, shape[0]))
            out = buffers.array("lines", (min(step, edges[0] - y0), *edges[1:]), array.dtype)
            inside = (slice(0, max(0, lines.stop - y0)), *(slice(0, n) for n in shape[1:]))
            if (lines.stop - y0, *shape[1:]) != out.shape:
                out[...] = array.fill_value
            if lines.stop > y0:
                fill(lines, out[inside])
            part = out.reshape(-1).view(np.uint8)
            crc = google_crc32c.extend(crc, part)
            state.update(part.data)
            write(file, part.data)
        end = crc.to_bytes(CRC, "little")
        state.update(end)
        write(file, memoryview(end))
    return [prod(edges) * array.dtype.itemsize + CRC, state.hexdigest()]


def put(path: Path, array: "zarr.Array[Any]", block: np.ndarray) -> list[Any]:
    """Write a block as one object, padded with the fill value outside the array; return its size and hash.

    Args:
        path: The path of the object.
        array: The array of the object; `checked_only` or `compressed`.
        block: The values of the object inside the array.
    """

    def fill(lines: slice, out: np.ndarray) -> None:
        np.copyto(out, block[lines], casting="unsafe")

    if checked_only(array):
        return stream(path, array, block.shape, fill, Buffers())
    whole = np.full(array.chunks, array.fill_value, array.dtype)
    fill(slice(None), whole[tuple(slice(0, n) for n in block.shape)])
    data = zstd.Zstd(**array.metadata.codecs[-1].to_dict()["configuration"]).encode(whole)
    with replacing(path) as file:
        write(file, memoryview(data))
    return [len(data), xxhash.xxh3_128_hexdigest(data)]


def write(file: FileIO, data: memoryview) -> None:
    """Write all of ``data``; a single call may write only a part when the disk is nearly full."""
    while data:
        data = data[file.write(data) :]


@contextmanager
def replacing(path: Path) -> Iterator[FileIO]:
    """Open a file that appears under its name only when it is complete, as Zarr's own objects do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{uuid4().hex}.partial")
    try:
        with partial.open("wb", buffering=0) as file:
            yield file
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
