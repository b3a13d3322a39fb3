"""Connect: a Dask client for workers of this machine or of an existing cluster.

Dask only schedules: opaque tasks, tiny results, state on storage. Workers are processes of one thread, and every
task sets its own torch and BLAS threads.
"""

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlparse

from tilespec.core.errors import IncompleteError, UserError
from tilespec.core.registry import from_user, load

CLUSTERS = {"local": "tilespec.cluster.connect:local"}
LOOPBACK = ("127.0.0.1", "localhost", "::1")

STARTS = 3
"""The number of attempts to start workers when one of them dies during the start."""


@contextmanager
def connect(workers: int, cluster: str | None) -> Iterator[Any | None]:
    """Yield a `distributed.Client`, or None when the work runs in this process (``workers`` 0, no ``cluster``).

    ``cluster`` is ``local``, the address of a scheduler (``tcp://`` on loopback only, ``tls://`` anywhere), or a dotted
    path to a context manager that takes the number of workers and yields a client.
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
    """Yield a client of ``workers`` processes on this machine, which are reachable on loopback only."""
    import dask
    from distributed import Client

    from tilespec.cluster.worker_plugin import Settings

    settings = {"distributed.worker.memory.terminate": False, "distributed.admin.log-format": "%(message)s"}
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(settings))
        with _ignore_sigint():
            cluster = stack.enter_context(_started(workers))
        client = stack.enter_context(Client(cluster))
        client.register_plugin(Settings())
        yield client


def _started(workers: int, tries: int = STARTS) -> Any:
    """Return a cluster of processes; if one dies during the start, all are ended and started again."""
    from distributed import LocalCluster

    try:
        return LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",  # any free port, because another run may use the default one
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
def _ignore_sigint() -> Iterator[None]:
    """Ignore SIGINT inside the block: processes that start meanwhile inherit this, so Ctrl-C does not reach them."""
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
    """Yield a client of the scheduler at ``address``; refuse plain TCP off this machine, which is not secure."""
    from distributed import Client

    parts = urlparse(address)
    if parts.scheme == "tcp" and parts.hostname not in LOOPBACK:
        raise UserError(
            "--cluster",
            found=address,
            expected="tls:// for a scheduler on another machine",
            do="Start scheduler and workers with certificates (distributed.comm.tls), then give tls://HOST:PORT.",
        )
    for name in ("distributed", "tornado"):  # lost connections are reported by our own messages
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with Client(address, timeout="30s") as client:
        client.get_versions(check=True)
        yield client
