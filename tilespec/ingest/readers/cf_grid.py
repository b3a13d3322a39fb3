"""CF grid: the georeference of a scene from the grid mapping and the coordinate vectors of a CF file."""

from collections.abc import Mapping
from typing import Any, Final

import h5py
import numpy as np

from tilespec.ingest.readers.georeference import Transform, crs_of, grid_mapping
from tilespec.ingest.readers.hdf5 import text, vector

LENGTHS: Final = {"": 1.0, "m": 1.0, "metre": 1.0, "meter": 1.0, "metres": 1.0, "meters": 1.0, "km": 1000.0}
"""The metres in one unit of a projected coordinate."""
UNEVEN: Final = 0.01
"""The largest difference between steps of a coordinate, as a share of a step; degrees in float32 differ by less."""


def mapped(
    where: str, file: h5py.File, cube: h5py.Dataset, axes: tuple[str, ...]
) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """Return the grid mapping of a CF variable, or None, and notes.

    Coordinate vectors hold the centres of pixels; without them GDAL's ``GeoTransform`` is used. A grid without a known
    CRS has its transform only; unevenly spaced coordinates give no transform.
    """
    crs, attrs, notes = _crs(where, file, cube)
    transform, place_notes = _transform(where, cube, axes)
    if transform is None and "GeoTransform" in attrs:
        transform = geotransform(attrs["GeoTransform"])
    notes = (*notes, *place_notes)
    if transform is None:
        return None, notes if crs is None else (*notes, f"{where}: no even coordinates: the CRS is not kept")
    if crs is None and not attrs:
        notes = (*notes, f"{where}: no grid mapping: the transform is kept, without a CRS")
    return grid_mapping(crs, transform), notes


def _crs(where: str, file: h5py.File, cube: h5py.Dataset) -> tuple[Any, Mapping[str, Any], tuple[str, ...]]:
    """Return the CRS of the variable's grid mapping, the mapping's attributes, and notes."""
    name = text(cube.attrs.get("grid_mapping", "")).partition(":")[0].strip()
    if not name:
        return None, {}, ()
    node = next((group[name] for group in (cube.parent, file) if name in group), None)
    if node is None:
        return None, {}, (f"{where}: its grid mapping {name!r} is not in the file",)
    attrs = {key: _plain(node.attrs[key]) for key in node.attrs}
    crs = next((crs_of(attrs[key]) for key in ("crs_wkt", "spatial_ref") if attrs.get(key)), None) or _from_cf(attrs)
    return crs, attrs, () if crs is not None else (f"{where}: its grid mapping {name!r} is unknown: no CRS",)


def _plain(value: Any) -> Any:
    """Return an attribute as a type that pyproj accepts."""
    if isinstance(value, np.ndarray):
        return value.item() if value.size == 1 else value.tolist()
    return value.decode() if isinstance(value, bytes) else value.item() if isinstance(value, np.generic) else value


def _from_cf(attrs: Mapping[str, Any]) -> Any:
    """Return the CRS from CF's parameters, or None when they define none."""
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        return CRS.from_cf(dict(attrs)) if "grid_mapping_name" in attrs else None
    except (CRSError, KeyError, TypeError):
        return None


def geotransform(value: Any) -> Transform | None:
    """Return GDAL's transform from its text, or None for invalid text."""
    try:
        a, b, c, d, e, f = (float(word) for word in str(value).split())
    except ValueError:
        return None
    return a, b, c, d, e, f


def _transform(where: str, cube: h5py.Dataset, axes: tuple[str, ...]) -> tuple[Transform | None, tuple[str, ...]]:
    """Return the transform of the coordinate vectors of the cube's own dimensions."""
    steps = {axis: _coordinate(cube, axes.index(axis)) for axis in ("y", "x")}
    if any(found is None for found in steps.values()):
        return None, ()
    spans = {axis: _even(values) for axis, values in steps.items() if values is not None}
    if any(span is None for span in spans.values()):
        return None, (f"{where}: the coordinates of its rows or columns are not even: no georeference",)
    (y, dy), (x, dx) = (span for span in (spans["y"], spans["x"]) if span is not None)
    return (x - dx / 2, dx, 0.0, y - dy / 2, 0.0, dy), ()


def _coordinate(cube: h5py.Dataset, axis: int) -> list[float] | None:
    """Return the coordinate of a dimension in metres or degrees; None when the file has no suitable one."""
    scales = cube.dims[axis]
    if not len(scales):
        return None
    node = scales[0]
    label = text(node.attrs.get("NAME", ""))
    units = text(node.attrs.get("units", "")).lower()
    if label.startswith("This is a netCDF dimension but not") or node.ndim != 1 or node.dtype.kind not in "iuf":
        return None
    if units not in LENGTHS and not units.startswith("degree"):
        return None
    return [value * LENGTHS.get(units, 1.0) for value in vector(node)]


def _even(values: list[float]) -> tuple[float, float] | None:
    """Return the first value and the step of an evenly spaced sequence, or None."""
    if len(values) < 2:
        return None
    step = (values[-1] - values[0]) / (len(values) - 1)
    uneven = np.abs(np.diff(values) - step).max()
    return (values[0], step) if step != 0 and uneven <= UNEVEN * abs(step) else None
