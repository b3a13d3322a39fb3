"""Connect: a Dask client for workers of this machine or of an existing cluster.

Dask only schedules: opaque tasks, tiny results, state on storage. Workers are processes of one thread, and every
task sets its own torch and BLAS threads.
"""

import logging
import multiprocessing
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from multiprocessing import spawn
from typing import Any, final
from urllib.parse import urlparse

from tilespec.cluster.security import HOW, cluster_security
from tilespec.cluster.versions import WORKERS, check_versions
from tilespec.core.errors import IncompleteError, UserError
from tilespec.core.registry import from_user, load
from tilespec.core.signals import terminal_ignored

CLUSTERS = {"local": "tilespec.cluster.connect:local", "slurm": "tilespec.cluster.slurm:slurm"}
LOOPBACK = ("127.0.0.1", "localhost", "::1")
SCHEMES = ("tcp", "tls")
"""The schemes of addresses: plain on this machine, encrypted anywhere."""
LOGGERS = ("distributed", "tornado")
"""The loggers that are silent while a cluster is used."""
ANSWERS = 30.0
"""The seconds in which a scheduler must answer."""
MAIN, WORKER = ("init_main_from_name", "init_main_from_path"), "Dask Worker process"
"""What `multiprocessing` tells a new process of the script that started it, and how Dask names its workers."""

STARTS = 3
"""The number of attempts to start workers when one of them dies during the start."""
PAUSES = (0.1, 0.3, 1.0, 3.0)
"""The seconds between attempts to ask all workers when one of them dies meanwhile."""


def elsewhere(cluster: str | None) -> bool:
    """Return whether other machines may compute, of whose devices this one knows nothing."""
    return cluster not in (None, "local")


@contextmanager
def connect(workers: int, cluster: str | None) -> Iterator[Any | None]:
    """Yield a `distributed.Client`, or None when the work runs in this process (``workers`` 0, no ``cluster``).

    ``cluster`` is ``local``, ``slurm``, the address of a scheduler (``tcp://`` on loopback only, ``tls://`` anywhere),
    or a dotted path to a context manager that takes the number of workers and yields a client.
    """
    if workers < 0:
        raise UserError("--workers", found=workers, expected="0 or more", do="0 works in this process.")
    if cluster is None and workers == 0:
        yield None
    elif cluster is not None and "://" in cluster:
        with _scheduler(cluster) as client:
            yield _with_modules(client)
    else:
        name = cluster or "local"
        opener: Callable[[int], Any] = load(CLUSTERS, from_user(name), "cluster")
        with _entered(name, _client_of(name, lambda: opener(max(workers, 1)))) as client:
            yield _with_modules(client)


@final
@dataclass(frozen=True, kw_only=True)
class Connection:
    """The workers of several pieces of work, which start when the first needs them."""

    number: int = 0
    """How many were asked for."""
    client: Callable[[], Any | None] = lambda: None
    """The function that returns their client, as `connect` yields it."""


@contextmanager
def connect_once(workers: int, cluster: str | None) -> Iterator[Connection]:
    """Yield the workers that `connect` gives, which end with the block."""
    with ExitStack() as stack:
        yield Connection(number=workers, client=cache(lambda: stack.enter_context(connect(workers, cluster))))


def _with_modules(client: Any) -> Any:
    """Return a client whose workers may load the modules that this user named."""
    from tilespec.cluster.worker_plugin import UserModules

    _of_workers(lambda: client.register_plugin(UserModules()))
    return client


def _of_workers(ask: Callable[[], object]) -> None:
    """Do what asks every worker, again when one of them dies before it answers: Dask asks those that come later too.

    Raises:
        IncompleteError: workers die again and again.
    """
    for pause in PAUSES:
        try:
            ask()
        except OSError:
            time.sleep(pause)
        else:
            return
    raise IncompleteError(
        "workers, or their scheduler, died while all were told what to do, again and again. The same command resumes."
    )


def _entered(name: str, manager: Any) -> Any:
    """Return a context manager; refuse what a dotted path to something else has given."""
    if not (hasattr(manager, "__enter__") and hasattr(manager, "__exit__")):
        raise UserError(
            f"--cluster {name}",
            found=f"a function that gives a {type(manager).__name__}",
            expected="a context manager that takes the number of workers and yields a client",
            do="See docs/extending.md for an example.",
        )
    return manager


