"""Job: the checked measurement, and the pass that carries it out."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, final

import numpy as np
from jaxtyping import Bool

from tilespec.cluster.reduction import reduce_blocks
from tilespec.core.buffers import Buffers
from tilespec.core.errors import UserError
from tilespec.core.progress import Progress, Silent
from tilespec.core.types import UNLABELLED, ClassMap, Roi
from tilespec.ingest.readers.georeference import crs_of
from tilespec.output.measure.object_masks import ObjectMasks, class_map, class_of
from tilespec.output.measure.object_sums import NONE, ObjectBlock, ObjectSums
from tilespec.output.measure.outlines import HALO, Outlines
from tilespec.storage.blocks import blocks
from tilespec.storage.layout import COMPLETE
from tilespec.storage.rasters import ClassRaster, asked_region, inside, scale_of
from tilespec.storage.scene import Scene

PIECE = 4096
"""The approximate number of pixels that are summed at once in float64."""
BACKGROUND = "background"
"""The name of the class whose spectra are left out by default."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class MeasureJob:
    """The measurement, which every worker receives."""

    pred: str
    """The URL of the class map."""
    scene: str
    """The URL of the scene."""
    names: tuple[str, ...]
    """The names of the classes."""
    wanted: Bool[np.ndarray, " class_and_nodata"]
    """Whether the spectra of each class count."""
    bands: int
    """The number of bands of the scene."""
    roi: Roi
    """The region in pixels of the scene."""
    strips: tuple[Roi, ...]
    """The region as rows of blocks."""
    bytes_to_read: int
    """The largest number of bytes of the scene to read; blocks without an object are not read."""

    def plan(self) -> dict[str, Any]:
        """Return the plan of the measurement as plain data."""
        return {
            "region": {"rows": [self.roi.y0, self.roi.y1], "cols": [self.roi.x0, self.roi.x1]},
            "pixels": self.roi.shape[0] * self.roi.shape[1],
            "bytes_to_read": self.bytes_to_read,
            "classes": list(self.names),
            "spectrum_classes": [name for name, take in zip(self.names, self.wanted[:-1], strict=True) if take],
        }


def job_of(pred: str, scene: str, rows: str | None, cols: str | None, only: str | None) -> tuple[MeasureJob, list[str]]:
    """Return the job of a prediction and its scene, and notes.

    Raises:
        UserError: the prediction has no classes, or does not match the plane of the scene.
    """
    source, predicted = Scene.open(scene), class_map(pred)
    names = predicted.classes
    if not names or len(set(names)) < len(names):
        raise UserError(
            pred,
            found=f"classes {', '.join(names) or 'without names'}",
            expected="a class map whose flag_meanings name its classes, each once",
            do="Ingest it with `tilespec ingest SRC OUT --labels FILE`, or correct the attribute.",
        )
    _check_place(predicted, source)
    roi = asked_region(predicted.roi, source.shape[:2], rows, cols)
    spans = dict.fromkeys((block.roi.y0, block.roi.y1) for block in blocks(source, roi))
    job = MeasureJob(
        pred=predicted.url,
        scene=source.url,
        names=names,
        wanted=_wanted(names, only),
        bands=source.shape[2],
        roi=roi,
        strips=tuple(Roi(y0=y0, y1=y1, x0=roi.x0, x1=roi.x1) for y0, y1 in spans),
        bytes_to_read=roi.shape[0] * roi.shape[1] * source.shape[2] * source.dtype.itemsize,
    )
    return job, _notes(predicted, source)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """What a pass finds out of objects, a statistic of strips."""

    sums: ObjectSums
    """The sums over the pixels of the objects."""
    outlines: Outlines
    """The shapes of the objects."""

    def __add__(self, other: "Measured") -> "Measured":
        return Measured(sums=self.sums + other.sums, outlines=self.outlines + other.outlines)


def sum_objects(job: MeasureJob, objects: ObjectMasks, client: Any, progress: Progress | None) -> Measured:
    """Return the sums and the shapes of all objects; every block with an object is read once."""
    say = progress or Silent()
    say.start("measure", len(job.strips), "strips")
    sums: Measured = reduce_blocks(range(len(job.strips)), partial(_strip, job, objects), client=client, progress=say)
    say.finish()
    return sums


