"""Slab: one part of a plan, streamed from top to bottom; reading, evaluation, blending and writing overlap in time.

Four stages run on their own threads, and memory is bounded: strips of the scene are read and prepared one tile row
ahead; each of several threads cuts batches of tiles and evaluates the net (convolutions gain less from a second thread
than from a second tile); this thread blends the predictions in order; and finished rows of objects are encoded and
written in the background.
"""

import itertools
import os
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from socket import gethostname
from typing import final

import numpy as np

from tilespec.core.cpu import one_blas_thread
from tilespec.core.device import sent
from tilespec.core.errors import LeaseLostError
from tilespec.core.progress import Progress
from tilespec.core.threads import BackgroundWriter, Prefetch, in_order
from tilespec.core.types import Roi
from tilespec.storage.scene import Scene
from tilespec.tiling.blend_rows import BlendedBlock, PlaneBlend, RowBlend, joined
from tilespec.tiling.grid import reflect
from tilespec.tiling.object_rows import ObjectRow, ObjectRows
from tilespec.tiling.plan import Predictor, PredictPlan, Slab, SlabCounts
from tilespec.tiling.row_reader import RowReader, Rows
from tilespec.tiling.shared_strips import StripCollector, StripStore
from tilespec.tiling.tile_batches import TileBatch, TileEvaluator, TilePredictions

Stop = Callable[[], bool]
LANES = 2
"""The number of threads that evaluate batches on a device: one prepares the next call while the other waits."""


def run_slab(plan: PredictPlan, part: Slab, progress: Progress, stop: Stop = lambda: False) -> SlabCounts:
    """Predict, write and record a part of the plan; if ``stop`` returns True, end after the present tile row."""
    began, worked, me = time.monotonic(), time.process_time(), f"{gethostname()}:{os.getpid()}"
    with one_blas_thread():  # once for the part, because its stages run in parallel
        run = SlabRun.of(plan, part, stop)
        opened = time.process_time() - worked
        facts = run.run(progress)
    facts.opening_seconds = opened
    facts.cpu_seconds = time.process_time() - worked
    facts.tiles_by[me] = facts.tiles
    facts.milliseconds_by[me] = round(1000 * (time.monotonic() - began))
    return facts


