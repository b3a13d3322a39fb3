"""Stored objects: their paths, their sizes, and the hash of their encoded bytes.

An object is the unit of writing: a chunk, or a shard where there are shards. Its entry ``[size, hash]`` is taken at
the moment of the put, from the very bytes that go to the file: nothing is read back, and nothing is hashed twice.
The hash is XXH3 of 128 bits: two different objects practically never share one by chance. A cryptographic hash would be
fifty times slower and would not help, because whoever can change an object can change its record too.
"""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import product as combinations
from pathlib import Path
from typing import Any

import xxhash
import zarr

from tilespec.core.errors import UserError
from tilespec.storage.backends.paths import Place, S3Path, at

READ = 1 << 20
"""The number of bytes that are read and hashed at once."""


def entry_of(path: Place) -> list[Any]:
    """Return the size and the hash of an object, in constant memory."""
    state, size = xxhash.xxh3_128(), 0
    for block in path.blocks(READ) if isinstance(path, S3Path) else _blocks(path):
        state.update(block)
        size += len(block)
    return [size, state.hexdigest()]


def _blocks(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file in pieces."""
    with path.open("rb") as file:
        while block := file.read(READ):
            yield block


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
    return ["/".join((name, "c", *map(str, index))) for index in combinations(*runs)]


def place(root: Place, key: str, resolved: Path | None = None) -> Place:
    """Return the path of the object ``key`` of the store at ``root``; refuse one that leads out of the store.

    A key comes from a record, and anybody may have written that file: neither ``..`` nor a symbolic link in the path
    may lead a reader, or a repair, out of the store. ``resolved`` is the root's real path, if known.
    """
    if isinstance(root, S3Path):
        inside = not {"", ".", ".."} & set(key.split("/"))
    else:
        inside = (root / key).parent.resolve().is_relative_to(resolved or root.resolve())
    if not inside:
        raise UserError(
            root,
            found=f"the object {key!r}, which lies outside",
            expected="objects inside the store",
            do="Remove the links inside the store, or the .tilespec folder beside it, and run its command again.",
        )
    return root / key


def remove(root: Place, keys: Iterable[str]) -> None:
    """Delete objects of the store at ``root``; those that do not exist are ignored."""
    resolved = None if isinstance(root, S3Path) else root.resolve()
    paths = [place(root, key, resolved) for key in keys]
    if isinstance(root, S3Path):
        root.discard(list(keys))
        return
    for path in paths:
        path.unlink(missing_ok=True)


def presence(url: str) -> Callable[[str, int], bool]:
    """Return a function that tells whether an object of the store at ``url`` exists with its size.

    In a folder each object is looked up. A bucket is listed once, at the first look-up: one request gives a thousand
    sizes.
    """
    root = at(url)
    if not isinstance(root, S3Path):
        return lambda key, size: has_size(root / key, size)
    sizes = cache(root.sizes)
    return lambda key, size: sizes().get(key) == size


def objects_of(root: Place) -> Iterator[str]:
    """Yield the keys of all objects of the store at ``root``."""
    if isinstance(root, S3Path):
        yield from root.sizes()
        return
    for folder, _, names in os.walk(root):  # follows no links
        yield from ((Path(folder) / name).relative_to(root).as_posix() for name in names)


def has_size(path: Path, size: int) -> bool:
    """Return whether a file of ``size`` bytes exists; a symbolic link to a place outside does not count."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size == size
