"""Loader: threads prepare batches of patches, or of whole samples, in the order of the stream."""

import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYetError
from itertools import islice
from typing import final

from tilespec.core.errors import IncompleteError
from tilespec.models.tasks.base import Task
from tilespec.training.data.patch_reader import PatchReader
from tilespec.training.data.patches import PatchStream
from tilespec.training.data.sample_stream import SampleReader, SampleStream
from tilespec.training.data.score_cache import ScoreCache
from tilespec.training.objectives.base import Items

READERS: dict[type, Callable[..., Callable[[tuple[int, ...], int], Items]]] = {
    PatchStream: PatchReader,
    SampleStream: SampleReader,
}
"""The function that reads batches of a stream."""

AHEAD = 2
"""The number of batches that each thread prepares ahead."""
LOOK = 1.0
"""The seconds between two checks that the reading threads are alive, during a wait for a batch."""


@final
class Loader:
    """The batches of one rank, which threads of this process prepare ahead."""

    def __init__(  # noqa: PLR0913 - what a batch is made of
        self,
        stream: PatchStream | SampleStream,
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
            stream: The stream of patches, or of samples.
            blocks: The cache from which pixels are read.
            task: The task, which defines the net's input and target on a patch.
            batch: The number of patches of all ranks.
            share: The slice of this rank.
            threads: The number of threads that prepare batches ahead; 0: none.
            pin: Whether to store batches in page-locked memory, which a GPU reads directly.
        """
        self.stream, self.blocks = stream, blocks
        self._size, self._share, self._threads = batch, share, threads
        self._read = READERS[type(stream)](stream, blocks, task, pin=pin)
        self.waited = 0.0
        """The seconds that the loop has waited for batches."""

    def batches(self, start: int, stop: int) -> Generator[Items, None, None]:
        """Yield the batches of the steps ``start`` to ``stop``; an exception in a thread is raised here.

        Raises:
            IncompleteError: all threads have died.
        """
        ahead: deque[Future[Items]] = deque()
        upcoming, team = iter(range(start, stop)), _Team()
        with ThreadPoolExecutor(max(self._threads, 1), "tilespec-loader", initializer=team.join) as pool:
            try:
                for _ in range(start, stop):
                    room = max(self._threads * AHEAD, 1) - len(ahead)
                    ahead.extend(pool.submit(self.batch, step) for step in islice(upcoming, room))
                    yield self._timed(ahead.popleft(), team)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def batch(self, step: int) -> Items:
        """Return this rank's slice of the batch of one step."""
        return self._read(tuple(step * self._size + i for i in self._share), step)

    def _timed(self, batch: Future[Items], team: "_Team") -> Items:
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