@final
@dataclass(kw_only=True)
class SlabRun:
    """The state of one part while it is streamed."""

    plan: PredictPlan
    """The plan of the prediction."""
    part: Slab
    """The part of the plan: some rows of a panel."""
    stop: Stop
    """The function that is called before every tile row and returns whether to stop."""
    predictor: Predictor
    """The predictor of the tiles."""
    reader: RowReader
    """The reader of the columns that the panel's tiles need."""
    lanes: TileEvaluator
    """The evaluation of the batches."""
    facts: SlabCounts = field(default_factory=SlabCounts)
    """The counts of the part."""
    poison: dict[int, list[int]] = field(default_factory=dict)
    """The numbers of failed tiles by tile row."""
    kept: int = 0
    """The number of tiles that were evaluated when the last row was written."""
    lost: bool = False
    """Whether another run has taken over."""

    @classmethod
    def of(cls, plan: PredictPlan, part: Slab, stop: Stop) -> "SlabRun":
        """Return the slab of a part with its predictor loaded."""
        predictor, scene = plan.spec.open(plan.threads), Scene.open(plan.scene)
        first, last = plan.columns_read(part.panel)
        roi = Roi(y0=plan.roi.y0, y1=plan.roi.y1, x0=plan.roi.x0 + first, x1=plan.roi.x0 + last)
        pool = ThreadPoolExecutor(plan.threads, "tilespec-decode")
        reader = RowReader(scene=scene, roi=roi, prepares=predictor, pool=pool)
        lanes = TileEvaluator(plan=plan, part=part, predictor=predictor, left=first)
        return cls(plan=plan, part=part, stop=stop, predictor=predictor, reader=reader, lanes=lanes)

    @property
    def depth(self) -> int:
        """The number of batches that are evaluated or wait at once."""
        return self.hands + 2

    @property
    def hands(self) -> int:
        """The number of threads that evaluate batches."""
        return self.plan.threads if self.predictor.device is None else min(LANES, self.plan.threads)

    def run(self, progress: Progress) -> SlabCounts:
        """Stream the part from its first to its last row."""
        objects = ObjectRows(plan=self.plan, part=self.part, decode=self.predictor.decode)
        channels = self.predictor.channels[1] + self.plan.disagreement

        def write(row: ObjectRow) -> None:
            if not self.lost:
                self._write(row)
            objects.again(row)

        down = PlaneBlend(plan=self.plan, part=self.part, channels=channels)
        # Closed here: threads that the collector of garbage waits for can lock the thread in which it happens to run.
        streamed = closing(self._blocks(channels, progress))
        with self.reader.pool, BackgroundWriter(write) as writer, streamed as blocks:
            for k, block in blocks if self.predictor.device is None else _whole_rows(blocks):
                for whole in objects.add(down.add(k, block)):
                    writer.put(whole)
        assert self.facts.stopped or objects.done == len(self.part.rows), "every row of the part was written"
        self.facts.read_seconds, self.facts.bytes_read = self.reader.seconds, self.reader.bytes
        self.facts.poison = sorted({number for numbers in self.poison.values() for number in numbers})
        self.facts.wasted = self.facts.tiles - self.kept if self.lost else 0
        return self.facts

    def _write(self, row: ObjectRow) -> None:
        """Write one row of objects, unless it has been recorded since this part began.

        A scheduler gives the part of a worker that it cannot reach to another one, and the first one may go on: writing
        a recorded row again would delete its objects for a moment.
        """
        record = self.plan.product.ledger.read(row.number, self.part.panel)
        if record is not None and not record.get("poison"):
            return
        y0, y1 = self.plan.product.span(row.number)
        poison = sorted({n for k in self.plan.grid.y.covering(y0, y1) for n in self.poison.get(k, [])})
        counts = {"nodata": row.nodata}
        try:
            self.plan.product.write(row.number, row.arrays, counts, panel=self.part.panel, poison=poison)
        except (LeaseLostError, OSError):
            if self._owned():
                raise
            self.lost = self.facts.stopped = True
            return
        self.kept = self.facts.tiles
        self.facts.nodata += row.nodata
        self.facts.bytes_written += sum(array.nbytes for array in row.arrays.values())

    def _blocks(self, channels: int, progress: Progress) -> Generator[tuple[int, BlendedBlock], None, None]:
        """Yield each tile row, blended along x, block by block: from its tiles, or from a stored strip."""
        strips = StripStore(folder=self.plan.product.scratch, panel=self.part.panel)
        left = self.plan.product.columns(self.part.panel)[0]
        with ThreadPoolExecutor(self.hands, "tilespec-lane") as pool, ThreadPoolExecutor(1, "tilespec-read") as reading:
            batches = self._batches(strips, Prefetch(reading, self._load))
            answers = in_order(pool, self.lanes.evaluate, batches, self.depth)
            for k, row in itertools.groupby(answers, key=lambda pair: pair[0].k):
                along, leaving = (
                    RowBlend(plan=self.plan, part=self.part, k=k, channels=channels),
                    StripCollector(self._shared(k)),
                )
                for batch, answer in row:
                    progress.advance(len(batch.columns))
                    self._count(k, answer)  # before the row of objects with its poison tiles is complete
                    if batch.strip is not None:
                        values = sent(batch.strip, self.predictor.device)
                        yield k, BlendedBlock(top=self.plan.own(self.part, k)[0], left=left, values=values)
                    for column, tile in zip(batch.columns, answer.tiles, strict=False):
                        block = along.add(column, tile)
                        leaving.add(block)
                        yield k, block
                if k not in self.poison and self._owned():  # adjacent slabs evaluate poison tiles themselves
                    leaving.leave(strips, k)

    def _batches(self, strips: StripStore, ahead: Prefetch[int, Rows]) -> Iterator[TileBatch]:
        """Yield the batches from top to bottom, until all are done or ``stop`` returns True."""
        tile_rows, columns = self.plan.tiles(self.part)
        size = self.plan.batch
        for k in tile_rows:
            if self.lost or self.stop():
                self.facts.stopped = True
                return
            own = self.plan.own(self.part, k)
            left = strips.take(k, own) if own != self.plan.wanted(self.part, k) else None
            if left is not None:
                self.facts.shared += len(columns)
                yield TileBatch(k=k, columns=tuple(columns), rows=None, strip=left)
                continue
            rows = ahead.get(k)
            for number, first in enumerate(range(0, len(columns), size)):
                if number == self.depth and k < tile_rows[-1]:  # the previous row is finished, so its strips are free
                    ahead.begin(k + 1)
                yield TileBatch(k=k, columns=tuple(columns[first : first + size]), rows=rows)

    def _load(self, k: int) -> Rows:
        """Return the input rows of a tile row."""
        return self.reader.load(reflect(np.arange(*self.plan.grid.read(self.plan.grid.y, k)), self.reader.height))

    def _owned(self) -> bool:
        """Return whether no other run has taken over, and perhaps finished and cleaned up."""
        lease = self.plan.product.lease
        return lease is None or lease.held

    def _shared(self, k: int) -> tuple[tuple[int, int], ...]:
        """Return the rows of a tile row that adjacent parts of other tasks need."""
        (first, last), (start, stop) = self.plan.wanted(self.part, k), self.plan.span(self.part)
        return tuple(rows for rows in ((first, start), (stop, last)) if rows[0] < rows[1])

    def _count(self, k: int, answers: TilePredictions) -> None:
        """Count the tiles of a batch."""
        self.facts.tiles += answers.evaluated
        self.facts.empty += len(answers.tiles) - answers.evaluated
        self.facts.network_seconds += answers.seconds
        if answers.poison:
            self.poison.setdefault(k, []).extend(answers.poison)


def _whole_rows(blocks: Iterator[tuple[int, BlendedBlock]]) -> Iterator[tuple[int, BlendedBlock]]:
    """Yield each tile row as one block, so that a device is waited for once in a tile row."""
    for k, row in itertools.groupby(blocks, key=lambda pair: pair[0]):
        yield k, joined([block for _, block in row])
