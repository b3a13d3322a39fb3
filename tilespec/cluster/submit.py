"""Submit: tasks are sent to the workers of a cluster a few at a time; lost workers and a lost scheduler are handled."""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from typing import Any

from tilespec.core.errors import IncompleteError

POLL = 1.0
"""The seconds between two checks of a cluster from which no result arrives."""
END: Any = object()
"""What stands for the end of the tasks."""
PATIENCE = 60.0
"""The seconds without any worker after which the work ends with an error, unless Dask's configuration has others."""
PATIENCE_KEY = "tilespec.patience"
"""The name of these seconds in Dask's configuration."""


def run_tasks(
    client: Any,
    function: Callable[..., Any],
    arguments: Iterable[tuple[Any, ...] | None],
    *,
    stop: Callable[[], bool] = bool,
    tick: Callable[[], None] = lambda: None,
) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield arguments and results of ``function(*args)`` in the order of completion; few tasks are in flight at once.

    A task may run more than once, so it must write complete objects and give the same result again. For a task that
    killed its workers repeatedly, even when it ran alone, the result is the `distributed.KilledWorker` itself, and the
    other tasks finish.

    Args:
        client: The ``distributed.Client``.
        function: The function that a task calls.
        arguments: The arguments of each task as a tuple; None means that there is no task now, but perhaps later.
        stop: The function that returns whether to submit no further task.
        tick: The function that is called every `POLL` seconds and at the end, for progress that no task reports.

    Raises:
        IncompleteError: the scheduler is lost, or no worker is left for `patience` seconds.
    """
    from distributed import KilledWorker

    waiting, ended, alone = iter(arguments), False, False
    accused: list[tuple[Any, ...]] = []  # tasks of a worker that died, one of which killed it
    flying: dict[Any, tuple[Any, ...]] = {}
    workers, watch = worker_count(client), _watch(client, tick)
    while not ended or flying or accused:
        if ended and not flying:
            waiting, ended, accused, alone = iter(accused), False, [], True  # each once more: which one kills?
        while not ended and len(flying) < (1 if alone else max(workers, 1)) and not stop():  # more would be bound early
            task = next(waiting, END)
            ended = task is END
            if ended or task is None:
                break
            flying[client.submit(function, *task, pure=False, retries=2)] = task
        if not flying and stop():
            return
        done = set() if ended and not flying else _ended(list(flying))
        workers = watch(workers)
        for future in done:
            task, result = flying.pop(future), _result(future)
            future.release()
            if isinstance(result, KilledWorker) and not alone:
                accused.append(task)
            else:
                yield task, result
    tick()


def _watch(client: Any, tick: Callable[[], None]) -> Callable[[int], int]:
    """Return a function that calls ``tick`` and counts the workers again, but not before `POLL` seconds have passed.

    Both take longer the larger the work and the cluster are, and tasks may end a hundred times in a second. Workers may
    come later, as jobs of a queue do, and others may be lost.

    The function takes the last count and returns the present one. It raises an `IncompleteError` when there
    was no worker for `patience` seconds.
    """
    looked = last_worker = time.monotonic()

    def watch(workers: int) -> int:
        nonlocal looked, last_worker
        if time.monotonic() - looked < POLL:
            return workers
        tick()
        looked, workers = time.monotonic(), worker_count(client)
        last_worker = looked if workers else last_worker
        if looked - last_worker > patience():
            raise IncompleteError(f"no worker is left since {patience():.0f} s; run the same command again, it resumes")
        return workers

    return watch


def patience() -> float:
    """Return the seconds without any worker after which the work ends with an error."""
    import dask

    return float(dask.config.get(PATIENCE_KEY, PATIENCE))


def _ended(futures: list[Any]) -> set[Any]:
    """Return the futures that have ended, after at most `POLL` seconds; after these there may be a task again."""
    from distributed import wait

    if not futures:
        time.sleep(POLL)
        return set()
    try:
        ended: set[Any] = wait(futures, timeout=POLL, return_when="FIRST_COMPLETED").done
    except TimeoutError:
        return set()
    except CancelledError as error:
        raise lost() from error
    return ended


def _result(future: Any) -> Any:
    """Return the result of a task, or the error of a task that kills its workers; raise any other error."""
    from distributed import KilledWorker

    try:
        return future.result()
    except KilledWorker as error:
        return error
    except CancelledError as error:
        raise lost() from error


def worker_count(client: Any) -> int:
    """Return the number of workers.

    Raises:
        IncompleteError: the scheduler does not answer.
    """
    return len(addresses(client))


def addresses(client: Any) -> list[str]:
    """Return the addresses of all workers.

    Raises:
        IncompleteError: the scheduler does not answer.
    """
    try:
        return list(client.sync(client.scheduler.identity)["workers"])
    except (OSError, TimeoutError, CancelledError) as error:
        raise lost() from error


def lost() -> IncompleteError:
    """Return the error for a scheduler that does not answer."""
    return IncompleteError("the scheduler is lost; start it again and run the same command, it resumes")
