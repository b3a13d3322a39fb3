"""CF grid: georeference of an array by its grid mapping, coordinates, and GDAL's and rioxarray's attributes."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from tilespec.ingest.readers.array_axes import meaning
from tilespec.ingest.readers.containers import Container
from tilespec.ingest.readers.georeference import crs_of, grid_mapping
from tilespec.storage.georeference import (
    DEGREES,
    Transform,
    Vector,
    metres_in,
    span,
    transform_by,
    transform_of,
)

CRS_KEYS: Final = ("crs_wkt", "spatial_ref", "_CRS", "proj:wkt2", "proj:projjson", "proj:code", "esri_pe_string", "crs")
"""The attributes of an array, or its grid mapping, that define a CRS: CF, rioxarray, GDAL, and Zarr's conventions."""
TRANSFORM_KEYS: Final = ("GeoTransform", "spatial:transform")
MAPPING_KEYS: Final = {"grid_mapping_name", "crs_wkt", "spatial_ref"}
"""The attributes by which a grid mapping is known that no array names, as rioxarray leaves it."""

Notes = tuple[str, ...]


def mapped(container: Container, name: str, axes: tuple[str, ...]) -> tuple[dict[str, Any] | None, Notes]:
    """Return the grid mapping of an array of a CF file, or None, and notes.

    Coordinates hold the centres of pixels and count where GDAL's ``GeoTransform`` says otherwise. A grid without a
    known CRS has its transform only; uneven coordinates, or those in another unit than the CRS, give no transform.
    """
    where = container.path.name
    crs, attrs, notes = _crs(container, name)
    stated = _stated(attrs, container.entries[name].attrs)
    vectors, said = _vectors(container, name, axes, crs)
    notes = (*notes, *said)
    if crs is None and not attrs and stated is None and _counted(container, name, axes, vectors):
        return None, notes
    transform, kept = transform_by(stated, vectors)
    if stated is not None and not kept:
        notes = (*notes, f"{where}: its coordinates say otherwise than its GeoTransform, and count")
    if transform is None:
        told = bool(said) or all(vector is None for vector in vectors.values())
        if not told:
            notes = (*notes, f"{where}: {_why(vectors)}: no georeference")
        lost = f"{where}: no even coordinates: the CRS is not kept"
        return None, notes if crs is None else (*notes, lost)
    if crs is None and not attrs:
        notes = (*notes, f"{where}: no grid mapping: the transform is kept, without a CRS (--crs EPSG:CODE)")
    return grid_mapping(crs, transform), notes


def _why(vectors: Mapping[str, Vector | None]) -> str:
    """Return why coordinates give no transform."""
    short = [axis for axis, v in vectors.items() if v is not None and len(v) == 1]
    if short:
        return f"a single coordinate along {' and '.join(short)} has no step"
    uneven = any(v is not None and span(v) is None for v in vectors.values())
    return "the coordinates of its rows or columns are not even" if uneven else "coordinates along one axis only"


def _crs(container: Container, name: str) -> tuple[Any, Mapping[str, Any], Notes]:
    """Return the CRS of an array, the attributes of its grid mapping, and notes."""
    where, own = container.path.name, container.entries[name].attrs
    said = str(own.get("grid_mapping", "")).partition(":")[0].strip()
    at = container.beside(name, said) if said else _only_mapping(container)
    attrs = {} if at is None else {key: _plain(value) for key, value in container.entries[at].attrs.items()}
    for source in (attrs, own, container.attrs):
        definitions = [_definition(source[key]) for key in CRS_KEYS if source.get(key)]
        crs = next((crs for crs in map(crs_of, definitions) if crs is not None), None)
        if crs is None and source is attrs:
            crs = _from_cf(attrs)
        if crs is not None:
            return crs, attrs or {"crs": definitions}, ()
    if at is None:
        return None, {}, (f"{where}: its grid mapping {said!r} is not in the file",) if said else ()
    unknown = f"{where}: its grid mapping {at!r} is unknown: no CRS"
    return None, attrs, (unknown,) if set(attrs) - set(TRANSFORM_KEYS) else ()


def _only_mapping(container: Container) -> str | None:
    """Return the one grid mapping of a container, which an array need not name; None of none or several."""
    scalars = [name for name, entry in container.entries.items() if entry.shape in ((), (1,))]
    mappings = [name for name in scalars if MAPPING_KEYS & set(container.entries[name].attrs)]
    return mappings[0] if len(mappings) == 1 else None


