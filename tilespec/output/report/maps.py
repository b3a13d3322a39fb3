"""Maps: truth, prediction and their differences as small pictures of indexed colours."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Float32, Shaped, UInt8

from tilespec.core.errors import UserError
from tilespec.core.types import UNLABELLED, ClassMap, Roi
from tilespec.evaluate.class_names import are_clusters, common_classes
from tilespec.output.report.inputs import FieldRun, PredictionRun, Runs
from tilespec.output.report.overview import SIDE
from tilespec.output.report.page_parts import Key
from tilespec.storage.layer import Layer
from tilespec.storage.rasters import ClassRaster

STRIP = 512
"""The number of rows that are read at once."""
RIGHT_OTHER, RIGHT, FALSE_POSITIVE, FALSE_NEGATIVE, WRONG, NO_LABEL, NO_DATA = range(7)
VERDICTS = {
    RIGHT_OTHER: ("right, {other}", (226, 224, 218)),
    RIGHT: ("right, {target}", (90, 157, 98)),
    FALSE_POSITIVE: ("false positive: {target} predicted, {other} true", (224, 110, 20)),
    FALSE_NEGATIVE: ("false negative: {target} missed", (44, 104, 190)),
    WRONG: ("wrong class", (200, 60, 50)),
    NO_LABEL: ("no label", (150, 152, 156)),
    NO_DATA: ("no prediction", (24, 26, 30)),
}
"""The meanings of pixels in an error map, and their colours."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class MapComparison:
    """A prediction and its truth, on every ``stride``-th pixel."""

    run: PredictionRun
    """The prediction that is shown."""
    predicted: ClassMap
    """The predicted classes."""
    truth: ClassMap | None
    """The labels at the same pixels, if they exist."""
    classes: tuple[str, ...]
    """The names of the classes."""
    disagreement: Float32[np.ndarray, "y x"] | None = None
    """The weighted standard deviation of the tiles over a pixel, if it was stored; NaN is no data."""

    @property
    def verdicts(self) -> UInt8[np.ndarray, "y x"] | None:
        """The meaning of each pixel: an index into `VERDICTS`."""
        return None if self.truth is None else judge(self.truth, self.predicted, len(self.classes))

    @property
    def scored(self) -> tuple[float, float, float, float] | None:
        """The top, left, height and width of the scored region in percent; None when it is the whole."""
        return scored(self.run)


def scored(run: PredictionRun | FieldRun) -> tuple[float, float, float, float] | None:
    """Return the top, left, height and width of the scored region in percent; None when it is the whole."""
    roi, scores = run.map.roi, run.scores
    if scores is None:
        return None
    (y0, y1), (x0, x1) = scores["region"]["rows"], scores["region"]["cols"]
    if (y1 - y0, x1 - x0) == roi.shape:
        return None
    height, width = (side / 100 for side in roi.shape)
    return (y0 - roi.y0) / height, (x0 - roi.x0) / width, (y1 - y0) / height, (x1 - x0) / width


def judge(truth: ClassMap, predicted: ClassMap, classes: int) -> UInt8[np.ndarray, "y x"]:
    """Return an index into `VERDICTS` for every pixel; with two classes, class 1 is the target."""
    same = truth == predicted
    if classes == 2:
        wrong = np.where(predicted == 1, FALSE_POSITIVE, FALSE_NEGATIVE)
        out = np.where(same, np.where(truth == 1, RIGHT, RIGHT_OTHER), wrong)
    else:
        out = np.where(same, RIGHT_OTHER, WRONG)
    out = np.where(predicted == UNLABELLED, NO_DATA, out)
    return np.where(truth == UNLABELLED, NO_LABEL, out).astype(np.uint8)


