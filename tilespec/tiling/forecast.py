"""Forecast: how long a plan takes on some number of workers, by a small model of events, without data.

Workers take the parts in the order in which they are submitted. Each part has three stages: the tile rows that it has
in common with the part above, those of its own, and those in common with the part below. A common tile row costs
nothing if the adjacent part has stored its strip by then; else it is evaluated twice. Workers share the cores of their
machines and the bandwidth of the storage, so a stage takes longer the more of them are busy.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

from tilespec.tiling.grid import reflect
from tilespec.tiling.plan import PredictPlan, Slab

TOP, OWN, BOTTOM = range(3)
"""The stages of a part."""


LOADING = 2.1
"""The time of one core until a worker has loaded the libraries, as measured; a note does not hold it."""
CROWDING = 0.3
"""How much more a tile costs where workers share cores and caches: with two on each 1.15 times (measured: 1 to 1.3)."""


@final
@dataclass(frozen=True, kw_only=True)
class Rates:
    """What one tile, byte, part and worker costs, as an earlier run measured it."""

    tile_seconds: float
    """The time of one core for a tile: the net, and its share of cutting, blending, encoding."""
    read_rate: float = math.inf
    """The decoded bytes of the scene that one core reads and prepares in a second."""
    write_rate: float = math.inf
    """The bytes of the prediction that one core encodes in a second, if they are not in ``tile_seconds``."""
    width: float = 1.0
    """The number of cores that one thread of a plan keeps busy, above 1 because reading and writing run beside it."""
    start_seconds: float = 3.0
    """The time until the workers have started."""
    first_seconds: float = LOADING
    """The time of one core for the first part of a worker: libraries are loaded, the scene and the model are opened."""
    part_seconds: float = 0.1
    """The time in which a worker begins a part: it is sent, and the scene is opened."""
    submit_seconds: float = 0.0016
    """The time of the client for one part; parts are submitted one after another."""
    storage_rate: float = math.inf
    """The bytes in a second that the storage gives to all workers together."""

    @classmethod
    def of(cls, note: dict[str, Any] | None, **known: float) -> "Rates | None":
        """Return the rates of an earlier run by its note in the ledger, or None if it does not hold them.

        The time of the processor is divided between net and reading as their times are; the rest belongs to the tiles.
        """
        keys = ("tiles", "cpu_seconds", "network_seconds", "read_seconds", "bytes_read", "seconds")
        tiles, cpu, network, reading, read, seconds = ((note or {}).get(key) or 0 for key in keys)
        opening = (note or {}).get("opening_seconds") or 0
        cpu -= opening
        if note is None or min(tiles, cpu, network, seconds) <= 0:
            return None
        share = reading / (network + reading)
        workers = max(note.get("workers") or 0, 1)
        threads = workers * max(note.get("lanes") or 1, 1)
        start = {"start_seconds": float(note.get("startup_seconds") or 0)} if note.get("workers") else {}
        found: dict[str, float] = {
            "tile_seconds": (1 - share) * cpu / tiles,
            "read_rate": read / (share * cpu) if share and read else math.inf,
            "width": (cpu + opening) / (seconds * threads),
            "first_seconds": LOADING + opening / workers,
        }
        return cls(**found | start | known)


@final
@dataclass(frozen=True, kw_only=True)
class Machines:
    """The workers, and what they run on."""

    workers: int
    """The number of workers."""
    cores: float
    """The number of cores of all machines together."""
    speeds: Sequence[float] = ()
    """The speed of each worker as a multiple of the measured one; none: all are as fast."""


@final
@dataclass(kw_only=True)
class Forecast:
    """What is expected of a run."""

    seconds: float = 0.0
    """The time from the command to the last part."""
    parts: int = 0
    """The number of parts."""
    tiles: int = 0
    """The number of tiles that are evaluated."""
    shared: int = 0
    """The number of tiles whose strip an adjacent part had stored."""
    busy: float = 0.0
    """The share of the workers' time in which they work."""

    def to_json(self, plan: PredictPlan) -> dict[str, Any]:
        """Return the forecast as plain data, with the number of tiles that are evaluated more than once."""
        return {**vars(self), "tiles_twice": self.tiles - _distinct(plan)}


def forecast(plan: PredictPlan, parts: Sequence[Slab], machines: Machines, rates: Rates, pixel: int) -> Forecast:
    """Return what is expected when workers run parts of a plan in their order.

    Args:
        plan: The plan.
        parts: Its parts, as `PredictPlan.parts` and `PredictPlan.shares` order them.
        machines: The workers.
        rates: What one tile, byte, part and worker costs.
        pixel: The bytes of one pixel of the scene, all bands.
    """
    run = _Run(plan=plan, machines=machines, rates=rates, pixel=pixel, parts=list(parts))
    while run.step():
        pass
    return run.found


