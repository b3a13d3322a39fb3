"""Arrays: .npy by rows through a memory map, .npz unpacked completely."""

import zipfile
from pathlib import Path

import numpy as np

from tilespec.ingest.readers.cf import read_container
from tilespec.ingest.readers.containers import Container, Entry, guard
from tilespec.ingest.readers.source import Options, Source


def read_npy(path: Path, options: Options) -> Source:
    """Return the array of a .npy file, read by rows through a memory map."""
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    entries = {path.stem: Entry(shape=array.shape, dtype=array.dtype)}
    return read_container(Container(path=path, entries=entries, read={path.stem: array}.__getitem__), options)


def read_npz(path: Path, options: Options) -> Source:
    """Return an array of a .npz file, which is unpacked completely."""
    with zipfile.ZipFile(path) as archive:
        entries = {n.removesuffix(".npy"): _npz_entry(archive, n) for n in archive.namelist() if n.endswith(".npy")}

    def read(name: str) -> np.ndarray:
        guard(f"{path}: {name}", entries[name])
        with np.load(path, allow_pickle=False) as archive:
            array: np.ndarray = archive[name]
        return array

    return read_container(Container(path=path, entries=entries, read=read), options)


def _npz_entry(archive: zipfile.ZipFile, name: str) -> Entry:
    """Return the shape and the type of one member without unpacking it."""
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = reader(file)
    return Entry(shape=shape, dtype=dtype)
