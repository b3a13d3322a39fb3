"""Comparison: a prediction and its truth on one region, and their statistics; the same for every task."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, floor
from typing import Any, final

import numpy as np
from jaxtyping import Bool

from tilespec.core.device import ready, sent
from tilespec.core.errors import UserError
from tilespec.core.progress import Progress
from tilespec.core.registry import load
from tilespec.core.types import Roi
from tilespec.evaluate.metrics.base import Metric, halo_of
from tilespec.evaluate.metrics.confusion import Patches
from tilespec.evaluate.metrics.table import metric
from tilespec.storage.inventory import digests
from tilespec.storage.rasters import (
    ClassRaster,
    Raster,
    ValueRaster,
    asked_region,
    inside,
    lies_on_pixels,
    scale_of,
)
from tilespec.storage.selection import selected


@final
@dataclass(frozen=True, kw_only=True)
class Excluded:
    """How many pixels were left out, and why. Counts, which add."""

    masked: int = 0
    """Pixels outside ``--mask``."""
    black: int = 0
    """The number of pixels whose truth is 0 in every channel."""

    @classmethod
    def of(cls, masked: Bool[np.ndarray, "y x"] | None, black: Bool[np.ndarray, "y x"] | None) -> "Excluded":
        """Return the counts; a black pixel outside the mask is masked."""
        both = None if masked is None or black is None else black & masked
        counts = [0 if plane is None else int(np.count_nonzero(plane)) for plane in (masked, black, both)]
        return cls(masked=counts[0], black=counts[1] - counts[2])

    def __add__(self, other: "Excluded") -> "Excluded":
        return Excluded(masked=self.masked + other.masked, black=self.black + other.black)

    def plain(self) -> dict[str, int]:
        """Return the counts for the result."""
        return {"pixels_masked": self.masked, "pixels_black": self.black}


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """A prediction and its truth on one region."""

    roi: Roi
    """The region in pixels of the scene."""
    plane: tuple[int, int]
    """The height and the width of the truth's scene in pixels."""
    plan: Mapping[str, Any]
    """The description of the comparison as plain data."""
    pieces: list[Roi]
    """The pieces of the region that are read at once."""
    read: Callable[[Roi], tuple[Any, Excluded]]
    """The function that returns truth and prediction of a piece, ``2 y x ...``, and the number of pixels left out."""
    channels: int
    """How many there are of the truth: classes, or values of a pixel."""
    statistics: tuple[Any, ...]
    """What is summed over all pixels: the score first, which is a `JoinedStatistics`."""
    patches: Callable[[Patches], Any]
    """The function that returns the statistic of patches."""
    scores: tuple[str, ...]
    """The figures of the score that have intervals."""
    counts: tuple[str, ...]
    """The figures of the score that give the number of compared values."""
    result: Callable[[tuple[Any, ...], dict[str, Any]], dict[str, Any]]
    """The function that returns all figures, from the statistics and the figures of patches."""
    prepared: "Callable[[Comparison, Progress], Comparison] | None" = None
    """The function that returns the comparison with what a reading beforehand finds out; None: nothing to find out."""

    def adding(self, metrics: Iterable[Metric]) -> "Comparison":
        """Return the case with the statistics that metrics bring beside those that every comparison has."""
        score, *others = self.statistics
        own = [one for one in metrics if one.statistic is not None]
        parts = [statistic(self.channels) for statistic in dict.fromkeys(one.statistic for one in own) if statistic]
        scores = (*self.scores, *(one.figure for one in own))
        return replace(self, statistics=(replace(score, parts=(*score.parts, *parts)), *others), scores=scores)

    def on(self, device: str | None) -> "Comparison":
        """Return the case whose score is computed on a device as far as its statistics take tensors."""
        score, *others = self.statistics
        return replace(self, statistics=(replace(score, device=device), *others))

    def contribution(self, zero: Any, piece: Roi) -> tuple[Any, Excluded]:
        """Return the contribution of one piece to a statistic, and what was left out.

        The origin of a piece is relative to the region's corner.
        """
        block, left = self.read(piece)
        halo = halo_of(zero)
        if halo:
            block = self._with_halo(block, piece, halo)
        return zero.of(block, (piece.y0 - self.roi.y0, piece.x0 - self.roi.x0)), left

    def _with_halo(self, block: Any, piece: Roi, halo: int) -> Any:
        """Return the block of a piece with the pixels below and to the right that the region has, else NaN."""
        height, width = piece.shape
        wide = np.full((2, height + halo, width + halo, *block.shape[3:]), np.nan, block.dtype)
        wide[:, :height, :width] = block
        if piece.y1 < self.roi.y1:
            x1 = min(piece.x1 + halo, self.roi.x1)  # with the corner, where windows on both borders lie
            below, _ = self.read(replace(piece, y0=piece.y1, y1=min(piece.y1 + halo, self.roi.y1), x1=x1))
            wide[:, height : height + below.shape[1], : below.shape[2]] = below
        if piece.x1 < self.roi.x1:
            right, _ = self.read(replace(piece, x0=piece.x1, x1=min(piece.x1 + halo, self.roi.x1)))
            wide[:, :height, width : width + right.shape[2]] = right
        return wide


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class JoinedStatistics:
    """Several statistics over the same blocks as one; the first gives the number of compared values."""

    parts: tuple[Any, ...]
    """The statistics in their order."""
    device: str | None = None
    """The device of those that take tensors, None for the CPU with NumPy."""

    ADDS = ("parts",)
    """The names of the fields that hold sums, and so can be weighted."""

    @property
    def halo(self) -> int:
        """The rows below a block and the columns to its right that any of them also reads."""
        return max(map(halo_of, self.parts), default=0)

    def of(self, block: Any, origin: tuple[int, int] = (0, 0)) -> "JoinedStatistics":
        """Return the contribution of a block with its halo to each statistic."""
        height, width = (length - self.halo for length in block.shape[1:3])
        there = block if self.device is None else sent(block, ready(self.device))

        def cut(part: Any) -> Any:
            wanted = there if getattr(part, "TENSORS", False) else block
            return wanted[:, : height + halo_of(part), : width + halo_of(part)]

        return replace(self, parts=tuple(part.of(cut(part), origin) for part in self.parts))

    def __add__(self, other: "JoinedStatistics") -> "JoinedStatistics":
        return replace(self, parts=tuple(a + b for a, b in zip(self.parts, other.parts, strict=True)))

    @property
    def known(self) -> int:
        """The number of compared values."""
        return int(self.parts[0].known)

    def finish(self) -> dict[str, Any]:
        """Return the figures of all statistics."""
        return {name: value for part in self.parts for name, value in part.finish().items()}


