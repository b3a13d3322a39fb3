"""MATLAB .mat: version 5 unpacked completely by SciPy in a process of its own, version 7.3 by rows (it is HDF5)."""

import json
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np

from tilespec.ingest.readers.apart import run_apart
from tilespec.ingest.readers.cf import read_container
from tilespec.ingest.readers.containers import Container, Entry, guard
from tilespec.ingest.readers.hdf5 import container_of, open_hdf5
from tilespec.ingest.readers.source import Options, Source

DTYPES: Final = {"double": "f8", "single": "f4", "logical": "u1", "char": "U1"}
"""The NumPy types of MATLAB's type names that differ; int8 to uint64 have the same names."""
SCRIPT: Final = Path(__file__).with_name("matlab_process.py")
SECONDS: Final = 60.0
"""The time in which the names and shapes of the arrays are listed."""
SECONDS_PER_BYTE: Final = 1e-6
"""The further time in which an array is unpacked, by the size of the file."""


def read_matlab(path: Path, options: Options) -> Source:
    """Return an array of a .mat file of any version."""
    if h5py.is_hdf5(path):
        with open_hdf5(path) as file:
            return read_container(container_of(path, file, column_major=True), options)
    with run_apart(SCRIPT, path, seconds=SECONDS) as out:
        entries = {name: Entry(shape=tuple(shape), dtype=_dtype(kind)) for name, shape, kind in json.load(out)}

    def read(name: str) -> np.ndarray:
        guard(f"{path}: {name}", entries[name])
        seconds = SECONDS + SECONDS_PER_BYTE * path.stat().st_size
        with run_apart(SCRIPT, path, name, seconds=seconds) as out:
            array: np.ndarray = np.load(out, allow_pickle=False)
        return array

    return read_container(Container(path=path, entries=entries, read=read), options)


def _dtype(kind: str) -> np.dtype[Any]:
    """Return the data type of MATLAB's class; object for a class that is no array of numbers."""
    try:
        return np.dtype(DTYPES.get(kind, kind))
    except TypeError:
        return np.dtype(object)
