"""Predict: slabs of tile rows stream through the net, and finished rows of objects leave for the store.

A slab is a run of rows of objects that one task owns: it evaluates every tile row that touches them, in ascending
order, so its bits are those of the whole plane, whatever the cut. Tile rows that two slabs share are evaluated
twice; nothing is exchanged, locked or modified in place. This module knows arithmetic and storage, no network:
the net comes in as a `Predictor`.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32

from tilespec.blend import mix
from tilespec.graph import one_blas_thread
from tilespec.grid import Axis, Grid, reflect
from tilespec.product import Product
from tilespec.progress import Progress
from tilespec.rows import RowReader
from tilespec.scene import Scene
from tilespec.types import Roi

BATCH = 4
"""Tiles in a canonical batch: in plan order inside a tile row, the last one padded."""


@runtime_checkable
class Predictor(Protocol):
    """What turns tiles of reflectance into tiles of predictions."""

    @property
    def channels(self) -> tuple[int, int]:
        """Channels in (after `prepare`) and out (before `decode`)."""
        ...

    @property
    def threads(self) -> int:
        """How many threads may read and prepare at once."""
        ...

    def prepare(self, spectra: Float32[np.ndarray, "pixel band"]) -> Float32[np.ndarray, "pixel channel"]:
        """Apply the recipe: pixelwise, NaN where there is no data."""
        ...

    def __call__(
        self, tiles: Float32[np.ndarray, "tile y x channel"], ids: list[int]
    ) -> Float32[np.ndarray, "tile y2 x2 channel2"]:
        """Evaluate the net on a batch; ``ids`` are the tiles' numbers (they seed what is random)."""
        ...

    def decode(
        self, blended: Float32[np.ndarray, "y x channel"], valid: Bool[np.ndarray, "y x"]
    ) -> dict[str, np.ndarray]:
        """Return what is stored of finished rows, by array name, with nodata where not ``valid``."""
        ...


@runtime_checkable
class PredictorSpec(Protocol):
    """A small value that travels to a worker and opens a predictor there, once per process."""

    def open(self, threads: int) -> Predictor:
        """Return the predictor, computing on ``threads`` threads."""
        ...


