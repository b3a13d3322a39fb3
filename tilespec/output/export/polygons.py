"""Polygons of the class regions of a map: GeoJSON in longitude and latitude, GeoPackage in the CRS of the scene."""

import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final, TextIO, final

import numpy as np

from tilespec.core.errors import UserError
from tilespec.core.progress import Progress
from tilespec.ingest.labels.wkb import multipolygon_wkb
from tilespec.output.export.boundary import NOTHING
from tilespec.output.export.class_regions import ClassRegion, class_regions
from tilespec.output.export.export_source import ExportSource
from tilespec.output.export.partial_file import folder_beside, whole_file
from tilespec.output.export.placement import Placement, Rings, map_placement, wgs84_placement
from tilespec.output.measure.job import pixel_area
from tilespec.output.measure.object_masks import class_of

FIELDS: Final = {
    "id": np.int64,
    "class": object,
    "value": np.int64,
    "pixels": np.int64,
    "area": np.float64,
    "area_m2": np.float64,
    "row": np.int64,
    "col": np.int64,
}
"""The attributes of a region and their types. Area is in square units of the map, ``row`` and ``col`` are those of the
first pixel."""
BATCH: Final = 1 << 20
"""The bytes of geometries that are written to a GeoPackage at once."""


@final
@dataclass(frozen=True, kw_only=True)
class RegionFeature:
    """A region as a feature: its attributes and its polygons, outer ring first, in coordinates of the file."""

    values: dict[str, Any]
    """The attributes, in the order of `FIELDS`."""
    polygons: list[Rings]
    """The closed rings of each polygon."""


def write_geojson(exported: ExportSource, path: Path, progress: Progress) -> list[Path]:
    """Write the regions of a class map as GeoJSON (RFC 7946), one feature a line; return the path in a list."""
    place = wgs84_placement(exported)
    with whole_file(path) as partial, partial.open("w", encoding="utf-8") as file:
        _write_lines(file, exported, place, features(exported, place, progress))
    return [path]


def write_geopackage(exported: ExportSource, path: Path, progress: Progress) -> list[Path]:
    """Write the regions of a class map as the layer of a GeoPackage; return the path in a list.

    Raises:
        UserError: pyogrio is not there, or the store is no class map.
    """
    try:
        import pyogrio.raw
    except ImportError as error:
        raise UserError(
            path,
            found="no pyogrio to write a GeoPackage",
            expected="the extra `vector`",
            do="pip install 'tilespec[vector]', or export .geojson.",
        ) from error
    place = map_placement(exported)
    with whole_file(path) as partial, folder_beside(path) as folder:
        file, written = folder / path.name, False  # GDAL wants the end .gpkg
        for batch in _batches(features(exported, place, progress)):
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="'crs' was not provided")
                pyogrio.raw.write(
                    file,
                    geometry=np.array([*[multipolygon_wkb(each.polygons) for each in batch], None], object)[:-1],
                    field_data=[np.array([each.values[name] for each in batch], t) for name, t in FIELDS.items()],
                    fields=[*FIELDS],
                    layer=exported.name,
                    driver="GPKG",
                    geometry_type="MultiPolygon",
                    crs=place.crs,
                    append=written,
                )
            written = True
        file.replace(partial)
    return [path]


def features(exported: ExportSource, place: Placement, progress: Progress) -> Iterator[RegionFeature]:
    """Yield the regions of the wanted classes as features, streamed, numbered from 1.

    Raises:
        UserError: the store is no class map, or has no such class.
    """
    least, wanted = exported.options.min_area, _wanted(exported)
    area = abs(np.linalg.det(place.matrix[:, :2])) if place.matrix is not None else None
    square, notes = pixel_area(exported.georef or None, exported.pixel_size)
    exported.notes.extend(notes)
    numbers, (small, lost) = count(1), (0, 0)
    progress.start("export", exported.shape[0], "lines")
    for region in class_regions(_strips(exported, wanted, progress), exported.shape[1]):
        if region.pixels < least:
            small, lost = small + 1, lost + region.pixels
            continue
        row, col = divmod(region.first, exported.shape[1])
        name = exported.classes[region.value] if region.value < len(exported.classes) else None
        areas = [None if one is None else region.pixels * float(one) for one in (area, square)]
        values = [next(numbers), name, region.value, region.pixels, *areas, row, col]
        yield RegionFeature(values=dict(zip(FIELDS, values, strict=True)), polygons=_polygons(region, exported, place))
    progress.finish()
    if small:
        exported.notes.append(f"--min-area: {small} regions of {lost} pixels in all are left out")


