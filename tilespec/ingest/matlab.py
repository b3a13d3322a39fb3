"""MATLAB .mat: version 5 unpacked whole through SciPy, version 7.3 by rows (it is HDF5). And HDF5, NetCDF 4."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import h5py
import numpy as np
import scipy.io

from tilespec.errors import UserError
from tilespec.ingest.entries import ArraySource, Entry, from_entries, guard
from tilespec.ingest.source import Options

DTYPES: Final = {"double": "f8", "single": "f4", "logical": "u1"}
"""MATLAB's names of types that NumPy calls otherwise; int8 to uint64 are the same."""


@final
@dataclass(frozen=True, kw_only=True)
class Dataset:
    """An HDF5 dataset that is opened for each read, so that nothing stays open."""

    path: Path
    """The file."""
    name: str
    """The dataset."""
    dtype: np.dtype[Any]
    """Its data type."""
    chunks: tuple[int, ...] | None
    """Shape of its chunks."""

    def __getitem__(self, index: Any) -> np.ndarray:
        with h5py.File(self.path, "r") as file:
            return np.asarray(file[self.name][index])


def read_matlab(path: Path, options: Options) -> ArraySource:
    """Return an array of a .mat file of any version."""
    if h5py.is_hdf5(path):
        return _hdf5(path, options, column_major=True)
    try:
        listed = scipy.io.whosmat(path)
    except (ValueError, OSError, NotImplementedError, TypeError) as error:
        raise UserError(
            path, found=str(error), expected="a MATLAB file, version 5 or 7.3", do="Save it again."
        ) from error
    entries = {name: Entry(shape=tuple(shape), dtype=_dtype(kind)) for name, shape, kind in listed}

    def read(name: str) -> np.ndarray:
        guard(f"{path}: {name}", entries[name])
        return np.asarray(scipy.io.loadmat(path, variable_names=[name])[name])

    return from_entries(path, entries, read, options)


def read_hdf5(path: Path, options: Options) -> ArraySource:
    """Return a dataset of an HDF5 or NetCDF 4 file, its axes by the names of its dimensions."""
    if not h5py.is_hdf5(path):
        raise UserError(
            path,
            found="something that is no HDF5",
            expected="HDF5 or NetCDF 4",
            do="Convert NetCDF 3 with `nccopy -k nc4 IN OUT`; else check the path.",
        )
    return _hdf5(path, options, column_major=False)


def _hdf5(path: Path, options: Options, *, column_major: bool) -> ArraySource:
    """Return a dataset; MATLAB's are stored with their axes reversed."""
    try:
        with h5py.File(path, "r") as file:
            found: dict[str, h5py.Dataset] = {}
            file.visititems(lambda name, node: found.update({name: node}) if _plain(name, node) else None)
            entries = {name: _entry(node, named=not column_major) for name, node in found.items()}
            chunks = {name: node.chunks for name, node in found.items()}
    except OSError as error:
        raise UserError(path, found=str(error), expected="a whole HDF5 file", do="Copy it again.") from error

    def read(name: str) -> Dataset:
        return Dataset(path=path, name=name, dtype=entries[name].dtype, chunks=chunks[name])

    return from_entries(path, entries, read, options, column_major=column_major)


def _plain(name: str, node: Any) -> bool:
    """Whether a node is an array; MATLAB keeps the insides of cells and structs under #refs#."""
    return isinstance(node, h5py.Dataset) and not name.startswith("#") and node.shape is not None


def _entry(node: Any, *, named: bool) -> Entry:
    """Return shape, type, dimension names and packing of a dataset."""
    scales = [dim[0].name.rpartition("/")[2] if len(dim) else dim.label for dim in node.dims] if named else []
    attrs = {key: node.attrs[key] for key in ("_FillValue", "scale_factor", "add_offset") if key in node.attrs}
    if "units" in node.attrs:
        units = node.attrs["units"]
        attrs["units"] = units.decode() if isinstance(units, bytes) else str(units)
    return Entry(
        shape=node.shape, dtype=node.dtype, dims=tuple(scales) if scales and all(scales) else None, attrs=attrs
    )


def _dtype(kind: str) -> np.dtype[Any]:
    """Return the data type of MATLAB's class; object for what is no array of numbers."""
    try:
        return np.dtype(DTYPES.get(kind, kind))
    except TypeError:
        return np.dtype(object)
