"""Layer: one array of a store over ``y, x`` (cube, labels, weights), opened once and read many times."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import zarr
from jaxtyping import Shaped

from tilespec.core.buffers import Buffers
from tilespec.core.errors import UserError
from tilespec.core.types import ClassMap, Roi
from tilespec.storage.axes import check_order
from tilespec.storage.backends.paths import absolute
from tilespec.storage.chunk_reader import ChunkReader
from tilespec.storage.columns import as_plane, layer_of
from tilespec.storage.group import check_complete, name_damage, open_group


@final
@dataclass(frozen=True, kw_only=True)
class Layer:
    """One array of a store, open for reading, a small value that is sent to workers."""

    store: str
    """The URL of the store, which does not depend on the current folder."""
    name: str
    """The name of the array."""
    shape: tuple[int, ...]
    """The shape ``y, x``, or ``y, x, channel``."""
    dtype: np.dtype[Any]
    """The stored data type."""
    chunks: tuple[int, ...]
    """The shape of a chunk, which is decoded at once."""
    attrs: Mapping[str, Any]
    """The attributes of the array."""
    objects: ChunkReader | None
    """The reader of the objects without Zarr; None when only Zarr can read them."""

    @classmethod
    def of(cls, store: str, array: "zarr.Array[Any]") -> "Layer":
        """Return an array of a store as a layer; refuse one whose axes are in another order."""
        array = as_plane(array)
        check_order(store, array)
        return cls(
            store=absolute(store),
            name=array.basename,
            shape=array.shape,
            dtype=np.dtype(array.dtype),
            chunks=array.chunks,
            attrs=dict(array.attrs),
            objects=ChunkReader.of(array),
        )

    @classmethod
    def find(cls, store: str, name: str, *, dimensions: tuple[int, ...] = (2,)) -> "Layer | None":
        """Return the layer ``name`` of a store, or None when the store has none with this number of dimensions."""
        array = layer_of(open_group(store), name)
        return cls.of(store, array) if array is not None and array.ndim in dimensions else None

    @classmethod
    def open(cls, store: str, name: str) -> "Layer":
        """Return the layer ``name`` of a store.

        Raises:
            UserError: the store does not have it; the message names the layers that exist.
        """
        layer = cls.find(store, name)
        if layer is None:
            raise UserError(
                store,
                found=f"arrays {sorted(open_group(store).array_keys())}",
                expected=f"{name}(y, x)",
                do="Ingest the scene with --labels FILE, or name another store in data.labels.",
            )
        return layer

    @property
    def array(self) -> "zarr.Array[Any]":
        """The array as Zarr opens it."""
        array = layer_of(open_group(self.store), self.name)
        assert array is not None, "it was there when the layer was opened"
        return array

    def read(self, roi: Roi, buffers: Buffers | None = None) -> Shaped[np.ndarray, "y x *channel"]:
        """Return a region with its stored values and all channels.

        With a ``buffers`` the array uses its memory and is valid until its next use; without one it is newly allocated.

        Raises:
            UserError: an object is damaged.
        """
        with name_damage(self.store, roi):
            if self.objects is None:
                return np.asarray(self.array[roi.slices])
            return self.objects.read(self._region(roi), buffers or Buffers())

    def classes(self, roi: Roi) -> ClassMap:
        """Return a region of a layer of class labels; 255 is unlabelled."""
        return self.read(roi).astype(np.uint8, copy=False)

    def lines(self, roi: Roi, step: int, buffers: Buffers) -> Iterator[Shaped[np.ndarray, "y x *channel"]]:
        """Yield a region with its stored values, ``step`` lines at a time, each valid until the next.

        The checksums of the objects are checked after the last line: use no result before all lines are read.

        Raises:
            UserError: an object is damaged.
        """
        with name_damage(self.store, roi):
            if self.objects is not None:
                yield from self.objects.lines(self._region(roi), step, buffers)
                return
            stored = np.asarray(self.array[roi.slices])
            for start in range(0, len(stored), step):
                yield stored[start : start + step]

    def _region(self, roi: Roi) -> tuple[slice, ...]:
        """Return a region as slices, with all channels."""
        return *roi.slices, *(slice(0, size) for size in self.shape[2:])


def label_map(store: str) -> Layer:
    """Return the layer ``labels`` of a store: uint8 numbers of classes, 255 for none.

    Raises:
        UserError: the store is not complete, or has none.
    """
    check_complete(store, open_group(store).attrs)
    labels = Layer.open(store, "labels")
    if labels.dtype != np.uint8:
        raise UserError(
            f"{store}: labels",
            found=f"numbers of type {labels.dtype}",
            expected="uint8: classes 0 to 254, and 255 for none",
            do="Bring the labels in with `tilespec ingest --labels FILE`.",
        )
    return labels
