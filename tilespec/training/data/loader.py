"""Loader: threads read patches and combine them to batches, in the order of the stream."""

import threading
import time
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYetError
from itertools import islice
from typing import final

import numpy as np
import torch

from tilespec.core.errors import IncompleteError
from tilespec.models.tasks.base import Task
from tilespec.training.data.patches import Patch, PatchStream, turned, undone
from tilespec.training.data.score_cache import ScoreCache
from tilespec.training.objectives.base import Batch

AHEAD = 2
"""The number of batches that each thread prepares ahead."""
LOOK = 1.0
"""The seconds between two checks that the reading threads are alive, during a wait for a batch."""


@final
class Loader:
    """The batches of one rank, which threads of this process prepare ahead."""

    def __init__(  # noqa: PLR0913 - what a batch is made of
        self,
        stream: PatchStream,
        blocks: ScoreCache,
        task: Task,
        *,
        batch: int,
        share: range,
        threads: int,
        pin: bool = False,
    ) -> None:
        """Prepare slices ``share`` of each ``batch`` of the stream.

        Args:
            stream: The stream of patches.
            blocks: The cache from which pixels are read.
            task: The task, which defines the net's input and target on a patch.
            batch: The number of patches of all ranks.
            share: The slice of this rank.
            threads: The number of threads that prepare batches ahead; 0: none.
            pin: Whether to store batches in page-locked memory, which a GPU reads directly.
        """
        self._stream, self._blocks, self._task = stream, blocks, task
        self._size, self._share, self._threads, self._pin = batch, share, threads, pin
        blank = tuple(np.zeros_like(plane) for plane in blocks.empty((stream.side, stream.side)))
        self._forms = tuple((plane.shape, plane.dtype) for plane in (*blank, *task.pair(*blank)))
        self.waited = 0.0
        """The seconds that the loop has waited for batches."""

    def batches(self, start: int, stop: int) -> Generator[Batch, None, None]:
        """Yield the batches of the steps ``start`` to ``stop``; an exception in a thread is raised here.

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
        *_, inputs, answer = self._forms
        x, y = (self._memory((len(ids), *shape), dtype) for shape, dtype in (inputs, answer))
        for index, *pair in zip(ids, x.numpy(), y.numpy(), strict=True):
            self._fill(self._stream.patch(index), *pair)
        x, y = (planes.permute(0, 3, 1, 2) if planes.ndim == 4 else planes for planes in (x, y))
        return Batch(x=x, y=y, ids=ids, step=step)

    def _memory(self, shape: tuple[int, ...], dtype: np.dtype) -> torch.Tensor:
        """Return memory for patches ``y, x, ...``; with a channel behind it is torch's channels_last."""
        kind = torch.from_numpy(np.empty(0, dtype)).dtype
        return torch.empty(shape, dtype=kind, pin_memory=self._pin)

    def _fill(self, patch: Patch, x: np.ndarray, y: np.ndarray) -> None:
        """Write the net's input and target on a patch into their memory, turned during the copy."""
        scores, truth = (
            plane if (plane.shape, plane.dtype) == form else np.empty(*form)
            for plane, form in zip((x, y), self._forms, strict=False)
        )
        back = undone(patch.turn)
        self._blocks.read(patch.scene, self._stream.roi(patch), (turned(scores, back), turned(truth, back)))
        for plane, values in zip((x, y), self._task.pair(scores, truth), strict=True):
            if values is not plane:  # a task without changes returns its argument
                plane[...] = values

    def _timed(self, batch: Future[Batch], team: "_Team") -> Batch:
        """Return a batch when it is ready, and add the waiting time."""
        began = time.monotonic()
        while True:
            try:
                ready = batch.result(LOOK)
            except NotYetError:
                if batch.done():  # the thread raised a TimeoutError itself
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
        """Register this thread as alive."""
        self._threads.append(threading.current_thread())

    def check(self) -> None:
        """Raise an error when no thread is alive, because no batch would ever be ready."""
        if self._threads and not any(thread.is_alive() for thread in self._threads):
            raise IncompleteError("the threads that read patches have died; the same command resumes")
