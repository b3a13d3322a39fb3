"""Reduction: a fixed reduction tree over blocks, run by Dask in this process or on a cluster.

Dask only schedules. A task gets a small description of its block (a URL and a region), reads it itself, and returns
a small value. Windows of tasks bound the graph, so a scheduler's load does not grow with the scene.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from uuid import uuid4

from tilespec.core.cpu import cores, one_blas_thread
from tilespec.core.progress import Progress, Silent

LEAF = "of"
T = TypeVar("T")
F = TypeVar("F")

WINDOW = 1024
"""The number of tasks in one graph in this process; a power of two, so that windows are complete subtrees."""
PER_THREAD = 16
"""The number of tasks in one graph for each thread of a cluster, enough to occupy all threads."""


def reduce_blocks(
    tasks: Sequence[T],
    of: Callable[[T], F],
    *,
    client: Any = None,
    progress: Progress | None = None,
) -> F:
    """Return ``of(tasks[0]) + of(tasks[1]) + ...``, added in a tree that depends on ``len(tasks)`` alone.

    Args:
        tasks: Descriptions of the blocks, at least one; small and picklable.
        of: The function from a description to a value that supports ``+``.
        client: The ``distributed.Client``; None uses Dask's threaded scheduler in this process.
        progress: The progress that counts one unit for each task.

    The bits of the result are the same for any number of workers, and with or without a cluster.
    """
    assert tasks, "a fold needs a block"
    say = progress or Silent()
    run, window = (_local, WINDOW) if client is None else (_remote(client), _window(client))
    parts: list[F] = []
    for start in range(0, len(tasks), window):
        graph, key = _tree(tasks[start : start + window], of)
        parts.append(run(graph, key, say))
    return _reduce(parts)


def _tree(tasks: Sequence[T], of: Callable[[T], Any]) -> tuple[dict[str, Any], str]:
    """Return a Dask graph that adds neighbours pairwise, and the key of its root.

    Keys hold a token, so that no other graph on a shared scheduler has them; ``of`` is a node of its own, so that its
    data (a recipe's arrays) are sent once and not with every task.
    """
    token = uuid4().hex
    level = [f"{LEAF}-{token}-{i}" for i in range(len(tasks))]
    graph: dict[str, Any] = {f"with-{token}": of}
    graph |= {key: (_single_threaded, f"with-{token}", task) for key, task in zip(level, tasks, strict=True)}
    depth = 0
    while len(level) > 1:
        depth += 1
        keys: list[str] = []
        for i, (a, b) in enumerate(_pairs(level)):
            keys.append(a if b is None else f"add-{token}-{depth}-{i}")
            if b is not None:
                graph[keys[-1]] = (_add, a, b)
        level = keys
    return graph, level[0]


def _pairs(level: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield neighbours two by two; the last one alone where the number is odd."""
    for i in range(0, len(level), 2):
        yield level[i], level[i + 1] if i + 1 < len(level) else None


def _reduce(parts: list[Any]) -> Any:
    """Return the sum of complete subtrees, added by the same tree."""
    while len(parts) > 1:
        parts = [a if b is None else a + b for a, b in _pairs(parts)]
    return parts[0]


def _add(a: Any, b: Any) -> Any:
    return a + b


def _local(graph: dict[str, Any], key: str, progress: Progress) -> Any:
    """Run a graph on the threads of this process."""
    from dask.callbacks import Callback
    from dask.threaded import get

    def count(done: str, *_: Any) -> None:
        if done.startswith(LEAF):
            progress.advance(1)

    threads = cores()  # a pool of its own: the scheduler's default pool has no threads in a forked process
    with one_blas_thread(), ThreadPoolExecutor(threads, "tilespec-reduce") as pool, Callback(posttask=count):
        return get(graph, key, pool=pool, num_workers=threads)


def _remote(client: Any) -> Callable[[dict[str, Any], str, Progress], Any]:
    """Return a function that runs a graph on a cluster."""

    def run(graph: dict[str, Any], key: str, progress: Progress) -> Any:
        value = client.get(graph, key)
        progress.advance(sum(name.startswith(LEAF) for name in graph))
        return value

    return run


def _window(client: Any) -> int:
    """Return the number of tasks in a graph: a power of two that suits the cluster's threads."""
    threads = max(sum(client.nthreads().values()), 1)
    return int(1 << (PER_THREAD * threads - 1).bit_length())


def _single_threaded(of: Callable[[Any], Any], task: Any) -> Any:
    """Run one task with BLAS on one thread: Dask uses the cores, and bits must not depend on their number."""
    with one_blas_thread():
        return of(task)
