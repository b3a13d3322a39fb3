"""ENVI: a band-interleaved-by-line file, and then its header, with unknown keys of the source."""

import math
from pathlib import Path
from typing import Any, Final

import numpy as np

from tilespec.core.errors import OccupiedError, UserError
from tilespec.core.progress import Progress
from tilespec.ingest.readers.envi_fields import DTYPES
from tilespec.output.export.export_source import ExportSource
from tilespec.output.pictures import NO_DATA, class_colours

UNITS: Final = {"wavelength": "Nanometers", "wavenumber": "cm-1", "component": "Index", "channel": "Index"}


def write_envi(exported: ExportSource, path: Path, progress: Progress) -> list[Path]:
    """Write ``x.hdr`` and ``x.bil``; return both paths."""
    text = header(exported)
    data = path.with_suffix(".bil")
    if data.exists():
        raise OccupiedError(data, found="a file that is there already", expected="a free name", do="Remove it first.")
    partial = data.with_name(f"{data.name}.partial")
    progress.start("export", exported.shape[0], "lines")
    with partial.open("wb") as file:
        for _, block in exported.blocks():
            line_order = np.ascontiguousarray(block.transpose(0, 2, 1), exported.dtype.newbyteorder("<"))
            file.write(line_order.data)
            progress.advance(block.shape[0])
    partial.replace(data)
    path.write_text(text, encoding="utf-8")
    progress.finish()
    return [path, data]


def header(exported: ExportSource) -> str:
    """Return the text of the header."""
    codes = {np.dtype(name): code for code, name in DTYPES.items()}
    if exported.dtype.newbyteorder("=") not in codes:
        raise UserError(
            exported.name,
            found=f"data type {exported.dtype.name}",
            expected=", ".join(dtype.name for dtype in codes),
            do="ENVI has no such type: store it with another one first.",
        )
    fields: dict[str, Any] = {
        "samples": exported.shape[1],
        "lines": exported.shape[0],
        "bands": exported.shape[2],
        "header offset": 0,
        "file type": "ENVI Classification" if exported.classes else "ENVI Standard",
        "data type": codes[exported.dtype.newbyteorder("=")],
        "interleave": "bil",
        "byte order": 0,
    }
    fields |= _values(exported) | _spectral(exported) | _classes(exported) | _place(exported)
    others = {key: value for key, value in exported.header.items() if key not in fields}
    lines = [f"{key} = {value}" for key, value in {**fields, **others}.items()]
    return "\n".join(["ENVI", *lines, ""])


def _values(exported: ExportSource) -> dict[str, Any]:
    """Return the keys of nodata and scale."""
    fields: dict[str, Any] = {}
    if exported.nodata is not None and not math.isnan(exported.nodata):
        fields["data ignore value"] = f"{exported.nodata:.17g}"
    if exported.scale != 1.0:
        fields["reflectance scale factor"] = f"{1.0 / exported.scale:.15g}"
    return fields


def _spectral(exported: ExportSource) -> dict[str, Any]:
    """Return the keys of the spectral axis."""
    axis = exported.spectral
    if axis is None:
        return {}
    fields = {"wavelength units": UNITS[axis.name], "wavelength": _list(axis.values)}
    if axis.fwhm is not None:
        fields["fwhm"] = _list(axis.fwhm)
    if axis.good is not None:
        fields["bbl"] = _list(tuple(int(good) for good in axis.good))
    return fields


def _classes(exported: ExportSource) -> dict[str, Any]:
    """Return the keys of a classification: all 256 values have a colour, and 255 is unlabelled."""
    if not exported.classes:
        return {}
    colours = class_colours(len(exported.classes)).ravel().tolist()
    return {
        "classes": len(exported.classes),
        "class names": "{" + ", ".join(exported.classes) + "}",
        "class lookup": _list((*colours,)) if colours else _list(NO_DATA),
    }


def _place(exported: ExportSource) -> dict[str, Any]:
    """Return the keys of the georeference."""
    if not exported.georef.get("GeoTransform"):
        return {}
    from pyproj import CRS

    x, a, b, y, d, e = (float(value) for value in exported.georef["GeoTransform"].split())
    angle = math.atan2(d, a)
    width, height = math.hypot(a, d), math.copysign(math.hypot(b, e), -e)
    crs = CRS.from_wkt(exported.georef["crs_wkt"]) if exported.georef.get("crs_wkt") else None
    if not math.isclose(b, math.sin(angle) * height, abs_tol=1e-9 * abs(height)):
        raise UserError(
            "GeoTransform",
            found="a sheared grid",
            expected="a rotated one at most, for ENVI",
            do="Export it as GeoTIFF.",
        )
    entries = [_projection(crs), 1, 1, repr(x), repr(y), repr(width), repr(height), *_zone(crs)]
    if angle:
        entries.append(f"rotation={math.degrees(angle):.12g}")
    fields = {"map info": "{" + ", ".join(map(str, entries)) + "}"}
    if crs is not None:
        fields["coordinate system string"] = "{" + str(crs.to_wkt("WKT1_ESRI")) + "}"
    return fields


def _projection(crs: Any) -> str:
    """Return ENVI's name of a projection."""
    if crs is None:
        return "Local"
    return "UTM" if crs.utm_zone else "Geographic Lat/Lon" if crs.is_geographic else str(crs.name).replace(",", " ")


def _zone(crs: Any) -> list[str]:
    """Return the end of ``map info``: zone and hemisphere of UTM, then the datum and the units."""
    if crs is None:
        return []
    datum = str(crs.geodetic_crs.name).replace("WGS 84", "WGS-84").replace(",", " ") if crs.geodetic_crs else "?"
    zone = crs.utm_zone or ""
    where = [zone[:-1], "North" if zone.endswith("N") else "South"] if zone else []
    return [*where, datum, "units=Degrees" if crs.is_geographic else "units=Meters"]


def _list(values: tuple[Any, ...]) -> str:
    """Return values in braces, ten in a line."""
    words = [repr(value) for value in values]
    lines = [", ".join(words[i : i + 10]) for i in range(0, len(words), 10)]
    return "{\n " + ",\n ".join(lines) + "}"
