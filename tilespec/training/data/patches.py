"""Sampling: which patches a net learns from, and the threads that read them.

The law: patch ``k`` of epoch ``e`` is a pure function of ``(seed, e, k)``. Ranks take contiguous slices of each
batch. So the stream depends neither on the number of ranks nor on the threads, and resuming is knowing one integer.
"""

import threading
import time
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYetError
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from typing import NamedTuple, final

import numpy as np
import torch
from jaxtyping import Shaped

from tilespec.core.errors import IncompleteError
from tilespec.core.types import UNLABELLED, ClassMap, Roi
from tilespec.models.tasks.base import Task
from tilespec.training.config import Config
from tilespec.training.data.corpus import Corpus, Ground
from tilespec.training.data.density import Density, even
from tilespec.training.data.score_cache import Blocks
from tilespec.training.objectives import Batch

TURNS = 8
"""Symmetries of the square."""
AHEAD = 2
"""Batches that each thread prepares ahead."""
LOOK = 1.0
"""Seconds between two looks at whether the threads that read are alive, while a batch is waited for."""

_drawing = threading.Lock()


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
    stratify: bool = False
    """Whether an epoch takes one patch from each of ``patches`` equal parts of the density."""
    density: Density | None = None
    """How likely pixels are to be drawn; None: each place that a patch can have is as likely as any other."""
    shares: tuple[float, ...] | None = None
    """How often each scene is drawn from; None: by its size. A density has its own."""
    kept: tuple[Patch, ...] = ()
    """Where epochs are drawn from, with replacement; empty: from everywhere."""

    @classmethod
    def of(cls, config: Config, corpus: Corpus) -> "Law":
        """Return the law of a configuration."""
        data = config.data
        law = cls(
            seed=config.train.seed,
            regions=tuple(ground.roi for ground in corpus.grounds),
            side=data.patch,
            patches=data.patches,
            augment=data.augment,
            window=data.window,
            stratify=data.stratify,
            density=corpus.density,
            shares=data.shares,
        )
        return law.keeping(corpus.grounds) if data.drop_single_class else law

    @property
    def length(self) -> int:
        """Patches in an epoch."""
        return len(self.kept) or self.patches

    def patch(self, index: int) -> Patch:
        """Return the patch at ``index`` of the stream: number ``index % length`` of epoch ``index // length``."""
        epoch, k = divmod(index, self.length)
        with _drawing:  # an epoch is drawn by one thread
            return _epoch(self, epoch)[k]

    def roi(self, patch: Patch) -> Roi:
        """Return the region of a patch."""
        return Roi(y0=patch.y, y1=patch.y + self.side, x0=patch.x, x1=patch.x + self.side)

    def keeping(self, grounds: tuple[Ground, ...]) -> "Law":
        """Return the law that draws from those of ``patches`` fixed patches that hold more than one class.

        As published by Mishra and Herrmann (2021). When none does, all are kept.
        """
        drawn = _drawn(self, np.random.default_rng([self.seed, 1]))
        kept = tuple(p for p in drawn if _mixed(grounds[p.scene].truth.read(self.roi(p))))
        return replace(self, kept=kept or tuple(drawn))


