"""Class maps: a class map is compared with labels."""

from dataclasses import dataclass
from functools import partial
from typing import Any, final

import numpy as np

from tilespec.core.errors import UserError
from tilespec.core.types import UNLABELLED, Roi
from tilespec.evaluate.comparison import Comparison, Excluded, JoinedStatistics, chosen, facts, region_of
from tilespec.evaluate.metrics.confusion import Confusion, MapPair, PatchCounts
from tilespec.evaluate.options import ScoreOptions
from tilespec.storage.rasters import ClassRaster, ValueRaster

PIXELS = 1 << 22
"""The approximate number of pixels in memory."""
DEFAULT = ScoreOptions()
"""The options by default: every labelled pixel counts."""


@final
@dataclass(frozen=True, kw_only=True)
class Nodata:
    """The number of nodata pixels in the prediction, labelled or not; a statistic of blocks (truth, prediction)."""

    count: int = 0
    """The number of such pixels."""

    def of(self, block: MapPair, origin: tuple[int, int]) -> "Nodata":
        """Return the number of such pixels in one block."""
        del origin
        return Nodata(count=int((block[1] == UNLABELLED).sum()))

    def __add__(self, other: "Nodata") -> "Nodata":
        return Nodata(count=self.count + other.count)

    def finish(self) -> int:
        """Return the count."""
        return self.count


def classes_case(
    pred: str, truth: str, layer: str | None, rows: str | None, cols: str | None, options: ScoreOptions = DEFAULT
) -> Comparison:
    """Return the comparison of a class map with the labels of a scene (or its ``layer``), or another class map.

    Raises:
        UserError: the two have different planes or classes, or the mask does not exist.
    """
    options.for_classes()
    predicted = ClassRaster.open(pred, "prediction")
    true = ClassRaster.open(truth, *(("labels", "prediction") if layer is None else (layer,)))
    roi = region_of(predicted, true, rows, cols)
    mask = None if options.mask is None else ValueRaster.open(truth, options.mask)
    names = _classes(predicted, true)
    edge = predicted.layer.chunks[0]
    height = max(edge, PIXELS // roi.shape[1] // edge * edge)  # of strips of whole rows of objects
    count = max(len(predicted.classes), len(true.classes), 2)
    return Comparison(
        roi=roi,
        plane=(true.roi.y1, true.roi.x1),
        plan={**facts(predicted, true, roi), "classes": list(names), "mask": options.mask},
        pieces=roi.cut(height, roi.x1),
        read=partial(_pair, predicted, true, mask, count),
        channels=count,
        statistics=(JoinedStatistics(parts=(Confusion.zero(count),)), Nodata()),
        patches=partial(PatchCounts.zero, classes=count),
        scores=("oa", "kappa", "miou", "iou", "f1", "precision", "recall"),
        counts=("labelled",),
        result=_result,
    )


def _result(folds: tuple[Any, ...], patch: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of all pixels and of the patches."""
    score, nodata = folds
    confusion, whole = score.parts[0], score.finish()
    scene_iou = whole["iou"][1] if confusion.classes == 2 else whole["miou"]
    lost = {"nodata": nodata.finish(), "nodata_labelled": whole.pop("nodata")}
    return {**patch, "scene_iou": scene_iou, **whole, **lost, "confusion": confusion.counts.tolist()}


def _pair(
    predicted: ClassRaster, true: ClassRaster, mask: ValueRaster | None, classes: int, strip: Roi
) -> tuple[MapPair, Excluded]:
    """Return the truth and the prediction of a strip after checking their values, and the number of pixels left out.

    Outside the mask the truth is 255: no label.
    """
    planes = []
    for source in (true, predicted):
        plane = source.read(strip)
        wrong = (plane != UNLABELLED) & ((plane < 0) | (plane >= classes))
        if wrong.any():
            raise UserError(
                source.url,
                found=f"the value {int(plane[wrong][0])} in {strip}",
                expected=f"classes 0 to {classes - 1}, and {UNLABELLED} for none",
                do="Ingest the labels with --ignore-label, or predict with a model of the same classes.",
            )
        planes.append(plane.astype(np.uint8, copy=False))
    pair, outside = np.stack(planes), None
    if mask is not None:
        outside = ~chosen(mask, strip)
        pair[0, outside] = UNLABELLED
    return pair, Excluded.of(outside, None)


def _classes(predicted: ClassRaster, true: ClassRaster) -> tuple[str, ...]:
    """Return the names of the classes; refuse the same names in another order."""
    ours, theirs = predicted.classes, true.classes
    if ours != theirs and sorted(ours) == sorted(theirs):
        raise UserError(
            predicted.url,
            found=f"classes {', '.join(ours)}",
            expected=f"the order of the labels: {', '.join(theirs)}",
            do="Ingest the labels again in the order of the model's classes.",
        )
    return theirs if len(theirs) >= len(ours) else ours
