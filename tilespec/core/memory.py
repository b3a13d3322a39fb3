"""Memory: the peak of anonymous and shared memory, summed over the process tree."""

import ctypes
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import final

import psutil

ARENA_MAX, MMAP_THRESHOLD, TOP_PAD, TRIM_THRESHOLD = -8, -3, -2, -1
"""The numbers of four parameters of glibc's ``mallopt``."""


def one_heap() -> None:
    """Let all threads of this process share one heap that does not return memory to the system (glibc only).

    With a heap for each thread, each heap retains the memory that its thread freed, and memory that goes back to the
    system causes page faults when it is needed again. Streaming work allocates and frees the same sizes all the time:
    one shared heap takes less memory and less time, and its peak can be predicted. Arrays above 32 MB are allocated
    outside of the heap, because they would leave gaps in it. Only processes of tilespec itself, commands and workers,
    call this function.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    for parameter, value in (
        (ARENA_MAX, 1),
        (MMAP_THRESHOLD, 1 << 25),
        (TRIM_THRESHOLD, (1 << 31) - 1),
        (TOP_PAD, 1 << 24),
    ):
        mallopt(parameter, value)


def resident(pid: int | None = None) -> int:
    """Return the anonymous and shared memory of a process and all its children, in bytes.

    Pages of mapped files are not counted: the kernel may drop them at any time.
    """
    return sum(map(_anonymous, _tree(pid or os.getpid())))


def _tree(pid: int) -> Iterator[int]:
    """Yield a process and all its descendants, from the lists of its threads or from a scan of all processes."""
    yield pid
    try:
        listed = [file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:  # a thread ended during the reading
        listed = []
    if listed:
        for child in " ".join(listed).split():
            yield from _tree(int(child))
    else:
        with suppress(psutil.NoSuchProcess):
            yield from (child.pid for child in psutil.Process(pid).children(recursive=True))


def _anonymous(pid: int) -> int:
    """Return RssAnon + RssShmem of one process in bytes, or 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(x.split()[1]) * 1024 for x in lines if x.startswith(("RssAnon:", "RssShmem:")))


@final
class Peak:
    """Peak memory of the process tree, measured by a thread.

    ``with Peak() as peak: ...`` gives ``peak.bytes`` and ``peak.seconds``.
    """

    def __init__(self, interval: float = 0.05) -> None:
        self.bytes = resident()
        self.seconds = 0.0
        self._interval = interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="tilespec-peak")

    def __enter__(self) -> "Peak":
        self._start = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.bytes = max(self.bytes, resident())
        self.seconds = time.monotonic() - self._start

    def _watch(self) -> None:
        while not self._stop.wait(self._interval):
            self.bytes = max(self.bytes, resident())
