"""Columns: the arrays of a table of spectra, ``cube(spectrum, band)`` and ``class(spectrum)``, as a plane.

A table has no places. Every other part of tilespec sees it as a scene one pixel wide, so that what works on pixels
works on the spectra of a table; only here, and in the keys of objects, the axis ``x`` is missing.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, final

import numpy as np
import zarr

from tilespec.storage.axes import dims_of
from tilespec.storage.layout import ArraySpec

SPECTRUM: Final = "spectrum"
"""The dimension of a table."""
NAMES: Final = {"labels": "class"}
"""The names of layers that a table has under another name, as those who exchange tables call it."""


@final
class Column(zarr.Array):
    """An array over spectra, seen as an array ``y, x`` or ``y, x, band`` that is one pixel wide."""

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return super().ndim + 1

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape with the axis ``x``."""
        return _widened(super().shape)

    @property
    def chunks(self) -> tuple[int, ...]:
        """The shape of a chunk with the axis ``x``."""
        return _widened(super().chunks)

    @property
    def basename(self) -> str:
        """The name of the layer."""
        name = super().basename
        return next((layer for layer, stored in NAMES.items() if stored == name), name)

    def __getitem__(self, index: Any) -> np.ndarray:
        return np.asarray(zarr.Array(self.async_array)[_narrowed(index)])[:, None]

    def __setitem__(self, index: Any, block: Any) -> None:
        zarr.Array(self.async_array)[_narrowed(index)] = block[:, 0]


def as_plane(array: "zarr.Array[Any]") -> "zarr.Array[Any]":
    """Return an array over spectra as one of a plane; any other array as it is."""
    of_spectra = (dims_of(array) or ("",))[0] == SPECTRUM
    return Column(array.async_array) if of_spectra else array


def layer_of(group: zarr.Group, layer: str) -> "zarr.Array[Any] | None":
    """Return an array of a store by the name of a layer, None if it has none."""
    found = group.get(layer)
    if found is None and layer in NAMES:
        found = group.get(NAMES[layer])
        found = found if isinstance(found, zarr.Array) and isinstance(as_plane(found), Column) else None
    return as_plane(found) if isinstance(found, zarr.Array) else None


def arrays_of(group: zarr.Group) -> "Mapping[str, zarr.Array[Any]]":
    """Return all arrays of a store by the names of their layers."""
    seen = (as_plane(array) for _, array in sorted(group.arrays()))
    return {array.basename: array for array in seen}


def is_table(array: "zarr.Array[Any]") -> bool:
    """Return whether an array is one of a table."""
    return isinstance(array, Column)


def column_spec(spec: ArraySpec) -> ArraySpec:
    """Return the description of an array of a plane one pixel wide as that of an array over spectra."""
    assert (spec.shape[1], spec.shards) == (1, None), "a table is one pixel wide, and has no shards"
    name, dims = NAMES.get(spec.name, spec.name), (SPECTRUM, *spec.dims[2:])
    return replace(spec, name=name, dims=dims, shape=_narrow(spec.shape), chunks=_narrow(spec.chunks))


def _widened(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape over spectra as one of a plane."""
    return (shape[0], 1, *shape[1:])


def _narrow(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], *shape[2:])


def _narrowed(index: Any) -> Any:
    """Return an index of a plane as one of spectra, without its second part: there is one column."""
    return (index[0], *index[2:]) if isinstance(index, tuple) else index
