"""Containers of named arrays (.npy, .npz, Zarr, .mat, HDF5): choice of the array, and order of its axes.

The cube is the one three-dimensional entry, or the one that the user names.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from tilespec.core.errors import UserError
from tilespec.core.limits import usable
from tilespec.core.types import Cube, SpectralAxis
from tilespec.ingest.readers.source import Facts, Options
from tilespec.ingest.readers.wavelengths import spectral_axis

ORDER: Final = ("y", "x", "band")
DIMS: Final = {
    "y": {"y", "row", "rows", "line", "lines", "lat", "latitude", "northing", "downtrack"},
    "x": {"x", "col", "cols", "column", "columns", "sample", "samples", "lon", "longitude", "crosstrack"},
    "band": {"band", "bands", "wavelength", "wavelengths", "wavenumber", "channel", "channels", "component"},
}
"""The names of dimensions that identify an axis."""
PREFERRED: Final = {"cube": ("cube",), "reference": ("cube",), "labels": ("labels", "prediction")}
"""The names of arrays that are preferred, without ``--variable``, among several suitable ones."""


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
class ArraySource:
    """A source over anything that slices like an array: a memory map, an HDF5 dataset, a Zarr array."""

    facts: Facts
    """The facts, with the shape in the order ``y, x, band``."""
    array: Any
    """The array that is sliced, in its own order."""
    axes: tuple[str, ...]
    """The names of the array's axes; without ``band`` it has one band."""

    def read_rows(self, y0: int, y1: int) -> Cube:
        """Return rows as ``y, x, band``."""
        index = tuple(slice(y0, y1) if axis == "y" else slice(None) for axis in self.axes)
        block = np.asarray(self.array[index])
        if "band" not in self.axes:
            block = block[..., None]
        axes = self.axes if "band" in self.axes else (*self.axes, "band")
        return block.astype(self.facts.dtype, copy=False).transpose([axes.index(axis) for axis in ORDER])


def from_entries(
    path: Path,
    entries: Mapping[str, Entry],
    read: Callable[[str], Any],
    options: Options,
    *,
    column_major: bool = False,
) -> ArraySource:
    """Return the selected array of a container, with the wavelengths from the same container.

    Args:
        path: The path of the container, for messages.
        entries: The entries by name.
        read: The function that returns an entry as an object that slices.
        options: The options from the user.
        column_major: Whether axes are stored reversed (MATLAB 7.3); names are then in MATLAB's order.
    """
    name = choose(path, entries, options)
    entry = entries[name]
    axes = axes_of(f"{path}: {name}", entry, options, column_major=column_major)
    size = dict(zip(axes, entry.shape, strict=True)) | ({} if "band" in axes else {"band": 1})
    where = f"{path.name}: {name}"
    spectral, notes = _axis_beside(where, entries, read, options, size)
    array = read(name)
    facts = Facts(
        shape=(size["y"], size["x"], size["band"]),
        dtype=np.dtype({"b": "u1"}.get(entry.dtype.kind, "f4" if entry.dtype == np.float16 else entry.dtype)),
        spectral=spectral,
        nodata=_number(entry.attrs, "_FillValue"),
        scale=_scale(where, entry),
        classes=_class_names(entries, read) if options.kind == "labels" else (),
        notes=notes,
        files=(path,) if path.is_file() else (path / "zarr.json",) if (path / "zarr.json").exists() else (),
        read_bytes=_read_bytes(array, axes, size),
    )
    return ArraySource(facts=facts, array=array, axes=axes)


def choose(path: Path, entries: Mapping[str, Entry], options: Options) -> str:
    """Return the name of the selected array; refuse when none or several are suitable."""
    ranks = (2, 3) if options.kind == "labels" else (3,)
    fitting = [
        name
        for name, entry in entries.items()
        if entry.numeric and len(entry.shape) in ranks and entry.length is None and 0 not in entry.shape
    ]
    if options.variable is not None:
        fitting = [name for name in entries if name == options.variable and entries[name].numeric]
    flat = [name for name in fitting if len(entries[name].shape) == 2]
    fitting = [name for name in PREFERRED[options.kind] if name in fitting][:1] or flat or fitting
    if len(fitting) == 1 and len(entries[fitting[0]].shape) in ranks:
        return fitting[0]
    listed = ", ".join(f"{name} {entry.shape} {entry.dtype}" for name, entry in list(entries.items())[:12])
    raise UserError(
        path if options.variable is None else f"{path}: {options.variable}",
        found=listed or "no arrays",
        expected=f"one numeric array of {' or '.join(map(str, ranks))} dimensions",
        do="Name it with --variable (for labels: PATH:VARIABLE)."
        if fitting
        else "Nothing in it can be read as a scene; a table of spectra has no rows and columns.",
    )


