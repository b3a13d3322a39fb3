"""Containers of named arrays (.npy, .npz, Zarr, .mat, HDF5): choice of the array, and order of its axes.

The cube is the one three-dimensional entry, or the one that the user names.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from jaxtyping import Float64

from tilespec.core.errors import UserError
from tilespec.core.limits import usable
from tilespec.core.types import Cube
from tilespec.ingest.readers.array_axes import LEFT_OUT, axes_of, fits, is_of_spectra, meaning
from tilespec.ingest.readers.source import Facts, Options
from tilespec.storage.array_metadata import check_shape
from tilespec.storage.axes import ORDER
from tilespec.storage.packing import Packing

PREFERRED: Final = {"cube": ("cube",), "reference": ("cube",), "labels": ("labels", "class", "prediction")}
"""The names of arrays that are preferred, without ``--variable``, among several suitable ones."""
RANKS: Final = {"labels": (2, 3)}
"""The numbers of axes of an array by the kind of source; a cube has three."""
LISTED: Final = 12
"""The number of arrays that a message names."""


@final
@dataclass(frozen=True, kw_only=True)
class Entry:
    """An array of a container, before it is read."""

    shape: tuple[int, ...]
    """The shape in the entry's own order."""
    dtype: np.dtype[Any]
    """The data type of the entry."""
    dims: tuple[str, ...] | None = None
    """The names of the dimensions, if the format has them."""
    attrs: Mapping[str, Any] = field(default_factory=dict)
    """The attributes, if the format has them."""

    @property
    def numeric(self) -> bool:
        """Whether the entry holds real numbers."""
        return self.dtype.kind in "biuf"

    @property
    def length(self) -> int | None:
        """The number of elements of a vector (one long axis), or None for other entries."""
        long = [n for n in self.shape if n != 1]
        return None if len(long) > 1 or not self.shape else (long or [1])[0]


@final
@dataclass(frozen=True, kw_only=True)
class Container:
    """The arrays of a file or a store, and their attributes."""

    path: Path
    """The path, for messages."""
    entries: Mapping[str, Entry]
    """The arrays by name; names of arrays in groups have slashes."""
    read: Callable[[str], Any]
    """The function that returns an entry as an object that slices."""
    attrs: Mapping[str, Any] = field(default_factory=dict)
    """The attributes of the whole."""
    column_major: bool = False
    """Whether axes are stored reversed (MATLAB 7.3); names are then in MATLAB's order."""

    def vector(self, name: str) -> Float64[np.ndarray, " value"]:
        """Return an entry as unpacked numbers in one row; NaN for no data."""
        stored = np.ravel(np.asarray(self.read(name)[...]))
        packing = Packing.of(f"{self.path}: {name}", self.entries[name].attrs, stored.dtype)
        return packing.values(stored)

    def beside(self, name: str, leaf: str) -> str | None:
        """Return the entry called ``leaf`` that is nearest to another: in its group, or in one around it."""
        group = name.rpartition("/")[0]
        while True:
            there = f"{group}/{leaf}".lstrip("/")
            if there in self.entries:
                return there
            if not group:
                return None
            group = group.rpartition("/")[0]


@final
@dataclass(frozen=True, kw_only=True)
class ArraySource:
    """A source over anything that slices like an array: a memory map, an HDF5 dataset, a Zarr array."""

    facts: Facts
    """The facts, with the shape in the order ``y, x, band``."""
    array: Any
    """The array that is sliced, in its own order."""
    axes: tuple[str, ...]
    """The names of the array's axes; without ``x`` or ``band`` it has one of them, and `LEFT_OUT` has length one."""

    def read_rows(self, y0: int, y1: int) -> Cube:
        """Return rows as ``y, x, band``."""
        index = {"y": slice(y0, y1), LEFT_OUT: 0}
        block = np.asarray(self.array[tuple(index.get(axis, slice(None)) for axis in self.axes)])
        axes = tuple(axis for axis in self.axes if axis != LEFT_OUT)
        for axis in [axis for axis in ORDER if axis not in axes]:
            block, axes = block[..., None], (*axes, axis)
        return block.astype(self.facts.dtype, copy=False).transpose([axes.index(axis) for axis in ORDER])


