"""Codecs on objects in memory: how small, how quick."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, final

import google_crc32c
import numcodecs.blosc
import numpy as np
from cubes import Cube
from limit import quickest
from numcodecs import Blosc, Zstd

from tilespec.storage.layout import CHUNK

OBJECTS = 4
"""Objects of a cube that are tried, spread over it."""


@final
@dataclass(frozen=True, kw_only=True)
class Codec:
    """What an object goes through; a checksum always."""

    pack: Callable[[np.ndarray], Any] = field(default=np.ravel)
    """Encode."""
    unpack: Callable[[Any, np.ndarray], Any] | None = None
    """Decode into memory that is there."""
    crc: bool = True
    """Whether crc32c is taken of the encoded bytes: Zstd has a checksum of its own."""

    def encode(self, values: np.ndarray) -> Any:
        """Return the encoded object."""
        stored = self.pack(values)
        if self.crc:
            google_crc32c.value(np.frombuffer(stored, np.uint8))
        return stored

    def decode(self, stored: Any, out: np.ndarray) -> None:
        """Decode an object into reused memory; what is stored as it is, is read there by the disk, and only checked."""
        if self.crc:
            google_crc32c.value(np.frombuffer(stored, np.uint8))
        if self.unpack is not None:
            self.unpack(stored, out)


def _blosc(name: str, level: int, shuffle: int) -> Codec:
    codec = Blosc(cname=name, clevel=level, shuffle=shuffle)
    return Codec(pack=codec.encode, unpack=codec.decode)


def _zstd(level: int) -> Codec:
    codec = Zstd(level=level, checksum=True)
    return Codec(pack=codec.encode, unpack=codec.decode, crc=False)


CODECS: dict[str, Codec] = {
    "none": Codec(),
    "zstd 1": _zstd(1),
    "zstd 3": _zstd(3),
    "blosc lz4 1 shuffle": _blosc("lz4", 1, Blosc.SHUFFLE),
    "blosc lz4 5 bitshuffle": _blosc("lz4", 5, Blosc.BITSHUFFLE),
    "blosc zstd 1 shuffle": _blosc("zstd", 1, Blosc.SHUFFLE),
    "blosc zstd 1 bitshuffle": _blosc("zstd", 1, Blosc.BITSHUFFLE),
    "blosc zstd 3 bitshuffle": _blosc("zstd", 3, Blosc.BITSHUFFLE),
    "blosc zstd 5 bitshuffle": _blosc("zstd", 5, Blosc.BITSHUFFLE),
}


def coded(cube: Cube) -> list[dict[str, Any]]:
    """Return share of the bytes and rates of every codec on one cube, in objects of `CHUNK` pixels or what there is."""
    numcodecs.blosc.set_nthreads(1)
    numcodecs.blosc.use_threads = False
    objects = _objects(cube.values)
    return [{"cube": cube.name, "real": cube.real, "dtype": str(cube.values.dtype), **_row(n, objects)} for n in CODECS]


def _objects(values: np.ndarray) -> list[np.ndarray]:
    """Return a few whole objects, spread over the cube."""
    heights, widths = (max(n // CHUNK, 1) for n in values.shape[:2])
    places = [(y * CHUNK, x * CHUNK) for y in range(heights) for x in range(widths)]
    chosen = places[:: max(1, len(places) // OBJECTS)][:OBJECTS]
    return [np.ascontiguousarray(values[y : y + CHUNK, x : x + CHUNK]) for y, x in chosen]


def _row(name: str, objects: list[np.ndarray]) -> dict[str, Any]:
    """Return what one codec makes of some objects."""
    codec, total = CODECS[name], sum(values.nbytes for values in objects)
    stored = [codec.encode(values) for values in objects]
    outs = [np.empty_like(values) for values in objects]
    for encoded, out, values in zip(stored, outs, objects, strict=True):
        codec.decode(encoded, out)
        assert codec.unpack is None or np.array_equal(out, values, equal_nan=out.dtype.kind == "f"), name
    encode = quickest(lambda: [codec.encode(values) for values in objects])
    decode = quickest(lambda: [codec.decode(encoded, out) for encoded, out in zip(stored, outs, strict=True)])
    held = sum(memoryview(encoded).nbytes for encoded in stored)
    return {"codec": name, "share": held / total, "encode": total / encode, "decode": total / decode}
