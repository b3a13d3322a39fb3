"""Layer: one ``y, x`` array of a store (labels, weights), found once and read without opening the store again."""

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
from tilespec.storage.scene import open_group, undamaged


@final
@dataclass(frozen=True, kw_only=True)
class Plane:
    """A plane that is there."""

    store: str
    """Where it lies."""
    name: str
    """Of the array."""
    shape: tuple[int, int]
    """``y, x``."""
    attrs: Mapping[str, Any]
    """Of the array."""
    objects: Chunks | None
    """How its objects are read without Zarr; None where Zarr has to."""

    @classmethod
    def find(cls, store: str, name: str) -> "Plane | None":
        """Return the plane ``name`` of a store, None when it has none."""
        array = open_group(store).get(name)
        if not isinstance(array, zarr.Array) or array.ndim != 2:
            return None
        return cls(store=store, name=name, shape=array.shape, attrs=dict(array.attrs), objects=Chunks.of(array))

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

    def read(self, roi: Roi) -> Shaped[np.ndarray, "y x"]:
        """Return a region as stored, in memory of the caller's own.

        Raises:
            UserError: an object is damaged.
        """
        with undamaged(self.store, roi):
            if self.objects is None:
                return np.asarray(open_group(self.store)[self.name][roi.slices])
            return self.objects.read(roi.slices, Room())
