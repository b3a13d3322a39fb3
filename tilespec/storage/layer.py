"""Layer: one array of a store over ``y, x`` (labels, weights, a prediction), opened once and read many times."""

from collections.abc import Mapping
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

    def read(self, roi: Roi) -> Shaped[np.ndarray, "y x *channel"]:
        """Return a region as stored, with all channels, in memory of the caller's own.

        Raises:
            UserError: an object is damaged.
        """
        region = (*roi.slices, *map(slice, (0,) * len(self.shape[2:]), self.shape[2:]))
        with undamaged(self.store, roi):
            if self.objects is None:
                return np.asarray(open_group(self.store)[self.name][region])
            return self.objects.read(region, Room())
