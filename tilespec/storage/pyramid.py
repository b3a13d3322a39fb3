"""Pyramid: coarser copies of all rasters of a store, each level half as high and wide as the one before.

Level 0 is the store itself. Level n is a store of its own, ``n`` in the folder of the pyramid, with the same arrays:
of numbers the mean of 2 x 2 pixels without those that have no data, of classes and ids the one of most pixels. Cubes
are laid out band by band in squares, so that a picture of three bands reads three bands and not all of them. A level
is computed from the one before, one square at a time, and resumes as every product does.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from queue import LifoQueue
from typing import Any, Final, final

import numpy as np
import zarr
from jaxtyping import Shaped

from tilespec.core.buffers import Buffers
from tilespec.core.cpu import cores
from tilespec.core.errors import OccupiedError
from tilespec.core.fingerprint import fingerprint
from tilespec.core.progress import Progress
from tilespec.core.types import Roi
from tilespec.storage.axes import dims_of
from tilespec.storage.backends.base import StorePath
from tilespec.storage.backends.paths import absolute, store_path
from tilespec.storage.columns import arrays_of
from tilespec.storage.files import scratch_folder
from tilespec.storage.group import open_group
from tilespec.storage.halving import halved_classes, halved_means
from tilespec.storage.inventory import digests, inventory
from tilespec.storage.layer import Layer
from tilespec.storage.layout import COMPLETE, ArraySpec, class_names, constants, unlabelled
from tilespec.storage.ledger import Ledger, sidecar
from tilespec.storage.lock import locked
from tilespec.storage.outputs import remove_output
from tilespec.storage.packing import Packing
from tilespec.storage.product import Product
from tilespec.storage.scene import Scene

EDGE: Final = 256
"""The height and the width of a stored square in pixels, and the side at which a picture needs no coarser copy."""
VERSION: Final = 1
"""The version of the layout of a level; a level of another one is written again."""
INHERITED: Final = {"flag_values", "flag_meanings", "class_names", "coordinates"}
"""The attributes of a raster that those of its levels have too."""
DIRECT: Final = 1 << 28
"""The bytes of the store that may be read for a part of a coarser picture where its level is not there yet."""


@final
@dataclass(frozen=True, kw_only=True)
class PyramidLayer:
    """One raster of a store, and how four of its pixels become one."""

    layer: Layer
    """The stored numbers."""
    packing: Packing
    """How stored numbers become values."""
    categorical: bool
    """Whether numbers are classes or ids, which have no mean."""
    none: int | None
    """The number for unlabelled or no data of classes and ids, if there is one."""

    @classmethod
    def of(cls, layer: Layer) -> "PyramidLayer":
        """Return how a raster is made coarser: whole numbers without a scale are classes or ids."""
        packing = Packing.of(f"{layer.store}: {layer.name}", layer.attrs, layer.dtype)
        whole = layer.dtype.kind in "iub" and len(layer.shape) == 2
        categorical = whole and (packing.scale, packing.offset) == (1.0, 0.0)
        none = next((int(fill) for fill in packing.fills), None)
        if none is None and layer.dtype.kind == "u" and class_names(layer.attrs):
            none = unlabelled(layer.dtype)
        return cls(layer=layer, packing=packing, categorical=categorical, none=none if categorical else None)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The data type of a level."""
        if not self.categorical:
            return np.dtype(np.float32)
        return np.dtype(np.uint8) if self.layer.dtype.kind == "b" else self.layer.dtype.newbyteorder("=")

    @property
    def fill(self) -> float | int:
        """The number of pixels that are not there."""
        return (self.none or 0) if self.categorical else float("nan")

    def halved(self, values: Shaped[np.ndarray, "y x *band"]) -> Shaped[np.ndarray, "h w *band"]:
        """Return values of this raster at half the height and width."""
        return halved_classes(values, self.none) if self.categorical else halved_means(values)


