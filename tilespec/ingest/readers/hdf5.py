"""HDF5: arrays and attributes of HDF5 and NetCDF 4 files, and recognition of a product's layout.

A sensor's layout is one file and one line in `LAYOUTS`; it is recognised by its structure, never by a file's name.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import h5py
import numpy as np

from tilespec.core.errors import UserError
from tilespec.core.registry import load
from tilespec.ingest.readers.containers import Entry
from tilespec.ingest.readers.source import Options, Source, SourceLayer

LAYOUTS: Final = {
    "emit": "tilespec.ingest.readers.emit:LAYOUT",
    "prisma": "tilespec.ingest.readers.prisma:LAYOUT",
    "neon": "tilespec.ingest.readers.neon:LAYOUT",
}
"""The layouts in the order of trial; a file with none of them is read as NetCDF or plain HDF5."""
PLAIN: Final = "tilespec.ingest.readers.netcdf:read_netcdf"
STRUCTURE: Final = {
    *("DIMENSION_LIST", "REFERENCE_LIST", "CLASS", "NAME", "DIMENSION_LABELS"),
    *("_Netcdf4Dimid", "_Netcdf4Coordinates", "_NCProperties", "_nc3_strict", "_FillValue"),
}
"""The attributes that HDF5 and NetCDF use internally."""
LONGEST: Final = 4096
"""The largest number of values of an attribute that is copied to a scene's header."""


@final
@dataclass(frozen=True, kw_only=True)
class Hdf5Layout:
    """The layout of one product in HDF5."""

    fits: Callable[[h5py.File], bool]
    """The function that returns whether an open file has this layout."""
    read: Callable[[Path, Options], Source]
    """The reader of the layout."""


@final
@dataclass(frozen=True, kw_only=True)
class Dataset:
    """An HDF5 dataset that is opened for each read, so that no file remains open."""

    path: Path
    """The path of the file."""
    name: str
    """The name of the dataset."""
    dtype: np.dtype[Any]
    """The data type of the dataset."""
    chunks: tuple[int, ...] | None
    """The shape of the chunks."""

    def __getitem__(self, index: Any) -> np.ndarray:
        with h5py.File(self.path, "r") as file:
            return np.asarray(file[self.name][index])


def read_hdf5(path: Path, options: Options) -> Source:
    """Return the cube of an HDF5 or NetCDF 4 file: by its product's layout, or else by the names of its dimensions.

    If the user names an array or its axes, that array is read regardless of the layout.
    """
    if options.variable is None and options.axes is None and options.kind != "labels":
        with open_hdf5(path) as file:
            fitting = [layout for layout in (load(LAYOUTS, name, "layout") for name in LAYOUTS) if layout.fits(file)]
        if fitting:
            source: Source = fitting[0].read(path, options)
            return source
    plain: Source = load({"plain": PLAIN}, "plain", "layout")(path, options)
    return plain


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open a file; refuse one that is not HDF5 or is incomplete."""
    if not h5py.is_hdf5(path):
        raise UserError(
            path,
            found="something that is no HDF5",
            expected="HDF5 or NetCDF 4",
            do="Convert NetCDF 3 with `nccopy -k nc4 IN OUT`; else check the path.",
        )
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise UserError(path, found=str(error), expected="a whole HDF5 file", do="Copy it again.") from error
    with file:
        yield file


def arrays(file: h5py.File) -> dict[str, h5py.Dataset]:
    """Return all arrays by name, without MATLAB's contents of cells and structs under #refs#."""
    datasets: dict[str, h5py.Dataset] = {}

    def visit(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset) and not name.startswith("#") and node.shape is not None:
            datasets[name] = node

    file.visititems(visit)
    return datasets


def dataset(path: Path, node: h5py.Dataset) -> Dataset:
    """Return an object that reads a dataset after its file is closed."""
    return Dataset(path=path, name=node.name, dtype=node.dtype, chunks=node.chunks)


def entry(node: h5py.Dataset, dims: tuple[str, ...] | None = None, attrs: Mapping[str, Any] | None = None) -> Entry:
    """Return a dataset as an entry of a container."""
    return Entry(shape=node.shape, dtype=node.dtype, dims=dims, attrs=attrs or {})


def text(value: Any) -> str:
    """Return text, a number or a list of them as text."""
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace").strip("\0 ")
    if isinstance(value, np.ndarray):
        return ", ".join(text(one) for one in value.ravel().tolist())
    return str(value).strip("\0 ")


def attributes(node: Any, *, without: frozenset[str] = frozenset()) -> dict[str, str]:
    """Return the attributes of a file, group or dataset as text, without those of the format itself."""
    texts = {}
    for key in sorted(set(node.attrs) - STRUCTURE - without):
        value = node.attrs[key]
        if isinstance(value, h5py.Empty | h5py.Reference) or np.size(value) > LONGEST:
            continue
        texts[key] = text(value)
    return texts


def vector(node: Any) -> list[float]:
    """Return a dataset or an attribute as a list of numbers."""
    return np.ravel(np.asarray(node)).astype(np.float64).tolist()


def plane(path: Path, name: str, node: h5py.Dataset, attrs: Mapping[str, Any], *, turned: bool = False) -> SourceLayer:
    """Return a ``y, x`` dataset (``turned``: stored ``x, y``) as a layer; its fill value becomes NaN."""
    source, fill = dataset(path, node), node.attrs.get("_FillValue")
    hidden = None if fill is None or node.dtype.kind != "f" else float(np.ravel(fill)[0])

    def read(y0: int, y1: int) -> np.ndarray:
        rows = source[:, y0:y1].T if turned else source[y0:y1]
        if hidden is not None:
            rows[rows == hidden] = np.nan
        return rows

    return SourceLayer(name=name, dtype=node.dtype.newbyteorder("="), read=read, attrs=dict(attrs))


LATITUDE: Final = {"units": "degrees_north", "standard_name": "latitude"}
LONGITUDE: Final = {"units": "degrees_east", "standard_name": "longitude"}