def metrics_of(task: str) -> tuple[Metric, ...]:
    """Return the metrics that a task names, the leading one first; the task is loaded, and torch with it.

    Raises:
        UserError: there is no such task or metric, or a metric compares what the task does not predict.
    """
    from tilespec.models.tasks import TASKS

    kind = load(TASKS, task, "task")
    metrics = tuple(map(metric, kind.metrics))
    for one in metrics:
        if one.truth not in (kind.truth, None):
            raise UserError(
                f"metrics of task {task!r}",
                found=f"{one.name}, of {one.truth}",
                expected=f"metrics of {kind.truth}",
                do="Name those that compare what the task predicts.",
            )
    return metrics


def mask_of(truth: str, name: str | None) -> ValueRaster | None:
    """Return the layer of the truth that selects pixels, or None without one.

    Raises:
        UserError: there is no such layer, or it has bands.
    """
    mask = None if name is None else ValueRaster.open(truth, name)
    if mask is not None and mask.scene is not None:
        raise UserError(
            "--mask",
            found=f"{name}, of {mask.channels} bands",
            expected="a layer y, x of the truth",
            do="Name a layer such as labels or plant; `tilespec info` lists them.",
        )
    return mask


def chosen(mask: ValueRaster, piece: Roi) -> Bool[np.ndarray, "y x"]:
    """Return the pixels of a region of the scene that a mask selects, as in `fit`; of a reduced mask at least half."""
    inside = selected(mask.layer, mask.stored(piece))
    if mask.side == 1:
        return inside
    blocks = inside.reshape(piece.shape[0], mask.side, piece.shape[1], mask.side)
    return 2 * np.count_nonzero(blocks, axis=(1, 3)) >= mask.side**2


