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
    """One layer of a store, open for reading."""

    store: str
    """The URL of the store."""
    name: str
    """The name of the array."""
    shape: tuple[int, int]
    """The height and the width in pixels (y, x)."""
    attrs: Mapping[str, Any]
    """The attributes of the array."""
    objects: Chunks | None
    """The reader of the objects without Zarr; None when only Zarr can read them."""

    @classmethod
    def find(cls, store: str, name: str) -> "Plane | None":
        """Return the layer ``name`` of a store, or None when the store does not have it."""
        array = open_group(store).get(name)
        if not isinstance(array, zarr.Array) or array.ndim != 2:
            return None
        return cls(store=store, name=name, shape=array.shape, attrs=dict(array.attrs), objects=Chunks.of(array))

    @classmethod
    def open(cls, store: str, name: str) -> "Plane":
        """Return the layer ``name`` of a store.

        Raises:
            UserError: the store does not have it; the message names the layers that exist.
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
        """Return a region ``y, x`` with its stored values, in newly allocated memory.

        Raises:
            UserError: an object is damaged.
        """
        with undamaged(self.store, roi):
            if self.objects is None:
                return np.asarray(open_group(self.store)[self.name][roi.slices])
            return self.objects.read(roi.slices, Room())
