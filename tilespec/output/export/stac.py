"""STAC item beside an exported file: where and when the scene is, its bands, and the checksum of each file.

The item is of STAC 1.1 with the extensions projection, electro-optical, raster, classification and file. Its geometry
is the outline of the plane in longitude and latitude; a scene without a CRS has none.
"""

import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from tilespec.core.errors import UserError
from tilespec.ingest.readers.georeference import crs_of
from tilespec.output.export.export_source import ExportSource
from tilespec.output.export.partial_file import check_free, whole_file
from tilespec.output.export.placement import DIGITS, wgs84_placement
from tilespec.output.pictures import class_colours
from tilespec.storage.backends.base import StorePath
from tilespec.storage.backends.paths import store_path
from tilespec.storage.georeference import transform_of

VERSION: Final = "1.1.0"
EXTENSIONS: Final = {
    "proj": "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "eo": "https://stac-extensions.github.io/eo/v2.0.0/schema.json",
    "raster": "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
    "classification": "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
    "file": "https://stac-extensions.github.io/file/v2.1.0/schema.json",
}
"""The schema of each prefix of a field."""
MEDIA: Final = {
    ".tif": ("image/tiff; application=geotiff; profile=cloud-optimized", "data"),
    ".tiff": ("image/tiff; application=geotiff; profile=cloud-optimized", "data"),
    ".hdr": ("text/plain", "metadata"),
    ".bil": ("application/octet-stream", "data"),
    ".nc": ("application/netcdf", "data"),
    ".npy": ("application/octet-stream", "data"),
    ".mat": ("application/x-matlab-data", "data"),
    ".csv": ("text/csv", "data"),
    ".geojson": ("application/geo+json", "data"),
    ".gpkg": ("application/geopackage+sqlite3", "data"),
    ".png": ("image/png", "visual"),
    ".pgw": ("text/plain", "metadata"),
    ".xml": ("application/xml", "metadata"),
}
"""The media type of each ending, and the role of such a file."""
OF_BANDS: Final = (".tif", ".tiff", ".bil", ".nc", ".npy")
"""The endings of the files that hold the bands as they are described."""
TIMES: Final = ("acquisition time", "acquisition_time", "datetime", "TIFFTAG_DATETIME", "acquisition date")
"""The keys of a source that say when it was taken."""
SHA256: Final = "1220"
"""The begin of a multihash of SHA-256: its code, and its 32 bytes."""


def item_of(place: StorePath) -> StorePath:
    """Return the place of the item beside a file."""
    return place.parent / f"{place.name}.json"


def check_item(exported: ExportSource, place: StorePath) -> None:
    """Refuse, before the work, an item whose place is taken, or whose time nobody knows.

    Raises:
        UserError: there is a file of its name, or no time.
    """
    check_free(item_of(place))
    moment(exported)


def moment(exported: ExportSource) -> str:
    """Return when a scene was taken, in UTC: the option, or what the header of the source says.

    Raises:
        UserError: neither says it; STAC demands a time.
    """
    given, header = exported.options.datetime, {key.lower(): text for key, text in exported.header.items()}
    for text in (given,) if given else (header.get(key.lower(), "") for key in TIMES):
        words = re.sub(r"^(\d{4}):(\d\d):(\d\d)", r"\1-\2-\3", text.strip().strip("{}").strip())  # TIFF has colons
        try:
            time = datetime.fromisoformat(words)
        except ValueError:
            continue
        utc = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
        return utc.isoformat().replace("+00:00", "Z")
    raise UserError(
        "--datetime",
        found=repr(given) if given else f"no time in the header of {exported.url}",
        expected="the time of the scene, which a STAC item has to have, as 2026-06-01T10:30:00Z",
        do="Give --datetime.",
    )


