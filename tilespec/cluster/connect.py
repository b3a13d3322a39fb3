"""Where work runs: in this process, on workers of this machine, or on a cluster that is there already.

Dask only schedules: opaque tasks, tiny results, state on storage. Workers are processes of one thread, and every
task sets its own torch and BLAS threads.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlparse

from tilespec.core.errors import IncompleteError, UserError
from tilespec.core.registry import from_user, load

CLUSTERS = {"local": "tilespec.cluster.connect:local"}
LOOPBACK = ("127.0.0.1", "localhost", "::1")
POLL = 1.0
"""Seconds between looks at a cluster that says nothing."""
PATIENCE = 60.0
"""Seconds without any worker, after which nobody is expected to come back."""

STARTS = 3
"""How often workers are started when one dies on the way."""


@contextmanager
def connect(workers: int, cluster: str | None) -> Iterator[Any | None]:
    """Yield a `distributed.Client`, or None when the work stays in this process (``workers`` 0, no ``cluster``).

    ``cluster`` is ``local``, the address of a scheduler (``tcp://`` on loopback only, ``tls://`` anywhere), or a
    dotted path to a context manager that takes the number of workers and yields a client.
    """
    if workers < 0:
        raise UserError("--workers", found=workers, expected="0 or more", do="0 works in this process.")
    if cluster is None and workers == 0:
        yield None
    elif cluster is not None and "://" in cluster:
        with _scheduler(cluster) as client:
            yield client
    else:
        opener: Callable[[int], Any] = load(CLUSTERS, from_user(cluster or "local"), "cluster")
        with opener(max(workers, 1)) as client:
            yield client


@contextmanager
def local(workers: int) -> Iterator[Any]:
    """Yield a client of ``workers`` processes on this machine, reachable on loopback only."""
    import dask
    from distributed import Client

    from tilespec.cluster.worker_plugin import Settings

    settings = {"distributed.worker.memory.terminate": False, "distributed.admin.log-format": "%(message)s"}
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(settings))
        with _deaf():
            cluster = stack.enter_context(_started(workers))
        client = stack.enter_context(Client(cluster))
        client.register_plugin(Settings())
        yield client


def _started(workers: int, tries: int = STARTS) -> Any:
    """Return a cluster of processes; one of them that dies while it starts takes all down, which then start again."""
    from distributed import LocalCluster

    try:
        return LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",  # any free port: another run may have the usual one
            memory_limit=0,
            silence_logs=logging.CRITICAL,
        )
    except RuntimeError as error:
        if tries == 1:
            raise IncompleteError(
                f"workers died while they started, {STARTS} times in a row; is there memory for {workers}? "
                "The same command resumes."
            ) from error
    return _started(workers, tries - 1)


@contextmanager
def _deaf() -> Iterator[None]:
    """Ignore SIGINT for a while: processes that start meanwhile inherit it, and a terminal's Ctrl-C spares them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _scheduler(address: str) -> Iterator[Any]:
    """Yield a client of the scheduler at ``address``; plain TCP is code execution for whoever reaches the port."""
    from distributed import Client

    parts = urlparse(address)
    if parts.scheme == "tcp" and parts.hostname not in LOOPBACK:
        raise UserError(
            "--cluster",
            found=address,
            expected="tls:// for a scheduler on another machine",
            do="Start scheduler and workers with certificates (distributed.comm.tls), then give tls://HOST:PORT.",
        )
    for name in ("distributed", "tornado"):  # what they lose, we tell
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with Client(address, timeout="30s") as client:
        client.get_versions(check=True)
        yield client


def run(
    client: Any,
    function: Callable[..., Any],
    arguments: list[tuple[Any, ...]],
    *,
    stop: Callable[[], bool] = bool,
    tick: Callable[[], None] = lambda: None,
) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield arguments and results of ``function(*args)`` as they come: few in flight, each released at once.

    Tasks may run more than once: theirs are whole, idempotent writes and tiny results. A task that killed its workers
    again and again, also when it ran alone, yields the `distributed.KilledWorker` itself, and the others finish.

    Args:
        client: A ``distributed.Client``.
        function: What a task does.
        arguments: One tuple for each task.
        stop: When it says so, no further task is submitted.
        tick: Called every `POLL` seconds, for progress that tasks do not tell.

    Raises:
        IncompleteError: the scheduler is lost, or no worker is left for `PATIENCE` seconds.
    """
    from distributed import KilledWorker

    waiting = list(reversed(arguments))
    accused: list[tuple[Any, ...]] = []  # all that waited on a worker that died, with the one that killed it
    flying: dict[Any, tuple[Any, ...]] = {}
    slots, seen = workers_of(client), time.monotonic()  # one each: a task that waits is bound to a worker too early
    while waiting or flying or accused:
        if not waiting and not flying:
            waiting, accused, slots = accused, [], 0  # each once more, by itself: then the blame is just
        while waiting and len(flying) < max(slots, 1) and not stop():
            task = waiting.pop()
            flying[client.submit(function, *task, pure=False, retries=2)] = task
        if not flying:
            return
        done = _ended(list(flying))
        tick()
        seen = time.monotonic() if workers_of(client) else seen
        if time.monotonic() - seen > PATIENCE:
            raise IncompleteError(f"no worker is left since {PATIENCE:.0f} s; run the same command again, it resumes")
        for future in done:
            task, result = flying.pop(future), _result(future)
            future.release()
            if isinstance(result, KilledWorker) and slots:
                accused.append(task)
            else:
                yield task, result


def _ended(futures: list[Any]) -> set[Any]:
    """Return the futures that ended, after `POLL` seconds at most."""
    from distributed import wait

    try:
        ended: set[Any] = wait(futures, timeout=POLL, return_when="FIRST_COMPLETED").done
    except TimeoutError:
        return set()
    except CancelledError as error:
        raise lost() from error
    return ended


def _result(future: Any) -> Any:
    """Return the result of a task, or the error that says that it kills its workers; raise any other."""
    from distributed import KilledWorker

    try:
        return future.result()
    except KilledWorker as error:
        return error
    except CancelledError as error:
        raise lost() from error


def workers_of(client: Any) -> int:
    """Return how many workers there are.

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
    """Return what is said when the scheduler is gone."""
    return IncompleteError("the scheduler is lost; start it again and run the same command, it resumes")
