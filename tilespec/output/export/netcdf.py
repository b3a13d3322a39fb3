"""NetCDF 4, written by rows through HDF5: dimensions, CF coordinates, scale and grid mapping as in the store."""

import io
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final, final

import h5py
import numpy as np

from tilespec.core.progress import Progress
from tilespec.core.types import Roi
from tilespec.output.export.export_source import ExportSource
from tilespec.output.export.partial_file import whole_file
from tilespec.storage.columns import NAMES, SPECTRUM
from tilespec.storage.layer import Layer
from tilespec.storage.layout import constants
from tilespec.storage.packing import PACKING, Packing

DIMS: Final = ("y", "x", "band")
LONGEST: Final = 60_000
"""The bytes of the longest attribute, below the 64 KiB of HDF5."""
NO_VARIABLE = "This is a netCDF dimension but not a netCDF variable. {:9d}"
"""The text that NetCDF 4 writes into a dimension without a coordinate."""


def write_netcdf(exported: ExportSource, path: Path, progress: Progress) -> list[Path]:
    """Write a NetCDF 4 file of a cube and the layers beside it, or of one layer, and return its path."""
    progress.start("export", exported.shape[0], "lines")
    with whole_file(path) as partial, _Target(partial, "w+") as target:
        with h5py.File(target, "w") as file:
            _frame(file, exported)
            cube, others = (
                _create(file, exported),
                {layer.name: _array(file, exported, layer, layer.dtype) for layer in exported.layers},
            )
            for y0, block in exported.blocks():
                y1 = y0 + block.shape[0]
                cube[y0:y1] = _stored(exported, block[..., 0] if exported.plane else block)
                for layer in exported.layers:
                    values = layer.read(Roi(y0=y0, y1=y1, x0=0, x1=exported.shape[1]))
                    others[layer.name][y0:y1] = _stored(exported, values)
                target.check()
                progress.advance(block.shape[0])
        target.check()
    progress.finish()
    return [path]


