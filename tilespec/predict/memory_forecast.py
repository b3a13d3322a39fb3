"""Memory forecast: the memory of a prediction, measured where possible and otherwise calculated."""

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from typing import Final, final

import numpy as np

from tilespec.core.errors import UserError
from tilespec.core.limits import enforced, usable
from tilespec.core.memory import Peak, resident
from tilespec.core.types import Roi, TileClass
from tilespec.storage.layout import encoding
from tilespec.storage.scene import Scene
from tilespec.tiling.plan import Predictor, PredictPlan

LATER: Final = 64 << 20
"""The bytes of libraries that a run loads when it writes its first row, and of memory that heaps do not give back."""
WAITING = 3
"""The number of predictions that wait to be blended (`tilespec.tiling.slab.SlabRun.depth` beyond the threads) or for
their right part.
"""
DASK = 110 << 20
"""The bytes that distributed takes in every process, including the command's own, as measured (2026.8.0)."""
SPARE: Final = 64
"""The memory of a net as a multiple of its input and output that the first trial is prepared for."""
SMALLEST: Final = 64
"""The side in pixels of a trial that is not halved any more."""
Shape = tuple[int, int, int, int]
"""The shape ``batch, y, x, channel`` of the input of a net."""


@final
@dataclass(frozen=True, kw_only=True)
class Projection:
    """The peak memory of a plan in bytes."""

    base: int
    """The bytes of one process with its libraries and the model before any work."""
    lane: int
    """The bytes that the net takes while it evaluates one batch, measured on one batch."""
    buffers: int
    """The bytes of strips, tiles, blended rows and objects of one part."""
    reading: int
    """The bytes of the chunks of the scene that one thread is transforming by the recipe."""
    workers: int
    """The number of processes in addition to this one."""

    def peak(self, lanes: int) -> int:
        """Return the peak in bytes over all processes with ``lanes`` evaluating threads in each."""
        working = self.buffers + lanes * (self.lane + self.reading)
        if not self.workers:
            return self.base + working
        return self.base + DASK + self.workers * (self.base + DASK + working)

    def lanes(self, wanted: int, budget: int) -> int:
        """Return the number of evaluating threads that fit the budget, at least one.

        Raises:
            UserError: the budget is too small for a single one.
        """
        for lanes in range(wanted, 0, -1):
            if self.peak(lanes) <= budget:
                return lanes
        raise UserError(
            "memory",
            found=f"a projected peak of {self.peak(1) / 1e9:.2f} GB ({self.describe(1)})",
            expected=f"at most {budget / 1e9:.2f} GB",
            do="Choose a smaller --tile or fewer --workers, or give more with --memory if the machine has it.",
        )

    def describe(self, lanes: int) -> str:
        """Return the parts of the memory as text."""
        parts = {
            "process": self.base,
            "net": lanes * self.lane,
            "reading": lanes * self.reading,
            "buffers": self.buffers,
        }
        text = ", ".join(f"{name} {size / 1e9:.2f}" for name, size in parts.items())
        return f"{text} GB" + (f", {self.workers} workers" if self.workers else "")


def budget(text_given: str | None) -> int:
    """Return the usable memory in bytes: the requested amount ("4GB", "800MB"), else what is free.

    A limit that the system enforces (a cgroup of a container or a batch job, ``ulimit``) is never exceeded: whoever
    takes more is killed.
    """
    if text_given is None:
        return usable()
    units = {"GB": 10**9, "MB": 10**6, "GIB": 1 << 30, "MIB": 1 << 20, "": 1}
    text = text_given.strip().upper()
    number = text.rstrip("GIMB ")
    try:
        return min(int(float(number) * units[text[len(number) :].strip()]), *enforced(), sys.maxsize)
    except (ValueError, KeyError, OverflowError) as error:
        raise UserError(
            "--memory", found=repr(text_given), expected="a size such as 4GB or 800MB", do="Check it."
        ) from error


def project(plan: PredictPlan, workers: int, limit: int) -> Projection:
    """Return the projected memory of a plan; it loads the model and evaluates the net on one batch.

    A batch that could exceed the ``limit`` in bytes is not evaluated: smaller ones are, and their memory is scaled.
    """
    scene = Scene.open(plan.scene)
    predictor = plan.spec.open(plan.threads)
    (y0, y1), (x0, x1) = plan.grid.read(plan.grid.y, 0), plan.grid.read(plan.grid.x, 0)
    whole = (plan.batch, y1 - y0, x1 - x0, predictor.channels[0])
    base, answer = resident() + LATER, 4 * plan.grid.y.tile * plan.grid.x.tile * predictor.channels[1]
    return Projection(
        base=base,
        lane=_lane(predictor, whole, plan, limit - base) + WAITING * plan.batch * answer // plan.threads,
        buffers=max(_buffers(plan, panel, predictor.channels, scene) for panel in range(plan.product.panels)),
        reading=_reading(scene, plan.roi, predictor.channels[0]),
        workers=workers,
    )


