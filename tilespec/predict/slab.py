"""Slab: one part of a plan, streamed from top to bottom. Read, evaluate, blend and write overlap, memory is bounded.

Four stages on their own threads: strips of the scene are read and prepared one tile row ahead; as many lanes as there
are threads cut batches of tiles and evaluate the net, each on one thread (convolutions gain less from a second thread
than from a second tile); this thread blends what they answer, in order; finished rows of objects are encoded and
written behind it.
"""

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import final

import numpy as np
from jaxtyping import Float32

from tilespec.blend import mix
from tilespec.graph import one_blas_thread
from tilespec.grid import reflect
from tilespec.predict import Facts, Part, Predictor, PredictPlan
from tilespec.predict.finished import ObjectRows
from tilespec.predict.lanes import Answers, Batch, Lanes
from tilespec.predict.strips import Strips
from tilespec.progress import Progress
from tilespec.rows import RowReader, Rows
from tilespec.scene import Scene
from tilespec.stream import Ahead, Behind, in_order
from tilespec.types import Roi

Stop = Callable[[], bool]
Plane = Float32[np.ndarray, "_y _x channel"]


def run_part(plan: PredictPlan, part: Part, progress: Progress, stop: Stop = lambda: False) -> Facts:
    """Predict, write and record a part of the plan; when ``stop`` says so, end after the tile row in work."""
    with one_blas_thread():  # set once for the part: its stages are parallel already
        return Slab.of(plan, part, stop).run(progress)


