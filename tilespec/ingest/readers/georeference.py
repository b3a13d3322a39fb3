"""Georeference: ENVI's keys, and GDAL's transforms, as attributes of a CF grid mapping."""

import re
from functools import cache
from typing import Any, Final

import numpy as np

from tilespec.ingest.readers.envi_header import unbraced
from tilespec.ingest.readers.map_info import MapInfo, Transform

DATUMS: Final = {
    **dict.fromkeys(("wgs1984", "worldgeodeticsystem1984"), "WGS 84"),
    **dict.fromkeys(("northamerica1983", "northamerican1983", "northamericandatum1983", "nad1983"), "NAD83"),
    **dict.fromkeys(("northamerica1927", "northamerican1927", "northamericandatum1927", "nad1927"), "NAD27"),
    **dict.fromkeys(("etrs1989", "europeanterrestrialreferencesystem1989"), "ETRS89"),
    **dict.fromkeys(("european1950", "europeandatum1950", "europeanmean"), "ED50"),
    **dict.fromkeys(("gda1994", "geocentricdatumofaustralia1994"), "GDA94"),
    **dict.fromkeys(("china2000", "chinageodeticcoordinatesystem2000"), "China Geodetic Coordinate System 2000"),
}
"""EPSG's names of datums in the spellings of ENVI and Esri: small letters and digits, without a leading ``D_``."""
METRES: Final = {
    **dict.fromkeys(("meters", "meter", "metres", "metre", "m"), (1.0,)),
    **dict.fromkeys(("km", "kilometers", "kilometres"), (1000.0,)),
    **dict.fromkeys(("feet", "foot", "ft"), (0.3048, 1200 / 3937)),
    **dict.fromkeys(("us survey feet", "us feet"), (1200 / 3937,)),
    "yards": (0.9144,),
    "miles": (1609.344,),
    "nautical miles": (1852.0,),
}
"""The metres in one of ENVI's units."""
KEYS: Final = ("map info", "coordinate system string")
"""The keys of the place, kept as text where they are not understood."""


def grid_mapping(crs: Any, transform: Transform) -> dict[str, Any]:
    """Return the attributes of ``spatial_ref`` (CF, and rioxarray's ``GeoTransform``); ``crs`` may be None."""
    attrs: dict[str, Any] = {} if crs is None else dict(crs.to_cf())
    if crs is not None:
        attrs["spatial_ref"] = attrs["crs_wkt"]
    attrs["GeoTransform"] = " ".join(repr(float(x)) for x in transform)
    return attrs


def crs_of(definition: Any) -> Any:
    """Return the pyproj CRS from WKT, an EPSG code or any other text for pyproj.

    None for invalid text, and for a definition that lacks a parameter, whose place nobody knows.
    """
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        crs = CRS.from_user_input(definition)
        crs.to_cf()
    except (CRSError, KeyError, TypeError, ValueError):
        return None
    return crs


def displacement(crs: Any, other: Any, transform: Transform, shape: tuple[int, ...]) -> float:
    """Return how many pixels the corners of a grid move when their coordinates are read in another CRS; may be inf."""
    from pyproj import Transformer
    from pyproj.exceptions import ProjError

    if crs.equals(other, ignore_axis_order=True):
        return 0.0
    c, a, b, f, d, e = transform
    pixels = np.array([[0, shape[1], 0, shape[1]], [0, 0, shape[0], shape[0]]], float)
    corners = np.array([[a, b], [d, e]]) @ pixels + np.array([[c], [f]])
    try:
        seen = np.stack(Transformer.from_crs(crs, other, always_xy=True).transform(*corners))
        away = np.linalg.solve(np.array([[a, b], [d, e]]), seen - corners)
    except (ProjError, np.linalg.LinAlgError):
        return float("inf")
    return float(np.nan_to_num(np.abs(away), nan=np.inf).max())


def from_envi(where: object, header: dict[str, str]) -> tuple[dict[str, Any] | None, dict[str, str], tuple[str, ...]]:
    """Return the grid mapping of an ENVI header, or None; the keys that are not understood, as text; and notes."""
    text = header.get("map info", "")
    if not unbraced(text):
        return None, {}, ()
    kept = {key: " ".join(header[key].split()) for key in KEYS if header.get(key)}
    info = MapInfo.read(where, text)
    if info is None:
        return None, kept, (f"{where}: map info is {unbraced(text).partition(',')[0]}: no georeference",)
    crs, doubt = _crs(info, unbraced(header.get("coordinate system string", "")))
    notes = _turned(where, info)
    if crs is None:
        return grid_mapping(None, info.transform), kept, (*notes, f"{where}: {doubt}; only the transform is kept")
    return grid_mapping(crs, info.transform), {}, (*notes, *((f"{where}: {doubt}",) if doubt else ()))


