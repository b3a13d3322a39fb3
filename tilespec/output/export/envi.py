"""ENVI: a band-interleaved-by-line file, and then its header, with unknown keys of the source."""

import json
import math
from pathlib import Path
from typing import Any, Final

import numpy as np

from tilespec.core.errors import UserError
from tilespec.core.progress import Progress
from tilespec.ingest.readers.envi_fields import DTYPES
from tilespec.ingest.readers.envi_header import KNOWN, key_of, unbraced
from tilespec.ingest.readers.georeference import crs_of, displacement
from tilespec.ingest.readers.map_info import LOCAL, NEAR, NO_PLACE, MapInfo, Transform
from tilespec.ingest.readers.wavelengths import numbers
from tilespec.output.export.export_source import ExportSource
from tilespec.output.export.partial_file import whole_file
from tilespec.output.pictures import NO_DATA, class_colours

UNITS: Final = {"wavelength": "Nanometers", "wavenumber": "cm-1", "component": "Index", "channel": "Index"}
DATUMS: Final = {"WGS 84": "WGS-84", "NAD83": "North America 1983", "NAD27": "North America 1927"}
"""ENVI's names of EPSG's datums; others have EPSG's."""
DECIDING: Final = {*KNOWN, "file compression", "major frame offsets", "minor frame offsets", "class lookup"}
"""The keys that decide how the file is read: those of the source are written under another name."""
FREE: Final = {"fwhm", "bbl", "map info", "coordinate system string"}
"""Known keys that the source's text may fill where the scene has no value for them."""


def write_envi(exported: ExportSource, path: Path, progress: Progress) -> list[Path]:
    """Write ``x.hdr`` and ``x.bil``; return both paths."""
    text = header(exported)
    data = path.with_suffix(".bil")
    progress.start("export", exported.shape[0], "lines")
    with whole_file(data) as partial, partial.open("wb") as file:
        for _, block in exported.blocks():
            line_order = np.ascontiguousarray(block.transpose(0, 2, 1), exported.dtype.newbyteorder("<"))
            file.write(line_order.data)
            progress.advance(block.shape[0])
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")
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
    lines = [f"{key} = {value}" for key, value in {**fields, **_others(exported.header, fields)}.items()]
    return "\n".join(["ENVI", *lines, ""])


def _others(source: dict[str, str], fields: dict[str, Any]) -> dict[str, str]:
    """Return the keys of the source, each on one line: no text of it may be read as a key, or decide how to read."""
    out: dict[str, str] = {}
    for name, value in source.items():
        bare = " ".join("".join("_" if char in "={};" else char for char in name).split()) or "source"
        key, text = key_of(bare), _one_line(value)
        if not text or (key in fields and key in FREE):
            continue
        taken = key in DECIDING and not _fills(key, text, int(fields["bands"]))
        out[f"source {key}" if taken or key in fields or key == "envi" else bare] = text
    return out


def _fills(key: str, text: str, bands: int) -> bool:
    """Return whether the text of a source may stand for a value that the scene does not have."""
    try:
        if key in ("fwhm", "bbl"):
            return len(numbers(key, unbraced(text))) == bands
        if key == "map info":
            MapInfo.read(key, text)
    except UserError:
        return False
    return key in FREE


def _one_line(value: str) -> str:
    """Return a value on one line; braces are only around a list."""
    text = " ".join(value.split())
    inner = text[1:-1] if text.startswith("{") and text.endswith("}") else text
    bare = inner.replace("{", "(").replace("}", ")").strip()
    return f"{{{bare}}}" if inner is not text else bare