@final
@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The array of a container that becomes the scene."""

    name: str
    """The name of the entry."""
    source: ArraySource
    """The source of its stored numbers, with their shape and data type."""
    packing: Packing
    """The packing of its stored numbers."""


def chosen_array(container: Container, options: Options) -> Chosen:
    """Return the selected array of a container.

    Raises:
        UserError: none or several arrays are suitable, or the order of its axes is not known.
    """
    path, name = container.path, choose(container.path, container.entries, options)
    entry = container.entries[name]
    check_shape(f"{path}: {name}", entry.shape)
    axes, notes = axes_of(
        f"{path}: {name}",
        entry.shape,
        entry.dims,
        options.order,
        _meanings(container, name),
        column_major=container.column_major,
    )
    size = dict.fromkeys(ORDER, 1) | dict(zip(axes, entry.shape, strict=True))
    kind = {"b": "u1"}.get(entry.dtype.kind, "f4" if entry.dtype == np.float16 else entry.dtype)
    array = container.read(name)
    facts = Facts(
        shape=(size["y"], size["x"], size["band"]),
        dtype=np.dtype(kind),
        table=is_of_spectra(options.order),
        notes=notes,
        files=(path,) if path.is_file() else (path / "zarr.json",) if (path / "zarr.json").exists() else (),
        read_bytes=_read_bytes(array, axes, size),
    )
    packing = Packing.of(f"{path.name}: {name}", entry.attrs, facts.dtype)
    return Chosen(name=name, source=ArraySource(facts=facts, array=array, axes=axes), packing=packing)


def _meanings(container: Container, name: str) -> dict[str, str]:
    """Return the axes of an array's dimensions by the attributes of their coordinates."""
    coordinates = {dim: container.beside(name, dim) for dim in container.entries[name].dims or ()}
    said = {dim: meaning(container.entries[at].attrs) for dim, at in coordinates.items() if at is not None}
    return {dim: axis for dim, axis in said.items() if axis is not None}


NOTHING: Final = "Nothing in it can be read as a scene, nor as a table of spectra."
"""The advice on a container without a cube."""


def choose(path: Path, entries: Mapping[str, Entry], options: Options) -> str:
    """Return the name of the selected array; refuse when none or several are suitable."""
    suitable = [
        name
        for name, entry in entries.items()
        if entry.numeric and _fits(entry, options) and (entry.length is None or options.table) and 0 not in entry.shape
    ]
    exact, leaves = [], []
    if options.variable is not None:
        exact = [name for name in entries if name == options.variable]
        leaves = [name for name in entries if name.rpartition("/")[2] == options.variable]
        suitable = [name for name in exact or leaves if entries[name].numeric]
    flat = [name for name in suitable if len(entries[name].shape) == 2]
    suitable = [name for name in PREFERRED[options.kind] if name in suitable][:1] or flat or suitable
    if len(suitable) == 1 and _fits(entries[suitable[0]], options):
        return suitable[0]
    absent = options.variable is not None and not (exact or leaves)
    raise UserError(
        path if options.variable is None else f"{path}: {options.variable}",
        found=("no such array, but " if absent else "") + (listed(entries) or "no arrays"),
        expected="one number for each spectrum"
        if options.table
        else f"one numeric array of {' or '.join(map(str, _ranks(options)))} dimensions",
        do="Name one of these." if absent else _advice(entries, suitable, options),
    )


def _ranks(options: Options) -> tuple[int, ...]:
    """Return the numbers of axes of the array: two of a table's."""
    return (2,) if is_of_spectra(options.order) else RANKS.get(options.kind, (3,))


def _fits(entry: Entry, options: Options) -> bool:
    """Return whether an array has the number of axes of what is read; labels of a table are a vector."""
    return entry.length is not None if options.table else fits(entry.shape, _ranks(options), entry.dims)


def _advice(entries: Mapping[str, Entry], suitable: Sequence[str], options: Options) -> str:
    """Return what to do about a container of which no array was selected."""
    if len(suitable) > 1 or (suitable and options.kind != "cube"):
        return "Name it with --variable (for labels: PATH:VARIABLE)."
    flat = [name for name, entry in entries.items() if entry.numeric and len(entry.shape) == 2 and entry.length is None]
    if options.kind == "cube" and flat and not is_of_spectra(options.order):
        name = next((name for name in suitable if name in flat), flat[0])
        return f"If {name} is a table of spectra, say how: --axes spectrum,band, or --axes band,spectrum."
    long = [name for name, entry in entries.items() if entry.numeric and sum(size != 1 for size in entry.shape) > 3]
    if long:
        return f"{long[0]} has more axes than y, x and band: store one part of it by itself, such as a single time."
    if any(entry.dtype == object for entry in entries.values()):
        return f"{NOTHING} Fields of a struct are not looked into: in MATLAB, save FILE -struct NAME makes them arrays."
    return NOTHING


def listed(entries: Mapping[str, Entry]) -> str:
    """Return names, shapes and data types of the first arrays."""
    return ", ".join(f"{name} {entry.shape} {entry.dtype}" for name, entry in list(entries.items())[:LISTED])


def _read_bytes(array: Any, axes: tuple[str, ...], size: Mapping[str, int]) -> int:
    """Return the size of one read in bytes: complete stored chunks, so that none is unpacked twice, within limits."""
    chunks = getattr(array, "chunks", None)
    rows = chunks[axes.index("y")] if isinstance(chunks, tuple) else 1
    line = size["x"] * size["band"] * array.dtype.itemsize
    return min(max(rows * line, 1 << 25), 1 << 28)


def guard(where: object, entry: Entry) -> None:
    """Refuse to unpack an array that is larger than half of the free memory."""
    size = int(np.prod(entry.shape, dtype=object)) * entry.dtype.itemsize
    free = usable() // 2
    if size > free:
        raise UserError(
            where,
            found=f"{size} bytes in a format that unpacks whole",
            expected=f"at most {free} bytes",
            do="Save it as .npy, Zarr, HDF5 (MATLAB: -v7.3) or ENVI, which are read by rows.",
        )