def write_item(exported: ExportSource, path: Path, files: Sequence[Path]) -> Path:
    """Write the item of a file and of those beside it, and return its path."""
    outline = _outline(exported)
    assets = {file.suffix.lower().removeprefix("."): _asset(exported, file) for file in files}
    properties = {"datetime": moment(exported), **_titled(exported), **_projection(exported, path)}
    keys = [
        *properties,
        *(key for asset in assets.values() for band in (asset, *asset.get("bands", ())) for key in band),
    ]
    item = {
        "type": "Feature",
        "stac_version": VERSION,
        "stac_extensions": [EXTENSIONS[name] for name in EXTENSIONS if any(k.startswith(f"{name}:") for k in keys)],
        "id": path.stem,
        **outline,
        "properties": properties,
        "links": [],
        "assets": assets,
    }
    out = Path(str(item_of(store_path(path))))
    with whole_file(out) as partial:
        partial.write_text(json.dumps(item, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return out


def _outline(exported: ExportSource) -> dict[str, Any]:
    """Return the geometry of the plane and its box in longitude and latitude; a geometry of None without a CRS."""
    place = wgs84_placement(replace(exported, notes=[]))
    if place.crs is None:
        exported.notes.append("STAC: the scene has no CRS, so the item has no geometry and no box")
        return {"geometry": None}
    height, width = exported.shape[:2]
    ring = place.turn(np.array([[0, 0], [0, height], [width, height], [width, 0], [0, 0]]))
    x, y = ring.T
    ring = ring if (x[:-1] * y[1:] - x[1:] * y[:-1]).sum() >= 0 else ring[::-1]
    box = np.round([*ring.min(axis=0), *ring.max(axis=0)], DIGITS).tolist()
    return {"geometry": {"type": "Polygon", "coordinates": [ring.tolist()]}, "bbox": box}


def _titled(exported: ExportSource) -> dict[str, Any]:
    """Return the title of the store, and the size of a pixel in metres."""
    title = {"title": exported.about["title"]} if "title" in exported.about else {}
    return title | ({"gsd": exported.pixel_size} if exported.pixel_size else {})


def _projection(exported: ExportSource, path: Path) -> dict[str, Any]:
    """Return the fields of the projection; those of the grid only of a file that has it."""
    crs = crs_of(exported.georef["crs_wkt"]) if exported.georef.get("crs_wkt") else None
    fields: dict[str, Any] = {}
    if crs is not None:
        code = crs.to_authority(min_confidence=100)
        fields["proj:code"] = None if code is None else ":".join(code)
        fields |= {"proj:wkt2": crs.to_wkt(), "proj:projjson": crs.to_json_dict()}
    transform = transform_of(exported.georef.get("GeoTransform"))
    if path.suffix.lower() not in (*OF_BANDS, ".hdr"):
        return fields
    fields["proj:shape"] = list(exported.shape[:2])
    if transform is not None:
        c, a, b, f, d, e = transform
        fields["proj:transform"] = [a, b, c, d, e, f]
    return fields


def _asset(exported: ExportSource, file: Path) -> dict[str, Any]:
    """Return a file as an asset: its media type, size and checksum, and its bands."""
    media, role = MEDIA.get(file.suffix.lower(), ("application/octet-stream", "data"))
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    asset = {
        "href": f"./{file.name}",
        "type": media,
        "roles": [role],
        "file:size": file.stat().st_size,
        "file:checksum": SHA256 + digest,
    }
    return asset | (_of_bands(exported) if file.suffix.lower() in OF_BANDS else {})


def _of_bands(exported: ExportSource) -> dict[str, Any]:
    """Return what the numbers of a file are: their type, no data, scale, and the bands or the classes."""
    fields: dict[str, Any] = {"data_type": exported.dtype.name}
    if exported.nodata is not None:
        fields["nodata"] = "nan" if math.isnan(exported.nodata) else exported.nodata
    if exported.scale != 1.0:
        fields |= {"raster:scale": exported.scale, "raster:offset": 0.0}
    if exported.classes:
        colours = class_colours(len(exported.classes)).tolist()
        fields["classification:classes"] = [
            {"value": i, "name": _word(name, i), "title": name, "color_hint": "{:02X}{:02X}{:02X}".format(*colour)}
            for i, (name, colour) in enumerate(zip(exported.classes, colours, strict=True))
        ]
    return fields | {"bands": _bands(exported)}


def _bands(exported: ExportSource) -> list[dict[str, Any]]:
    """Return the bands with their names; those of wavelengths with centre and width in micrometres."""
    axis = exported.spectral
    if axis is None:
        return [{"name": exported.name if exported.plane else f"{i + 1}"} for i in range(exported.shape[2])]
    bands: list[dict[str, Any]] = [{"name": f"{value:.10g} {axis.unit}".removesuffix(" 1")} for value in axis.values]
    if axis.name != "wavelength":
        return bands
    for i, band in enumerate(bands):
        band["eo:center_wavelength"] = axis.values[i] / 1e3
        if axis.fwhm is not None:
            band["eo:full_width_half_max"] = axis.fwhm[i] / 1e3
    return bands


def _word(name: str, number: int) -> str:
    """Return the name of a class in the letters that the extension permits."""
    return re.sub(r"[^0-9A-Za-z_-]+", "_", name).strip("_") or f"class_{number}"
