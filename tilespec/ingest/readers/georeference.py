"""Georeference: ENVI's ``map info`` and GDAL's transforms as attributes of a CF grid mapping."""

import math
from typing import Any, Final

from tilespec.core.errors import UserError
from tilespec.ingest.readers.envi_header import names, unbraced

Transform = tuple[float, float, float, float, float, float]
"""GDAL's transform: x of the origin, x per column, x per row, y of the origin, y per column, y per row."""

UTM: Final = {"WGS-84": (32600, 32700), "NORTH AMERICA 1983": (26900, None), "NORTH AMERICA 1927": (26700, None)}
"""The EPSG code of UTM zone 0, north and south, for each datum in ENVI's spelling."""
GEOGRAPHIC: Final = {"WGS-84": 4326, "NORTH AMERICA 1983": 4269, "NORTH AMERICA 1927": 4267}
NO_PLACE: Final = {"arbitrary", "pseudo", "none", "unknown"}


def grid_mapping(crs: Any, transform: Transform) -> dict[str, Any]:
    """Return the attributes of ``spatial_ref`` (CF, and rioxarray's ``GeoTransform``); ``crs`` may be None."""
    attrs: dict[str, Any] = {} if crs is None else dict(crs.to_cf())
    if crs is not None:
        attrs["spatial_ref"] = attrs["crs_wkt"]
    attrs["GeoTransform"] = " ".join(repr(float(x)) for x in transform)
    return attrs


def crs_of(definition: Any) -> Any:
    """Return the pyproj CRS from WKT, an EPSG code or any other text for pyproj; None for invalid text."""
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        return CRS.from_user_input(definition)
    except CRSError:
        return None


def from_envi(where: object, header: dict[str, str]) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """Return the grid mapping of an ENVI header, or None, and notes."""
    if not header.get("map info", "").strip("{} "):
        return None, ()
    info = names(header["map info"])
    if info[0].lower() in NO_PLACE:
        return None, (f"{where}: map info is {info[0]}: no georeference",)
    transform = _transform(where, info)
    wkt = unbraced(header.get("coordinate system string", ""))
    crs = _identified(crs_of(wkt) if wkt else None) or crs_of(_epsg(info))
    notes = () if crs is not None else (f"{where}: the projection {info[0]!r} is unknown; only the transform is kept",)
    return grid_mapping(crs, transform), notes


def _identified(crs: Any) -> Any:
    """Return EPSG's own definition of a CRS in Esri's spelling, or else the CRS itself."""
    code = None if crs is None else crs.to_epsg()
    return crs if code is None else crs_of(code)


def _transform(where: object, info: tuple[str, ...]) -> Transform:
    """Return the transform from ``map info``: name, reference pixel (1-based, upper left corner), x, y, size, ..."""
    try:
        column, row, x, y, width, height = (float(value) for value in info[1:7])
    except ValueError as error:
        raise UserError(
            f"{where}: map info",
            found=", ".join(info)[:80],
            expected="name, column, row, x, y, pixel width, pixel height, ...",
            do="Correct the line, or remove it to go without a georeference.",
        ) from error
    angle = math.radians(_rotation(where, info))
    a, d = math.cos(angle) * width, math.sin(angle) * width
    b, e = math.sin(angle) * height, -math.cos(angle) * height
    return x - a * (column - 1) - b * (row - 1), a, b, y - d * (column - 1) - e * (row - 1), d, e


def _rotation(where: object, info: tuple[str, ...]) -> float:
    """Return the rotation in degrees, or 0 when there is none."""
    angles = [entry.partition("=")[2] for entry in info if entry.lower().replace(" ", "").startswith("rotation=")]
    try:
        return float(angles[0]) if angles else 0.0
    except ValueError as error:
        raise UserError(
            f"{where}: map info", found=f"rotation {angles[0]!r}", expected="degrees", do="Correct the line."
        ) from error


def _epsg(info: tuple[str, ...]) -> int | None:
    """Return the EPSG code of a UTM zone or of geographic coordinates, or None for other projections."""
    name = info[0].lower()
    if name == "utm" and len(info) > 9 and info[7].isdigit():
        codes = UTM.get(info[9].upper(), (None, None))
        base = codes[info[8].lower().startswith("s")]
        return None if base is None else base + int(info[7])
    if name.startswith("geographic"):
        return GEOGRAPHIC.get((info[7] if len(info) > 7 else "WGS-84").upper())
    return None