def axes_of(where: str, entry: Entry, options: Options, *, column_major: bool = False) -> tuple[str, ...]:
    """Return the names of an array's axes: from the user, else from its dimensions, else y, x, band."""
    wanted = ORDER[: len(entry.shape)]
    if options.axes is not None and len(entry.shape) == 3:
        axes = tuple(word.strip() for word in options.axes.split(","))
        if sorted(axes) != sorted(wanted):
            raise UserError(
                "--axes", found=repr(options.axes), expected="y, x and band in some order", do="Try --axes band,y,x."
            )
        return axes[::-1] if column_major else axes
    if entry.dims is not None:
        return _named(where, entry.dims, wanted)
    return wanted[::-1] if column_major else wanted


def _named(where: str, dims: tuple[str, ...], wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Return axes by the names of dimensions; a single unknown name is the remaining axis."""
    axes = [next((axis for axis in wanted if dim.lower() in DIMS[axis]), None) for dim in dims]
    left = [axis for axis in wanted if axis not in axes]
    named = [axis for axis in axes if axis is not None]
    if not named:
        return wanted
    if len(left) > 1 or len(set(named)) < len(named):
        raise UserError(
            where, found=f"dimensions {dims}", expected="y, x and band", do="Say which is which with --axes."
        )
    return tuple(axis or left[0] for axis in axes)


def _axis_beside(
    where: str,
    entries: Mapping[str, Entry],
    read: Callable[[str], Any],
    options: Options,
    size: Mapping[str, int],
) -> tuple[SpectralAxis | None, tuple[str, ...]]:
    """Return the axis from vectors in the same container: the one that the user names, else ``wavelength...``."""
    named_entry = options.wavelengths if options.wavelengths in entries else None
    vectors = {name: e.length for name, e in entries.items() if e.numeric and e.length is not None}
    named = [n for n in vectors if n.lower().rpartition("/")[2].startswith("wavelength")]
    fitting = [named_entry] if named_entry else [n for n in named if vectors[n] == size["band"]]
    if not fitting:
        _refuse_turned(where, [vectors[n] for n in named], size, options)
        return None, ()
    beside = {
        key: next((n for n in vectors if n.lower().startswith(key) and vectors[n] == size["band"]), None)
        for key in ("fwhm", "bbl")
    }
    lists = {key: None if n is None else np.ravel(read(n)[...]).tolist() for key, n in beside.items()}
    name = fitting[0]
    unit = str(entries[name].attrs.get("units", "")) or name.rpartition("_")[2]
    return spectral_axis(
        where,
        np.ravel(read(name)[...]).astype(float).tolist(),
        bands=size["band"],
        unit=unit if unit.lower() in ("nm", "um", "cm-1") or "units" in entries[name].attrs else "",
        fwhm=lists["fwhm"],
        good=None if lists["bbl"] is None else [value != 0 for value in lists["bbl"]],
    )


def _refuse_turned(where: str, lengths: list[int | None], size: Mapping[str, int], options: Options) -> None:
    """Refuse a cube whose number of wavelengths fits another axis than the bands: its axes are in another order."""
    fits = [axis for axis in ("y", "x") if size[axis] in lengths]
    if fits and options.axes is None:
        raise UserError(
            where,
            found=f"{size[fits[0]]} wavelengths for {size['band']} bands, but {size[fits[0]]} along {fits[0]}",
            expected="the last axis to be the bands",
            do="Say which axis is which, for example --axes band,y,x.",
        )


def _read_bytes(array: Any, axes: tuple[str, ...], size: Mapping[str, int]) -> int:
    """Return the size of one read in bytes: complete stored chunks, so that none is unpacked twice, within limits."""
    chunks = getattr(array, "chunks", None)
    rows = chunks[axes.index("y")] if isinstance(chunks, tuple) else 1
    line = size["x"] * size["band"] * array.dtype.itemsize
    return min(max(rows * line, 1 << 25), 1 << 28)


def _class_names(entries: Mapping[str, Entry], read: Callable[[str], Any]) -> tuple[str, ...]:
    """Return the strings of an entry ``class_names``."""
    name = next((n for n in ("class_names", "classes") if n in entries and entries[n].dtype.kind in "US"), None)
    return () if name is None else tuple(str(value).strip() for value in np.ravel(read(name)[...]).tolist())


def _number(attrs: Mapping[str, Any], key: str) -> float | None:
    """Return an attribute as a number, or None."""
    value = attrs.get(key)
    return None if value is None else float(np.ravel(value)[0])


def _scale(where: str, entry: Entry) -> float:
    """Return CF's ``scale_factor``; refuse an offset."""
    if _number(entry.attrs, "add_offset"):
        raise UserError(
            where, found="add_offset", expected="values that a scale alone describes", do="Unpack them first."
        )
    return _number(entry.attrs, "scale_factor") or 1.0


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