def _lane(predictor: Predictor, whole: Shape, plan: PredictPlan, space: int) -> int:
    """Return the bytes of a batch of the shape ``whole`` in one thread, from trials that fit into ``space`` bytes.

    The first trial is small enough for a net that takes `SPARE` times its input and output, and each further one is
    allowed by the one before, scaled by its pixels.
    """
    trials = _trials(whole, plan.grid.reach)
    given = [4 * prod(shape) + 4 * prod(shape[:3]) * predictor.channels[1] for shape in trials]
    first = max((n for n, size in enumerate(given) if plan.threads * SPARE * size <= space), default=0)
    taken = _measured(predictor, trials[first], plan.threads) / given[first]
    for shape, size in zip(trials[first + 1 :], given[first + 1 :], strict=True):
        if plan.threads * (taken or SPARE) * size > space:
            break
        taken = _measured(predictor, shape, plan.threads) / size
    return int((taken or SPARE) * given[-1])


def _trials(whole: Shape, reach: TileClass) -> list[Shape]:
    """Return the shapes of ever larger batches, the last one ``whole``, each of at most about four times the pixels."""
    batch, height, width, channels = whole
    shapes = [whole]
    while batch > 1 or max(height, width) > SMALLEST:
        if batch > 1:
            batch = max(1, batch // 4)
        else:
            height, width = (reach.size(max(side // 2 - reach.align + 1, 1)) for side in (height, width))
        if (batch, height, width, channels) == shapes[-1]:
            break
        shapes.append((batch, height, width, channels))
    return shapes[::-1]


def _measured(predictor: Predictor, shape: Shape, threads: int) -> float:
    """Return the bytes that a batch takes in one of several threads, with its input; a net may refuse a small shape."""
    tiles = np.full(shape, -0.5, np.float32)  # not a reflectance, so that a trial differs from any tile
    base = resident()
    try:
        with ThreadPoolExecutor(threads) as pool, Peak(interval=0.001) as peak:  # every thread has its own heap
            ids = list(range(len(tiles)))
            answers = list(pool.map(predictor, [tiles] * threads, [ids] * threads))  # some batches wait
    except (RuntimeError, ValueError):
        return 0.0
    return max(peak.bytes - base, sum(answer.nbytes for answer in answers)) / threads + tiles.nbytes


def _buffers(plan: PredictPlan, panel: int, channels: tuple[int, int], scene: Scene) -> int:
    """Return the bytes in use by one part: strips of the tile rows in flight, blended rows, rows of objects."""
    x0, x1 = plan.columns_read(panel)
    width, edge = plan.product.columns(panel)[1] - plan.product.columns(panel)[0], plan.product.edge
    blended = channels[1] + plan.disagreement
    strips = _rows_held(plan, panel, scene) * (x1 - x0) * (4 * channels[0] + 1)
    one = 4 * edge * min(edge, width) * blended
    return int(strips + 4 * blended * width * (plan.grid.y.tile + 3 * edge) + 3 * encoding(one) * one)


def _rows_held(plan: PredictPlan, panel: int, scene: Scene) -> int:
    """Return the largest number of input rows in memory at once.

    While the rows of one tile row are read, those of earlier ones are in memory as long as a batch of them is in
    flight; rows are read and dropped by rows of stored objects.
    """
    columns = len(plan.grid.x.covering(*plan.product.columns(panel)))
    flying = -(-(plan.threads + WAITING - 1) // max(1, -(-columns // plan.batch)))
    edge, (top, height) = scene.chunks[0], (plan.roi.y0, plan.roi.shape[0])
    spans = [plan.grid.read(plan.grid.y, k) for k in range(plan.grid.y.count)]
    most = 0
    for k, (_, stop) in enumerate(spans):
        first = (max(0, spans[max(0, k - flying)][0]) + top) // edge * edge
        last = -(-(min(stop, height) + top) // edge) * edge
        most = max(most, min(last, top + height) - max(first, top))
    return most


def _reading(scene: Scene, roi: Roi, channels: int) -> int:
    """Return the bytes of one chunk in all its forms: encoded, decoded, as float32, and after the recipe."""
    pixels = min(scene.chunks[0], roi.shape[0]) * min(scene.chunks[1], roi.shape[1])
    converted = 4 if scene.dtype.itemsize != 4 else 0
    return int(pixels * (scene.shape[2] * (2 * scene.dtype.itemsize + converted) + 8 * channels))
