"""Sampling: which patches a net learns from, and the threads that read them.

The law: patch ``k`` of epoch ``e`` is a pure function of ``(seed, e, k)``. Ranks take contiguous slices of each
batch. So the stream depends neither on the number of ranks nor on the threads, and resuming is knowing one integer.
"""

import time
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from typing import NamedTuple, final

import numpy as np
import torch

from tilespec.blocks import Blocks
from tilespec.corpus import Ground
from tilespec.objectives import Batch
from tilespec.tasks import Task
from tilespec.types import UNLABELLED, ClassMap, Reflectance, Roi

TURNS = 8
"""Symmetries of the square."""
AHEAD = 2
"""Batches that each thread prepares ahead."""


class Patch(NamedTuple):
    """Where a patch lies, and how it is turned."""

    scene: int
    y: int
    x: int
    turn: int


@final
@dataclass(frozen=True, kw_only=True)
class Law:
    """Which patch is the ``i``-th of the stream."""

    seed: int
    """Of the run."""
    regions: tuple[Roi, ...]
    """Where patches may lie, one region for each scene."""
    side: int
    """Of a patch, in pixels."""
    patches: int
    """In an epoch."""
    augment: bool = True
    """Whether patches are turned and mirrored."""
    window: int = 1
    """Neighbouring patches that follow each other; their order and that of the windows is drawn."""
    kept: tuple[Patch, ...] = ()
    """Where epochs are drawn from, with replacement; empty: from everywhere."""

    @property
    def length(self) -> int:
        """Patches in an epoch."""
        return len(self.kept) or self.patches

    def patch(self, index: int) -> Patch:
        """Return the patch at ``index`` of the stream: number ``index % length`` of epoch ``index // length``."""
        epoch, k = divmod(index, self.length)
        return _epoch(self, epoch)[k]

    def keeping(self, grounds: tuple[Ground, ...]) -> "Law":
        """Return the law that draws from those of ``patches`` fixed patches that hold more than one class.

        As published by Mishra and Herrmann (2021). When none does, all are kept.
        """
        rng = np.random.default_rng([self.seed, 1])
        drawn = _anywhere(self, rng)
        kept = tuple(p for p in drawn if _mixed(grounds[p.scene].labels(_roi(p, self.side))))
        return replace(self, kept=kept or tuple(drawn))


@lru_cache(maxsize=8)
def _epoch(law: Law, epoch: int) -> tuple[Patch, ...]:
    """Return all patches of an epoch, in order."""
    rng = np.random.default_rng([law.seed, 0, epoch])
    drawn = [law.kept[i] for i in rng.integers(law.length, size=law.length)] if law.kept else _anywhere(law, rng)
    near = sorted(drawn, key=lambda p: (p.scene, p.y // law.side, p.x)) if law.window > 1 else drawn
    windows = [near[i : i + law.window] for i in range(0, len(near), law.window)]
    shuffled = [windows[i] for i in rng.permutation(len(windows))]
    return tuple(window[i] for window in shuffled for i in rng.permutation(len(window)))


def _anywhere(law: Law, rng: np.random.Generator) -> list[Patch]:
    """Return patches drawn uniformly from all positions of all regions."""
    spans = [(h - law.side + 1, w - law.side + 1) for h, w in (roi.shape for roi in law.regions)]
    ends = np.cumsum([rows * cols for rows, cols in spans])
    places = rng.integers(ends[-1], size=law.patches)
    turns = rng.integers(TURNS, size=law.patches) if law.augment else np.zeros(law.patches, int)
    drawn = []
    for place, turn in zip(places.tolist(), turns.tolist(), strict=True):
        scene = int(np.searchsorted(ends, place, side="right"))
        row, col = divmod(place - (int(ends[scene - 1]) if scene else 0), spans[scene][1])
        drawn.append(Patch(scene, law.regions[scene].y0 + row, law.regions[scene].x0 + col, turn))
    return drawn


def turned(plane: np.ndarray, turn: int) -> np.ndarray:
    """Return ``plane`` (``y, x, ...``, square) turned by ``turn % 4`` quarters, and mirrored from 4 on."""
    rotated = np.rot90(plane, turn % 4)
    return rotated[:, ::-1] if turn >= TURNS // 2 else rotated


@final
class Loader:
    """Batches of one rank, prepared ahead by threads."""

    def __init__(self, law: Law, blocks: Blocks, task: Task, *, batch: int, share: range, threads: int) -> None:
        """Take slices ``share`` of each ``batch`` of the stream; ``threads`` 0: prepare none ahead."""
        self._law, self._blocks, self._task = law, blocks, task
        self._size, self._share, self._threads = batch, share, threads
        self.waited = 0.0
        """Seconds that the loop waited for a batch."""

    def batches(self, start: int, stop: int) -> Generator[Batch, None, None]:
        """Yield the batches of the steps ``start`` to ``stop``."""
        ahead: deque[Future[Batch]] = deque()
        upcoming = iter(range(start, stop))
        with ThreadPoolExecutor(max(self._threads, 1), thread_name_prefix="tilespec-loader") as pool:
            try:
                for _ in range(start, stop):
                    room = max(self._threads * AHEAD, 1) - len(ahead)
                    ahead.extend(pool.submit(self.batch, step) for step in islice(upcoming, room))
                    yield self._timed(ahead.popleft())
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def batch(self, step: int) -> Batch:
        """Return this rank's slice of the batch of one step."""
        ids = tuple(step * self._size + i for i in self._share)
        pairs = [self._pair(self._law.patch(i)) for i in ids]
        x = torch.from_numpy(np.stack([x for x, _ in pairs])).permute(0, 3, 1, 2)
        return Batch(x=x, y=torch.from_numpy(np.stack([y for _, y in pairs])), ids=ids)

    def _pair(self, patch: Patch) -> tuple[Reflectance, ClassMap]:
        """Return what the net reads on a patch, and what it should answer."""
        scores, labels = self._blocks.read(patch.scene, _roi(patch, self._law.side))
        x, y = self._task.pair(scores, labels)
        return turned(x, patch.turn), turned(y, patch.turn)

    def _timed(self, batch: Future[Batch]) -> Batch:
        """Return a batch when it is there, and count the wait."""
        began = time.monotonic()
        ready = batch.result()
        self.waited += time.monotonic() - began
        return ready


def _roi(patch: Patch, side: int) -> Roi:
    """Return the region of a patch."""
    return Roi(y0=patch.y, y1=patch.y + side, x0=patch.x, x1=patch.x + side)


def _mixed(labels: ClassMap) -> bool:
    """Say whether a patch holds more than one class."""
    return len(np.unique(labels[labels != UNLABELLED])) > 1
