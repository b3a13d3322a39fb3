"""Georeference: coordinates of rows and columns, and the transform of a grid, each from the other.

A scene has CF's coordinates ``y`` and ``x``, the centres of its pixels, so that what xarray cuts out of it keeps its
place. Coordinates count where a transform in the attributes says otherwise: xarray slices them, and not the attributes.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import zarr
from jaxtyping import Float64

from tilespec.storage.axes import axis_of, dims_of
from tilespec.storage.packing import Packing

Transform = tuple[float, float, float, float, float, float]
"""GDAL's transform: x of the origin, x per column, x per row, y of the origin, y per column, y per row."""
Vector = Float64[np.ndarray, " pixel"]

UNEVEN: Final = 0.01
"""The largest difference between steps of a coordinate, as a share of a step; degrees in float32 differ by less."""
AXES: Final = {"x": (0, 1, 2), "y": (3, 5, 4)}
"""The places of origin, step, and step along the other axis in a transform."""
METRES: Final = {
    **dict.fromkeys(("m", "meter", "metre"), 1.0),
    **dict.fromkeys(("km", "kilometer", "kilometre"), 1000.0),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 0.01),
    **dict.fromkeys(("mm", "millimeter", "millimetre"), 0.001),
    **dict.fromkeys(("ft", "foot", "feet", "internationalfoot", "internationalfeet"), 0.3048),
    **dict.fromkeys(("ussurveyfoot", "ussurveyfeet", "usft", "ftus", "usfoot", "surveyfoot", "footus"), 1200 / 3937),
    **dict.fromkeys(("yd", "yard"), 0.9144),
}
"""The metres in one unit of length; spaces, underscores and hyphens in it, and a final s, are ignored."""
DEGREES: Final = "degree"


def metres_in(unit: str) -> float | None:
    """Return the metres in a unit of length, or None for another unit."""
    many = re.match(r"\s*([\d.]+(?:e[+-]?\d+)?)[\s*]+(\D.*)", unit, re.IGNORECASE)  # UDUNITS: 0.3048 metre
    if many:
        one = metres_in(many[2])
        return None if one is None else one * float(many[1])
    key = "".join(char for char in unit.lower() if char.isalnum())
    return METRES.get(key, METRES.get(key.removesuffix("s")))


def transform_of(text: Any) -> Transform | None:
    """Return GDAL's transform from its text or its numbers, or None for anything else."""
    try:
        a, b, c, d, e, f = (float(word) for word in (text.split() if isinstance(text, str) else text))
    except (TypeError, ValueError):
        return None
    return (a, b, c, d, e, f) if np.isfinite((a, b, c, d, e, f)).all() else None


def transform_text(transform: Transform) -> str:
    """Return a transform as the text of the attribute ``GeoTransform``."""
    return " ".join(repr(float(value)) for value in transform)


def centres(transform: Transform, axis: str, length: int) -> Vector:
    """Return the coordinates of the centres of rows or columns."""
    origin, step, _ = (transform[k] for k in AXES[axis])
    return origin + step * (np.arange(length) + 0.5)


def span(values: Vector, step: float | None = None) -> tuple[float, float] | None:
    """Return the first value and the step of an evenly spaced sequence; None for another one.

    A single value has the ``step`` of the transform that goes with it.
    """
    if len(values) == 0 or not np.isfinite(values).all() or (len(values) == 1 and not step):
        return None
    if len(values) == 1:
        return float(values[0]), float(step or 0.0)
    even = float(values[-1] - values[0]) / (len(values) - 1)
    uneven = np.abs(np.diff(values) - even).max()
    rounding = 4 * float(np.spacing(np.float32(np.abs(values).max()))) if _is_single(values) else 0.0
    return (float(values[0]), even) if even != 0 and uneven <= max(UNEVEN * abs(even), rounding) else None


def _is_single(values: Vector) -> bool:
    """Return whether all values are those of float32: coordinates of pixels that are not are rarely so by chance."""
    return bool((values == values.astype(np.float32)).all()) and not bool((values == np.round(values)).all())


def agrees(transform: Transform, axis: str, values: Vector) -> bool:
    """Return whether coordinates are those of a transform, to a hundredth of a pixel or to their own rounding."""
    expected, step = centres(transform, axis, len(values)), abs(transform[AXES[axis][1]])
    rounding = 2 * float(np.spacing(np.float32(np.abs(values).max()))) if _is_single(values) else 0.0
    return bool((np.abs(values - expected) <= max(UNEVEN * step, rounding)).all())


