"""Where work runs: in this process, on workers of this machine, or on a cluster that is there already.

Dask only schedules: opaque tasks, tiny results, state on storage. Workers are processes of one thread, and every
task sets its own torch and BLAS threads.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlparse

from tilespec.errors import UserError
from tilespec.plugins import load

CLUSTERS = {"local": "tilespec.cluster:local"}
LOOPBACK = ("127.0.0.1", "localhost", "::1")


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
        opener: Callable[[int], Any] = load(CLUSTERS, cluster or "local", "cluster")
        with opener(max(workers, 1)) as client:
            yield client


@contextmanager
def local(workers: int) -> Iterator[Any]:
    """Yield a client of ``workers`` processes on this machine, reachable on loopback only."""
    import dask
    from distributed import Client, LocalCluster

    with (
        dask.config.set({"distributed.worker.memory.terminate": False, "distributed.admin.log-format": "%(message)s"}),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            memory_limit=0,
            silence_logs=40,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


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
    with Client(address, timeout="30s") as client:
        client.get_versions(check=True)
        yield client


def run(client: Any, function: Callable[..., Any], arguments: list[tuple[Any, ...]]) -> Iterator[Any]:
    """Yield the results of ``function(*args)`` as they come: few in flight, each released at once, retried twice.

    Tasks may run more than once; theirs are whole, idempotent writes and tiny results.
    """
    from distributed import as_completed

    waiting = list(reversed(arguments))
    window = max(2, 2 * len(client.scheduler_info(n_workers=-1)["workers"]))
    flying = [client.submit(function, *waiting.pop(), pure=False, retries=2) for _ in waiting[:window]]
    queue = as_completed(flying)
    for future in queue:
        if waiting:
            queue.add(client.submit(function, *waiting.pop(), pure=False, retries=2))
        result = future.result()
        future.release()
        yield result