def compare(run: PredictionRun, runs: Runs, side: int = SIDE) -> MapComparison:
    """Return a prediction with the truth of its evaluation, or else with the labels of a scene of the report."""
    roi, stride = run.map.roi, max(1, -(-max(run.map.roi.shape) // side))
    return _compared(run, runs, roi, stride)


def cut(run: PredictionRun, runs: Runs, roi: Roi) -> MapComparison:
    """Return a region of a prediction with its truth, every pixel."""
    return _compared(run, runs, roi, 1)


def legend(compared: list[MapComparison]) -> tuple[Key, ...]:
    """Return the legend of error maps, with the meanings that occur."""
    present = {int(value) for one in compared if one.verdicts is not None for value in np.unique(one.verdicts)}
    names = compared[0].classes
    other, target = names if len(names) == 2 else ("any class", "")
    return tuple(
        Key.of(VERDICTS[i][1], VERDICTS[i][0].replace("{other}", other).replace("{target}", target))
        for i in sorted(present)
    )


def _compared(run: PredictionRun, runs: Runs, roi: Roi, stride: int) -> MapComparison:
    """Return every ``stride``-th pixel of a region of a prediction and its truth.

    Clusters are shown as the classes that their evaluation assigned, if there is one.
    """
    truth, predicted = _truth(run, runs), _thin(run.map, roi, stride).astype(np.uint8)
    classes = run.map.classes or (() if truth is None else truth.classes) or ("class 0", "class 1")
    if truth is not None and _assignment(run):
        table = _assigned(run, truth.classes)
        predicted, classes = table[predicted], truth.classes
    elif truth is not None:
        classes = common_classes(run.map.url, run.map.classes, truth.url, truth.classes) or classes
    return MapComparison(
        run=run,
        predicted=predicted,
        truth=None if truth is None else _thin(truth, roi, stride).astype(np.uint8),
        classes=classes,
        disagreement=_disagreement(run.map, roi, stride),
    )


def _truth(run: PredictionRun, runs: Runs) -> ClassRaster | None:
    """Return the labels for a prediction, if they are on the same plane."""
    urls = [scene.url for scene in runs.scenes if "labels" in scene.layers]
    named = None if run.scores is None else str(run.scores["truth"])
    if named is not None and ("://" in named or Path(named).exists()):
        urls.insert(0, named)
    for url in urls:
        try:
            truth = ClassRaster.open(url, "labels", "prediction")
        except UserError:
            continue
        inner, outer = run.map.roi, truth.roi
        if not _same_classes(run, truth):
            continue
        if inner.y1 <= outer.y1 and inner.x1 <= outer.x1 and inner.y0 >= outer.y0 and inner.x0 >= outer.x0:
            return truth
    return None


def _same_classes(run: PredictionRun, truth: ClassRaster) -> bool:
    """Return whether a prediction has the classes of a truth, or has clusters that were assigned to them."""
    if are_clusters(run.map.classes) and run.map.classes != truth.classes:
        named = set(filter(None, _assignment(run).values()))
        return bool(named) and named <= set(truth.classes)
    try:
        common_classes(run.map.url, run.map.classes, truth.url, truth.classes)
    except UserError:
        return False
    return True


def _assignment(run: PredictionRun) -> Mapping[str, str | None]:
    """Return the class of each cluster, where an evaluation said it."""
    return (run.scores or {}).get("assignment") or {}


def _assigned(run: PredictionRun, classes: tuple[str, ...]) -> UInt8[np.ndarray, " 256"]:
    """Return the class of each cluster by its number, 255 for none."""
    table = np.full(256, UNLABELLED, np.uint8)
    for cluster, name in _assignment(run).items():
        if name is not None:
            table[run.map.classes.index(cluster)] = classes.index(name)
    return table


def _disagreement(source: ClassRaster, roi: Roi, stride: int) -> Float32[np.ndarray, "y x"] | None:
    """Return the disagreement of tiles at the same pixels; None if it was not stored."""
    layer = Layer.find(source.url, "disagreement")
    if layer is None or layer.shape != source.layer.shape:
        return None
    return _thin(replace(source, layer=layer), roi, stride).astype(np.float32)


def _thin(source: ClassRaster, roi: Roi, stride: int) -> Shaped[np.ndarray, "y x"]:
    """Return every ``stride``-th pixel of a region, read strip by strip."""
    parts = []
    height = STRIP // stride * stride or stride
    for y in range(roi.y0, roi.y1, height):
        strip = Roi(y0=y, y1=min(y + height, roi.y1), x0=roi.x0, x1=roi.x1)
        parts.append(source.read(strip)[::stride, ::stride])
    return np.concatenate(parts)