@final
@dataclass(frozen=True, kw_only=True)
class PredictPlan:
    """What will run: a value that can be printed, hashed and sent."""

    scene: str
    """The scene's store."""
    roi: Roi
    """The region of the scene that is predicted."""
    product: Product
    """Where it goes."""
    grid: Grid
    """How the plane is cut."""
    spec: PredictorSpec
    """What predicts."""
    threads: int
    """Threads of one task."""

    def slabs(self, missing: list[int], parts: int) -> list[list[int]]:
        """Group missing rows of objects into runs: about ``parts`` of them, each three tile rows high at least."""
        height = max(-(-3 * self.grid.y.step // self.product.edge), -(-len(missing) // max(parts, 1)))
        runs: list[list[int]] = []
        for row in missing:
            if runs and runs[-1][-1] == row - 1 and len(runs[-1]) < height:
                runs[-1].append(row)
            else:
                runs.append([row])
        return runs


@final
@dataclass(kw_only=True)
class Facts:
    """What a slab counted."""

    tiles: int = 0
    """Tiles evaluated by the net."""
    empty: int = 0
    """Tiles without one valid pixel, not evaluated."""
    nodata: int = 0
    """Output pixels without data."""
    network_seconds: float = 0.0
    """Time inside the net."""
    read_seconds: float = 0.0
    """Time reading and preparing."""
    bytes_read: int = 0
    """Decoded bytes of the scene."""
    bytes_written: int = 0
    """Bytes of the prediction before encoding."""

    def add(self, other: "Facts") -> None:
        """Count what another slab counted."""
        for key, value in vars(other).items():
            setattr(self, key, getattr(self, key) + value)


def run_slab(plan: PredictPlan, rows: list[int], progress: Progress) -> Facts:
    """Predict, write and record the rows of objects ``rows`` (consecutive)."""
    with one_blas_thread():  # set once for the slab: readers are parallel already
        return _run_slab(plan, rows, progress)


def _run_slab(plan: PredictPlan, rows: list[int], progress: Progress) -> Facts:
    facts = Facts()
    predictor = plan.spec.open(plan.threads)
    scene = Scene.open(plan.scene)
    reader = RowReader.of(scene, plan.roi, predictor)
    start, stop = plan.product.span(rows[0])[0], plan.product.span(rows[-1])[1]
    pending = np.empty((0, plan.grid.x.length, predictor.channels[1]), np.float32)
    row = rows[0]
    source_x = plan.grid.source(plan.grid.x, plan.roi.shape[1])
    source_y = plan.grid.source(plan.grid.y, plan.roi.shape[0])
    for finished in _finished(plan, predictor, reader, (start, stop), facts, progress):
        pending = np.concatenate([pending, finished]) if len(pending) else finished
        while row <= rows[-1] and len(pending) >= (height := np.subtract(*plan.product.span(row)[::-1])):
            y0, y1 = plan.product.span(row)
            valid = reader.valid(source_y[y0:y1])[:, source_x]
            blocks = predictor.decode(pending[:height], valid)
            nodata = int((~valid).sum())
            plan.product.write(row, blocks, {"nodata": nodata})
            facts.nodata += nodata
            facts.bytes_written += sum(block.nbytes for block in blocks.values())
            pending, row = pending[height:].copy(), row + 1
    assert row == rows[-1] + 1, "every row of the slab was written"
    facts.read_seconds, facts.bytes_read = reader.seconds, reader.bytes
    return facts


def _finished(
    plan: PredictPlan,
    predictor: Predictor,
    reader: RowReader,
    span: tuple[int, int],
    facts: Facts,
    progress: Progress,
) -> Iterator[Float32[np.ndarray, "y x channel"]]:
    """Yield the blended rows ``span[0]`` to ``span[1]`` of the plane, as soon as no later tile row reaches them."""
    axis, (start, stop) = plan.grid.y, span
    tile_rows = axis.covering(start, stop)
    mean = np.empty((0, 0, 0), np.float32)
    for k in tile_rows:
        strip = _tile_row(plan.grid, k, predictor, reader, facts)
        progress.advance(plan.grid.x.count)
        if len(mean):
            mean = np.concatenate([mean[axis.step :], strip[axis.overlap :]])
            mix(mean, strip, axis.gains(k, plan.grid.window))
        else:
            mean = strip  # rows that an earlier tile row shares lie above `start`, and are not asked for
        top = k * axis.step
        last = stop if k == tile_rows[-1] else min(top + axis.step, stop)
        yield mean[max(start - top, 0) : last - top].copy()


def _tile_row(
    grid: Grid, k: int, predictor: Predictor, reader: RowReader, facts: Facts
) -> Float32[np.ndarray, "y x channel"]:
    """Return one tile row, blended along x and cut to the plane's width."""
    index = reflect(np.arange(*grid.read(grid.y, k)), reader.height)
    reader.load(index)
    out = np.empty((grid.x.end, grid.y.tile, predictor.channels[1]), np.float32)
    for first in range(0, grid.x.count, BATCH):
        columns = range(first, min(first + BATCH, grid.x.count))
        tiles = _predict_batch(grid, k, columns, predictor, reader, facts)
        for column, tile in zip(columns, tiles, strict=True):
            begin = column * grid.x.step
            # x leads while blending along x, so that one function serves both axes
            mix(out[begin : begin + grid.x.tile], tile, grid.x.gains(column, grid.window))
    return np.ascontiguousarray(out[: grid.x.length].swapaxes(0, 1))


def _predict_batch(
    grid: Grid, k: int, columns: range, predictor: Predictor, reader: RowReader, facts: Facts
) -> list[Float32[np.ndarray, "x2 y2 channel2"]]:
    """Return the predictions of some tiles of tile row ``k``, cropped to the tile, x before y."""
    y = reflect(np.arange(*grid.read(grid.y, k)), reader.height)
    spans = [reflect(np.arange(*grid.read(grid.x, c)), reader.roi.shape[1]) for c in columns]
    batch = np.zeros((BATCH, len(y), len(spans[0]), predictor.channels[0]), np.float32)
    filled = [reader.tile(batch[slot], y, x) for slot, x in enumerate(spans)]
    facts.tiles += sum(filled)
    facts.empty += len(columns) - sum(filled)
    if not any(filled):
        return [np.zeros((grid.x.tile, grid.y.tile, predictor.channels[1]), np.float32)] * len(columns)
    ids = [k * grid.x.count + c for c in columns] + [-1] * (BATCH - len(columns))
    began = time.monotonic()
    out = predictor(batch, ids)
    facts.network_seconds += time.monotonic() - began
    top = grid.crop(grid.y, k)
    lefts = [grid.crop(grid.x, c) for c in columns]
    return [
        tile[top : top + grid.y.tile, left : left + grid.x.tile].swapaxes(0, 1)
        for tile, left in zip(out, lefts, strict=False)
    ]


def axes(plane: tuple[int, int], tile: int, overlap: int) -> tuple[Axis, Axis]:
    """Return the tile axes of a plane."""
    return tuple(Axis(length=length, tile=tile, overlap=overlap) for length in plane)  # type: ignore[return-value]


def describe(plan: PredictPlan, channels: tuple[int, int], scene: Scene) -> dict[str, Any]:
    """Return the plan as plain data: tiles, objects, bytes, projected memory of one task."""
    grid, width, bands = plan.grid, plan.roi.shape[1], scene.shape[2]
    reads = grid.read(grid.y, 0)
    rows_in = reads[1] - reads[0] + 2 * scene.chunks[0]
    area = (reads[1] - reads[0]) ** 2
    memory = 4 * (
        rows_in * width * channels[0]
        + (2 * grid.y.tile + plan.product.edge) * width * channels[1]
        + plan.threads * 2 * scene.chunks[0] * scene.chunks[1] * 4 * bands
        + BATCH * area * (channels[0] + channels[1])
    )
    return {
        "scene": plan.scene,
        "out": plan.product.url,
        "region": str(plan.roi),
        "tiles": grid.tiles,
        "tile": grid.y.tile,
        "overlap": grid.y.overlap,
        "window": grid.window,
        "tile_class": grid.reach.kind,
        "rows_of_objects": plan.product.rows,
        "rows_missing": len(plan.product.missing()) if plan.product.ledger.folder.exists() else plan.product.rows,
        "bytes_to_read": plan.roi.shape[0] * width * bands * scene.dtype.itemsize,
        "memory_without_network": memory,
    }