@final
class _Target(io.FileIO):
    """The file that HDF5 writes, which crashes when it cannot: a first error is kept, and what follows is lost."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write data at the position."""
        left = memoryview(data).cast("B")
        count = len(left)
        while self.error is None and len(left):
            left = left[self._attempt(super().write, left) :]
        return count

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer from the position, with zeros where something was lost."""
        count = super().readinto(buffer) or 0
        buffer[count:] = bytes(len(buffer) - count)
        return len(buffer)

    def truncate(self, size: int | None = None) -> int:
        """Give the file its length."""
        return self._attempt(super().truncate, size)

    def check(self) -> None:
        """Raise the error that was kept."""
        if self.error is not None:
            raise self.error

    def _attempt(self, act: Callable[[Any], int | None], what: Any) -> int:
        """Return the answer of a function; keep its error."""
        try:
            return act(what) or 0
        except OSError as error:
            self.error = self.error or error
            return 0


def _frame(file: h5py.File, exported: ExportSource) -> None:
    """Create dimensions, coordinates, the grid mapping and the attributes of the file."""
    small = constants(exported.spectral, exported.georef or None, exported.shape[:2])
    for dim, size in zip(*_sides(exported, exported.shape[:2] if exported.plane else exported.shape), strict=True):
        if dim not in small:
            file.create_dataset(dim, shape=(size,), dtype=">f4").make_scale(NO_VARIABLE.format(size))
    for name, (dims, values, attrs) in sorted(small.items(), key=lambda item: item[0] not in DIMS):
        if exported.plane and "band" in dims:
            continue
        data = np.asarray(values)
        dataset = file.create_dataset(name, data=data.astype(np.int8) if data.dtype == bool else data)
        if name in DIMS:
            dataset.make_scale(name)
        else:
            _attach(file, dataset, dims)
        _put(dataset, attrs, exported.notes)
    _put(file, {"Conventions": "CF-1.10", **exported.about, **exported.header}, exported.notes)


def _create(file: h5py.File, exported: ExportSource) -> h5py.Dataset:
    """Create the cube, or the layer, that is exported."""
    cube = _array(file, exported, exported.layer, exported.dtype, drop=() if exported.packing is None else PACKING)
    if exported.nodata is not None:
        cube.attrs["_FillValue"] = np.asarray(exported.nodata, exported.dtype)
    return cube


def _array(
    file: h5py.File, exported: ExportSource, layer: Layer, dtype: np.dtype[Any], drop: Collection[str] = ()
) -> h5py.Dataset:
    """Create an empty array with the attributes of a stored one, without those of ``drop``.

    The fill value has the type of the array, as NetCDF demands; that of a class map is its nodata.
    """
    (dims, shape), (_, chunks) = _sides(exported, layer.shape), _sides(exported, layer.chunks)
    name = NAMES.get(layer.name, layer.name) if exported.table else layer.name
    dtype = np.dtype(np.int8) if dtype.kind == "b" else dtype  # CF has no truth values
    array = file.create_dataset(name, shape=shape, dtype=dtype, chunks=chunks)
    _attach(file, array, dims)
    left = ("_FillValue", *drop, *_too_long(name, layer.attrs, exported.notes))
    _put(array, _cf(exported, {key: value for key, value in layer.attrs.items() if key not in left}, dtype), [])
    fill = next(iter(Packing.of(layer.name, layer.attrs, layer.dtype).fills), None)
    if fill is not None and not drop:
        array.attrs["_FillValue"] = np.asarray(fill).astype(dtype)
    return array


def _cf(exported: ExportSource, attrs: dict[str, Any], dtype: np.dtype[Any]) -> dict[str, Any]:
    """Return attributes as CF wants them: flags of the type of the array, and the grid mapping of its plane."""
    flags = {} if "flag_values" not in attrs else {"flag_values": np.asarray(attrs["flag_values"]).astype(dtype)}
    place = {"grid_mapping": "spatial_ref"} if exported.georef else {}
    return {**place, **attrs, **flags}


def _too_long(name: str, attrs: Mapping[str, Any], notes: list[str]) -> tuple[str, ...]:
    """Return the attributes with names of classes if they are more than HDF5 can hold, and note it."""
    count, words = np.size(attrs.get("flag_values", ())), str(attrs.get("flag_meanings", ""))
    if 16 * count + len(words.encode()) <= LONGEST:  # HDF5 has 16 bytes for each text of a list
        return ()
    notes.append(f"NetCDF: the {count} names of {name} are too many and left out; .csv and .mat have them")
    return ("flag_meanings", "flag_values", "class_names")


def _sides(exported: ExportSource, shape: tuple[int, ...]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the names and the lengths of the dimensions of an array of a shape; those of a table have no x."""
    if exported.table:
        return (SPECTRUM, *DIMS[2 : len(shape)]), (shape[0], *shape[2:])
    return DIMS[: len(shape)], shape


def _stored(exported: ExportSource, values: np.ndarray) -> np.ndarray:
    """Return values of a plane in the form of the file."""
    numbers = values.astype(np.int8) if values.dtype.kind == "b" else values
    return numbers[:, 0] if exported.table else numbers


def _attach(file: h5py.File, dataset: h5py.Dataset, dims: tuple[str, ...]) -> None:
    """Name the dimensions of an array."""
    for axis, dim in enumerate(dims):
        dataset.dims[axis].attach_scale(file[dim])


def _put(node: h5py.Dataset | h5py.File, attrs: Mapping[str, Any], notes: list[str]) -> None:
    """Write attributes; a text that HDF5 cannot hold as one is cut short, and that is noted."""
    for key, value in attrs.items():
        name = key.replace("/", "_")
        text = value.encode()[:LONGEST].decode(errors="ignore") if isinstance(value, str) else value
        if isinstance(value, str) and text != value:
            notes.append(f"NetCDF: attribute {name} is cut to {LONGEST} bytes")
        node.attrs[name] = text
