"""Stored objects: where they lie, how large they are, and the hash of their encoded bytes.

An object is the unit of writing: a chunk, or a shard where there are shards. Its entry ``[size, hash]`` is taken at
the moment of the put, from the very bytes that go to the file: nothing is read back, and nothing is hashed twice.
"""

import asyncio
import hashlib
import stat
from itertools import product as combinations
from pathlib import Path
from typing import Any, final

import numpy as np
import zarr
from zarr.storage import LocalStore, WrapperStore

from tilespec.errors import UserError

DIGEST = 16
"""Bytes of a hash: no two objects of a life's work share one by chance."""
READ = 1 << 20
"""Bytes that are read and hashed at once."""


@final
class Recording(WrapperStore):
    """A store on this machine that keeps the entry of everything that is put into it."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store
        self.entries: dict[str, list[Any]] = {}

    @classmethod
    def at(cls, url: str) -> "Recording":
        """Return the store at ``url``, nothing recorded yet."""
        return cls(LocalStore(url))

    async def set(self, key: str, value: Any) -> None:
        """Put an object: hashed on one thread while another writes it under a temporary name and renames it."""
        _, entry = await asyncio.gather(self._store.set(key, value), asyncio.to_thread(_entry, value))
        self.entries[key] = entry


def _entry(value: Any) -> list[Any]:
    """Return size and hash of a buffer; hashing releases the interpreter's lock."""
    stored: np.ndarray = value.as_numpy_array()
    return [stored.nbytes, hashlib.blake2b(stored.data, digest_size=DIGEST).hexdigest()]


def entry_of(path: Path) -> list[Any]:
    """Return size and hash of a file, in constant memory."""
    state, size = hashlib.blake2b(digest_size=DIGEST), 0
    with path.open("rb") as file:
        while block := file.read(READ):
            state.update(block)
            size += len(block)
    return [size, state.hexdigest()]


def keys(array: zarr.Array[Any], name: str, start: tuple[int, int], stop: tuple[int, int]) -> list[str]:
    """Return the keys of the objects that make up the region ``start`` to ``stop`` (y, x) of an array.

    Raises:
        AssertionError: the region is no union of whole objects; a part of an object is never written.
    """
    shape, edges = array.shape, tuple(array.shards or array.chunks)  # a shard is written at once
    first = (*start, *(0,) * (len(shape) - 2))[: len(shape)]
    last = (*stop, *shape[2:])[: len(shape)]
    for axis, (a, b, edge) in enumerate(zip(first, last, edges, strict=True)):
        whole = a % edge == 0 and (b % edge == 0 or b == shape[axis])
        assert whole, f"{name}: {a}:{b} of axis {axis} cuts objects of {edge}; whole objects are written, or nothing"
    runs = [range(a // edge, -(-b // edge)) for a, b, edge in zip(first, last, edges, strict=True)]
    return ["/".join((name, "c", *map(str, index))) for index in combinations(*runs)]


def place(root: Path, key: str) -> Path:
    """Return the path of the object ``key`` of the store at ``root``; refuse one that leads out of the store.

    A key comes from a record, and a record is a file that anybody may have written: neither ``..`` nor a symbolic
    link on the way may let a reader, or a repair, leave the store.
    """
    path = root / key
    if not path.parent.resolve().is_relative_to(root.resolve()):
        raise UserError(
            root,
            found=f"the object {key!r}, which lies outside",
            expected="objects inside the store",
            do="Remove the links inside the store, or the .tilespec folder beside it, and run its command again.",
        )
    return path


def has_size(path: Path, size: int) -> bool:
    """Return whether a file of ``size`` bytes is there; a link to elsewhere is no object of ours."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size == size
