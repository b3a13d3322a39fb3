"""The running mean of a part: tiles go in, in order, and what no later tile reaches comes out.

A tile is blended where it lies, in the memory of its own answer: first with what tiles to its left left over, then
with what tile rows above did. So a part never holds more of its plane than the overlaps.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
from jaxtyping import Float32

from tilespec.tiling.plan import Part, PredictPlan
from tilespec.tiling.windows import mix

Plane = Float32[np.ndarray, "_y _x channel"]


@final
@dataclass(frozen=True, kw_only=True)
class Block:
    """Some pixels of the plane."""

    top: int
    """First row."""
    left: int
    """First column."""
    values: Plane
    """Their mean; the spread of the tiles is its last channel where it is wanted."""


@final
@dataclass(kw_only=True)
class Along:
    """The mean along x, of one tile row."""

    plan: PredictPlan
    """What is predicted."""
    part: Part
    """Which rows of which panel."""
    k: int
    """Tile row."""
    channels: int
    """Of the mean, the spread of the tiles included."""
    over: Plane | None = None
    """Columns of the mean that the next tile reaches too."""

    def add(self, column: int, tile: Plane) -> Block:
        """Take the next tile, cut to what is wanted; return the columns that no later one reaches."""
        axis, (x0, x1) = self.plan.grid.x, self.plan.across(self.part, column)
        tile = self._own(tile)
        if self.over is not None:
            shared = tile[:, : self.over.shape[1]]
            gains = axis.gains(column, self.plan.grid.window)[x0 - column * axis.step :][: shared.shape[1]]
            mix(self.over, shared, gains, axis=1, into=shared, spread=self.plan.disagreement)
        last = column == self.plan.tiles(self.part)[1][-1]
        done = x1 if last else min(max((column + 1) * axis.step, x0), x1)
        self.over = tile[:, done - x0 :]
        return Block(top=self.plan.wanted(self.part, self.k)[0], left=x0, values=tile[:, : done - x0])

    def _own(self, tile: Float32[np.ndarray, "y x _channel"]) -> Float32[np.ndarray, "y x channel"]:
        """Return a tile that may be written to, with a channel for the spread where it is wanted and missing."""
        missing = self.channels - tile.shape[2]
        if missing:
            return np.pad(tile, ((0, 0), (0, 0), (0, missing)))
        return tile if tile.flags.writeable else tile.copy()


@final
@dataclass(kw_only=True)
class Down:
    """The mean along y, of a part."""

    plan: PredictPlan
    """What is predicted."""
    part: Part
    """Which rows of which panel."""
    channels: int
    """Of the mean, the spread of the tiles included."""

    @cached_property
    def over(self) -> Plane:
        """Rows of the mean that the next tile row reaches too; where columns of it came by, already the next ones."""
        axis, (x0, x1) = self.plan.grid.y, self.plan.product.columns(self.part.panel)
        return np.empty((axis.tile - axis.step, x1 - x0, self.channels), np.float32)

    def add(self, k: int, block: Block) -> Block:
        """Take columns of tile row ``k``, finished along x; return the rows that no later tile row reaches."""
        axis, (top, end) = self.plan.grid.y, self.plan.own(self.part, k)
        rows = block.values[top - block.top : end - block.top]
        left = block.left - self.plan.product.columns(self.part.panel)[0]
        over = self.over[:, left : left + rows.shape[1]]
        if k > self.plan.tiles(self.part)[0][0]:
            above = self.plan.own(self.part, k - 1)[1] - top
            shared = rows[:above]
            gains = axis.gains(k, self.plan.grid.window)[top - k * axis.step :][:above]
            mix(over[:above], shared, gains, axis=0, into=shared, spread=self.plan.disagreement)
        done = self._done(k) - top
        over[: len(rows) - done] = rows[done:]
        return Block(top=top, left=block.left, values=rows[:done])

    def _done(self, k: int) -> int:
        """Return the first row that tile rows after ``k`` reach."""
        top, end = self.plan.own(self.part, k)
        if k == self.plan.tiles(self.part)[0][-1]:
            return end
        return min(max((k + 1) * self.plan.grid.y.step, top), end)
