"""Chunks on the disk, through zarr, with the codec that tilespec takes: what each size costs whom."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from cubes import Cube
from limit import quickest

from tilespec.storage.layout import compressors

EDGES = (32, 64, 128, 256, 512)
"""Sides of an object of all bands."""
SPLIT = (128, 32)
"""One more: side and bands of an object that does not hold all of them."""
PATCH = 128
PATCHES = 32
TRIES = 2
"""Of writing and reading everything."""


def chunked(cubes: list[Cube], scratch: Path) -> list[dict[str, Any]]:
    """Return what every size of chunk costs, on simulated reflectance as float32 and as uint16."""
    chosen = [cube for cube in cubes if cube.name == "simulated reflectance"]
    return [row for cube in chosen for row in _rows(cube, scratch / "chunks.zarr")]


def _rows(cube: Cube, store: Path) -> list[dict[str, Any]]:
    bands = cube.values.shape[2]
    shapes = [(edge, edge, bands) for edge in EDGES if edge <= cube.values.shape[0]]
    rows = [_row(cube, shape, store) for shape in [*shapes, (SPLIT[0], SPLIT[0], SPLIT[1])]]
    for row in rows:
        print(row, flush=True)
    return rows


def _row(cube: Cube, chunks: tuple[int, int, int], store: Path) -> dict[str, Any]:
    """Return what one size costs: seconds for a gigabyte of values, patches and spectra in a second."""
    values, dtype = cube.values, str(cube.values.dtype)

    def write() -> zarr.Array:
        shutil.rmtree(store, ignore_errors=True)
        array = zarr.create_array(store, shape=values.shape, chunks=chunks, dtype=dtype, compressors=compressors(dtype))
        for y in range(0, values.shape[0], chunks[0]):
            array[y : y + chunks[0]] = values[y : y + chunks[0]]
        return array

    def patches() -> None:
        for y, x in _places(values.shape):
            array[y : y + PATCH, x : x + PATCH]

    written = quickest(write, TRIES)
    array = zarr.open_array(store, mode="r")
    whole = quickest(lambda: [array[y : y + chunks[0]] for y in range(0, values.shape[0], chunks[0])], TRIES)
    files = [path for path in store.rglob("*") if path.is_file() and path.name != "zarr.json"]
    row = {
        "dtype": dtype,
        "chunks": chunks,
        "object_bytes": int(np.prod(chunks)) * values.dtype.itemsize,
        "objects": len(files),
        "share": sum(path.stat().st_size for path in files) / values.nbytes,
        "write": written / values.nbytes * 1e9,
        "read": whole / values.nbytes * 1e9,
        "patches": PATCHES / quickest(patches),
        "spectrum": quickest(lambda: array[7, 7]),
        "band": quickest(lambda: array[..., 7]),
    }
    shutil.rmtree(store)
    return row


def _places(shape: tuple[int, ...]) -> np.ndarray:
    """Return where patches lie: the same for every size."""
    return np.random.default_rng(0).integers(np.subtract(shape[:2], PATCH) + 1, size=(PATCHES, 2))
