"""Threads: bounded pipelines of threads, in order, where an exception anywhere ends the whole."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Generic, TypeVar, final

T = TypeVar("T")
R = TypeVar("R")


def in_order(pool: Executor, function: Callable[[T], R], items: Iterable[T], depth: int) -> Iterator[tuple[T, R]]:
    """Yield ``(item, function(item))`` in the order of ``items``; up to ``depth`` run or wait at once."""
    flying: deque[tuple[T, Future[R]]] = deque()
    try:
        for item in items:
            flying.append((item, pool.submit(function, item)))
            if len(flying) >= depth:
                first, future = flying.popleft()
                yield first, future.result()
        while flying:
            first, future = flying.popleft()
            yield first, future.result()
    finally:
        for _, future in flying:
            future.cancel()


@final
class Ahead(Generic[T, R]):
    """Results of ``function`` on items that can be begun before they are asked for."""

    def __init__(self, pool: Executor, function: Callable[[T], R]) -> None:
        self._pool, self._function = pool, function
        self._flying: dict[T, Future[R]] = {}

    def begin(self, item: T) -> None:
        """Begin with an item that will be asked for."""
        if item not in self._flying:
            self._flying[item] = self._pool.submit(self._function, item)

    def get(self, item: T) -> R:
        """Return the result for an item, begun or not."""
        self.begin(item)
        return self._flying.pop(item).result()


@final
class Behind(Generic[T]):
    """A function that runs on one thread behind the caller, on one item at a time, with one more waiting.

    ``with Behind(write) as behind: behind.put(item)``; what ``write`` raises comes out of the next `put`, or of the
    end of the block.
    """

    def __init__(self, function: Callable[[T], Any]) -> None:
        self._function = function
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="tilespec-write")
        self._flying: deque[Future[Any]] = deque()

    def __enter__(self) -> "Behind[T]":
        return self

    def put(self, item: T) -> None:
        """Hand over an item; wait while one is in work and another waits."""
        self._flying.append(self._pool.submit(self._function, item))
        if len(self._flying) > 1:
            self._flying.popleft().result()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._pool.shutdown(wait=True)  # what was handed over is finished, also after an error beside it
        if kind is None:
            for future in self._flying:
                future.result()
