"""Blend rows: the running mean of a part. Tiles are added in order, and pixels that no later tile covers are returned.

A tile is blended in the memory of its own prediction: first with the overlap of the tile to its left, then with that of
the tile rows above. So only the overlaps of a part are in memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Float32

from tilespec.core.arrays import namespace
from tilespec.tiling.plan import PredictPlan, Slab
from tilespec.tiling.windows import mix

Plane = Float32[Any, "_y _x channel"]


@final
@dataclass(frozen=True, kw_only=True)
class BlendedBlock:
    """A block of blended pixels."""

    top: int
    """The first row of the block in the plane."""
    left: int
    """The first column of the block in the plane."""
    values: Plane
    """The mean of the tiles, ``y x channel``; the last channel is the spread of the tiles if it is stored."""


@final
@dataclass(kw_only=True)
class RowBlend:
    """The running mean of one tile row along x."""

    plan: PredictPlan
    """The plan of the prediction."""
    part: Slab
    """The part of the plan: some rows of a panel."""
    k: int
    """The number of the tile row."""
    channels: int
    """The number of channels of the mean, including the spread of the tiles."""
    over: Plane | None = None
    """The columns of the mean that the next tile also covers."""

    def add(self, column: int, tile: Plane) -> BlendedBlock:
        """Add the next tile, cut to the needed rows; return the columns that no later tile covers."""
        axis, (x0, x1) = self.plan.grid.x, self.plan.across(self.part, column)
        tile = self._own(tile)
        if self.over is not None:
            shared = tile[:, : self.over.shape[1]]
            gains = axis.gains(column, self.plan.grid.window)[x0 - column * axis.step :][: shared.shape[1]]
            mix(self.over, shared, gains, axis=1, into=shared, spread=self.plan.disagreement)
        last = column == self.plan.tiles(self.part)[1][-1]
        done = x1 if last else min(max((column + 1) * axis.step, x0), x1)
        self.over = tile[:, done - x0 :]
        return BlendedBlock(top=self.plan.wanted(self.part, self.k)[0], left=x0, values=tile[:, : done - x0])

    def _own(self, tile: Float32[Any, "y x _channel"]) -> Float32[Any, "y x channel"]:
        """Return a tile that may be overwritten, with a channel for the spread if it is stored and missing."""
        missing, xp = self.channels - tile.shape[2], namespace(tile)
        if missing:
            nothing = xp.zeros((*tile.shape[:2], missing), dtype=tile.dtype, device=tile.device)
            return xp.concatenate([tile, nothing], axis=2)
        return tile.copy() if isinstance(tile, np.ndarray) and not tile.flags.writeable else tile


@final
@dataclass(kw_only=True)
class PlaneBlend:
    """The running mean of a part along y."""

    plan: PredictPlan
    """The plan of the prediction."""
    part: Slab
    """The part of the plan: some rows of a panel."""
    channels: int
    """The number of channels of the mean, including the spread of the tiles."""
    over: Plane | None = None
    """The rows of the mean that the next tile row also covers; columns already added have its new rows."""

    def add(self, k: int, block: BlendedBlock) -> BlendedBlock:
        """Add columns of tile row ``k`` that are finished along x; return the rows that no later tile row covers."""
        axis, (top, end) = self.plan.grid.y, self.plan.own(self.part, k)
        rows = block.values[top - block.top : end - block.top]
        x0, x1 = self.plan.product.columns(self.part.panel)
        left, xp = block.left - x0, namespace(rows)
        if self.over is None:
            shape = (axis.tile - axis.step, x1 - x0, self.channels)
            self.over = xp.empty(shape, dtype=xp.float32, device=rows.device)
        over = self.over[:, left : left + rows.shape[1]]
        if k > self.plan.tiles(self.part)[0][0]:
            above = self.plan.own(self.part, k - 1)[1] - top
            shared = rows[:above]
            gains = axis.gains(k, self.plan.grid.window)[top - k * axis.step :][:above]
            mix(over[:above], shared, gains, axis=0, into=shared, spread=self.plan.disagreement)
        done = self._done(k) - top
        over[: len(rows) - done] = rows[done:]
        return BlendedBlock(top=top, left=block.left, values=rows[:done])

    def _done(self, k: int) -> int:
        """Return the first row that tile rows after ``k`` cover."""
        top, end = self.plan.own(self.part, k)
        if k == self.plan.tiles(self.part)[0][-1]:
            return end
        return min(max((k + 1) * self.plan.grid.y.step, top), end)


def joined(blocks: Sequence[BlendedBlock]) -> BlendedBlock:
    """Return blocks of the same rows, from left to right, as one."""
    first = blocks[0]
    values = namespace(first.values).concatenate([block.values for block in blocks], axis=1)
    return BlendedBlock(top=first.top, left=first.left, values=values)
