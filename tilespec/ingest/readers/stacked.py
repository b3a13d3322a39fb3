"""Stacked: the two-dimensional arrays ``Band1``, ``Band2``, ... of GDAL's NetCDF as one cube."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, final

import numpy as np

from tilespec.ingest.readers.containers import Container
from tilespec.storage.packing import PACKING

BAND: Final = re.compile(r"(?:.*/)?band_?(\d+)", re.IGNORECASE)
"""The names of such arrays."""


@final
@dataclass(frozen=True, kw_only=True)
class Stack:
    """Arrays of one shape that are sliced together, along a first axis of their number."""

    arrays: Sequence[Any]
    """The arrays in the order of their numbers."""
    dtype: np.dtype[Any]
    """The data type of all of them."""
    chunks: None = None
    """The shape of a chunk, which a stack does not have."""

    def __getitem__(self, index: Any) -> np.ndarray:
        first, *others = index
        chosen = self.arrays[first] if isinstance(first, slice) else [self.arrays[first]]
        block = np.stack([np.asarray(array[tuple(others)]) for array in chosen])
        return block if isinstance(first, slice) else block[0]


def with_stack(container: Container) -> Container:
    """Return a container with the stack of its numbered bands as a further array, if it has several alike."""
    numbered = {name: int(m[1]) for name in container.entries if (m := BAND.fullmatch(name))}
    names = sorted(numbered, key=numbered.__getitem__)
    entries = [container.entries[name] for name in names]
    kinds = {(e.shape, e.dtype, e.dims, _packing_of(e.attrs)) for e in entries}
    if len(names) < 2 or len(kinds) > 1 or len(entries[0].shape) != 2 or not entries[0].numeric:
        return container
    first = entries[0]
    same = {
        key: value for key, value in first.attrs.items() if all(str(e.attrs.get(key)) == str(value) for e in entries)
    }
    dims = None if first.dims is None else ("band", *first.dims)
    name = f"{names[0]} to {names[-1]}"
    stacked = replace(first, shape=(len(names), *first.shape), dims=dims, attrs=same)
    array = Stack(arrays=[container.read(one) for one in names], dtype=first.dtype)
    others = {key: entry for key, entry in container.entries.items() if key not in numbered}
    return replace(
        container,
        entries={**others, name: stacked},
        read=lambda key: array if key == name else container.read(key),
    )


def _packing_of(attrs: Any) -> str:
    """Return the packing among attributes as text that compares."""
    return repr(sorted((key, str(value)) for key, value in attrs.items() if key in PACKING))