def _turned(where: object, info: MapInfo) -> tuple[str, ...]:
    """Return notes on a rotation that programs read in several ways."""
    if info.half_turn:
        read, other = ("rows that go up, as GDAL writes them", "ENVI") if info.south_up else ("half a turn", "GDAL")
        return (f"{where}: rotation={info.rotation:g} is taken as {read}; {other} reads it otherwise",)
    if info.ambiguous:
        return (f"{where}: a rotated grid of pixels that are no squares: taken as rectangles, GDAL shears them",)
    return ()


def _crs(info: MapInfo, wkt: str) -> tuple[Any, str]:
    """Return the CRS of a line and of the coordinate system string beside it, or None; and what is in doubt.

    The string decides. Where it and the line contradict each other nobody knows the place, and there is no CRS.
    """
    stated = _identified(crs_of(wkt)) if wkt else None
    crs, doubt = (stated, "") if stated is not None else _named(info)
    if wkt and stated is None:
        doubt = f"coordinate system string: not understood{doubt and ', and '}{doubt}"
    if crs is None:
        return None, doubt
    if stated is not None and info.zone and stated.utm_zone not in (None, f"{info.zone[0]}{info.zone[1]}"):
        zones = f"zone {info.zone[0]}{info.zone[1]}, coordinate system string zone {stated.utm_zone}"
        return None, f"map info says {zones}: no CRS"
    if not _in_units(crs, info.units):
        return None, f"map info says units={info.units}, its CRS {crs.axis_info[0].unit_name}: no CRS"
    return crs, doubt


def _in_units(crs: Any, units: str) -> bool:
    """Return whether coordinates in ``units`` can be those of a CRS; so they are when no unit is named."""
    if not units or not crs.axis_info:
        return True
    axis = crs.axis_info[0]
    if crs.is_geographic:
        return units.lower().startswith("deg") and axis.unit_name == "degree"
    factors = METRES.get(units.lower(), ())
    return any(abs(factor - axis.unit_conversion_factor) < 1e-9 for factor in factors)


def _identified(crs: Any) -> Any:
    """Return EPSG's own definition of a CRS in Esri's spelling, or else the CRS itself."""
    code = None if crs is None else crs.to_epsg()
    return crs if code is None else crs_of(code)


def _named(info: MapInfo) -> tuple[Any, str]:
    """Return the CRS that the words of a line name, or None, and what is in doubt: UTM, or longitude and latitude."""
    geographic = bool(re.match(r"geographic|lat[ /-]*lon", info.name, re.IGNORECASE))
    if not geographic and not info.name.upper().startswith("UTM"):
        return None, f"the projection {info.name!r} is unknown"
    if not geographic and info.zone is None:
        return None, f"map info names no zone of UTM ({', '.join(info.words) or 'nothing'})"
    datum = _datum(info.datum or "WGS-84")
    if datum is None:
        return None, f"the datum {info.datum!r} is unknown"
    doubt = "" if info.datum else "map info names no datum: taken as WGS-84"
    return (datum if geographic else _utm(datum, info.zone)), doubt


@cache  # PROJ looks a name up in a quarter of a second
def _datum(text: str) -> Any:
    """Return the longitude and latitude of a datum by its name, or None."""
    bare = _bare(text)
    crs = crs_of(DATUMS.get(bare, text))
    wanted = _bare(DATUMS.get(bare, text))  # PROJ also takes names that are only similar
    return crs if crs is not None and crs.is_geographic and _bare(crs.name) == wanted else None


def _bare(text: str) -> str:
    """Return the small letters and the digits of a name, without Esri's leading ``D_`` and ``GCS_``."""
    return re.sub(r"[^a-z0-9]", "", re.sub(r"^(d|gcs)_", "", text.strip().lower()))


def _utm(datum: Any, zone: tuple[int, str] | None) -> Any:
    """Return a zone of UTM on a datum: EPSG's own, else one that is composed."""
    from pyproj.crs import ProjectedCRS
    from pyproj.crs.coordinate_operation import UTMConversion

    number, side = zone or (0, "")
    name = f"{datum.name} / UTM zone {number}{side}"
    known = crs_of(name)
    if known is not None and known.name == name:
        return known
    return ProjectedCRS(UTMConversion(str(number), side), name=name, geodetic_crs=datum)