def pixel_area(georef: Mapping[str, Any] | None, size: float | None = None) -> tuple[float | None, list[str]]:
    """Return the area of a pixel in m2, or None if the scene does not define it, and notes.

    ``size`` is the side of a pixel in m where the scene says it: `ingest --pixel-size`.
    """
    if size is not None:
        return size**2, []
    if georef is None or "GeoTransform" not in georef:
        return None, []
    _, a, b, _, d, e = (float(value) for value in str(georef["GeoTransform"]).split())
    crs = crs_of(georef["crs_wkt"]) if "crs_wkt" in georef else None
    if crs is None or not crs.is_projected:
        return None, ["area_m2 is NaN: the scene's coordinates are no lengths"]
    metre = float(crs.axis_info[0].unit_conversion_factor)
    return abs(a * e - b * d) * metre**2, []


def around(job: MeasureJob, roi: Roi) -> Roi:
    """Return a strip with the `HALO` rows above and below it that are measured too."""
    return replace(roi, y0=max(roi.y0 - HALO, job.roi.y0), y1=min(roi.y1 + HALO, job.roi.y1))


def _strip(job: MeasureJob, objects: ObjectMasks, strip: int) -> Measured:
    """Return the sums and the shapes of one strip."""
    roi, room, scene = job.strips[strip], Buffers(), Scene.open(job.scene)
    total, outlines, wide = ObjectSums.zero(job.wanted, job.bands), Outlines(), around(job, roi)
    rows = slice(roi.y0 - wide.y0, roi.y1 - wide.y0)
    planes = []
    for plane in objects.planes(roi, strip, wide):
        outlines = outlines + Outlines.of(plane, rows, (roi.y0, roi.x0))
        planes.append(plane[rows])
    classes = _classes(job, roi) if planes else None
    for block in blocks(scene, roi):
        across = slice(block.roi.x0 - roi.x0, block.roi.x1 - roi.x0)
        here = [plane[:, across] for plane in planes]
        if classes is None or not any((plane != NONE).any() for plane in here):
            continue
        values = scene.read(block.roi, room)
        step = max(1, PIECE // block.roi.shape[1])
        for plane in here:
            for y in range(0, roi.shape[0], step):
                part = slice(y, y + step)
                piece = ObjectBlock(ids=plane[part], classes=classes[part, across], values=values[part])
                total = total + ObjectSums.zero(job.wanted, job.bands).of(piece, (roi.y0 + y, block.roi.x0))
    return Measured(sums=total, outlines=outlines)


def _classes(job: MeasureJob, roi: Roi) -> ClassMap:
    """Return the predicted classes of a region after checking their values."""
    plane = class_map(job.pred).read(roi)
    wrong = (plane != UNLABELLED) & ((plane < 0) | (plane >= len(job.names)))
    if wrong.any():
        raise UserError(
            job.pred,
            found=f"the value {int(plane[wrong][0])} in {roi}",
            expected=f"classes 0 to {len(job.names) - 1}, and {UNLABELLED} for none",
            do="Correct the map, or the names of its classes.",
        )
    return plane.astype(np.uint8, copy=False)


def _wanted(names: tuple[str, ...], only: str | None) -> Bool[np.ndarray, " class_and_nodata"]:
    """Return whether the spectra of each class count."""
    classes = [] if only is None else [class_of(names, text.strip(), "--class") for text in only.split(",")]
    take = [number in classes if only is not None else name != BACKGROUND for number, name in enumerate(names)]
    return np.array([*take, False])


def _check_place(predicted: ClassRaster, scene: Scene) -> None:
    """Refuse a prediction with another plane or another scale."""
    scale = scale_of(predicted.attrs)
    fits = inside(predicted.roi, scene.roi) if "origin" in predicted.attrs else predicted.roi == scene.roi
    if scale != "1" or not fits:
        raise UserError(
            predicted.url,
            found=f"a prediction of {predicted.roi}" + (f" at scale {scale}" if scale != "1" else ""),
            expected=f"one of {scene.roi}, or of a part of it, a pixel for a pixel",
            do="Name the scene that was predicted.",
        )


def _notes(predicted: ClassRaster, scene: Scene) -> list[str]:
    """Return notes about a prediction and a scene for the user."""
    notes = []
    if predicted.status != COMPLETE:
        notes.append(f"the prediction is {predicted.status}: tiles that failed count as nodata")
    made_of = predicted.attrs.get("scene_digest")
    if None not in (made_of, scene.digest) and made_of != scene.digest:
        notes.append("the prediction was made of another scene, or of a transformed one: spectra are this scene's")
    return notes
