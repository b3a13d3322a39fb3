"""CPU: the cores that this process may use, and BLAS on one thread where bits must not depend on their number."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

_lock = threading.Lock()
_depth = 0
_before: list[int] = []
_forked = False
"""Whether this process was forked from one that had loaded this file, whose threads it lacks."""


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit BLAS to one thread while any thread of this process is inside the ``with`` block."""
    global _depth, _before  # noqa: PLW0603 (the number of BLAS threads is a global of the process, like these)
    with _lock:
        _depth += 1
        if _depth == 1:
            libraries = _libraries()
            _before = [library.num_threads for library in libraries]
            _set([1] * len(libraries))
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                _set(_before)


def _set(numbers: list[int]) -> None:
    """Set the number of threads of each BLAS library.

    threadpoolctl 3.8 and later obeys only the first thread that ever set a number, and silently ignores all others. The
    lock above already prevents conflicts between threads, so that first thread is released before and after each
    setting.
    """
    for library, number in zip(_libraries(), numbers, strict=True):
        let_go = getattr(library, "clear_controlling_thread", None)
        if let_go is not None:
            let_go(force=True)
        library.set_num_threads(number)
        if let_go is not None:
            let_go(force=True)


@cache
def _libraries() -> list[Any]:
    """Return the BLAS libraries of this process; NumPy's is always among them."""
    from threadpoolctl import ThreadpoolController

    return list(ThreadpoolController().select(user_api="blas").lib_controllers)


def cores() -> int:
    """Return the number of cores that this process may use; a forked process uses one.

    Pools of threads that the parent process has started, OpenMP's above all, do not exist in a forked process: it would
    wait for them for ever.
    """
    if _forked:
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_forked() -> bool:
    """Return whether this process was forked from one that had loaded tilespec."""
    return _forked


def _after_fork() -> None:
    """Note the fork; a lock that a thread of the parent held stays locked for ever, so this process gets a new one."""
    global _forked, _lock, _depth
    _forked, _lock, _depth = True, threading.Lock(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
