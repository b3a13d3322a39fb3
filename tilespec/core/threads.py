"""Threads: bounded pipelines that preserve the order of items; an exception in any thread ends the whole pipeline."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any, Final, Generic, TypeVar, final

T = TypeVar("T")
R = TypeVar("R")

LOOK: Final = 0.5
"""The seconds after which a wait is begun again."""


def awaited(future: Future[R]) -> R:
    """Return the result of a future, however long it takes; a signal is answered meanwhile.

    Python answers signals between two operations of the main thread. One that arrives while a wait begins is answered
    only at its end, so no wait is long.
    """
    while not wait([future], timeout=LOOK).done:
        pass
    return future.result()


def in_order(pool: Executor, function: Callable[[T], R], items: Iterable[T], depth: int) -> Iterator[tuple[T, R]]:
    """Yield ``(item, function(item))`` in the order of ``items``; at most ``depth`` items run or wait at once."""
    flying: deque[tuple[T, Future[R]]] = deque()
    try:
        for item in items:
            flying.append((item, pool.submit(function, item)))
            if len(flying) >= depth:
                first, future = flying.popleft()
                yield first, awaited(future)
        while flying:
            first, future = flying.popleft()
            yield first, awaited(future)
    finally:
        for _, future in flying:
            future.cancel()


@final
class Prefetch(Generic[T, R]):
    """Results of ``function`` on items whose computation begins before the results are needed."""

    def __init__(self, pool: Executor, function: Callable[[T], R]) -> None:
        self._pool, self._function = pool, function
        self._flying: dict[T, Future[R]] = {}

    def begin(self, item: T) -> None:
        """Begin the computation of an item whose result is needed later."""
        if item not in self._flying:
            self._flying[item] = self._pool.submit(self._function, item)

    def get(self, item: T) -> R:
        """Return the result of an item; begin its computation first if necessary."""
        self.begin(item)
        return awaited(self._flying.pop(item))


@final
class BackgroundWriter(Generic[T]):
    """A function that runs on a background thread, one item at a time, while at most one more waits.

    ``with BackgroundWriter(write) as writer: writer.put(item)``; an exception in ``write`` is raised again by the next
    `put`, or at the end of the block.
    """

    def __init__(self, function: Callable[[T], Any]) -> None:
        self._function = function
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="tilespec-write")
        self._flying: deque[Future[Any]] = deque()

    def __enter__(self) -> "BackgroundWriter[T]":
        return self

    def put(self, item: T) -> None:
        """Submit an item; wait while one item is being processed and another waits."""
        self._flying.append(self._pool.submit(self._function, item))
        if len(self._flying) > 1:
            awaited(self._flying.popleft())

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._pool.shutdown(wait=True)  # submitted items are finished, even after an error
        if kind is None:
            for future in self._flying:
                awaited(future)
