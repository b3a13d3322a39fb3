"""Stored objects of a local array, read and decoded directly into memory that is used again and again.

Zarr reads an object through five copies and a millisecond of Python; fresh memory of an object's size costs as much
again, page by page. Here an object is one `readinto`, its checksum, and at most one decompression, each into the
memory of the object before. Zarr reads the arrays that this file does not support (other codecs, shards, remote
stores).
"""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from itertools import pairwise, product
from math import prod
from pathlib import Path
from typing import Any, Final, final

import google_crc32c
import numpy as np
import xxhash
import zarr
from numcodecs import blosc, zstd

from tilespec.core.buffers import Buffers
from tilespec.core.errors import UserError
from tilespec.storage.columns import is_table
from tilespec.storage.inventory import CheckedStore, inventory

CRC = 4
"""The number of bytes of the crc32c at the end of an object."""

Decoder = Callable[[np.ndarray, Buffers, int], np.ndarray]
"""A function from encoded bytes to decoded bytes, given the decoded size of an object."""


def _checked(data: np.ndarray, _buffers: Buffers, _size: int) -> np.ndarray:
    """Return the bytes before the crc32c after checking them against it."""
    body = data[:-CRC]
    if data.size < CRC or google_crc32c.value(body) != int.from_bytes(data[-CRC:].tobytes(), "little"):
        raise ValueError("its crc32c does not hold")
    return body


def _unblosced(data: np.ndarray, buffers: Buffers, size: int) -> np.ndarray:
    stated = int.from_bytes(data[4:8].tobytes(), "little")  # of the decoded bytes, in the header of 16
    if data.size < 16 or stated != size:
        raise ValueError(f"{stated} bytes where {size} are expected")
    out = buffers.bytes("blosc", size)
    blosc.decompress(data, out)
    return out


def _unzstandarded(data: np.ndarray, _buffers: Buffers, _size: int) -> np.ndarray:
    return np.frombuffer(zstd.decompress(data), np.uint8)  # shorter values would leave the rest of a reused buffer


DECODERS: Final[dict[str, Decoder]] = {"Crc32cCodec": _checked, "BloscCodec": _unblosced, "ZstdCodec": _unzstandarded}
"""The supported codecs from bytes to bytes, by the name of Zarr's class."""


