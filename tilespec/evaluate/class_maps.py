"""Class maps: a class map is compared with labels."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, final

import numpy as np

from tilespec.cluster.reduction import reduce_blocks
from tilespec.core.errors import UserError
from tilespec.core.progress import Progress
from tilespec.core.types import UNLABELLED, ClassMap, Roi
from tilespec.evaluate.class_names import are_clusters, common_classes
from tilespec.evaluate.clusters import agreement, assigned, best_assignment, lookup
from tilespec.evaluate.comparison import (
    Comparison,
    Excluded,
    JoinedStatistics,
    chosen,
    facts,
    mask_of,
    region_of,
    side_of,
)
from tilespec.evaluate.metrics.confusion import Confusion, MapPair, PatchCounts
from tilespec.evaluate.options import ScoreOptions
from tilespec.storage.rasters import ClassRaster, ValueRaster
from tilespec.storage.selection import mask_notes

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
        UserError: the two have different planes, scenes or classes, or the mask does not exist.
    """
    options.for_classes()
    predicted = ClassRaster.open(pred, "prediction")
    true = ClassRaster.open(truth, *(("labels", "prediction") if layer is None else (layer,)))
    mask, side = mask_of(truth, options.mask), side_of(predicted, true)
    if side > 1:
        true, mask = true.reduced(side), None if mask is None else mask.reduced(side)
    roi = region_of(predicted, true, rows, cols)
    clusters = are_clusters(predicted.classes) and predicted.classes != true.classes
    names = true.classes if clusters else common_classes(pred, predicted.classes, truth, true.classes)
    edge = predicted.layer.chunks[0]
    height = max(edge, PIXELS // roi.shape[1] // edge * edge)  # of strips of whole rows of objects
    pair = ClassPair(predicted=predicted, true=true, mask=mask, classes=max(len(names), 2), clusters=clusters)
    return Comparison(
        roi=roi,
        plane=(true.roi.y1, true.roi.x1),
        plan={**facts(predicted, true, roi), "classes": list(names), "mask": options.mask},
        pieces=roi.cut(height, roi.x1),
        read=pair.read,
        channels=pair.classes,
        statistics=(JoinedStatistics(parts=(Confusion.zero(pair.classes),)), Nodata()),
        patches=partial(PatchCounts.zero, classes=pair.classes),
        scores=("oa", "aa", "kappa", "miou", "f1_macro", "iou", "f1", "precision", "recall"),
        counts=("labelled",),
        result=partial(_result, names, mask_notes(str(options.mask), {} if mask is None else mask.layer.attrs)),
        prepared=partial(_assigned, pair) if clusters else None,
    )


@final
@dataclass(frozen=True, kw_only=True)
class ClassPair:
    """A class map and its truth, read strip by strip."""

    predicted: ClassRaster
    """The predicted classes, or clusters."""
    true: ClassRaster
    """The true classes."""
    mask: ValueRaster | None
    """Only the pixels that this selects count."""
    classes: int
    """The number of classes."""
    clusters: bool = False
    """Whether the prediction is of clusters."""
    assignment: Mapping[int, int] | None = None
    """The class of each cluster, where that is known."""

    def read(self, strip: Roi) -> tuple[MapPair, Excluded]:
        """Return the truth and the prediction of a strip after checking their values, and the pixels left out.

        Outside the mask the truth is 255: no label. A cluster without a class has the number of no class.
        """
        most = max(len(self.predicted.classes), self.classes)
        pair = np.stack([_checked(self.true, strip, self.classes), _checked(self.predicted, strip, most)])
        if self.assignment is not None:
            pair[1] = lookup(self.assignment, self.classes, UNLABELLED)[pair[1]]
        outside = None
        if self.mask is not None:
            outside = ~chosen(self.mask, strip)
            pair[0, outside] = UNLABELLED
        return pair, Excluded.of(outside, None)

    def confusion(self, strip: Roi) -> Confusion:
        """Return the number of pixels of each pair of true class and predicted number of a strip."""
        return Confusion.zero(max(len(self.predicted.classes), self.classes)).of(self.read(strip)[0])


def _assigned(pair: ClassPair, case: Comparison, progress: Progress) -> Comparison:
    """Return the comparison of the classes that clusters stand for, from one more reading of both."""
    progress.start("assign clusters to classes", len(case.pieces), "blocks")
    counts = reduce_blocks(case.pieces, pair.confusion, progress=progress).counts
    progress.finish()
    between = counts[: pair.classes, : len(pair.predicted.classes)]
    assignment = best_assignment(between)
    named = {
        "assignment": assigned(assignment, pair.predicted.classes, pair.true.classes),
        **agreement(between[:, between.any(axis=0)]),
        "unassigned": int(between.sum() - sum(between[:, list(assignment)].sum(axis=0))),
    }
    note = "clusters have no classes: oa and the like are of the best assignment; ari and nmi need none"
    result = partial(_with_clusters, case.result, named, note)
    return replace(case, read=replace(pair, assignment=assignment).read, result=result)


def _with_clusters(
    result: Callable[..., dict[str, Any]], named: dict[str, Any], note: str, folds: tuple[Any, ...], patch: Any
) -> dict[str, Any]:
    """Return the figures, those of clusters before them."""
    scores = result(folds, patch)
    scores["nodata_labelled"] -= named["unassigned"]
    return {**named, **scores, "notes": [*scores["notes"], note]}


def _result(names: tuple[str, ...], notes: list[str], folds: tuple[Any, ...], patch: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of all pixels and of the patches."""
    score, nodata = folds
    confusion, whole = score.parts[0], score.finish()
    scene_iou = whole["iou"][1] if confusion.classes == 2 else whole["miou"]
    lost = {"nodata": nodata.finish(), "nodata_labelled": whole.pop("nodata")}
    table = _by_class(names, confusion, whole)
    leading = {key: whole.pop(key) for key in ("oa", "aa", "kappa", "miou", "f1_macro")}
    absent = [row["class"] for row in table if row["predicted"] and not row["pixels"]]
    if absent:
        miou = f"miou and aa are over the classes of the truth; predicted besides: {', '.join(absent)}"
        notes = [*notes, miou]
    return {
        **leading,
        "miou_over": [row["class"] for row in table if row["pixels"]],
        "per_class": table,
        "scene_iou": scene_iou,
        **patch,
        **whole,
        **lost,
        "confusion": confusion.counts.tolist(),
        "notes": notes,
    }


def _by_class(names: tuple[str, ...], confusion: Confusion, figures: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a line of figures for each class by name."""
    true, predicted = confusion.counts.sum(axis=1), confusion.counts.sum(axis=0)
    return [
        {
            "class": names[i] if i < len(names) else f"class_{i}",
            "pixels": int(true[i]),
            "predicted": int(predicted[i]),
            **{figure: figures[figure][i] for figure in ("recall", "precision", "f1", "iou")},
        }
        for i in range(max(len(names), confusion.classes))
    ]


def _checked(source: ClassRaster, strip: Roi, classes: int) -> ClassMap:
    """Return the classes of a strip after checking their values."""
    plane = source.read(strip)
    wrong = (plane != UNLABELLED) & ((plane < 0) | (plane >= classes))
    if wrong.any():
        raise UserError(
            source.url,
            found=f"the value {int(plane[wrong][0])} in {strip}",
            expected=f"classes 0 to {classes - 1}, and {UNLABELLED} for none",
            do="Ingest the labels with --ignore-label, or predict with a model of the same classes.",
        )
    return plane.astype(np.uint8, copy=False)
