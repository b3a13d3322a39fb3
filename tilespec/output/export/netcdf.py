"""NetCDF 4, written by rows through HDF5: dimensions, CF coordinates, scale and grid mapping as in the store."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tilespec.core.progress import Progress
from tilespec.output.export.export_source import ExportSource
from tilespec.storage.layout import constants

NO_VARIABLE = "This is a netCDF dimension but not a netCDF variable. {:9d}"
"""The text that NetCDF 4 writes into a dimension without a coordinate."""


def write_netcdf(exported: ExportSource, path: Path, progress: Progress) -> list[Path]:
    """Write a NetCDF 4 file and return its path."""
    partial = path.with_name(f"{path.name}.partial")
    progress.start("export", exported.shape[0], "lines")
    with h5py.File(partial, "w") as file:
        cube = _create(file, exported)
        for y0, block in exported.blocks():
            cube[y0 : y0 + block.shape[0]] = block[..., 0] if exported.plane else block
            progress.advance(block.shape[0])
    partial.replace(path)
    progress.finish()
    return [path]


def _create(file: h5py.File, exported: ExportSource) -> h5py.Dataset:
    """Create dimensions, coordinates and the empty cube."""
    shape = exported.shape[:2] if exported.plane else exported.shape
    dims = ("y", "x", "band")[: len(shape)]
    for dim, size in zip(dims, shape, strict=True):
        scale = file.create_dataset(dim, shape=(size,), dtype=">f4")
        scale.make_scale(NO_VARIABLE.format(size))
    cube = file.create_dataset(exported.name, shape=shape, dtype=exported.dtype, chunks=exported.array.chunks)
    for axis, dim in enumerate(dims):
        cube.dims[axis].attach_scale(file[dim])
    attrs = {key: value for key, value in dict(exported.array.attrs).items() if key != "_FillValue"}
    for key, value in attrs.items():
        cube.attrs[key] = value
    if exported.nodata is not None and not exported.plane:
        cube.attrs["_FillValue"] = np.asarray(exported.nodata, exported.dtype)
    place = exported.georef or None
    for name, (at, values, attributes) in constants(exported.spectral, place).items():
        _constant(file, name, at, np.asarray(values), attributes)
    file.attrs["Conventions"] = "CF-1.10"
    for key, value in exported.header.items():
        file.attrs[key.replace("/", "_")] = value
    return cube


def _constant(file: h5py.File, name: str, dims: tuple[str, ...], values: Any, attrs: dict[str, Any]) -> None:
    """Write a coordinate or the grid mapping."""
    data = values.astype(np.int8) if values.dtype == bool else values
    dataset = file.create_dataset(name, data=data)
    for axis, dim in enumerate(dims):
        dataset.dims[axis].attach_scale(file[dim])
    for key, value in attrs.items():
        dataset.attrs[key] = value