@final
@dataclass(kw_only=True)
class _Run:
    """The state of the model: what each worker does, and how much of it is left."""

    plan: PredictPlan
    machines: Machines
    rates: Rates
    pixel: int
    parts: list[Slab]
    found: Forecast = field(default_factory=Forecast)
    next: int = 0
    """The number of the next part."""
    strips: set[tuple[int, int]] = field(default_factory=set)
    """The panel and the pixel row of each border of parts at which a strip is stored."""

    def __post_init__(self) -> None:
        count = self.machines.workers
        self.left = np.zeros(count)
        """The share of its stage that a worker still has to do."""
        self.delay, self.cpu, self.bytes = np.zeros((3, count))
        """The seconds that a stage takes at least, its time of one core, and the bytes that it reads."""
        self.speed = np.asarray(self.machines.speeds or [1.0] * count, float)
        self.at: list[tuple[Slab, int] | None] = [None] * count
        self.last = [-math.inf] * count
        """The end of the rows of the scene that a worker has read for its part."""
        self.free = self.found.seconds = self.rates.start_seconds
        self.found.parts = len(self.parts)
        self.worked = 0.0
        for worker in range(count):
            self._take(worker)

    def step(self) -> bool:
        """Go on to the next end of a stage; return whether there was one."""
        active = np.asarray([at is not None for at in self.at])
        if not active.any():
            spent = self.machines.workers * (self.found.seconds - self.rates.start_seconds)
            self.found.busy = self.worked / spent if spent else 1.0
            return False
        works = int((active & (self.cpu > 0)).sum())
        cores = min(self.rates.width * self.plan.threads, self.machines.cores / max(works, 1))
        cores /= 1 + CROWDING * max(0.0, 1 - self.machines.cores / max(works, 1))
        reads = int((active & (self.bytes > 0)).sum())
        took = np.maximum(self.cpu / (cores * self.speed), self.bytes * reads / self.rates.storage_rate)
        took = np.maximum(took, self.delay)
        until = np.where(active, self.left * took, np.inf)
        passed = float(until.min())
        self.found.seconds += passed
        self.worked += passed * int(active.sum())
        with np.errstate(divide="ignore", invalid="ignore"):
            self.left = np.where(until > passed, np.maximum(self.left - passed / took, 0.0), 0.0)
        for worker in np.flatnonzero(active & (until <= passed)):
            self._end(int(worker))
        return True

    def _end(self, worker: int) -> None:
        """Begin the next stage of a worker's part, or its next part."""
        at = self.at[worker]
        assert at is not None, "who ends a stage has a part"
        part, stage = at
        start, stop = self.plan.span(part)
        if stage == TOP and part.above:
            self.strips.add((part.panel, start))
        if stage == BOTTOM:
            self.strips |= {(part.panel, stop)} if part.below else set()
            self._take(worker)
        else:
            self._begin(worker, part, stage + 1)

    def _take(self, worker: int) -> None:
        """Give a worker the next part."""
        if self.next == len(self.parts):
            self.at[worker], self.left[worker] = None, 0.0
            return
        part, self.next = self.parts[self.next], self.next + 1
        self.free = max(self.free, self.found.seconds) + self.rates.submit_seconds
        first = self.at[worker] is None
        self._begin(worker, part, TOP, self.free - self.found.seconds + self.rates.part_seconds)
        self.cpu[worker] += self.rates.first_seconds if first else 0.0

    def _begin(self, worker: int, part: Slab, stage: int, delay: float = 0.0) -> None:
        """Begin a stage: what it costs depends on the strips that there are now."""
        rows, columns = _tile_rows(self.plan, part)[stage], len(self.plan.tiles(part)[1])
        start, stop = self.plan.span(part)
        beside = {TOP: part.above and (part.panel, start), BOTTOM: part.below and (part.panel, stop)}.get(stage)
        stored = beside in self.strips
        tiles = 0 if stored else len(rows) * columns
        self.found.tiles += tiles
        self.found.shared += len(rows) * columns if stored else 0
        after = -math.inf if stage == TOP else self.last[worker]
        pixels, last = (0, after) if stored or not rows else _pixels_read(self.plan, part, rows, after)
        read = pixels * self.pixel
        write = 0 if stage != OWN else (stop - start) * _width(self.plan, part) * 4 * self.plan.spec.channels[1]
        rates = self.rates
        self.cpu[worker] = tiles * rates.tile_seconds + read / rates.read_rate + write / rates.write_rate
        self.bytes[worker], self.delay[worker] = read, delay
        self.at[worker], self.left[worker], self.last[worker] = (part, stage), 1.0, last


def _tile_rows(plan: PredictPlan, part: Slab) -> tuple[range, range, range]:
    """Return the tile rows of each stage of a part."""
    axis, (start, stop), rows = plan.grid.y, plan.span(part), plan.tiles(part)[0]
    top = sum(k * axis.step < start for k in rows) if part.above else 0
    bottom = sum(k * axis.step + axis.tile > stop for k in rows[top:]) if part.below else 0
    return rows[:top], rows[top : len(rows) - bottom], rows[len(rows) - bottom :]


def _pixels_read(plan: PredictPlan, part: Slab, rows: range, after: float) -> tuple[int, float]:
    """Return the pixels of the scene that tile rows need ``after`` what is in memory, and the end of what they need."""
    grid, (first, last) = plan.grid, plan.columns_read(part.panel)
    start, stop = max(grid.read(grid.y, rows[0])[0], after), grid.read(grid.y, rows[-1])[1]
    inside = np.unique(reflect(np.arange(int(start), stop), plan.roi.shape[0]))
    return len(inside) * (last - first), stop


def _width(plan: PredictPlan, part: Slab) -> int:
    first, last = plan.product.columns(part.panel)
    return last - first


def _distinct(plan: PredictPlan) -> int:
    """Return the number of tiles, those at the borders of panels once for each panel."""
    columns = [len(plan.grid.x.covering(*plan.product.columns(panel))) for panel in range(plan.product.panels)]
    return plan.grid.y.count * sum(columns)
