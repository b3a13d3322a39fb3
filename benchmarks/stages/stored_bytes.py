"""Stored objects as bytes: read into reused memory, checked and decoded as fast as it can be done here."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, final

import numcodecs.blosc
import numcodecs.zstd
import numpy as np
from limit import checking, quickest

DECODERS: dict[str, Callable[[Any, Any], Any]] = {
    "blosc": numcodecs.blosc.decompress,
    "zstd": numcodecs.zstd.decompress,
}
CRC = 4
"""Bytes of a trailing checksum."""


@final
@dataclass(frozen=True, kw_only=True)
class Objects:
    """The objects of a scene's cube."""

    files: list[Path]
    """One of each."""
    codecs: tuple[str, ...]
    """After `bytes`: `crc32c`, `zstd`, `blosc`."""
    decoded: int
    """Bytes of an object before they were encoded."""

    @classmethod
    def of(cls, scene: str) -> "Objects":
        folder = Path(scene) / "cube"
        known = json.loads((folder / "zarr.json").read_text())
        shape = known["chunk_grid"]["configuration"]["chunk_shape"]
        files = sorted(path for path in (folder / "c").rglob("*") if path.is_file())
        return cls(
            files=files,
            codecs=tuple(codec["name"] for codec in known["codecs"] if codec["name"] != "bytes"),
            decoded=int(np.prod(shape)) * np.dtype(known["data_type"]).itemsize,
        )

    @property
    def bytes(self) -> int:
        """Bytes that are stored."""
        return sum(path.stat().st_size for path in self.files)

    def terms(self, threads: int) -> dict[str, float]:
        """Return the seconds of reading every object once into reused buffers, decoding, and checking."""
        check = self.bytes * checking() / threads if "crc32c" in self.codecs else 0.0
        return {"read": self._reading(threads), "check": check}

    def _reading(self, threads: int) -> float:
        """Return the seconds of reading, decoding included: it is done as soon as an object is there."""
        largest = max(path.stat().st_size for path in self.files)
        decode = next((DECODERS[name] for name in self.codecs if name in DECODERS), None)
        trailing = CRC if self.codecs[-1:] == ("crc32c",) else 0
        rooms = [(np.empty(largest, np.uint8), np.empty(self.decoded, np.uint8)) for _ in range(threads)]
        for room in (room for pair in rooms for room in pair):
            room.fill(0)  # its pages are there before the clock runs

        def some(thread: int) -> None:
            stored, values = rooms[thread]
            for path in islice(self.files, thread, None, threads):
                with path.open("rb", buffering=0) as file:
                    size = file.readinto(stored)
                if decode is not None:
                    decode(stored[: size - trailing], values)

        with ThreadPoolExecutor(threads) as pool:
            return quickest(lambda: list(pool.map(some, range(threads))))