@final
@dataclass(kw_only=True)
class Slab:
    """The state of one streamed part."""

    plan: PredictPlan
    """What is predicted."""
    part: Part
    """Which rows of which panel."""
    stop: Stop
    """Asked before every tile row."""
    predictor: Predictor
    """What predicts."""
    reader: RowReader
    """Reads the columns that the panel's tiles need."""
    lanes: Lanes
    """Evaluate."""
    facts: Facts = field(default_factory=Facts)
    """What is counted."""
    poison: dict[int, list[int]] = field(default_factory=dict)
    """Tiles that failed, by tile row."""

    @classmethod
    def of(cls, plan: PredictPlan, part: Part, stop: Stop) -> "Slab":
        """Return the slab of a part, its predictor loaded."""
        predictor, scene = plan.spec.open(plan.threads), Scene.open(plan.scene)
        first, last = plan.columns_read(part.panel)
        roi = Roi(y0=plan.roi.y0, y1=plan.roi.y1, x0=plan.roi.x0 + first, x1=plan.roi.x0 + last)
        pool = ThreadPoolExecutor(plan.threads, "tilespec-decode")
        reader = RowReader(scene=scene, roi=roi, prepares=predictor, pool=pool)
        lanes = Lanes(plan=plan, part=part, predictor=predictor, left=first)
        return cls(plan=plan, part=part, stop=stop, predictor=predictor, reader=reader, lanes=lanes)

    @property
    def depth(self) -> int:
        """Batches that are evaluated or wait at once."""
        return self.plan.threads + 2

    def run(self, progress: Progress) -> Facts:
        """Stream the part."""
        with self.reader.pool, Behind(self._write) as writer:
            objects = ObjectRows(plan=self.plan, part=self.part, decode=self.predictor.decode)
            for top, rows in self._finished(progress):
                for finished in objects.add(top, rows):
                    writer.put(finished)
        assert self.facts.stopped or objects.row == self.part.rows[-1] + 1, "every row of the part was written"
        self.facts.read_seconds, self.facts.bytes_read = self.reader.seconds, self.reader.bytes
        self.facts.poison = sorted({number for numbers in self.poison.values() for number in numbers})
        return self.facts

    def _write(self, finished: tuple[int, dict[str, np.ndarray], int]) -> None:
        """Write one row of objects."""
        row, blocks, nodata = finished
        y0, y1 = self.plan.product.span(row)
        poison = sorted({n for k in self.plan.grid.y.covering(y0, y1) for n in self.poison.get(k, [])})
        self.plan.product.write(row, blocks, {"nodata": nodata}, panel=self.part.panel, poison=poison)
        self.facts.nodata += nodata
        self.facts.bytes_written += sum(block.nbytes for block in blocks.values())

    def _finished(self, progress: Progress) -> Iterator[tuple[int, Plane]]:
        """Yield finished rows of the panel with their first row, as soon as no later tile row reaches them."""
        axis, start = self.plan.grid.y, self.plan.span(self.part)[0]
        last = self.plan.tiles(self.part)[0][-1]
        carry: Plane | None = None  # rows of the mean that the next tile row reaches too
        for k, strip in self._strips(progress):
            top, end = self.plan.own(self.part, k)
            if carry is not None and len(carry):
                gains = axis.gains(k, self.plan.grid.window)[top - k * axis.step :][: len(carry)]
                shared = strip[: len(carry)]
                mix(carry, shared, gains, axis=0, into=shared, spread=self.plan.disagreement)
            done = end if k == last else min(max((k + 1) * axis.step, start), end)
            yield top, strip[: done - top]
            carry = strip[done - top :]

    def _strips(self, progress: Progress) -> Iterator[tuple[int, Plane]]:
        """Yield each tile row, blended along x and cut to the rows of this part: from its tiles, or a neighbour's."""
        strips, threads = Strips(folder=self.plan.product.scratch, panel=self.part.panel), self.plan.threads
        x0, x1 = self.plan.product.columns(self.part.panel)
        shape = (self.plan.grid.y.tile, x1 - x0, self.predictor.channels[1] + self.plan.disagreement)
        buffers = itertools.cycle([np.empty(shape, np.float32) for _ in range(2)])  # the other one is the carry's
        with ThreadPoolExecutor(threads, "tilespec-lane") as pool, ThreadPoolExecutor(1, "tilespec-read") as reading:
            batches = self._batches(strips, Ahead(reading, self._load))
            answers = in_order(pool, self.lanes.evaluate, batches, self.depth)
            for k, row in itertools.groupby(answers, key=lambda pair: pair[0].k):
                (first, last), (y0, y1) = self.plan.wanted(self.part, k), self.plan.own(self.part, k)
                strip, left = next(buffers)[: last - first], None
                for batch, answer in row:
                    progress.advance(len(batch.columns))
                    self._blend(strip, batch, answer)
                    left = batch.strip
                if left is None:
                    self._leave(strips, k, strip)
                yield k, strip[y0 - first : y1 - first] if left is None else left

    def _batches(self, strips: Strips, ahead: Ahead[int, Rows]) -> Iterator[Batch]:
        """Yield what is to be evaluated, from top to bottom, until it is done or someone says stop."""
        tile_rows, columns = self.plan.tiles(self.part)
        size = self.plan.batch
        for k in tile_rows:
            if self.stop():
                self.facts.stopped = True
                return
            own = self.plan.own(self.part, k)
            left = strips.take(k, own) if own != self.plan.wanted(self.part, k) else None
            if left is not None:
                self.facts.shared += len(columns)
                yield Batch(k=k, columns=tuple(columns), rows=None, strip=left)
                continue
            rows = ahead.get(k)
            for number, first in enumerate(range(0, len(columns), size)):
                if number == self.depth and k < tile_rows[-1]:  # the row before is through: its strips are free
                    ahead.begin(k + 1)
                yield Batch(k=k, columns=tuple(columns[first : first + size]), rows=rows)

    def _load(self, k: int) -> Rows:
        """Read what a tile row needs."""
        return self.reader.load(reflect(np.arange(*self.plan.grid.read(self.plan.grid.y, k)), self.reader.height))

    def _leave(self, strips: Strips, k: int, strip: Plane) -> None:
        """Leave the neighbours what they need of a tile row; not when it is poisoned: they find out themselves."""
        (first, last), (start, stop) = self.plan.wanted(self.part, k), self.plan.span(self.part)
        if k not in self.poison:
            strips.leave(k, (first, start), strip[: max(start - first, 0)])
            strips.leave(k, (stop, last), strip[max(stop - first, 0) :])

    def _blend(self, strip: Plane, batch: Batch, answers: Answers) -> None:
        """Continue the mean along x with the tiles of a batch, and count them."""
        axis, (left, _) = self.plan.grid.x, self.plan.product.columns(self.part.panel)
        for column, tile in zip(batch.columns, answers.tiles, strict=False):
            x0, x1 = self.plan.across(self.part, column)
            gains = axis.gains(column, self.plan.grid.window)[x0 - column * axis.step : x1 - column * axis.step]
            part = strip[:, x0 - left : x1 - left]
            mix(part, tile, gains, axis=1, into=part, spread=self.plan.disagreement)
        self.facts.tiles += answers.evaluated
        self.facts.empty += len(answers.tiles) - answers.evaluated
        self.facts.network_seconds += answers.seconds
        if answers.poison:
            self.poison.setdefault(batch.k, []).extend(answers.poison)
