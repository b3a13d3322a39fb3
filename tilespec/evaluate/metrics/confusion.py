"""Confusion: metrics of class maps as statistics, whose contributions are small arrays of counts.

Both statistics take a block ``2 y x``: truth and prediction, 255 = unlabelled and nodata. They satisfy ``of(a) + of(b)
== of(a and b)`` for disjoint blocks exactly, because they hold integers.

Pixels without a label in the truth are not counted. A labelled pixel that is nodata in the prediction is an error: it
is missing in its class, and no class gains it, so a method cannot improve its score by leaving out difficult pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped, UInt8

from tilespec.core.arrays import namespace, on_host
from tilespec.core.types import UNLABELLED

MapPair = UInt8[np.ndarray, "2 y x"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Confusion:
    """The counts of each pair of true and predicted class; a statistic of blocks (truth, prediction)."""

    counts: Int64[np.ndarray, "true predicted"]
    """The number of pixels by true class and predicted class; the last column is nodata."""

    ADDS = ("counts",)
    """The names of the fields that are sums, and so can be weighted."""
    TENSORS = True
    """Blocks may be tensors on a device."""

    @classmethod
    def zero(cls, classes: int) -> "Confusion":
        """Return the empty confusion of ``classes`` classes."""
        return cls(counts=np.zeros((classes, classes + 1), np.int64))

    @property
    def classes(self) -> int:
        """The number of classes."""
        return len(self.counts)

    @property
    def known(self) -> int:
        """The number of pixels with a label."""
        return int(self.counts.sum())

    def of(self, block: UInt8[Any, "2 y x"], origin: tuple[int, int] = (0, 0)) -> "Confusion":
        """Return the confusion of one block; its position does not matter."""
        del origin
        xp = namespace(block)
        truth, predicted = (xp.asarray(plane, dtype=xp.int64).reshape(-1) for plane in block)
        labelled = truth != UNLABELLED
        column = predicted.clip(max=self.classes)
        cells = truth[labelled] * (self.classes + 1) + column[labelled]
        counts = on_host(xp.bincount(cells, minlength=self.counts.size))
        return replace(self, counts=counts.reshape(self.counts.shape))

    def __add__(self, other: "Confusion") -> "Confusion":
        return replace(self, counts=self.counts + other.counts)

    def finish(self) -> dict[str, Any]:
        """Return overall and average accuracy, kappa, mean IoU and F1, and by class IoU, F1, precision and recall.

        The average accuracy is the mean recall; all means are over the classes that occur in the truth. An undefined
        figure (division by 0) is None. Kappa follows Cohen (1960), with nodata as a class that is absent in the truth.
        """
        total = int(self.counts.sum())
        hits, true = np.diag(self.counts), self.counts.sum(axis=1)
        predicted = self.counts.sum(axis=0)[: self.classes]
        iou = _ratios(hits, true + predicted - hits)
        agreed, chance = (
            _ratio(float(hits.sum()), float(total)),
            _ratio(float(true.astype(float) @ predicted), float(total) ** 2),
        )
        recall, f1 = _ratios(hits, true), _ratios(2 * hits, true + predicted)
        return {
            "oa": agreed,
            "aa": _mean(recall),
            "kappa": None if agreed is None or chance is None else _ratio(agreed - chance, 1.0 - chance),
            "miou": _mean([value for value, n in zip(iou, true, strict=True) if n]),
            "f1_macro": _mean([value for value, n in zip(f1, true, strict=True) if n]),
            "iou": iou,
            "f1": f1,
            "precision": _ratios(hits, predicted),
            "recall": recall,
            "labelled": total,
            "nodata": int(self.counts[:, -1].sum()),
        }


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Patches:
    """Random squares, and a later draw among them, as a pure function of seed, shape and size."""

    size: int
    """The side of a square in pixels."""
    origins: Int64[np.ndarray, "patch 2"]
    """The upper left corners ``y, x``."""
    lots: Float64[np.ndarray, " patch"]
    """The uniform numbers in [0, 1) that `redraw` converts to a draw with replacement."""

    @classmethod
    def draw(cls, shape: tuple[int, int], *, count: int, size: int, seed: int) -> "Patches":
        """Return ``count`` squares of side ``size`` inside a plane of ``shape``, from PCG64(seed)."""
        rng = np.random.Generator(np.random.PCG64(seed))
        free = np.asarray(shape) - size + 1
        assert (free > 0).all(), f"a patch of {size} does not fit into {shape}"
        origins = rng.integers(0, free, size=(count, 2), dtype=np.int64)
        return cls(size=size, origins=origins, lots=rng.random(count))

    def redraw(self, eligible: Bool[np.ndarray, " patch"]) -> Int64[np.ndarray, " drawn"]:
        """Return as many indices as there are patches, drawn with replacement from the ``eligible`` ones."""
        index = np.flatnonzero(eligible).astype(np.int64)
        return index[(self.lots * len(index)).astype(np.int64)] if len(index) else index


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class PatchCounts:
    """The number of pixels of each class in each patch, from one pass; a statistic of blocks (truth, prediction).

    A block adds its share of every patch that crosses it, read from summed-area tables of the block alone
    (Crow 1984): four corners for a patch, whatever its size. So a thousand patches need only one reading of the plane.
    """

    patches: Patches
    """The positions of the patches."""
    sums: Int64[np.ndarray, "kind patch class"]
    """The number of pixels by kind: true, predicted, both."""

    @classmethod
    def zero(cls, patches: Patches, classes: int) -> "PatchCounts":
        """Return the empty counts of ``patches``."""
        return cls(patches=patches, sums=np.zeros((3, len(patches.origins), classes), np.int64))

    def of(self, block: MapPair, origin: tuple[int, int]) -> "PatchCounts":
        """Return the contribution of a block at ``origin`` to every patch."""
        truth, predicted = block
        labelled = truth != UNLABELLED
        where = corners(self.patches, origin, truth.shape)
        sums = np.zeros_like(self.sums)
        for index in range(self.sums.shape[2]):
            true, claimed = truth == index, (predicted == index) & labelled
            for kind, mask in enumerate((true, claimed, true & claimed)):
                sums[kind, :, index] = box_sums(mask, where)
        return replace(self, sums=sums)

    def __add__(self, other: "PatchCounts") -> "PatchCounts":
        return replace(self, sums=self.sums + other.sums)

    def finish(self) -> dict[str, Any]:
        """Return mean and population deviation of the patch IoU, as published and over all patches.

        As published (Mishra and Herrmann 2021): patches whose truth has one class only are dropped, and the original
        number of patches is drawn with replacement from the others. The score of a patch is that of class 1 where there
        are two classes, else the mean over the classes of its truth.
        """
        true, predicted, both = self.sums
        score = patch_scores(true, predicted, both)
        eligible = (true > 0).sum(axis=1) > 1
        drawn = score[self.patches.redraw(eligible)]
        every = score[true.sum(axis=1) > 0]
        return {
            "iou_mean": _statistic(np.mean, drawn),
            "iou_std": _statistic(np.std, drawn),
            "iou_mean_all": _statistic(np.mean, every),
            "iou_std_all": _statistic(np.std, every),
            "kept": int(eligible.sum()),
        }


def patch_scores(
    true: Int64[np.ndarray, "patch class"],
    predicted: Int64[np.ndarray, "patch class"],
    both: Int64[np.ndarray, "patch class"],
) -> Float64[np.ndarray, " patch"]:
    """Return ``(i + 1) / (u + 1)`` of class 1 if there are two classes, else its mean over those in the truth.

    The smoothing of 1 gives a class that is in neither map the score 1. Patches without a label score NaN.
    """
    iou = (both + 1) / (true + predicted - both + 1)
    if true.shape[1] == 2:
        return np.where(true.any(axis=1), iou[:, 1], np.nan)
    present = true > 0
    count = present.sum(axis=1)
    mean = np.where(present, iou, 0.0).sum(axis=1) / np.maximum(count, 1)
    return np.where(count > 0, mean, np.nan)


def corners(patches: Patches, origin: tuple[int, int], shape: tuple[int, ...]) -> list[Int64[np.ndarray, " patch"]]:
    """Return top, bottom, left and right of each patch within a block, clipped to it."""
    out = []
    for axis in (0, 1):
        start = patches.origins[:, axis] - origin[axis]
        out += [np.clip(start, 0, shape[axis]), np.clip(start + patches.size, 0, shape[axis])]
    return out


def box_sums(plane: Shaped[np.ndarray, "y x"], where: list[Int64[np.ndarray, " patch"]]) -> Any:
    """Return the sum of ``plane`` in each box by its summed-area table: int64, or float64 for a plane of floats."""
    top, bottom, left, right = where
    table = np.zeros((plane.shape[0] + 1, plane.shape[1] + 1), np.float64 if plane.dtype.kind == "f" else np.int64)
    np.cumsum(plane, axis=0, out=table[1:, 1:])
    np.cumsum(table[1:, 1:], axis=1, out=table[1:, 1:])
    return table[bottom, right] - table[top, right] - table[bottom, left] + table[top, left]


def _ratio(part: float, whole: float) -> float | None:
    """Return ``part / whole``, or None when ``whole`` is 0."""
    return float(part) / float(whole) if whole else None


def _ratios(parts: Int64[np.ndarray, " class"], wholes: Int64[np.ndarray, " class"]) -> list[float | None]:
    """Return the ratio of each class."""
    return [_ratio(part, whole) for part, whole in zip(map(float, parts), map(float, wholes), strict=True)]


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of the defined values, None when there are none."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def _statistic(of: Any, values: Float64[np.ndarray, " patch"]) -> float | None:
    """Return the mean or deviation of ``values``, None when there are none."""
    return float(of(values)) if len(values) else None