@final
@dataclass(frozen=True, kw_only=True)
class ChunkReader:
    """The location and the codecs of an array's objects in a folder: a small value that is read once."""

    store: str
    """The URL of the store."""
    stamp: str | None
    """The tag of the store's root when it was opened: objects of another store in its place are refused."""
    name: str
    """The name of the array."""
    folder: str
    """The folder of the array."""
    shape: tuple[int, ...]
    """The shape of the array."""
    edges: tuple[int, ...]
    """The shape of one stored object."""
    dtype: str
    """The stored data type, including the byte order."""
    fill: Any
    """The value of all elements in an object that was never written."""
    codecs: tuple[str, ...]
    """The names of the codecs in `DECODERS`, in the order of decoding."""
    separator: str
    """The separator between the numbers of a key."""
    table: bool
    """Whether the array is one over spectra, whose objects are not numbered along x."""

    @classmethod
    def of(cls, array: "zarr.Array[Any]") -> "ChunkReader | None":
        """Return how the objects of ``array`` are read, or None when only Zarr can read them."""
        meta, store = array.metadata, array.store
        if not isinstance(store, CheckedStore) or store.folder is None or meta.zarr_format != 3:
            return None
        first, *others = meta.codecs
        codecs = tuple(type(codec).__name__ for codec in reversed(others))
        key, grid = meta.chunk_key_encoding.to_dict(), meta.chunk_grid.to_dict()
        plain = type(first).__name__ == "BytesCodec" and getattr(first.endian, "value", "little") == "little"
        if not plain or not set(codecs) <= set(DECODERS) or key["name"] != "default" or grid["name"] != "regular":
            return None
        return cls(
            store=store.known.url,
            stamp=store.known.stamp,
            name=array.path,
            folder=str(store.folder / array.path),
            shape=array.shape,
            edges=array.chunks,
            dtype=array.dtype.newbyteorder("<").str,
            fill=meta.fill_value,
            codecs=codecs,
            separator=key["configuration"]["separator"],
            table=is_table(array),
        )

    def read(self, region: tuple[slice, ...], buffers: Buffers) -> np.ndarray:
        """Return a region with its stored values, in the memory of ``buffers``: valid until its next use.

        Raises:
            ValueError, RuntimeError: an object is damaged; the message names it.
        """
        spans = [(s.start, s.stop) for s in region]
        runs = [range(a // edge, -(-b // edge)) for (a, b), edge in zip(spans, self.edges, strict=True)]
        if all(len(run) == 1 for run in runs):
            index = tuple(run[0] for run in runs)
            return self.object(index, buffers)[self._inside(index, spans)[0]]
        out = buffers.array("region", tuple(b - a for a, b in spans), self.dtype)
        for index in product(*runs):
            inside, outside = self._inside(index, spans)
            out[outside] = self.object(index, buffers)[inside]
        return out

    def lines(self, region: tuple[slice, ...], step: int, buffers: Buffers) -> Iterator[np.ndarray]:
        """Yield a region with its stored values, ``step`` lines at a time, each valid until the next.

        If the region lies in one uncompressed object, its lines are read only when the caller needs them, so that they
        are still in the processor's cache. The object's checksum is compared after the last line: use no result before
        all lines are read.

        Raises:
            ValueError, RuntimeError: an object is damaged; the message names it.
        """
        one = all(s.start // edge == (s.stop - 1) // edge for s, edge in zip(region, self.edges, strict=True))
        if one and self.codecs == ("Crc32cCodec",):
            with suppress(FileNotFoundError):  # an object that was never written is missed before the first line
                yield from self._streamed(region, step, buffers)
                return
        values = self.read(region, buffers)
        for start in range(0, len(values), step):
            yield values[start : start + step]

    def _streamed(self, region: tuple[slice, ...], step: int, buffers: Buffers) -> Iterator[np.ndarray]:
        """Yield a region of one object; then compare the object's checksum."""
        index = tuple(s.start // edge for s, edge in zip(region, self.edges, strict=True))
        (lines, *others), _ = self._inside(index, [(s.start, s.stop) for s in region])
        key, path, known = self._key(index), self._path(index), inventory(self.store, self.stamp)
        recorded, state, crc, size = key in known.entries, xxhash.xxh3_128(), 0, 0
        with _open_file(path) as file:
            for start, stop in pairwise(sorted({0, *range(lines.start, lines.stop, step), lines.stop, self.edges[0]})):
                out = buffers.array("lines", (stop - start, *self.edges[1:]), self.dtype)
                data = out.reshape(-1).view(np.uint8)
                if _fill(file, data) < data.size:
                    raise ValueError(f"{path}: it ends early")
                size += data.size
                if recorded:
                    state.update(data.data)
                else:
                    crc = google_crc32c.extend(crc, data)
                if lines.start <= start < lines.stop:
                    yield out[(slice(None), *others)]
            end = file.read(CRC + 1)
        if recorded:
            state.update(end)
            known.check(key, size + len(end), state.hexdigest())
        elif end != crc.to_bytes(CRC, "little"):
            raise ValueError(f"{path}: its crc32c does not hold")
        known.check_unchanged()

    def _inside(
        self, index: tuple[int, ...], spans: list[tuple[int, int]]
    ) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """Return the slices of an object that lie in a region, relative to the object and to the region."""
        inside, outside = [], []
        for i, edge, (a, b) in zip(index, self.edges, spans, strict=True):
            first, last = max(i * edge, a), min((i + 1) * edge, b)
            inside.append(slice(first - i * edge, last - i * edge))
            outside.append(slice(first - a, last - a))
        return tuple(inside), tuple(outside)

    def object(self, index: tuple[int, ...], buffers: Buffers) -> np.ndarray:
        """Return one complete object, including its elements outside of the array, in the memory of ``buffers``."""
        key, path, known = self._key(index), self._path(index), inventory(self.store, self.stamp)
        try:
            data = _contents(path, buffers)
            recorded = known.compare(key, data)
            return self._decoded(data, buffers, recorded=recorded).view(self.dtype).reshape(self.edges)
        except FileNotFoundError:
            known.missing(key)
            out = buffers.array("fill", self.edges, self.dtype)
            out[...] = self.fill
            return out
        except UserError:
            raise
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"{path}: {error}") from error

    def _key(self, index: tuple[int, ...]) -> str:
        """Return the key of an object in the store."""
        return f"{self.name}/{self._number(index)}"

    def _path(self, index: tuple[int, ...]) -> Path:
        """Return the path of an object."""
        return Path(self.folder, self._number(index))

    def _number(self, index: tuple[int, ...]) -> str:
        """Return the last part of the key of an object."""
        stored = (index[0], *index[2:]) if self.table else index
        return self.separator.join(("c", *map(str, stored)))

    def _decoded(self, data: np.ndarray, buffers: Buffers, *, recorded: bool) -> np.ndarray:
        """Return the decoded bytes of an object; the bytes of a ``recorded`` one are known to be right."""
        size = prod(self.edges) * np.dtype(self.dtype).itemsize
        for codec in self.codecs:
            data = data[:-CRC] if recorded and codec == "Crc32cCodec" else DECODERS[codec](data, buffers, size)
        if data.size != size:
            raise ValueError(f"{data.size} bytes where {size} are expected")
        return data


def _contents(path: Path, buffers: Buffers) -> np.ndarray:
    """Return the bytes of a file."""
    with _open_file(path) as file:
        data = buffers.bytes("file", os.fstat(file.fileno()).st_size)
        return data[: _fill(file, data)]


def _open_file(path: Path) -> FileIO:
    """Open a file for reading; refuse a folder, or a pipe, which would be waited for."""
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise ValueError(f"{path}: it is no file")
    return FileIO(number, "rb")


def _fill(file: FileIO, data: np.ndarray) -> int:
    """Read into ``data`` until it is full or the file ends; return the number of bytes."""
    at = 0
    while at < data.size and (count := file.readinto(data[at:].data)):
        at += count
    return at
