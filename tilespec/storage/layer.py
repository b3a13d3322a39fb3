"""Layer: one array of a store over ``y, x`` (cube, labels, weights), opened once and read many times."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import zarr
from jaxtyping import Shaped

from tilespec.core.buffers import Room
from tilespec.core.errors import UserError
from tilespec.core.types import Roi
from tilespec.storage.chunk_reader import Chunks
from tilespec.storage.group import open_group, undamaged


@final
@dataclass(frozen=True, kw_only=True)
class Plane:
    """An array that is there: a small value that travels to workers."""

    store: str
    """Where it lies."""
    name: str
    """Of the array."""
    shape: tuple[int, ...]
    """``y, x``, and for channels one more."""
    dtype: np.dtype[Any]
    """As stored."""
    chunks: tuple[int, ...]
    """Shape of what is decoded at once."""
    attrs: Mapping[str, Any]
    """Of the array."""
    objects: Chunks | None
    """How its objects are read without Zarr; None where Zarr has to."""

    @classmethod
    def of(cls, store: str, array: "zarr.Array[Any]") -> "Plane":
        """Return an array of a store as a plane."""
        return cls(
            store=store,
            name=array.basename,
            shape=array.shape,
            dtype=np.dtype(array.dtype),
            chunks=array.chunks,
            attrs=dict(array.attrs),
            objects=Chunks.of(array),
        )

    @classmethod
    def find(cls, store: str, name: str, *, dimensions: tuple[int, ...] = (2,)) -> "Plane | None":
        """Return the plane ``name`` of a store, None when it has none of so many dimensions."""
        array = open_group(store).get(name)
        return cls.of(store, array) if isinstance(array, zarr.Array) and array.ndim in dimensions else None

    @classmethod
    def open(cls, store: str, name: str) -> "Plane":
        """Return the plane ``name`` of a store.

        Raises:
            UserError: it has none; those that are there are named.
        """
        found = cls.find(store, name)
        if found is None:
            raise UserError(
                store,
                found=f"arrays {sorted(open_group(store).array_keys())}",
                expected=f"{name}(y, x)",
                do="Ingest the scene with --labels FILE, or name another store in data.labels.",
            )
        return found

    @property
    def array(self) -> "zarr.Array[Any]":
        """The array, opened by Zarr."""
        return open_group(self.store)[self.name]

    def read(self, roi: Roi, room: Room | None = None) -> Shaped[np.ndarray, "y x *channel"]:
        """Return a region as stored, with all channels.

        With a ``room`` it lies in its memory, and is valid until its next use; without one it is the caller's.

        Raises:
            UserError: an object is damaged.
        """
        with undamaged(self.store, roi):
            if self.objects is None:
                return np.asarray(self.array[roi.slices])
            return self.objects.read(self._region(roi), room or Room())

    def lines(self, roi: Roi, step: int, room: Room) -> Iterator[Shaped[np.ndarray, "y x *channel"]]:
        """Yield a region as stored, ``step`` lines at a time, each valid until the next.

        That the objects are whole is known after the last: use nothing before all are taken.

        Raises:
            UserError: an object is damaged.
        """
        with undamaged(self.store, roi):
            if self.objects is not None:
                yield from self.objects.lines(self._region(roi), step, room)
                return
            stored = np.asarray(self.array[roi.slices])
            for start in range(0, len(stored), step):
                yield stored[start : start + step]

    def _region(self, roi: Roi) -> tuple[slice, ...]:
        """Return a region with all channels."""
        return *roi.slices, *(slice(0, size) for size in self.shape[2:])
