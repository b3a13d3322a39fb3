"""Array metadata: all ``zarr.json`` of a local store, read and checked once when it is opened.

Zarr lists a folder to find arrays, warns of every file in it that is none, and parses each array's metadata when it is
first used. Here the arrays below a group are read at once, and what cannot be read is one message that names the file.
"""

import json
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any, Final

import zarr
from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore

from tilespec.core.errors import UserError
from tilespec.storage.inventory import CheckedStore

LARGEST: Final = 1 << 50
"""The largest number of elements of an array; a petabyte of them is in no store."""
DO: Final = "Restore the file from a copy, or write the store again from its source."
ROOT: Final = "zarr.json"


class FreshMetadata(LocalStore):
    """A folder whose root says what its arrays say at this moment, as consolidated metadata."""

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return an object; the root's metadata with those of all arrays."""
        value = await super().get(key, prototype, byte_range)
        if key != ROOT or value is None:
            return value
        root = _read(self.root / ROOT)
        nodes = dict(_nodes(self.root))
        root["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": nodes}
        return type(value).from_bytes(json.dumps(root).encode())


def open_local(store: CheckedStore) -> zarr.Group:
    """Open a group in a folder for reading, of a store of `FreshMetadata`, with the metadata of all its arrays.

    Raises:
        UserError: the metadata of an array are damaged, of another version, or of a codec or a data type that Zarr does
            not know; or its shape is that of no array.
    """
    try:
        return zarr.open_group(store, mode="r", zarr_format=3, use_consolidated=True)
    except UserError:
        raise
    except Exception:
        if store.folder is not None:
            _name_unreadable(store.folder)
        raise


def is_bare_array(folder: Path) -> bool:
    """Return whether a folder is an array of Zarr v3 by itself, without a group around it."""
    return _read(folder / ROOT)["node_type"] == "array"


def _nodes(folder: Path, prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the path and the metadata of each array and group below a group."""
    for path in sorted(p for p in folder.iterdir() if p.is_dir() and (p / ROOT).is_file()):
        name = prefix + path.name
        node = _read(path / ROOT)
        yield name, node
        if node.get("node_type") == "group":
            yield from _nodes(path, f"{name}/")


def _read(path: Path) -> dict[str, Any]:
    """Return the metadata of an array or a group; refuse what is none."""
    try:
        node = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, f"JSON that ends early or is damaged ({error})") from error
    if not isinstance(node, dict) or node.get("zarr_format") != 3 or node.get("node_type") not in ("array", "group"):
        raise _damaged(path, "metadata that are of no array or group of Zarr v3")
    node = {key: value for key, value in node.items() if key != "consolidated_metadata"}
    if node["node_type"] == "array":
        check_shape(path, node.get("shape"))
    return node


def check_shape(where: object, shape: Any) -> None:
    """Refuse a shape that is no list of positive numbers, or of more elements than any store holds."""
    whole = isinstance(shape, list | tuple) and all(isinstance(n, int) and not isinstance(n, bool) for n in shape)
    if not whole or any(n < 1 for n in shape) or prod(shape) > LARGEST:
        raise UserError(
            where,
            found=f"shape {shape!r}"[:100],
            expected="a positive number for each axis, and at most 2**50 elements",
            do=DO,
        )


def _name_unreadable(folder: Path) -> None:
    """Raise an error that names the first array whose metadata Zarr cannot read."""
    for name, node in _nodes(folder):
        path = folder / name / ROOT
        try:
            if node["node_type"] == "array":
                zarr.open_array(LocalStore(folder), path=name, mode="r", zarr_format=3)
        except Exception as error:
            raise _damaged(path, f"metadata that Zarr cannot read ({type(error).__name__}: {error})") from error


def _damaged(path: Path, what: str) -> UserError:
    return UserError(path, found=what[:300], expected="the metadata of an array that Zarr can read", do=DO)
