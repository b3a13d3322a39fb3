"""Polygons: polygons of a GeoJSON, GeoPackage or shapefile, in pixels of a scene.

GeoJSON (RFC 7946) is longitude and latitude unless a ``crs`` member says otherwise, as older writers do. A file in
pixels has ``"crs": "pixel"``: x is the column and y the row, from the outer corner of the first pixel, so that the
first pixel's centre is (0.5, 0.5). GeoPackage and shapefile are read through GDAL (extra ``vector``).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from jaxtyping import Bool, Float64

from tilespec.core.errors import UserError
from tilespec.core.types import Roi
from tilespec.ingest.labels.wkb import polygon_of
from tilespec.ingest.readers.georeference import crs_of

Ring = Float64[np.ndarray, "_ 2"]
PIXEL: Final = "pixel"
"""The word in place of a CRS when coordinates are columns and rows."""
GRAIN: Final = 1024
"""The inverse of the step to which corners are rounded, 1/1024 pixel: differences of coordinates are then exact, so the
mask of a block equals that part of the whole mask.
"""
SIDECARS: Final = (".shx", ".dbf", ".prj", ".cpg")
"""The endings of the files of a shapefile beside the ``.shp``."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Polygon:
    """A polygon, or several that are one feature, in pixels of a scene."""

    parts: tuple[tuple[Ring, ...], ...]
    """The outer ring and the holes of each part, with the columns x, y."""
    values: Mapping[str, Any]
    """The attributes of the feature."""

    def window(self, roi: Roi) -> Roi | None:
        """Return the region of ``roi`` that the polygon may touch, or None if it lies outside."""
        corners = np.concatenate([part[0] for part in self.parts])
        (x0, y0), (x1, y1) = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0))
        inside = [max(int(y0), roi.y0), min(int(y1), roi.y1), max(int(x0), roi.x0), min(int(x1), roi.x1)]
        if inside[0] >= inside[1] or inside[2] >= inside[3]:
            return None
        return Roi(y0=inside[0], y1=inside[1], x0=inside[2], x1=inside[3])

    def mask(self, roi: Roi) -> Bool[np.ndarray, "_y _x"]:
        """Return the pixels of ``roi`` whose centre is inside, as bool ``y x``."""
        from rasterio.features import rasterize

        burnt: np.ndarray = rasterize(
            [(self.geometry(), 1)], out_shape=roi.shape, transform=shifted(roi), dtype="uint8", fill=0
        )
        return burnt.astype(bool)

    def geometry(self) -> dict[str, Any]:
        """Return the polygon as a GeoJSON geometry of closed rings."""
        rings = [[[*ring.tolist(), ring[0].tolist()] for ring in part] for part in self.parts]
        return {"type": "MultiPolygon", "coordinates": rings}


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Polygons:
    """The polygons of a file in its order."""

    shapes: tuple[Polygon, ...]
    """The polygons, at least one, in pixels."""
    attributes: tuple[str, ...]
    """The names of the attributes in the order of the file."""
    notes: tuple[str, ...]
    """The assumptions that were made, and the features that were ignored."""
    files: tuple[Path, ...]
    """The files whose bytes decide the result."""


@final
@dataclass(frozen=True, kw_only=True)
class Features:
    """The contents of a vector file in its own coordinates."""

    features: list[tuple[Any, dict[str, Any]]]
    """The geometry (GeoJSON, or WKB, or None) and the attributes of each feature."""
    crs: Any
    """The pyproj CRS, `PIXEL`, or None when the file has none."""


def is_vector(path: Path) -> bool:
    """Return whether a path has the ending of a vector file."""
    return path.suffix.lower() in FORMATS


def shifted(roi: Roi) -> Any:
    """Return the transform from pixels of ``roi`` to pixels of the scene."""
    from affine import Affine

    return Affine.translation(roi.x0, roi.y0)


