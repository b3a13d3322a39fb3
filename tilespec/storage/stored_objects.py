"""Stored objects: their paths, their sizes, and the hash of their encoded bytes.

An object is the unit of writing: a chunk, or a shard where there are shards. Its entry ``[size, hash]`` is taken at
the moment of the put, from the very bytes that go to the file: nothing is read back, and nothing is hashed twice.
The hash is XXH3 of 128 bits: two different objects practically never share one by chance. A cryptographic hash would be
fifty times slower and would not help, because whoever can change an object can change its record too.
"""

from collections.abc import Iterable
from itertools import product as combinations
from typing import Any

import xxhash
import zarr

from tilespec.core.errors import UserError
from tilespec.storage.backends.base import StorePath
from tilespec.storage.columns import is_table

READ = 1 << 20
"""The number of bytes that are read and hashed at once."""


def size_and_hash(path: StorePath) -> list[Any]:
    """Return the size and the hash of an object, in constant memory."""
    state, size = xxhash.xxh3_128(), 0
    for block in path.blocks(READ):
        state.update(block)
        size += len(block)
    return [size, state.hexdigest()]


def keys(array: zarr.Array[Any], name: str, start: tuple[int, int], stop: tuple[int, int]) -> list[str]:
    """Return the keys of the objects that make up the region ``start`` to ``stop`` (y, x) of an array.

    Raises:
        AssertionError: the region does not consist of complete objects; a part of an object is never written.
    """
    shape, edges = array.shape, tuple(array.shards or array.chunks)  # a shard is written at once
    first = (*start, *(0,) * (len(shape) - 2))[: len(shape)]
    last = (*stop, *shape[2:])[: len(shape)]
    for axis, (a, b, edge) in enumerate(zip(first, last, edges, strict=True)):
        whole = a % edge == 0 and (b % edge == 0 or b == shape[axis])
        assert whole, f"{name}: {a}:{b} of axis {axis} cuts objects of {edge}; whole objects are written, or nothing"
    runs = [range(a // edge, -(-b // edge)) for a, b, edge in zip(first, last, edges, strict=True)]
    runs = [runs[0], *runs[2:]] if is_table(array) else runs
    return ["/".join((array.path, "c", *map(str, index))) for index in combinations(*runs)]


def place(root: StorePath, key: str) -> StorePath:
    """Return the path of the object ``key`` of the store at ``root``; refuse one that leads out of the store."""
    _check_inside(root, [key])
    return root / key


def remove(root: StorePath, keys: Iterable[str]) -> None:
    """Delete objects of the store at ``root`` that exist; refuse first any key that leads out of the store."""
    named = list(keys)
    _check_inside(root, named)
    root.discard(named)


def _check_inside(root: StorePath, keys: list[str]) -> None:
    """Refuse keys that lead out of the store at ``root``.

    A key comes from a record, and anybody may have written that file: neither ``..`` nor a symbolic link in the path
    may lead a reader, or a repair, out of the store.
    """
    for key in root.outside(keys):
        raise UserError(
            root,
            found=f"the object {key!r}, which lies outside",
            expected="objects inside the store",
            do="Remove the links inside the store, or the .tilespec folder beside it, and run its command again.",
        )
