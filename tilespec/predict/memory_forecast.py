"""Memory forecast: the memory of a prediction, measured where possible and otherwise calculated."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import final

import numpy as np
import psutil

from tilespec.core.errors import UserError
from tilespec.core.memory import Peak, resident
from tilespec.core.types import Roi
from tilespec.storage.layout import encoding
from tilespec.storage.scene import Scene
from tilespec.tiling.plan import PredictPlan

WAITING = 3
"""The number of predictions that wait to be blended (`tilespec.tiling.slab.SlabRun.depth` beyond the threads) or for
their right part.
"""
DASK = 110 << 20
"""The bytes that distributed takes in every process, including the command's own, as measured (2026.8.0)."""


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
    """Return the usable memory in bytes: the requested amount ("4GB", "800MB"), else the available memory."""
    if text_given is None:
        return int(psutil.virtual_memory().available) + resident()
    units = {"GB": 10**9, "MB": 10**6, "GIB": 1 << 30, "MIB": 1 << 20, "": 1}
    text = text_given.strip().upper()
    number = text.rstrip("GIMB ")
    try:
        return int(float(number) * units[text[len(number) :].strip()])
    except (ValueError, KeyError) as error:
        raise UserError(
            "--memory", found=repr(text_given), expected="a size such as 4GB or 800MB", do="Check it."
        ) from error


def project(plan: PredictPlan, workers: int) -> Projection:
    """Return the projected memory of a plan; it loads the model and evaluates the net on one batch."""
    scene = Scene.open(plan.scene)
    predictor = plan.spec.open(plan.threads)
    (y0, y1), (x0, x1) = plan.grid.read(plan.grid.y, 0), plan.grid.read(plan.grid.x, 0)
    shape = (plan.batch, y1 - y0, x1 - x0, predictor.channels[0])
    tiles = np.full(shape, -0.5, np.float32)  # not a reflectance, so that a trial differs from any tile
    base, times = resident() - tiles.nbytes, plan.threads
    with ThreadPoolExecutor(plan.threads) as pool, Peak(interval=0.001) as peak:  # every thread has its own heap
        answers = list(pool.map(predictor, [tiles] * times, [list(range(plan.batch))] * times))  # some batches wait
    grown = peak.bytes - base - tiles.nbytes
    return Projection(
        base=base,
        lane=(max(grown, sum(a.nbytes for a in answers)) + WAITING * answers[0].nbytes) // plan.threads + tiles.nbytes,
        buffers=max(_buffers(plan, panel, predictor.channels, scene) for panel in range(plan.product.panels)),
        reading=_reading(scene, plan.roi, predictor.channels[0]),
        workers=workers,
    )


def _buffers(plan: PredictPlan, panel: int, channels: tuple[int, int], scene: Scene) -> int:
    """Return the bytes in use by one part: strips of a tile row and the next, blended rows, rows of objects."""
    (x0, x1), (y0, y1) = plan.columns_read(panel), plan.grid.read(plan.grid.y, 0)
    step = plan.grid.read(plan.grid.y, 1)[0] - y0
    height = min(plan.roi.shape[0], -(-(y1 - y0 + step) // scene.chunks[0] + 1) * scene.chunks[0])
    width, edge = plan.product.columns(panel)[1] - plan.product.columns(panel)[0], plan.product.edge
    blended = channels[1] + plan.disagreement
    strips = height * (x1 - x0) * (4 * channels[0] + 1)
    one = 4 * edge * edge * blended
    return int(strips + 4 * blended * width * (plan.grid.y.tile + 3 * edge) + 3 * encoding(one) * one)


def _reading(scene: Scene, roi: Roi, channels: int) -> int:
    """Return the bytes of one chunk in all its forms: encoded, decoded, as float32, and after the recipe."""
    pixels = min(scene.chunks[0], roi.shape[0]) * min(scene.chunks[1], roi.shape[1])
    converted = 4 if scene.dtype.itemsize != 4 else 0
    return int(pixels * (scene.shape[2] * (2 * scene.dtype.itemsize + converted) + 8 * channels))
