"""Arrays: arrays in memory, of NumPy or xarray, are stored in a temporary folder for the time of one call.

A cube becomes a store that xarray has written, which every verb reads like any other; labels become a ``.npy``
file, and wavelengths a text.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr

from tilespec.core.errors import UserError
from tilespec.core.values import is_array, span

SPANS: Final = {"rows", "cols", "test_rows", "test_cols"}
"""The names of arguments whose arrays are pairs of numbers."""
CUBE: Final = 3
"""The number of axes of a cube."""


@contextmanager
def stored_arrays(arguments: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the arguments of a verb with paths in the place of arrays; the files are deleted afterwards.

    Raises:
        UserError: the place of an output is an array, or an array has no numbers.
    """
    with tempfile.TemporaryDirectory(prefix="tilespec-") as folder:
        yield {name: _stored(name, value, Path(folder)) for name, value in arguments.items()}


def _stored(name: str, value: Any, folder: Path) -> Any:
    """Return the path of a stored array, or any other argument as it is."""
    if not is_array(value):
        return value
    if name in SPANS:
        return span(value)
    if name == "out":
        raise UserError("out", found="an array", expected="the path of a store", do="Read the store with xarray then.")
    path = folder / name
    if not isinstance(value, xr.Dataset) and value.ndim != CUBE:
        return _saved(name, np.asarray(value), path)
    dataset = value if isinstance(value, xr.Dataset) else _dataset(value)
    store = path.with_suffix(".zarr")
    filled = {each: {"_FillValue": None} for each, array in dataset.variables.items() if array.dtype.kind == "f"}
    dataset.drop_encoding().to_zarr(store, zarr_format=3, consolidated=False, encoding=filled)
    return str(store)


def _saved(name: str, array: np.ndarray, path: Path) -> str:
    """Save an array of numbers and return its path."""
    if array.dtype.kind not in "biuf":
        raise UserError(name, found=f"an array of {array.dtype}", expected="numbers", do="Give numbers, or a path.")
    if array.ndim == 1:
        np.savetxt(path.with_suffix(".txt"), array, fmt="%.17g")
        return str(path.with_suffix(".txt"))
    np.save(path.with_suffix(".npy"), array)
    return str(path.with_suffix(".npy"))


def _dataset(cube: Any) -> xr.Dataset:
    """Return a cube as a dataset with the names that a scene has; the coordinate of its bands keeps its name."""
    array = cube if isinstance(cube, xr.DataArray) else xr.DataArray(cube, dims=("y", "x", "band"))
    others = [dim for dim in array.dims if dim not in {"y", "x"}]
    if "band" not in array.dims and len(others) == 1:
        last: Any = others[0]
        axis = {last: ("band", array[last].values, array[last].attrs)} if last in array.coords else {}
        array = array.drop_vars(last, errors="ignore").rename({last: "band"}).assign_coords(axis)
    return array.to_dataset(name="cube")
