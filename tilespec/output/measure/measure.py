"""Measure: one row of the table for each plant, polygon or connected region: area, classes, spectrum, indices.

One pass over scene and prediction by blocks (and, for connected regions, one over the prediction before it). Memory
grows with the objects, never with the pixels, and the table has the same bytes for any number of workers.
"""

from pathlib import Path
from typing import Any

import numpy as np

from tilespec.cluster.connect import connect
from tilespec.core.errors import UserError
from tilespec.core.indices import index_notes, indices
from tilespec.core.memory import Peak
from tilespec.core.options import with_options
from tilespec.core.progress import Progress
from tilespec.output.measure.csv_table import as_csv, columns
from tilespec.output.measure.job import MeasureJob, job_of, pixel_area, sum_objects
from tilespec.output.measure.numbered_picture import SOFTWARE, numbered_picture
from tilespec.output.measure.numbers_of_samples import is_of_numbers, measure_numbers
from tilespec.output.measure.object_masks import ByLayer, ByPolygons, ByRegions, ObjectMasks, class_of
from tilespec.output.measure.options import MeasureOptions
from tilespec.spectra.scale_check import not_reflectance
from tilespec.storage.backends.base import StorePath
from tilespec.storage.backends.paths import store_path
from tilespec.storage.files import write_atomic
from tilespec.storage.outputs import check_file
from tilespec.storage.scene import Scene

__all__ = ["measure"]

MARK = b"invalid_pixels,partial_pixels,spectrum_pixels"
"""The names of columns by which a table that this verb wrote is known."""
PLANTS = "plant"
"""The default layer, whose values are the numbers of objects."""


@with_options(MeasureOptions)
def measure(pred: str, scene: str, out: str | Path, options: MeasureOptions, progress: Progress) -> dict[str, Any]:
    """Write a table (CSV) of the objects of ``scene`` under the class map ``pred``; return what it holds.

    For each object: ``id``, ``scene``, and the polygon's attributes or the ``class`` of a class map; ``pixels``, and
    ``area_m2`` where the CRS is projected or the scene says how large a pixel is; box ``y0, y1, x0, x1`` (half open),
    ``height``, ``width`` and centroid, in pixels of the scene; its shape (`tilespec.output.measure.outlines`):
    ``perimeter``, ``hull_area``, ``solidity``, ``ellipse_major``, ``ellipse_minor``, ``ellipse_angle`` and
    ``eccentricity``; ``invalid_pixels`` without a finite value and ``partial_pixels`` with some; ``share_CLASS`` of the
    prediction; vegetation indices of the mean spectrum, where the scene is of reflectance;
    ``mean_WAVELENGTH`` and ``sd_WAVELENGTH`` (ddof 1) over its ``spectrum_pixels``. NaN: not defined.

    Of a prediction of numbers, such as percentages of fat, the table has their means over each sample: see
    `tilespec.output.measure.numbers_of_samples`.

    Args:
        pred: Prediction of classes or numbers, or a scene with labels.
        scene: The scene that was predicted.
        out: The table; replaced whole.
        options: What the objects are; given by name.
        progress: Where each pass is reported.

    Raises:
        UserError: the two lie on different planes, there are no such objects, or no such class.
    """
    place = _place(out)
    if is_of_numbers(pred):
        return measure_numbers(pred, scene, place, options, progress)
    picture = None if options.picture is None else _place(options.picture, "--picture", ".png")
    source = Scene.open(scene)
    check_file(out, MARK, "a table")
    if picture is not None:
        check_file(picture, SOFTWARE.encode(), "a picture")
    job, notes = job_of(pred, scene, options.rows, options.cols, options.only or options.regions)
    objects = _objects(job, options)
    plan = {"pred": pred, "scene": scene, "out": str(out), **job.plan()}
    if options.dry_run:
        facts = dict(objects.facts)
        return {**plan, **facts, "notes": [*notes, *facts.get("notes", [])], "dry_run": True}
    with connect(options.workers, options.cluster) as client, Peak() as peak:
        objects = objects.prepared(job.strips, client, progress)
        found = sum_objects(job, objects, client, progress)
    sums = found.sums if objects.count is None else found.sums.among(np.arange(1, 1 + objects.count))
    source.check_unchanged()
    ids = sums.ids.tolist()
    area, area_notes = pixel_area(source.georef, source.attrs.get("pixel_size_m"))
    means = sums.finish()[0]
    unfit = not_reflectance(source, means)
    attributes = {"scene": [_name(scene)] * len(ids), **objects.attributes(ids)}
    of_bands = indices(means, source.spectral if unfit is None else None)
    shapes: dict[str, Any] = {**found.outlines.columns(sums.ids), **of_bands}
    table = columns(sums, job.names, source.spectral, area, attributes, shapes)
    write_atomic(place, as_csv(table))
    if picture is not None:
        picture.write_bytes(numbered_picture(job, objects, sums))
    facts = {
        **objects.facts,
        "objects": len(sums.ids),
        "without_pixels": int((sums.pixels == 0).sum()),
        "object_pixels": int(sums.pixels.sum()),
        "invalid_pixels": int(sums.invalid.sum()),
        "columns": len(table),
        "pixel_area_m2": area,
    }
    of_indices = index_notes(source.spectral, unfit) if ids else ["there are no such objects: the table has no rows"]
    facts["notes"] = [*notes, *objects.facts.get("notes", []), *area_notes, *of_indices]
    if picture is not None:
        facts["picture"] = str(options.picture)
    return {**plan, **facts, "seconds": peak.seconds, "peak_memory": peak.bytes}


def _name(url: str) -> str:
    """Return the last part of a path without a store's suffix."""
    return url.rstrip("/").rsplit("/", 1)[-1].removesuffix(".zarr")


def _place(out: str | Path, name: str | None = None, suffix: str = ".csv") -> StorePath:
    """Return the path of a product; refuse a folder, and a path in a missing folder, before the work."""
    place = store_path(out)
    if suffix == ".png" and not str(out).lower().endswith(suffix):
        raise UserError(str(name), found=out, expected="a file NAME.png", do="Name a file that ends in .png.")
    if place.is_dir() or not (place.on_disk is None or place.absolute().parent.is_dir()):
        raise UserError(
            out,
            found="a folder" if place.is_dir() else f"no folder {place.parent}",
            expected=f"a file OUT{suffix}",
            do="Name a file; make its folder first.",
        )
    return place


def _objects(job: MeasureJob, options: MeasureOptions) -> ObjectMasks:
    """Return the requested objects: of a layer, a file, or a class."""
    polygons, regions, least, pixels = options.polygons, options.regions, options.min_area, options.pixel_coordinates
    sources = {"--by": options.by, "--polygons": polygons, "--regions": regions}
    flags = [flag for flag, value in sources.items() if value is not None]
    if len(flags) > 1:
        raise UserError(" ".join(flags), found="several", expected="one of them", do="Measure one after the other.")
    for flag, value, owner in (("--min-area", least != 1, regions), ("--pixel-coordinates", pixels, polygons)):
        if value and owner is None:
            raise UserError(flag, found="nothing it applies to", expected="its objects", do=f"Leave {flag} away.")
    if least < 1:
        raise UserError("--min-area", found=least, expected="1 or more", do="Give pixels.")
    scene = Scene.open(job.scene)
    if polygons is not None:
        return ByPolygons.of(scene, polygons, pixels=pixels)
    if regions is not None:
        return ByRegions(pred=job.pred, value=class_of(job.names, regions, "--regions"), least=least)
    return ByLayer.of(scene, options.by or PLANTS)
