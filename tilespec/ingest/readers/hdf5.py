"""HDF5: arrays and attributes of HDF5 and NetCDF 4 files, and recognition of a product's layout.

A sensor's layout is one file and one line in `LAYOUTS`; it is recognised by its structure, never by a file's name.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, final

import h5py
import numpy as np

from tilespec.core.errors import UserError
from tilespec.core.registry import load
from tilespec.ingest.readers.apart import run_apart
from tilespec.ingest.readers.cf import plane, text, texts
from tilespec.ingest.readers.containers import Container, Entry
from tilespec.ingest.readers.source import Options, Source, SourceLayer
from tilespec.storage.packing import Packing

LAYOUTS: Final = {
    "emit": "tilespec.ingest.readers.emit:LAYOUT",
    "prisma": "tilespec.ingest.readers.prisma:LAYOUT",
    "neon": "tilespec.ingest.readers.neon:LAYOUT",
}
"""The layouts in the order of trial; a file with none of them is read as NetCDF or plain HDF5."""
PLAIN: Final = "tilespec.ingest.readers.netcdf:read_netcdf"
SCRIPT: Final = Path(__file__).with_name("hdf5_process.py")
SECONDS: Final = 60.0
"""The time in which a process visits all arrays of a file."""
EMPTY: Final = "This is a netCDF dimension but not a netCDF variable"
"""The text that NetCDF 4 writes into a dimension without a coordinate."""


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
    status = path.stat()
    _look(path, status.st_size, status.st_mtime_ns)
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise UserError(path, found=str(error), expected="a whole HDF5 file", do="Copy it again.") from error
    with file:
        yield file


@lru_cache(maxsize=64)
def _look(path: Path, size: int, modified: int) -> None:
    """Refuse a file on which the HDF5 library crashes or hangs; each version of a file is looked at once."""
    del size, modified  # they make the version
    with run_apart(SCRIPT, path, seconds=SECONDS):
        pass


def arrays(file: h5py.File) -> dict[str, h5py.Dataset]:
    """Return all arrays by name, without dimensions that are no variables, and MATLAB's contents of cells (#refs#)."""
    datasets: dict[str, h5py.Dataset] = {}

    def visit(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset) and not name.startswith("#") and node.shape is not None:
            datasets[name] = node

    file.visititems(visit)
    return {name: node for name, node in datasets.items() if not _is_empty(node)}


def _is_empty(node: h5py.Dataset) -> bool:
    """Return whether a dataset is a dimension of NetCDF 4 that has no coordinate."""
    return "NAME" in node.attrs and text(node.attrs["NAME"]).startswith(EMPTY)


def dataset(path: Path, node: h5py.Dataset) -> Dataset:
    """Return an object that reads a dataset after its file is closed."""
    return Dataset(path=path, name=node.name, dtype=node.dtype, chunks=node.chunks)


def entry(node: h5py.Dataset, dims: tuple[str, ...] | None = None, attrs: Mapping[str, Any] | None = None) -> Entry:
    """Return a dataset as an entry of a container, with its own attributes unless others are given."""
    return Entry(
        shape=node.shape,
        dtype=node.dtype,
        dims=dims or _dims(node),
        attrs=plain_attributes(node) if attrs is None else attrs,
    )


def container_of(path: Path, file: h5py.File, *, column_major: bool = False) -> Container:
    """Return the arrays of an open file, which are read after it is closed."""
    nodes = arrays(file)
    readers = {name: dataset(path, node) for name, node in nodes.items()}
    return Container(
        path=path,
        entries={name: entry(node) for name, node in nodes.items()},
        read=readers.__getitem__,
        attrs=plain_attributes(file),
        column_major=column_major,
    )


def _dims(node: h5py.Dataset) -> tuple[str, ...] | None:
    """Return the names of the dimensions if all have one: from the scale, else from the label."""
    names = [dim[0].name.rpartition("/")[2] if len(dim) else dim.label for dim in node.dims]
    scale = text(node.attrs.get("CLASS", "")) == "DIMENSION_SCALE"  # HDF5's own question frees memory twice if damaged
    if not all(names) and len(names) == 1 and scale:
        names = [node.name.rpartition("/")[2]]  # a coordinate is its own dimension
    return tuple(names) if names and all(names) else None


def plain_attributes(node: Any) -> dict[str, Any]:
    """Return the attributes of a file, group or dataset as numbers, arrays and text."""
    plain: dict[str, Any] = {}
    for key in node.attrs:
        value = node.attrs[key]
        if isinstance(value, h5py.Empty | h5py.Reference) or (
            isinstance(value, np.ndarray) and value.dtype.kind == "V"
        ):
            continue
        plain[key] = text(value) if isinstance(value, bytes | np.bytes_) else value
    return plain


def attributes(node: Any, *, without: frozenset[str] = frozenset()) -> dict[str, str]:
    """Return the attributes of a file, group or dataset as text, without those of the format itself."""
    return texts({key: value for key, value in plain_attributes(node).items() if key not in without})


def vector(node: Any) -> list[float]:
    """Return a dataset, unpacked, or an attribute as a list of numbers."""
    stored = np.ravel(np.asarray(node))
    if not isinstance(node, h5py.Dataset):
        return stored.astype(np.float64).tolist()
    return Packing.of(node.name, plain_attributes(node), stored.dtype).values(stored).tolist()


def layer(path: Path, name: str, node: h5py.Dataset, attrs: Mapping[str, Any]) -> SourceLayer:
    """Return a ``y, x`` dataset as a layer of unpacked floats, NaN for no data."""
    whole = Container(path=path, entries={name: entry(node)}, read={name: dataset(path, node)}.__getitem__)
    return plane(whole, name, name, attrs)