@final
@dataclass(frozen=True, kw_only=True)
class Pyramid:
    """The coarser copies of a store, of which any may be there or not."""

    url: str
    """The URL of the store."""
    folder: StorePath
    """The folder of the levels."""
    shape: tuple[int, int]
    """The height and the width of the store in pixels."""
    layers: Mapping[str, PyramidLayer]
    """The rasters by name."""
    scene: Scene | None
    """The scene of the cube, if the store has one."""
    source: str
    """The hash of the contents of the store, or the tag of its metadata where nothing vouches for a hash."""

    @classmethod
    def of(cls, url: str, folder: StorePath | None = None) -> "Pyramid":
        """Return the pyramid of the largest plane of a store; its levels lie beside it unless ``folder`` says where.

        Raises:
            UserError: there is no store, or it is damaged.
        """
        group = open_group(url)
        arrays = {name: a for name, a in arrays_of(group).items() if a.ndim in (2, 3) and a.dtype.kind in "biuf"}
        main = next((name for name in ("cube", "prediction") if name in arrays), next(iter(arrays), None))
        shape = (1, 1) if main is None else arrays[main].shape[:2]
        layers = {n: PyramidLayer.of(Layer.of(url, a)) for n, a in arrays.items() if a.shape[:2] == shape}
        cubic = main in ("cube", "prediction") and arrays[main].ndim == 3
        known = inventory(url)
        return cls(
            url=absolute(url),
            folder=folder or pyramid_folder(url),
            shape=(shape[0], shape[1]),
            layers=layers,
            scene=Scene.open(url, allow_partial=True) if cubic else None,
            source=digests(url).store if known.recorded else str(known.stamp),
        )

    @property
    def levels(self) -> int:
        """The number of the coarsest level, the first that is at most `EDGE` pixels high and wide."""
        return max(0, int(np.ceil(np.log2(max(self.shape) / EDGE))))

    @property
    def bytes(self) -> int:
        """The bytes of all levels, before compression."""
        per = sum(prod(each.layer.shape[2:]) * each.dtype.itemsize for each in self.layers.values())
        return sum(prod(self.at(level)) * per for level in range(1, self.levels + 1))

    @property
    def squares(self) -> int:
        """The number of stored squares of all levels."""
        return sum(prod(-(-n // EDGE) for n in self.at(level)) for level in range(1, self.levels + 1))

    def at(self, level: int) -> tuple[int, int]:
        """Return the height and the width of a level in pixels."""
        return -(-self.shape[0] // 2**level), -(-self.shape[1] // 2**level)

    def level_url(self, level: int) -> str:
        """Return the URL of the store of a level."""
        return str(self.folder / str(level))

    def settings(self, level: int) -> dict[str, Any]:
        """Return all that decides the bytes of a level."""
        rasters = {name: [each.dtype.name, each.categorical, each.none] for name, each in self.layers.items()}
        return {"pyramid": VERSION, "level": level, "source": self.source, "shape": list(self.shape), **rasters}

    @staticmethod
    def key(url: str) -> str:
        """Return a name for the folder of the levels of a store, where those of several lie together."""
        return fingerprint(["pyramid", str(sidecar(absolute(url)))])

    def recorded(self, level: int) -> "Iterator[tuple[int, int]]":
        """Yield the row and the column of each stored square of a level of the present contents of the store."""
        there = (self.folder / str(level) / "zarr.json").exists()
        ledger = Ledger.find(self.level_url(level)) if there else None
        if ledger is not None and ledger.key == fingerprint(self.settings(level)):
            yield from ledger.recorded()

    def complete(self, level: int) -> bool:
        """Return whether a level is there as a whole, and of the present contents of the store."""
        if level == 0:
            return True
        tag = (self.folder / str(level) / "zarr.json").tag()
        return tag is not None and _state(self, level, tag) == COMPLETE

    def build(self, progress: Progress, stopping: Callable[[], bool] = lambda: False) -> bool:
        """Write all levels that are missing, from the finest to the coarsest; return whether all of them are there.

        Args:
            progress: Where each square is counted.
            stopping: A function that returns whether to stop, which is called before each square.

        Raises:
            UserError: another process writes a level, or the store is damaged.
        """
        progress.start("pyramid", self.squares, "squares")
        for level in range(1, self.levels + 1):
            squares = prod(-(-n // EDGE) for n in self.at(level))
            if self.complete(level):
                progress.advance(squares)
                continue
            with locked(self.level_url(level)):
                if not self._write(level, progress, stopping):
                    return False
        progress.finish()
        return True

    def _write(self, level: int, progress: Progress, stopping: Callable[[], bool]) -> bool:
        """Write the missing squares of one level; return whether it is complete."""
        try:
            product = self._product(level)
        except OccupiedError:  # of other contents of the store
            remove_output(self.level_url(level), [])
            product = self._product(level)
        missing = product.missing_by_panel()
        progress.advance(product.rows * product.panels - sum(map(len, missing)))
        for row in range(product.rows):
            for panel in (panel for panel, rows in enumerate(missing) if row in rows):
                if stopping():
                    return False
                (y0, y1), (x0, x1) = product.span(row), product.columns(panel)
                roi = Roi(y0=y0, y1=y1, x0=x0, x1=x1)
                product.write(row, {name: self._square(name, level, roi) for name in self.layers}, panel=panel)
                progress.advance(1)
        product.finish()
        return True

    def _product(self, level: int) -> Product:
        """Open the store of a level for writing."""
        shape = self.at(level)
        edges = (min(EDGE, shape[0]), min(EDGE, shape[1]))
        return Product.open(
            self.level_url(level),
            [self._spec(name, shape, edges) for name in self.layers],
            settings=self.settings(level),
            attrs={"title": f"1/{2**level} of {store_path(self.url).name}", "origin": [0, 0]},
            constants=constants(None if self.scene is None else self.scene.spectral),
            panel=edges[1],
        )

    def _spec(self, name: str, shape: tuple[int, int], edges: tuple[int, int]) -> ArraySpec:
        """Return the description of a raster at a level: of a cube each band of a square is read alone."""
        each = self.layers[name]
        bands, attrs = each.layer.shape[2:], {k: v for k, v in each.layer.attrs.items() if k in INHERITED}
        nothing = {} if each.none is None or "flag_values" not in attrs else {"nodata": each.none}
        return ArraySpec(
            name=name,
            shape=(*shape, *bands),
            dtype=each.dtype.name,
            dims=("y", "x", *(dims_of(each.layer.array) or ("band",) * 3)[2 : 2 + len(bands)]),
            chunks=(*edges, *(1 for _ in bands)),
            attrs={**attrs, **nothing},
            fill=each.fill,
            shards=(*edges, *bands) if bands else None,
        )

    def _square(self, name: str, level: int, roi: Roi) -> np.ndarray:
        """Return a square of a level from the one before it, a quarter of it at a time."""
        each = self.layers[name]
        out = np.empty((*roi.shape, *each.layer.shape[2:]), each.dtype)
        for part in roi.cut(EDGE // 2, EDGE // 2):
            finer = self._doubled(part, level - 1)
            values = self._source(name, finer, None) if level == 1 else self._stored(name, level - 1, finer, None)
            rows, cols = part.slices
            inside = (slice(rows.start - roi.y0, rows.stop - roi.y0), slice(cols.start - roi.x0, cols.stop - roi.x0))
            out[inside] = each.halved(values)
        return out

    def read(
        self, name: str, level: int, roi: Roi, bands: Sequence[int] | None = None
    ) -> Shaped[np.ndarray, "y x *band"]:
        """Return a region of a raster at a level, as values (NaN is no data) or as classes.

        A level that is not there yet is computed from what is there of finer ones, and from the store itself as long as
        that reads at most `DIRECT` bytes; pixels of which nothing is there have no data.

        Args:
            name: The raster.
            level: The level; 0 is the store itself.
            roi: The region in pixels of the level.
            bands: The bands of a cube that are read; None: all.
        """
        layer = self.layers[name].layer
        size = prod(roi.shape) * 4**level * prod(layer.shape[2:]) * layer.dtype.itemsize
        return self._read(name, level, roi, bands, direct=size <= DIRECT)

    def _read(self, name: str, level: int, roi: Roi, bands: Sequence[int] | None, *, direct: bool) -> np.ndarray:
        """Return a region of a raster, computed from finer levels where it is not there."""
        if level == 0 and direct:
            return self._source(name, roi, bands)
        if level and self.complete(level):
            return self._stored(name, level, roi, bands)
        each, count = self.layers[name], self.layers[name].layer.shape[2:]
        out = np.full((*roi.shape, *((len(bands),) if bands is not None and count else count)), each.fill, each.dtype)
        for part in roi.cut(EDGE, EDGE) if level else ():
            rows, cols = part.slices
            inside = (slice(rows.start - roi.y0, rows.stop - roi.y0), slice(cols.start - roi.x0, cols.stop - roi.x0))
            if self._written(level, part):
                out[inside] = self._stored(name, level, part, bands)
            else:
                out[inside] = each.halved(
                    self._read(name, level - 1, self._doubled(part, level - 1), bands, direct=direct)
                )
        return out

    def _written(self, level: int, roi: Roi) -> bool:
        """Return whether a square of a level that is being written is recorded."""
        ledger = Ledger.find(self.level_url(level)) if (self.folder / str(level) / "zarr.json").exists() else None
        wanted = fingerprint(self.settings(level))
        square = (roi.y0 // EDGE, roi.x0 // EDGE)
        return ledger is not None and ledger.key == wanted and ledger.read(*square) is not None

    def _doubled(self, roi: Roi, level: int) -> Roi:
        """Return the region of a level that a region of the next coarser one covers."""
        height, width = self.at(level)
        return Roi(y0=2 * roi.y0, y1=min(2 * roi.y1, height), x0=2 * roi.x0, x1=min(2 * roi.x1, width))

    def _source(self, name: str, roi: Roi, bands: Sequence[int] | None) -> np.ndarray:
        """Return a region of the store itself."""
        each = self.layers[name]
        if self.scene is not None and name == self.scene.cube.name:
            return self._bands(self.scene, roi, bands) if bands is not None else self.scene.read(roi)
        stored = each.layer.read(roi)
        values = stored.astype(each.dtype, copy=False) if each.categorical else each.packing.values(stored, "f4")
        return values if bands is None or values.ndim == 2 else values[..., list(bands)]

    @staticmethod
    def _bands(scene: Scene, roi: Roi, bands: Sequence[int]) -> np.ndarray:
        """Return some bands of a region of a scene, object by object, in memory that is used again."""
        out = np.empty((*roi.shape, len(bands)), np.float32)
        with _lent() as buffers:
            for part in roi.cut(*scene.chunks[:2]):
                rows, cols = part.slices
                inside = slice(rows.start - roi.y0, rows.stop - roi.y0), slice(cols.start - roi.x0, cols.stop - roi.x0)
                out[inside] = scene.read(part, buffers)[..., list(bands)]
        return out

    def _stored(self, name: str, level: int, roi: Roi, bands: Sequence[int] | None) -> np.ndarray:
        """Return a region of a level as it is stored."""
        url = self.level_url(level)
        array = _array(url, name, (self.folder / str(level) / "zarr.json").tag())
        if bands is None or array.ndim == 2:
            return np.asarray(array[roi.slices])
        return np.stack([np.asarray(array[(*roi.slices, band)]) for band in bands], axis=-1)


_ARRAYS: dict[tuple[str, str], tuple[str | None, Any]] = {}
"""The open arrays of levels by URL and name, with the tags of the metadata that they were opened with."""
_STATES: dict[str, tuple[str, str, str]] = {}
"""The states of levels by URL, with the source and the tag of the metadata that they were read at."""


_BUFFERS: "LifoQueue[Buffers]" = LifoQueue()
"""The memory in which objects are read for pictures: as much as there are processors, so no more are read at once."""
for _ in range(cores()):
    _BUFFERS.put(Buffers())


@contextmanager
def _lent() -> Iterator[Buffers]:
    """Lend memory to one reader; others wait until there is some."""
    buffers = _BUFFERS.get()
    try:
        yield buffers
    finally:
        _BUFFERS.put(buffers)


def _array(url: str, name: str, tag: str | None) -> "zarr.Array[Any]":
    """Return an array of a level, which is opened again when its store was written again."""
    known, array = _ARRAYS.get((url, name), (None, None))
    if array is None or known != tag:
        array = open_group(url)[name]
        _ARRAYS[url, name] = (tag, array)
    return array


def _state(pyramid: Pyramid, level: int, tag: str) -> str:
    """Return the status of a level, or ``stale`` when it is one of other contents of the store."""
    url = pyramid.level_url(level)
    known = _STATES.get(url)
    if known is None or known[:2] != (pyramid.source, tag):
        ledger = Ledger.find(url)
        current = ledger is not None and ledger.key == fingerprint(pyramid.settings(level))
        status = str(open_group(url).attrs.get("tilespec_status")) if current else "stale"
        _STATES[url] = known = (pyramid.source, tag, status)
    return known[2]


def pyramid_folder(url: str) -> StorePath:
    """Return where the levels of a store lie: beside it, or in this user's cache folder where nobody may write."""
    beside = sidecar(absolute(url)) / "pyramid"
    folder = beside.on_disk
    if folder is None:
        return store_path(scratch_folder(beside))
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return beside
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tilespec"
    return store_path(caches / Pyramid.key(url))
