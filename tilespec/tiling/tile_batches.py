"""Tile batches: batches of tiles are cut from strips, evaluated by the net, and their predictions are cut to size.

Pixels without data are 0 for the net and NaN in the prediction; a NaN changes no neighbour in a blend.
"""

import math
import threading
import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, final

import numpy as np
from jaxtyping import Bool, Float32

from tilespec.core.arrays import beside, namespace, share_memory
from tilespec.core.device import sent
from tilespec.tiling.grid import reflect
from tilespec.tiling.plan import Predictor, PredictPlan, Slab
from tilespec.tiling.quarantine import Quarantine
from tilespec.tiling.row_reader import Rows

Plane = Float32[Any, "_y _x channel"]
Mask = Bool[np.ndarray, "_y _x"]


@final
@dataclass(frozen=True, kw_only=True)
class TileBatch:
    """Some tiles of a tile row that are evaluated together, or a whole tile row from a stored strip."""

    k: int
    """The number of the tile row."""
    columns: tuple[int, ...]
    """The numbers of the tile columns."""
    rows: Rows | None
    """The rows that the tiles are cut from."""
    strip: Float32[np.ndarray, "_y _x channel"] | None = None
    """The strip from an adjacent part, cut to the rows of this part."""


@final
@dataclass(frozen=True, kw_only=True)
class TilePredictions:
    """The predictions of a batch, cut to the needed rows and columns; NaN for no data."""

    tiles: list[Plane]
    """The predictions in the order of the columns."""
    evaluated: int = 0
    """The number of tiles that the net evaluated."""
    poison: tuple[int, ...] = ()
    """The numbers of the tiles that failed."""
    seconds: float = 0.0
    """The time inside the net in seconds."""


@final
@dataclass(kw_only=True)
class TileEvaluator:
    """The evaluation of the batches of one part, which several threads may call."""

    plan: PredictPlan
    """The plan of the prediction."""
    part: Slab
    """The part of the plan: some rows of a panel."""
    predictor: Predictor
    """The predictor of the tiles."""
    left: int
    """The first column that is read, relative to the region."""
    own: threading.local = field(default_factory=threading.local)
    """The input batch of each thread, which is used again."""

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """The shape ``y, x, channel`` of the net's input."""
        grid = self.plan.grid
        (y0, y1), (x0, x1) = grid.read(grid.y, 0), grid.read(grid.x, 0)
        return y1 - y0, x1 - x0, self.predictor.channels[0]

    @cached_property
    def padded(self) -> bool:
        """Whether a tile's bits depend on its batch, so that every batch must have the same size."""
        whole = len(self.plan.tiles(self.part)[1]) % self.plan.batch == 0
        return not whole and not self.predictor.any_batch(self.shape, self.plan.batch)

    @cached_property
    def source(self) -> tuple[np.ndarray, np.ndarray]:
        """The input rows and columns of the region at the centres of output rows and columns."""
        grid, (height, width) = self.plan.grid, self.plan.roi.shape
        return grid.source(grid.y, height), grid.source(grid.x, width)

    def evaluate(self, batch: TileBatch) -> TilePredictions:
        """Return the predictions of a batch."""
        if batch.rows is None:
            return TilePredictions(tiles=[])
        grid, columns = self.plan.grid, batch.columns
        tiles, masks = self._cut(batch.rows, batch.k, columns)
        filled = [mask is None or bool(mask.any()) for mask in masks]
        if not any(filled):
            return TilePredictions(tiles=[self._nothing(batch.k, column) for column in columns])
        ids = [batch.k * grid.x.count + column for column in columns] + [-1] * (len(tiles) - len(columns))
        began = time.monotonic()
        answers = Quarantine(folder=self.plan.product.scratch.with_name("poison")).guard(self.predictor, tiles, ids)
        seconds = time.monotonic() - began
        alias = answers[0] is not None and share_memory(answers[0], tiles)  # the identity returns its input
        return TilePredictions(
            tiles=[
                self._wanted(batch.k, column, _copy(answer) if alias else answer, mask)
                for column, answer, mask in zip(columns, answers, masks, strict=False)
            ],
            evaluated=sum(filled),
            poison=tuple(n for n, answer in zip(ids, answers, strict=True) if answer is None and n >= 0),
            seconds=seconds,
        )

    def _cut(
        self, rows: Rows, k: int, columns: tuple[int, ...]
    ) -> tuple[Float32[Any, "tile y x channel"], list[Mask | None]]:
        """Return the inputs of some tiles, and whether each pixel has data (None: all have)."""
        grid, (height, width) = self.plan.grid, self.plan.roi.shape
        if not hasattr(self.own, "tiles"):
            self.own.tiles = sent(np.empty((self.plan.batch, *self.shape), np.float32), self.predictor.device)
        tiles = self.own.tiles[: self.plan.batch if self.padded else len(columns)]
        y = reflect(np.arange(*grid.read(grid.y, k)), height)
        masks = []
        for slot, column in enumerate(columns):
            x = reflect(np.arange(*grid.read(grid.x, column)), width) - self.left
            masks.append(rows.tile(tiles[slot], y, x))
        tiles[len(columns) :] = 0
        return tiles, masks

    def _nothing(self, k: int, column: int) -> Plane:
        """Return the prediction of a tile that failed or has no data."""
        (y0, y1), (x0, x1) = self.plan.wanted(self.part, k), self.plan.across(self.part, column)
        nothing = np.full((y1 - y0, x1 - x0, self.predictor.channels[1]), np.float32(np.nan))
        return sent(nothing, self.predictor.device)

    def _wanted(self, k: int, column: int, answer: Plane | None, mask: Mask | None) -> Plane:
        """Return the needed part of a tile's prediction, NaN where the scene has no data."""
        if answer is None:
            return self._nothing(k, column)
        grid, (y0, y1), (x0, x1) = self.plan.grid, self.plan.wanted(self.part, k), self.plan.across(self.part, column)
        top = grid.crop(grid.y, k) + y0 - k * grid.y.step
        left = grid.crop(grid.x, column) + x0 - column * grid.x.step
        cut = answer[top : top + y1 - y0, left : left + x1 - x0]
        if mask is None:
            return cut
        rows = self.source[0][y0:y1] - grid.read(grid.y, k)[0]
        columns = self.source[1][x0:x1] - grid.read(grid.x, column)[0]
        valid = mask[np.ix_(rows, columns)]
        return cut if valid.all() else namespace(cut).where(beside(cut, valid[:, :, None]), cut, math.nan)


def _copy(answer: Plane | None) -> Plane | None:
    """Return a prediction in memory of its own."""
    return answer if answer is None else namespace(answer).asarray(answer, copy=True)