def side_of(predicted: Raster, true: Raster) -> int:
    """Return the number of true pixels along each side of a predicted one.

    It is 1, unless the truth is a layer of a scene that was predicted at 1/2, 1/3, ... of its size: the true number of
    a large pixel, such as its content of fat, is the mean of those of its parts, and its class that of most of them.
    """
    step, plane = 1 / Fraction(scale_of(predicted.attrs)), predicted.attrs.get("plane")
    whole = plane is not None and Roi(y0=0, y1=plane[0], x0=0, x1=plane[1]) == true.roi
    return int(step) if whole and step.denominator == 1 else 1


def facts(predicted: Raster, true: Raster, roi: Roi) -> dict[str, Any]:
    """Return the facts of the comparison, and whether the model was trained on the region."""
    return {
        "pred": predicted.url,
        "truth": true.url,
        "method": _method(predicted.attrs),
        "status": predicted.status,
        "region": {"rows": [roi.y0, roi.y1], "cols": [roi.x0, roi.x1]},
        "overlaps_training": _overlaps(predicted.attrs, digests(true.url).cube, roi),
    }


def region_of(predicted: Raster, true: Raster, rows: str | None, cols: str | None) -> Roi:
    """Return the region to score: ``rows``, ``cols`` of the scene, or the whole predicted region."""
    whole, strangers = predicted.roi, _strangers(predicted, true)
    if strangers and isinstance(true, ClassRaster):
        raise UserError(
            predicted.url,
            found=f"the prediction of another scene than {true.url}",
            expected="the scene that was predicted, as it was then",
            do="Name the scene that was predicted; other labels come in beside its cube: `ingest --labels`.",
        )
    part = "origin" in predicted.attrs and lies_on_pixels(predicted.attrs) and not strangers
    if not (inside(whole, true.roi) if part else whole == true.roi):
        raise UserError(
            predicted.url,
            found=f"a prediction of {whole}",
            expected=f"one {'inside' if part else 'of'} {true.roi}, where the truth of {true.url} lies",
            do="Name the scene that was predicted.",
        )
    return asked_region(whole, (true.roi.y1, true.roi.x1), rows, cols)


def _strangers(predicted: Raster, true: Raster) -> bool:
    """Return whether the truth is known to be of another scene than the prediction.

    Labels belong to the scene that holds them, and a prediction to the scene that it was made of. Channels, and labels
    of another scale, may be those of another store, a target: of the same plane.
    """
    plane, scale = predicted.attrs.get("plane"), Fraction(scale_of(predicted.attrs))
    if (isinstance(true, ValueRaster) or scale != 1) and plane is not None:
        return true.whole_scene and [int(length * scale) for length in plane] != [true.roi.y1, true.roi.x1]
    ours = predicted.attrs.get("scene_digest")
    theirs = digests(true.url).cube if ours and true.whole_scene else true.attrs.get("scene_digest")
    return None not in (ours, theirs) and ours != theirs


def _method(attrs: Mapping[str, Any]) -> str | None:
    """Return the name of the method that made a prediction, if it has one."""
    source = attrs.get("method") or attrs.get("net")
    name = source.get("name") if isinstance(source, Mapping) else source
    return None if name is None else str(name)


def _overlaps(attrs: Mapping[str, Any], digest: str | None, roi: Roi) -> bool | None:
    """Whether pixels of the region, given in output pixels, taught the model; None when nobody knows."""
    scale = Fraction(scale_of(attrs))
    y0, y1, x0, x1 = (v / scale for v in (roi.y0, roi.y1, roi.x0, roi.x1))
    roi = Roi(y0=floor(y0), y1=ceil(y1), x0=floor(x0), x1=ceil(x1))
    regions = attrs.get("train_regions")
    known = {digest, attrs.get("scene_digest")} - {None}
    if regions is None or not known:
        return None
    far = 1 << 62
    same = [region for region in regions if region.get("digest") in known]
    if any(roi.overlaps(Roi.of((far, far), _text(r.get("rows")), _text(r.get("cols")))) for r in same):
        return True
    return None if any(not region.get("digest") for region in regions) else False


def _text(span: Any) -> str | None:
    """Return a span of rows as "A:B", from text or from two numbers."""
    return span if span is None or isinstance(span, str) else f"{span[0]}:{span[1]}"