def read_polygons(
    path: Path, shape: tuple[int, int], georef: Mapping[str, Any] | None, *, pixels: bool = False
) -> Polygons:
    """Return the polygons of a file in pixels of a scene of ``shape``.

    Args:
        path: The GeoJSON, GeoPackage or shapefile.
        shape: The height and the width of the scene in pixels.
        georef: The scene's grid mapping (``crs_wkt``, ``GeoTransform``), if it has one.
        pixels: Whether coordinates are columns and rows, regardless of the file's CRS.

    Raises:
        UserError: the file is no vector file, geometries are not polygons, coordinates cannot be transformed to the
            scene, or no polygon touches the scene.
    """
    if not path.is_file() or path.suffix.lower() not in FORMATS:
        raise UserError(
            path, found="nothing" if not path.exists() else path.suffix, expected=", ".join(FORMATS), do="Check FILE."
        )
    features = FORMATS[path.suffix.lower()](path)
    place, notes = _placement(path, PIXEL if pixels else features.crs, georef)
    located = [(geometry, values) for geometry, values in features.features if geometry is not None]
    if len(located) < len(features.features):
        notes += (f"{path.name}: {len(features.features) - len(located)} features without a geometry were left out",)
    shapes = tuple(
        Polygon(parts=_on_grid(f"{path}: feature {i + 1}", geometry, place), values=values)
        for i, (geometry, values) in enumerate(located)
    )
    plane = Roi(y0=0, y1=shape[0], x0=0, x1=shape[1])
    if not any(polygon.window(plane) for polygon in shapes):
        raise _elsewhere(path, shapes, shape)
    files = (path, *(p for p in map(path.with_suffix, SIDECARS) if path.suffix.lower() == ".shp" and p.exists()))
    names = tuple(dict.fromkeys(name for _, values in located for name in values))
    return Polygons(shapes=shapes, attributes=names, notes=notes, files=files)


def _geojson(path: Path) -> Features:
    """Return the features of a GeoJSON document: a collection of features, one feature, or a geometry."""
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:  # not UTF-8, or no JSON
        raise _no_geojson(path, str(error)) from error
    kind = document.get("type") if isinstance(document, dict) else None
    features = document["features"] if kind == "FeatureCollection" and "features" in document else [document]
    pairs = []
    for feature in features:
        if not isinstance(feature, dict) or "type" not in feature:
            raise _no_geojson(path, "something that is no feature")
        whole = feature["type"] == "Feature"
        geometry, values = (feature.get("geometry"), feature.get("properties") or {}) if whole else (feature, {})
        pairs.append((geometry, dict(values)))
    return Features(features=pairs, crs=_geojson_crs(path, document.get("crs", "OGC:CRS84")))


def _geojson_crs(path: Path, member: Any) -> Any:
    """Return the CRS of a GeoJSON document's ``crs`` member: a name, or the object that GDAL writes."""
    name = member.get("properties", {}).get("name") if isinstance(member, dict) else member
    if name == PIXEL or name is None:
        return name
    crs = crs_of(name)
    if crs is None:
        raise UserError(path, found=f"crs {name!r}", expected='an EPSG name, or "pixel"', do="Correct the crs member.")
    return crs


def _ogr(path: Path) -> Features:
    """Return the features of the only layer of a GeoPackage or shapefile, through GDAL."""
    try:
        from pyogrio import list_layers
        from pyogrio.errors import DataSourceError
        from pyogrio.raw import read
    except ImportError as error:
        raise UserError(
            path,
            found=f"a {path.suffix} file, and no pyogrio to read it",
            expected="the extra `vector`",
            do="pip install 'tilespec[vector]', or convert the file to GeoJSON.",
        ) from error
    try:
        layers = [str(name) for name, kind in list_layers(path) if kind is not None]
        if len(layers) != 1:
            raise UserError(
                path,
                found=f"layers {', '.join(layers) or 'none'} with geometries",
                expected="one",
                do="Save the layer that is meant to a file of its own.",
            )
        facts, _, geometry, columns = read(path, layer=layers[0], force_2d=True)
    except DataSourceError as error:
        raise UserError(
            path, found=f"a damaged file ({error})", expected="a vector file", do="Save it again."
        ) from error
    names = [str(name) for name in facts["fields"]]
    rows = zip(*(column.tolist() for column in columns), strict=True) if names else [()] * len(geometry)
    features = [(shape, dict(zip(names, row, strict=True))) for shape, row in zip(geometry, rows, strict=True)]
    return Features(features=features, crs=None if facts["crs"] is None else crs_of(facts["crs"]))


