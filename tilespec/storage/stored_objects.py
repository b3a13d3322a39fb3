"""Stored objects: where they lie, how large they are, and the hash of their encoded bytes.

An object is the unit of writing: a chunk, or a shard where there are shards. Its entry ``[size, hash]`` is taken at
the moment of the put, from the very bytes that go to the file: nothing is read back, and nothing is hashed twice.
The hash is XXH3 of 128 bits: no two objects of a life's work share one by chance, and it is fifty times as fast as one
that also withstands malice, which a record beside its product could not.
"""

from collections.abc import Iterable
from itertools import product as combinations
from typing import Any

import xxhash
import zarr

from tilespec.core.errors import UserError
from tilespec.storage.backends.base import Place

READ = 1 << 20
"""Bytes that are read and hashed at once."""


def entry_of(path: Place) -> list[Any]:
    """Return size and hash of an object, in constant memory."""
    state, size = xxhash.xxh3_128(), 0
    for block in path.blocks(READ):
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


def place(root: Place, key: str) -> Place:
    """Return the path of the object ``key`` of the store at ``root``; refuse one that leads out of the store."""
    _check_inside(root, [key])
    return root / key


def remove(root: Place, keys: Iterable[str]) -> None:
    """Delete objects of the store at ``root``, there or not; refuse, before the first, a key that leads out of it."""
    named = list(keys)
    _check_inside(root, named)
    root.discard(named)


def _check_inside(root: Place, keys: list[str]) -> None:
    """Refuse keys that lead out of the store at ``root``.

    A key comes from a record, and a record is a file that anybody may have written: neither ``..`` nor a symbolic
    link on the way may let a reader, or a repair, leave the store.
    """
    for key in root.outside(keys):
        raise UserError(
            root,
            found=f"the object {key!r}, which lies outside",
            expected="objects inside the store",
            do="Remove the links inside the store, or the .tilespec folder beside it, and run its command again.",
        )
