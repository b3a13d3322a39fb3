"""Axes: which dimension of an array is the row, the column and the band, by the names of its dimensions."""

from collections.abc import Sequence
from typing import Any, Final

import zarr

from tilespec.core.errors import UserError

ORDER: Final = ("y", "x", "band")
DIMS: Final = {
    "y": {"y", "row", "rows", "line", "lines", "lat", "latitude", "northing", "northings", "downtrack", "alongtrack"},
    "x": {"x", "col", "cols", "column", "columns", "sample", "samples", "lon", "longitude", "easting", "eastings"}
    | {"crosstrack", "acrosstrack"},
    "band": {"band", "bands", "wavelength", "wavelengths", "wavenumber", "wavenumbers", "channel", "channels"}
    | {"component", "components", "class", "spectral", "lambda", "wl"},
}
"""The names of dimensions that identify an axis, in lower case and without underscores."""


def axis_of(dim: str) -> str | None:
    """Return the axis that the name of a dimension means, or None."""
    bare = dim.rpartition("/")[2].lower().replace("_", "").replace("-", "")
    return next((axis for axis, names in DIMS.items() if bare in names), None)


def dims_of(array: "zarr.Array[Any]") -> tuple[str, ...] | None:
    """Return the names of dimensions: Zarr v3's own, or xarray's attribute in Zarr v2; None unless all have one."""
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    whole = isinstance(names, Sequence) and len(names) == array.ndim and all(isinstance(n, str) for n in names)
    return tuple(names) if whole else None


def in_order(dims: Sequence[str] | None) -> bool:
    """Return whether the names of dimensions are those of ``y, x, band`` in this order, as far as they mean an axis."""
    axes = [axis_of(dim) for dim in dims or ()]
    return all(axis in (None, wanted) for axis, wanted in zip(axes, ORDER, strict=False))


def check_order(store: str, array: "zarr.Array[Any]") -> None:
    """Refuse an array whose dimensions are named in another order than ``y, x`` or ``y, x, band``.

    Verbs read stores as they lie; `tilespec ingest` turns them.
    """
    dims = dims_of(array)
    if not in_order(dims):
        raise UserError(
            f"{store}: {array.basename}",
            found=f"dimensions {', '.join(dims or ())}",
            expected=", ".join(ORDER[: array.ndim]) + " in this order",
            do="Turn it with `tilespec ingest STORE OUT`.",
        )
