"""Spatial folds: squares of a region, each in one fold of a cross-validation.

Neighbouring pixels are nearly equal, so folds of random pixels would test a model on its training data
(Roberts et al., Ecography 40, 2017). Squares are assigned so that every fold gets its share of every class.
"""

from dataclasses import dataclass
from functools import partial
from typing import final

import numpy as np
from jaxtyping import Float64, Int64

from tilespec.baselines.base import FitInput
from tilespec.cluster.reduction import reduce_blocks
from tilespec.core.errors import UserError
from tilespec.core.types import UNLABELLED, Roi
from tilespec.storage.blocks import GROUP, Block, blocks
from tilespec.storage.layer import Layer

PER_FOLD = 20
"""The approximate number of squares in a fold: enough for a share of every class, few enough to be large."""
LEAST = 4
"""The least side of a square in pixels."""

Index = Int64[np.ndarray, " pixel"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SpatialFolds:
    """The squares of a region and their folds."""

    roi: Roi
    """The region in pixels of the scene."""
    side: int
    """The side of a square in pixels; squares at the lower and right edge are cut."""
    fold: Int64[np.ndarray, "y x"]
    """The fold of each square."""

    def of(self, y: Index, x: Index) -> Index:
        """Return the folds of pixels of the scene."""
        return self.fold[(y - self.roi.y0) // self.side, (x - self.roi.x0) // self.side]


def cells(on: FitInput) -> SpatialFolds:
    """Return the squares of the region in folds; the labels are read once.

    Raises:
        UserError: fewer squares have labels than there are folds.
    """
    number, (height, width) = on.options.folds, on.roi.shape
    side = max(LEAST, round((height * width / (PER_FOLD * number)) ** 0.5))
    plane = -(-height // side), -(-width // side)
    parts = blocks(on.scene, on.roi)
    tasks = [tuple(parts[i : i + GROUP]) for i in range(0, len(parts), GROUP)]
    counts = reduce_blocks(tasks, partial(_counts, on.labels, on.roi, side, plane), client=on.client)
    labelled = int((counts.sum(axis=1) > 0).sum())
    if labelled < number:
        raise UserError(
            on.labels,
            found=f"labels in {labelled} squares of {side} x {side} pixels",
            expected=f"at least {number}, one for each fold",
            do="Give fewer --folds, a larger region, or --components as a number.",
        )
    present = counts[:, counts.sum(axis=0) > 0]
    return SpatialFolds(roi=on.roi, side=side, fold=_dealt(present / present.sum(axis=0), number).reshape(plane))


def _counts(
    store: str, roi: Roi, side: int, plane: tuple[int, int], group: tuple[Block, ...]
) -> Int64[np.ndarray, "cell class"]:
    """Return the number of pixels of each class in each square."""
    labels, total = Layer.open(store, "labels"), np.zeros((plane[0] * plane[1], UNLABELLED + 1), np.int64)
    for block in group:
        y, x = np.mgrid[block.roi.slices]
        cell = (y - roi.y0) // side * plane[1] + (x - roi.x0) // side
        pairs = cell * (UNLABELLED + 1) + labels.classes(block.roi)
        total += np.bincount(pairs.ravel(), minlength=total.size).reshape(total.shape)
    return total[:, :UNLABELLED]


def _dealt(shares: Float64[np.ndarray, "cell class"], number: int) -> Int64[np.ndarray, " cell"]:
    """Return a fold for each square: the largest first, each to the fold with the least of its classes."""
    held, folds = np.zeros((number, shares.shape[1])), np.zeros(len(shares), np.int64)
    for cell in np.argsort(-shares.sum(axis=1), kind="stable"):
        if not shares[cell].any():
            continue
        overlap, size = held @ shares[cell], held.sum(axis=1)
        folds[cell] = np.lexsort((size, overlap))[0]
        held[folds[cell]] += shares[cell]
    return folds