def _values(exported: ExportSource) -> dict[str, Any]:
    """Return the keys of nodata and scale; GDAL reads gains and offsets, Spectral Python the scale factor."""
    fields: dict[str, Any] = {}
    if exported.nodata is not None and not math.isnan(exported.nodata):
        fields["data ignore value"] = f"{exported.nodata:.17g}"
    if exported.scale != 1.0:
        fields["data gain values"] = _list((exported.scale,) * exported.shape[2])
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
    """Return the keys of a classification; names that ENVI's list cannot hold are in a list of JSON as well."""
    if not exported.classes:
        return {}
    colours = class_colours(len(exported.classes)).ravel().tolist()
    plain = [" ".join(name.split()).translate(str.maketrans(",{}", ";()")) for name in exported.classes]
    fields = {
        "classes": len(exported.classes),
        "class names": "{" + ", ".join(plain) + "}",
        "class lookup": _list((*colours,)) if colours else _list(NO_DATA),
    }
    if plain == list(exported.classes):
        return fields
    exported.notes.append("ENVI: commas and braces in names of classes are ; and () for other programs")
    exact = json.dumps(list(exported.classes)).replace("{", "\\u007b").replace("}", "\\u007d")
    return fields | {"tilespec class names": f"{{{exact}}}"}


def _place(exported: ExportSource) -> dict[str, Any]:
    """Return the keys of the georeference."""
    if not exported.georef.get("GeoTransform"):
        return {}
    x, a, b, y, d, e = (float(value) for value in exported.georef["GeoTransform"].split())
    crs, text = _crs(exported, (x, a, b, y, d, e))
    old = exported.header.get("map info", "")
    named = MapInfo.read(exported.name, old) if crs is None and old else None
    if named is not None:  # a place that was not understood goes on as it came
        entries: dict[str, Any] = {"name": named.name, "words": named.words, "units": named.units}
    else:
        entries = _named(crs)
    info = MapInfo.of((x, a, b, y, d, e), exported.shape[0], **entries)
    if info.ambiguous:
        exported.notes.append("ENVI: GDAL shears a rotated grid whose pixels are no squares, or that is mirrored")
    return {"map info": info.text()} | ({} if crs is None else {"coordinate system string": "{" + text + "}"})


def _crs(exported: ExportSource, transform: Transform) -> tuple[Any, str]:
    """Return the CRS and its words in Esri's WKT; None, and a note, for one that has no such words."""
    from pyproj.exceptions import CRSError

    crs = crs_of(exported.georef["crs_wkt"]) if exported.georef.get("crs_wkt") else None
    if crs is None:
        return None, ""
    if crs.is_compound:
        exported.notes.append(f"ENVI: of the CRS {crs.name} only the horizontal part is kept")
        crs = crs.sub_crs_list[0]
    try:
        text = str(crs.to_wkt("WKT1_ESRI"))
        again = crs_of(text)
    except CRSError:
        again = None
    if again is not None and displacement(crs, again, transform, exported.shape) <= NEAR:
        return crs, text
    note = f"ENVI: the CRS {crs.name} has no coordinate system string in Esri's WKT: only the transform is kept"
    exported.notes.append(note)
    return None, ""


def _named(crs: Any) -> dict[str, Any]:
    """Return the name of the projection, and the words after it: zone and hemisphere of UTM, datum.

    Only metres are named as units: without, GDAL and ENVI take the unit of the coordinate system string.
    """
    if crs is None:
        return {"name": LOCAL}
    metres = crs.is_projected and math.isclose(crs.axis_info[0].unit_conversion_factor, 1.0)
    base = str(crs.geodetic_crs.name) if crs.geodetic_crs else "?"
    words: tuple[str, ...] = (DATUMS.get(base, base).replace(",", " "),)
    name = str(crs.name).translate(str.maketrans(",{}=", " ()-"))
    name = "Geographic Lat/Lon" if crs.is_geographic else "Projected" if name.lower() in NO_PLACE else name
    if crs.utm_zone and metres:
        zone, side = crs.utm_zone[:-1], "North" if crs.utm_zone.endswith("N") else "South"
        name, words = "UTM", (zone, side, *words)
    return {"name": name, "words": words, "units": "Meters" if metres else ""}


def _list(values: tuple[Any, ...]) -> str:
    """Return values in braces, ten in a line."""
    words = [repr(value) for value in values]
    lines = [", ".join(words[i : i + 10]) for i in range(0, len(words), 10)]
    return "{\n " + ",\n ".join(lines) + "}"