def _definition(value: Any) -> Any:
    """Return the definition of a CRS from an attribute; GDAL's ``_CRS`` holds several spellings."""
    if isinstance(value, Mapping) and {"wkt", "url"} & set(value):
        return value.get("wkt") or str(value["url"]).rstrip("/").replace(
            "http://www.opengis.net/def/crs/EPSG/0/", "EPSG:"
        )
    return _plain(value)


def _plain(value: Any) -> Any:
    """Return an attribute as a type that pyproj accepts."""
    if isinstance(value, np.ndarray):
        return value.item() if value.size == 1 else value.tolist()
    return value.item() if isinstance(value, np.generic) else value


def _from_cf(attrs: Mapping[str, Any]) -> Any:
    """Return the CRS from CF's parameters, or None when they define none."""
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        return CRS.from_cf(dict(attrs)) if "grid_mapping_name" in attrs else None
    except (CRSError, KeyError, TypeError, ValueError):
        return None


def _stated(*sources: Mapping[str, Any]) -> Transform | None:
    """Return the transform of the first attributes that have one."""
    for attrs in sources:
        if (gdal := transform_of(attrs.get(TRANSFORM_KEYS[0]))) is not None:
            return gdal
        if (affine := transform_of(attrs.get(TRANSFORM_KEYS[1]))) is not None:
            a, b, c, d, e, f = affine
            return c, a, b, f, d, e
    return None


def _vectors(
    container: Container, name: str, axes: tuple[str, ...], crs: Any
) -> tuple[dict[str, Vector | None], Notes]:
    """Return the coordinates of rows and columns in the unit of the CRS (or in metres or degrees), and notes."""
    vectors: dict[str, Vector | None] = {"y": None, "x": None}
    notes: list[str] = []
    for axis in vectors:
        at = coordinate(container, name, axes, axis)
        if at is None:
            continue
        unit = str(container.entries[at].attrs.get("units", "")).strip()
        factor = _factor(unit, crs)
        if factor is None:
            of = "an unknown unit" if crs is None else f"no unit of its CRS, {crs.name}"
            notes.append(f"{container.path.name}: its coordinate {at} is in {unit!r}, {of}: no georeference")
            continue
        vectors[axis] = container.vector(at) * factor
    return (vectors if not notes else {"y": None, "x": None}), tuple(notes)


def coordinate(container: Container, name: str, axes: tuple[str, ...], axis: str) -> str | None:
    """Return the entry of the coordinate of an axis of an array; None when it has none.

    It is called as the dimension; or the array names it, and it lies over that dimension alone.
    """
    dims = container.entries[name].dims
    if dims is None or axis not in axes:
        return None
    dim, length = dims[axes.index(axis)], container.entries[name].shape[axes.index(axis)]
    named = [at for at in (container.beside(name, dim), *_named(container, name)) if at is not None]
    for at in named:
        entry = container.entries[at]
        over = entry.dims is None or [d.rpartition("/")[2] for d in entry.dims] == [dim]
        own = at.rpartition("/")[2] == dim or meaning(entry.attrs) == axis
        if entry.shape == (length,) and entry.dtype.kind in "iuf" and over and own:
            return at
    return None


def _named(container: Container, name: str) -> list[str | None]:
    """Return the entries that an array names as its coordinates."""
    words = str(container.entries[name].attrs.get("coordinates", "")).split()
    return [container.beside(name, word) for word in words]


def _factor(unit: str, crs: Any) -> float | None:
    """Return the factor from the unit of a coordinate to that of the CRS; None when they do not fit."""
    metres, degrees = metres_in(unit), unit.lower().startswith(DEGREES)
    if crs is None:
        return 1.0 if degrees or unit in ("", "1") else metres
    axis = crs.axis_info[0]
    if unit in ("", "1"):
        return 1.0
    if unit.lower() in ("rad", "radian", "radians"):  # scanning angles of a geostationary satellite
        height = crs.to_cf().get("perspective_point_height") if crs.is_projected else None
        return float(np.degrees(1.0)) if crs.is_geographic else None if height is None else float(height)
    if crs.is_geographic:
        return 1.0 if degrees else None
    return None if metres is None else metres / axis.unit_conversion_factor


def _counted(container: Container, name: str, axes: tuple[str, ...], vectors: Mapping[str, Vector | None]) -> bool:
    """Return whether coordinates without units only count the pixels: 0, 1, 2, ... or 1, 2, 3, ..."""
    for axis, vector in vectors.items():
        at = coordinate(container, name, axes, axis)
        if vector is None or at is None or str(container.entries[at].attrs.get("units", "")).strip() not in ("", "1"):
            return False
        counted = np.arange(len(vector))
        if not (np.array_equal(vector, counted) or np.array_equal(vector, counted + 1)):
            return False
    return True