def _wanted(exported: ExportSource) -> list[int] | None:
    """Return the numbers of the classes to write; None for all."""
    if not exported.plane or exported.table or exported.dtype.kind not in "iu":
        raise UserError(
            exported.url,
            found=f"{exported.name} of {exported.shape[2]} bands of {exported.dtype.name}",
            expected="a class map: whole numbers over y, x",
            do="Name one with --layer, such as --layer labels, or export a prediction of classes.",
        )
    if exported.options.min_area < 1:
        raise UserError("--min-area", found=exported.options.min_area, expected="1 or more", do="Give pixels.")
    if exported.options.only is None:
        return None
    words = [word.strip() for word in exported.options.only.split(",")]
    if exported.classes:
        return [class_of(exported.classes, word, "--class") for word in words]
    if not all(word.isdecimal() for word in words):
        raise UserError("--class", found=exported.options.only, expected="numbers of the layer", do="Give 1,2,3.")
    return [int(word) for word in words]


def _strips(exported: ExportSource, wanted: list[int] | None, progress: Progress) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the rows of objects of a class map, `NOTHING` where no region is: 0 too in a layer without classes."""
    none = [value for value in (exported.nodata, None if exported.classes else 0) if value is not None]
    for y0, block in exported.blocks():
        values = block[..., 0].astype(np.int64)
        out = np.isin(values, none) if wanted is None else ~np.isin(values, wanted) | np.isin(values, none)
        yield y0, np.where(out, NOTHING, values)
        progress.advance(len(block))


def _polygons(region: ClassRegion, exported: ExportSource, place: Placement) -> list[Rings]:
    """Return the polygons of a region in coordinates of the file: outer rings run counter-clockwise there."""
    out = []
    for rings in region.polygons(exported.shape[1]):
        placed = [place.turn(np.concatenate([ring, ring[:1]])) for ring in rings]
        x, y = placed[0].T
        if ((x - x[0])[:-1] * (y - y[0])[1:] - (x - x[0])[1:] * (y - y[0])[:-1]).sum() < 0:
            placed = [ring[::-1] for ring in placed]
        out.append(placed)
    return out


def _batches(regions: Iterator[RegionFeature]) -> Iterator[list[RegionFeature]]:
    """Yield features by the batch, a first one even if it is empty."""
    batch: list[RegionFeature] = []
    size, first = 0, True
    for feature in regions:
        batch.append(feature)
        size += sum(ring.nbytes for rings in feature.polygons for ring in rings)
        if size >= BATCH:
            yield batch
            batch, size, first = [], 0, False
    if batch or first:
        yield batch


def _write_lines(file: TextIO, exported: ExportSource, place: Placement, regions: Iterator[RegionFeature]) -> None:
    """Write a collection of features."""
    head = {"type": "FeatureCollection", "name": exported.name, **place.members}
    file.write(json.dumps(head, ensure_ascii=False)[:-1] + ', "features": [')
    for number, region in enumerate(regions):
        single = len(region.polygons) == 1
        coordinates = [[ring.tolist() for ring in rings] for rings in region.polygons]
        feature = {
            "type": "Feature",
            "properties": region.values,
            "geometry": {
                "type": "Polygon" if single else "MultiPolygon",
                "coordinates": coordinates[0] if single else coordinates,
            },
        }
        file.write((",\n" if number else "\n") + json.dumps(feature, ensure_ascii=False))
    file.write("\n]}\n")
