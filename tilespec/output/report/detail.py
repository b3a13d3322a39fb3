"""Detail: one small region at full resolution, in which the methods have the most errors."""

from itertools import pairwise

import numpy as np

from tilespec.core.types import Roi
from tilespec.output.pictures import class_picture, picture_bands
from tilespec.output.report import plots
from tilespec.output.report.figures import errors
from tilespec.output.report.inputs import Runs
from tilespec.output.report.maps import FALSE_NEGATIVE, FALSE_POSITIVE, WRONG, MapComparison, cut, legend
from tilespec.output.report.page_parts import Picture, Row, Section
from tilespec.storage.scene import Scene

SIDE = 288
"""The side of the region in pixels."""


def of_detail(compared: list[MapComparison], runs: Runs) -> Section:
    """Return one region of the scene, the truth and every method, each pixel; empty if it would show nothing new."""
    with_truth = [one for one in compared if one.truth is not None]
    same = bool(with_truth) and all(a.run.map.roi == b.run.map.roi for a, b in pairwise(with_truth))
    if not same or max(with_truth[0].run.map.roi.shape) <= 2 * SIDE:
        return Section(key="detail", title="A closer look", lead="")
    roi = worst(with_truth)
    near = [cut(one.run, runs, roi) for one in with_truth]
    pictures = [
        Picture(source=_picture(scene, roi), title="False colour", caption="") for scene in _scenes(runs, roi)[:1]
    ]
    truth = near[0].truth
    assert truth is not None
    pictures.append(Picture(source=plots.png(class_picture(truth)), title="Truth", caption=""))
    pictures += [errors(one, one.run.name) for one in near]
    lead = f"Every pixel of {roi}, where the methods make the most mistakes between them."
    row = Row(pictures=tuple(pictures), legend=legend(near), columns=3 if len(pictures) in (3, 5, 6) else 4)
    return Section(key="detail", title="A closer look", lead=lead, rows=(row,))


def worst(compared: list[MapComparison]) -> Roi:
    """Return the square with the most errors of all methods together, inside the scored region."""
    whole = compared[0].run.map.roi
    wrong = np.zeros(compared[0].predicted.shape, np.int64)
    for one in compared:
        verdicts = one.verdicts
        assert verdicts is not None
        wrong += np.isin(verdicts, (FALSE_POSITIVE, FALSE_NEGATIVE, WRONG))
    stride = -(-whole.shape[0] // wrong.shape[0])
    if compared[0].scored is not None:
        top, left, height, width = (round(v) for v in np.array(compared[0].scored) / 100 * (wrong.shape * 2))
        inside = np.zeros_like(wrong)
        inside[top : top + height, left : left + width] = 1
        wrong *= inside
    side = min(SIDE // stride, *wrong.shape)
    table = np.zeros((wrong.shape[0] + 1, wrong.shape[1] + 1), np.int64)
    table[1:, 1:] = wrong.cumsum(axis=0).cumsum(axis=1)
    boxes = table[side:, side:] - table[:-side, side:] - table[side:, :-side] + table[:-side, :-side]
    y, x = (int(v) * stride for v in np.unravel_index(boxes.argmax(), boxes.shape))
    y, x = max(0, min(y, whole.shape[0] - SIDE)), max(0, min(x, whole.shape[1] - SIDE))
    height, width = min(SIDE, whole.shape[0]), min(SIDE, whole.shape[1])
    return Roi(y0=whole.y0 + y, y1=whole.y0 + y + height, x0=whole.x0 + x, x1=whole.x0 + x + width)


def _scenes(runs: Runs, roi: Roi) -> list[Scene]:
    """Return the scenes that contain a region."""
    return [scene for scene in runs.scenes if roi.y1 <= scene.shape[0] and roi.x1 <= scene.shape[1]]


def _picture(scene: Scene, roi: Roi) -> str:
    """Return a region in false colour."""
    bands = list(picture_bands(scene.spectral, scene.shape[2]))
    return plots.png(plots.colour(np.ascontiguousarray(scene.read(roi)[..., bands])))