def transform_by(stated: Transform | None, vectors: Mapping[str, Vector | None]) -> tuple[Transform | None, bool]:
    """Return the transform of a grid from its coordinates and the one in its attributes; and whether the latter counts.

    Args:
        stated: The transform in the attributes.
        vectors: The coordinates of the centres, for ``x`` and ``y``; None where there are none.
    """
    x, y = vectors.get("x"), vectors.get("y")
    rotated = stated is not None and (stated[2], stated[4]) != (0.0, 0.0)
    if x is None or y is None or rotated:
        return stated, True
    if stated is not None and agrees(stated, "x", x) and agrees(stated, "y", y):
        return stated, True
    (x0, dx), (y0, dy) = (span(v, stated and stated[AXES[axis][1]]) or (0.0, 0.0) for axis, v in (("x", x), ("y", y)))
    if dx == 0 or dy == 0:
        return None, False
    return (x0 - dx / 2, dx, 0.0, y0 - dy / 2, 0.0, dy), False


def coordinates(
    georef: Mapping[str, Any] | None, shape: Sequence[int]
) -> dict[str, tuple[tuple[str, ...], Any, dict[str, Any]]]:
    """Return the coordinates ``y`` and ``x`` of a plane, with CF's attributes; none of a rotated grid."""
    transform = transform_of((georef or {}).get("GeoTransform"))
    if georef is None or transform is None or (transform[2], transform[4]) != (0.0, 0.0) or 0 in transform[1::4]:
        return {}
    attrs = _attributes(str(georef.get("crs_wkt", "")))
    return {
        axis: ((axis,), centres(transform, axis, length), attrs[axis])
        for axis, length in zip(("y", "x"), shape, strict=False)
    }


def _attributes(wkt: str) -> dict[str, dict[str, str]]:
    """Return CF's attributes of both coordinates of a CRS."""
    attrs: dict[str, dict[str, str]] = {axis: {"axis": axis.upper()} for axis in ("y", "x")}
    if not wkt:
        return attrs
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        described = CRS.from_wkt(wkt).cs_to_cf()
    except (CRSError, KeyError):
        return attrs
    kept = ("axis", "standard_name", "long_name", "units")
    named = {str(one.get("axis", "")).lower(): {k: str(one[k]) for k in kept if k in one} for one in described}
    return {axis: named.get(axis, attrs[axis]) for axis in attrs}


def georef_of(group: "zarr.Group", array: "zarr.Array[Any]") -> dict[str, Any] | None:
    """Return the attributes of the grid mapping of an array of a store, with the transform of its coordinates.

    A store without either has None. Coordinates that are uneven, or in another unit than the CRS, leave no transform.
    """
    name = str(array.attrs.get("grid_mapping", "spatial_ref")).partition(":")[0].strip()
    attrs = dict(group[name].attrs) if name in group else {}
    if "crs_wkt" not in attrs and attrs.get("spatial_ref"):
        attrs["crs_wkt"] = attrs["spatial_ref"]
    stated = transform_of(attrs.get("GeoTransform"))
    vectors, units = _vectors(group, array)
    if stated is None and not attrs and not all(units.values()):
        return None  # numbers of pixels, and no place
    transform, kept = transform_by(stated, vectors)
    if kept:
        return attrs or None
    bare = {key: value for key, value in attrs.items() if key != "GeoTransform"}
    if transform is None or not _same_unit(str(attrs.get("crs_wkt", "")), units):
        return bare or None
    return {**bare, "GeoTransform": transform_text(transform)}


def _vectors(group: "zarr.Group", array: "zarr.Array[Any]") -> tuple[dict[str, Vector | None], dict[str, str]]:
    """Return the coordinates of the rows and the columns of an array, unpacked, and their units."""
    vectors: dict[str, Vector | None] = {"y": None, "x": None}
    units = {"y": "", "x": ""}
    for dim, length in zip(dims_of(array) or (), array.shape, strict=False):
        axis, node = axis_of(dim), group.get(dim)
        if axis in vectors and isinstance(node, zarr.Array) and node.shape == (length,) and node.dtype.kind in "iuf":
            packing = Packing.of(f"{group.store_path}/{dim}", node.attrs, np.dtype(node.dtype))
            vectors[axis], units[axis] = packing.values(np.asarray(node[:])), str(node.attrs.get("units", ""))
    return vectors, units


def _same_unit(wkt: str, units: Mapping[str, str]) -> bool:
    """Return whether coordinates are in the unit of a CRS, as far as either is known."""
    if not wkt or not all(units.values()):
        return True
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        axis = CRS.from_wkt(wkt).axis_info[0]
    except (CRSError, IndexError):
        return True
    for unit in units.values():
        metres = metres_in(unit)
        degrees = unit.lower().startswith(DEGREES) and axis.unit_name.startswith(DEGREES)
        if not degrees and (metres is None or abs(metres - axis.unit_conversion_factor) > 1e-9 * metres):
            return False
    return True
