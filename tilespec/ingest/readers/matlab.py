"""MATLAB .mat: version 5 unpacked completely by SciPy, version 7.3 by rows (it is HDF5)."""

from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import scipy.io

from tilespec.core.errors import UserError
from tilespec.ingest.readers.containers import ArraySource, Entry, from_entries, guard
from tilespec.ingest.readers.hdf5 import arrays, dataset, entry, open_hdf5
from tilespec.ingest.readers.source import Options

DTYPES: Final = {"double": "f8", "single": "f4", "logical": "u1"}
"""The NumPy types of MATLAB's type names that differ; int8 to uint64 have the same names."""


def read_matlab(path: Path, options: Options) -> ArraySource:
    """Return an array of a .mat file of any version."""
    if h5py.is_hdf5(path):
        return _hdf5(path, options)
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


def _hdf5(path: Path, options: Options) -> ArraySource:
    """Return an array of a version 7.3 file, whose axes are stored in reverse order."""
    with open_hdf5(path) as file:
        nodes = arrays(file)
        entries = {name: entry(node) for name, node in nodes.items()}
        readers = {name: dataset(path, node) for name, node in nodes.items()}
    return from_entries(path, entries, readers.__getitem__, options, column_major=True)


def _dtype(kind: str) -> np.dtype[Any]:
    """Return the data type of MATLAB's class; object for a class that is no array of numbers."""
    try:
        return np.dtype(DTYPES.get(kind, kind))
    except TypeError:
        return np.dtype(object)