@lru_cache(maxsize=8)
def _epoch(law: Law, epoch: int) -> tuple[Patch, ...]:
    """Return all patches of an epoch, in order."""
    rng = np.random.default_rng([law.seed, 0, epoch])
    drawn = [law.kept[i] for i in rng.integers(law.length, size=law.length)] if law.kept else _drawn(law, rng)
    near = sorted(drawn, key=lambda p: (p.scene, p.y // law.side, p.x)) if law.window > 1 else drawn
    windows = [near[i : i + law.window] for i in range(0, len(near), law.window)]
    shuffled = [windows[i] for i in rng.permutation(len(windows))]
    return tuple(window[i] for window in shuffled for i in rng.permutation(len(window)))


def _drawn(law: Law, rng: np.random.Generator) -> list[Patch]:
    """Return the patches of an epoch as they are drawn: around a pixel, or as near to it as the region allows."""
    n, half = law.patches, law.side // 2
    quantiles = rng.random(n)
    if law.stratify:
        quantiles = (np.arange(n) + quantiles) / n
    pixels = (law.density or _equal(law)).at(quantiles)
    turns = rng.integers(TURNS, size=n) if law.augment else np.zeros(n, int)
    drawn = []
    for (scene, y, x), turn in zip(pixels.tolist(), turns.tolist(), strict=True):
        roi = law.regions[scene]
        top, left = min(max(y - half, roi.y0), roi.y1 - law.side), min(max(x - half, roi.x0), roi.x1 - law.side)
        drawn.append(Patch(scene, top, left, turn))
    return drawn


@lru_cache(maxsize=8)
def _equal(law: Law) -> Density:
    """Return the density of centres without weights: of whole patches, or stratified of all pixels of the regions.

    A patch near the border is drawn for all pixels that are nearer still: borders are seen as often as the inside.
    """
    if law.stratify:
        return even(law.regions, law.shares)
    half = law.side // 2
    rest = law.side - half - 1
    centres = [Roi(y0=roi.y0 + half, y1=roi.y1 - rest, x0=roi.x0 + half, x1=roi.x1 - rest) for roi in law.regions]
    return even(centres, law.shares)


def turned(plane: Shaped[np.ndarray, "y x *_"], turn: int) -> Shaped[np.ndarray, "y x *_"]:
    """Return ``plane``, which is square, turned by ``turn % 4`` quarters, and mirrored from 4 on; a view."""
    rotated = np.rot90(plane, turn % 4)
    return rotated[:, ::-1] if turn >= TURNS // 2 else rotated


def undone(turn: int) -> int:
    """Return the turn that undoes one: a mirrored turn undoes itself."""
    return turn if turn >= TURNS // 2 else -turn % (TURNS // 2)


@final
class Loader:
    """Batches of one rank, prepared ahead by threads of this process."""

    def __init__(  # noqa: PLR0913 - what a batch is made of
        self, law: Law, blocks: Blocks, task: Task, *, batch: int, share: range, threads: int, pin: bool = False
    ) -> None:
        """Take slices ``share`` of each ``batch`` of the stream.

        Args:
            law: Which patches.
            blocks: What is read from.
            task: What the net reads and should answer on a patch.
            batch: Patches of all ranks.
            share: Which of them are this rank's.
            threads: How many prepare batches ahead; 0: none.
            pin: Put batches where a GPU reads them without a copy.
        """
        self._law, self._blocks, self._task = law, blocks, task
        self._size, self._share, self._threads, self._pin = batch, share, threads, pin
        blank = tuple(np.zeros_like(plane) for plane in blocks.empty((law.side, law.side)))
        self._forms = tuple((plane.shape, plane.dtype) for plane in (*blank, *task.pair(*blank)))
        self.waited = 0.0
        """Seconds that the loop waited for a batch."""

    def batches(self, start: int, stop: int) -> Generator[Batch, None, None]:
        """Yield the batches of the steps ``start`` to ``stop``; what a thread raises is raised here.

        Raises:
            IncompleteError: all threads have died.
        """
        ahead: deque[Future[Batch]] = deque()
        upcoming, team = iter(range(start, stop)), _Team()
        with ThreadPoolExecutor(max(self._threads, 1), "tilespec-loader", initializer=team.join) as pool:
            try:
                for _ in range(start, stop):
                    room = max(self._threads * AHEAD, 1) - len(ahead)
                    ahead.extend(pool.submit(self.batch, step) for step in islice(upcoming, room))
                    yield self._timed(ahead.popleft(), team)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def batch(self, step: int) -> Batch:
        """Return this rank's slice of the batch of one step."""
        ids = tuple(step * self._size + i for i in self._share)
        *_, seen, answer = self._forms
        x, y = (self._memory((len(ids), *shape), dtype) for shape, dtype in (seen, answer))
        for index, *pair in zip(ids, x.numpy(), y.numpy(), strict=True):
            self._fill(self._law.patch(index), *pair)
        x, y = (planes.permute(0, 3, 1, 2) if planes.ndim == 4 else planes for planes in (x, y))
        return Batch(x=x, y=y, ids=ids, step=step)

    def _memory(self, shape: tuple[int, ...], dtype: np.dtype) -> torch.Tensor:
        """Return memory for patches ``y, x, ...``; with a channel behind it is torch's channels_last."""
        kind = torch.from_numpy(np.empty(0, dtype)).dtype
        return torch.empty(shape, dtype=kind, pin_memory=self._pin)

    def _fill(self, patch: Patch, x: np.ndarray, y: np.ndarray) -> None:
        """Write what the net reads on a patch, and what it should answer, into their memory: turned as it is copied."""
        scores, truth = (
            plane if (plane.shape, plane.dtype) == form else np.empty(*form)
            for plane, form in zip((x, y), self._forms, strict=False)
        )
        back = undone(patch.turn)
        self._blocks.read(patch.scene, self._law.roi(patch), (turned(scores, back), turned(truth, back)))
        for plane, made in zip((x, y), self._task.pair(scores, truth), strict=True):
            if made is not plane:  # a task that has nothing to change returns what it was given
                plane[...] = made

    def _timed(self, batch: Future[Batch], team: "_Team") -> Batch:
        """Return a batch when it is there, and count the wait."""
        began = time.monotonic()
        while True:
            try:
                ready = batch.result(LOOK)
            except NotYetError:
                if batch.done():  # what the thread raised is itself of that kind
                    raise
                team.check()
            else:
                self.waited += time.monotonic() - began
                return ready


@final
class _Team:
    """The threads of a loader."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []

    def join(self) -> None:
        """Count this thread in."""
        self._threads.append(threading.current_thread())

    def check(self) -> None:
        """Raise an error when no thread is alive: nobody would ever bring a batch."""
        if self._threads and not any(thread.is_alive() for thread in self._threads):
            raise IncompleteError("the threads that read patches have died; the same command resumes")


def _mixed(labels: ClassMap) -> bool:
    """Say whether a patch holds more than one class."""
    return len(np.unique(labels[labels != UNLABELLED])) > 1