FORMATS: Final[dict[str, Callable[[Path], Features]]] = {
    ".geojson": _geojson,
    ".json": _geojson,
    ".gpkg": _ogr,
    ".shp": _ogr,
}
"""The reader for each ending."""

Place = Callable[[Ring], Ring]


def _placement(path: Path, crs: Any, georef: Mapping[str, Any] | None) -> tuple[Place, tuple[str, ...]]:
    """Return the transform from coordinates of a file to pixels of a scene, and notes."""
    if isinstance(crs, str):  # PIXEL
        return (lambda ring: ring), ()
    if georef is None or "GeoTransform" not in georef:
        raise UserError(
            path,
            found="map coordinates, and a scene without a georeference",
            expected="polygons in pixels, or a scene that has a place",
            do='If the coordinates are columns and rows, say "crs": "pixel" in the GeoJSON.',
        )
    c, a, b, f, d, e = (float(value) for value in str(georef["GeoTransform"]).split())
    back = np.linalg.inv([[a, b], [d, e]])
    target = crs_of(georef["crs_wkt"]) if "crs_wkt" in georef else None
    if crs is None or target is None:
        if crs is not None:
            raise UserError(
                path,
                found=f"{crs.name}, and a scene whose CRS is unknown",
                expected="a scene with a CRS, or polygons without one, in the scene's own coordinates",
                do="Give the scene a CRS, or convert the polygons.",
            )
        return (lambda ring: (ring - (c, f)) @ back.T), (f"{path.name}: no CRS; taken to be in the scene's own",)
    if crs.equals(target, ignore_axis_order=True):
        return (lambda ring: (ring - (c, f)) @ back.T), ()
    from pyproj import Transformer

    turn = Transformer.from_crs(crs, target, always_xy=True)
    note = f"{path.name}: corners reprojected from {crs.name} to {target.name}"
    return (lambda ring: (np.stack(turn.transform(*ring.T), axis=1) - (c, f)) @ back.T), (note,)


def _on_grid(where: str, geometry: Any, place: Place) -> tuple[tuple[Ring, ...], ...]:
    """Return the rings of a geometry in pixels."""
    try:
        rings = _rings(polygon_of(geometry))
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise UserError(
            where, found=str(error)[:120], expected="a Polygon or MultiPolygon", do="Correct it, or leave it out."
        ) from error
    pixels = tuple(tuple(np.rint(place(ring) * GRAIN) / GRAIN for ring in part) for part in rings)
    if not all(np.isfinite(ring).all() for part in pixels for ring in part):
        raise UserError(
            where,
            found="coordinates that are not finite on the scene",
            expected="coordinates that its CRS holds",
            do="Check the file's CRS: are they longitude and latitude?",
        )
    return pixels


def _rings(parts: list[list[Any]]) -> list[list[Ring]]:
    """Return the rings of parts as arrays; refuse a ring that encloses no area."""
    rings = [[np.asarray(ring, np.float64)[:, :2] for ring in part] for part in parts]
    if not rings or not all(rings) or any(len(ring) < 3 for part in rings for ring in part):
        raise ValueError("a ring of less than three corners")
    return rings


def _no_geojson(path: Path, found: str) -> UserError:
    return UserError(path, found=found[:120], expected="a GeoJSON document (RFC 7946)", do="Save the polygons again.")


def _elsewhere(path: Path, shapes: tuple[Polygon, ...], shape: tuple[int, int]) -> UserError:
    """Return the error for polygons that do not touch the scene."""
    if not shapes:
        return UserError(path, found="no polygon", expected="at least one", do="Check the file.")
    corners = np.concatenate([part[0] for polygon in shapes for part in polygon.parts])
    (x0, y0), (x1, y1) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return UserError(
        path,
        found=f"{len(shapes)} polygons within rows {y0:.6g}:{y1:.6g}, columns {x0:.6g}:{x1:.6g} of the scene",
        expected=f"polygons that touch rows 0:{shape[0]}, columns 0:{shape[1]}",
        do='Check both CRSs; for columns and rows say "crs": "pixel" in the GeoJSON.',
    )