@contextmanager
def local(workers: int) -> Iterator[Any]:
    """Yield a client of ``workers`` processes on this machine, which are reachable on loopback only."""
    import dask

    from tilespec.cluster.worker_plugin import Settings

    if multiprocessing.current_process().daemon:
        raise UserError(
            "workers",
            found=f"{workers} in a process of a pool, which may start none",
            expected="0, which works in this process",
            do="Leave workers out, or call the verb outside of the pool.",
        )
    settings = {
        "distributed.worker.memory.terminate": False,
        "distributed.worker.multiprocessing-method": "spawn",
        "distributed.admin.log-format": "%(message)s",
    }
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(settings))
        stack.enter_context(_without_main())  # workers that die are started again
        with terminal_ignored():
            client = _started(stack, workers)
        _of_workers(lambda: client.register_plugin(Settings()))
        yield client


def _started(stack: ExitStack, workers: int, tries: int = STARTS) -> Any:
    """Return a client of new processes, which end with ``stack``; if one is lost during the start, all start again."""
    from distributed import Client, LocalCluster

    try:
        with ExitStack() as own:
            cluster = own.enter_context(
                LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    processes=True,
                    host="127.0.0.1",
                    dashboard_address="127.0.0.1:0",  # any free port, because another run may use the default one
                    memory_limit=0,
                    silence_logs=logging.CRITICAL,
                )
            )
            client = own.enter_context(Client(cluster))
            stack.enter_context(own.pop_all())
            return client
    except (RuntimeError, OSError) as error:  # a process died, or a busy machine did not answer in time
        if tries == 1:
            raise IncompleteError(
                f"workers died while they started, {STARTS} times in a row; is there memory for {workers}? "
                "The same command resumes."
            ) from error
    return _started(stack, workers, tries - 1)


@contextmanager
def _without_main() -> Iterator[None]:
    """Open a block in which Dask's workers do not import the script that started them.

    A worker runs tilespec's own functions. `multiprocessing` would import the script again, which fails when the script
    comes from standard input, and never ends when it has no ``if __name__ == "__main__":``.
    """
    whole = spawn.get_preparation_data

    def without(name: str) -> dict[str, Any]:
        data = whole(name)
        return {key: value for key, value in data.items() if not (key in MAIN and name.startswith(WORKER))}

    spawn.get_preparation_data = without
    try:
        yield
    finally:
        spawn.get_preparation_data = whole


@contextmanager
def _scheduler(address: str) -> Iterator[Any]:
    """Yield a client of the scheduler at ``address``; only ``tls://`` leaves this machine.

    Whoever speaks with a scheduler unpickles what it sends: an address of another scheme could be anybody's.
    """
    _check_address(address)
    options = {"security": cluster_security(address, ("client",))} if urlparse(address).scheme == "tls" else {}
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    for name in LOGGERS:  # lost connections are reported by our own messages
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with _client_of(address, lambda: _silent_client(address, options)) as client:
            _of_workers(lambda: check_versions(address, lambda: client.get_versions(packages=WORKERS)))
            yield client
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _silent_client(address: str, options: Mapping[str, Any]) -> Any:
    """Return a client of a scheduler, without Dask's warning of other versions: our own message names more of them."""
    from distributed import Client
    from distributed.versions import VersionMismatchWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VersionMismatchWarning)
        return Client(address, timeout=f"{ANSWERS:.0f}s", **options)


def _check_address(address: str) -> None:
    """Refuse an address that is no scheduler's, that is not encrypted and leaves this machine, or that has a user."""
    try:
        parts = urlparse(address)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        scheme, host, port = "", None, None
    if not host or not port:
        found = "an address without a host and a port"
    elif parts.username or parts.password or parts.path.strip("/") or parts.query:
        found = "an address with more than host and port"
    elif scheme not in SCHEMES:
        found = f"the scheme {scheme}://"
    elif scheme == "tcp" and host not in LOOPBACK:
        found = f"tcp:// to {host}, another machine, to which nothing is encrypted"
    else:
        return
    raise UserError(
        f"--cluster {address}",
        found=found,
        expected="tls://HOST:PORT, or tcp://127.0.0.1:PORT for a scheduler on this machine",
        do=f"{HOW} Then give tls://HOST:PORT.",
    )


def _client_of(where: str, open_client: Callable[[], Any]) -> Any:
    """Return an open client; a scheduler that does not answer, or does not fit, is a message."""
    try:
        return open_client()
    except (UserError, IncompleteError):
        raise
    except (OSError, TimeoutError, TypeError, ValueError, RuntimeError, ImportError) as error:
        raise UserError(
            f"--cluster {where}",
            found=f"no scheduler: {type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}",
            expected="a scheduler that answers",
            do="Start it, check the address and the certificates, or leave --cluster out.",
        ) from error
