"""Rendezvous: the connection between ranks, and the detection of lost ranks.

A collective operation that waits for a lost rank cannot be interrupted from outside. Therefore every rank regularly
writes a sign of life to a small store in rank 0 (or in the starting process), and a thread reads those of the others.
If one is missing for too long, the process ends; the last checkpoint remains, and the same command resumes. Signs of
life continue during long work (fitting a recipe, a validation).
"""

import os
import socket
import threading
import time
from contextlib import suppress
from datetime import timedelta
from typing import final

import psutil
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

from tilespec.core.errors import EXIT_INCOMPLETE, UserError
from tilespec.core.progress import to_stderr
from tilespec.training.ranks.launchers import RankAddress

START = 60.0
"""The least number of seconds for a rank to start, because it loads torch and opens the scenes."""
LONGEST = timedelta(hours=24)
"""The time limit for the wait for a rank that is alive and works."""
LOOK = 0.02
"""The seconds between two checks of rank 0's progress."""


@final
class Rendezvous:
    """The connected ranks and their monitoring, a context manager; outside of it no rank is monitored."""

    def __init__(self, place: RankAddress, seconds: float) -> None:
        """Connect to the other ranks; ``seconds`` is the time limit without a sign of life."""
        wait = timedelta(seconds=max(START, seconds))
        self._place = place
        attempt = f"attempt-{place.attempt}"
        self.store = PrefixStore(attempt, _open_store(place, wait))
        self._turn = 0
        self._watch = _Watch(PrefixStore(attempt, _client(place, wait)), place, seconds)

    def __enter__(self) -> "Rendezvous":
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.stop()

    def hosts(self) -> tuple[str, ...]:
        """Return the machine of each rank, after all have connected."""
        self.store.set(f"host/{self._place.rank}", socket.gethostname())
        keys = [f"host/{rank}" for rank in range(self._place.world)]
        self.store.wait(keys, LONGEST)
        return tuple(self.store.get(key).decode() for key in keys)

    def follow(self) -> None:
        """Wait until rank 0 has reached the same point, for as long as it works."""
        self._turn += 1
        key = f"turn/{self._turn}"
        if self._place.rank == 0:
            self.store.set(key, "come")
        else:
            while not self.store.check([key]):
                time.sleep(LOOK)


@final
class _Watch:
    """Two threads: one writes and reads the store, which may block for ever; the other checks the time."""

    def __init__(self, store: Store, place: RankAddress, seconds: float) -> None:
        self._store, self._place, self._seconds = store, place, seconds
        self._every = min(5.0, seconds / 10)
        self._beats = [0] * place.world
        self._until = [time.monotonic() + max(START, seconds)] * place.world
        self._end = threading.Event()

    def start(self) -> None:
        """Start the two threads."""
        for work in (self._listen, self._judge):
            threading.Thread(target=work, daemon=True, name=f"tilespec-{work.__name__}").start()

    def stop(self) -> None:
        """Stop the threads; one that is blocked remains until the process ends."""
        self._end.set()

    def _listen(self) -> None:
        """Write this rank's sign of life, and read those of the others."""
        while not self._end.is_set():
            with suppress(RuntimeError):  # without an answer no rank is seen; the other thread decides
                for rank in range(self._place.world):
                    beats = self._store.add(f"beat/{rank}", int(rank == self._place.rank))
                    if beats > self._beats[rank]:
                        self._beats[rank], self._until[rank] = beats, time.monotonic() + self._seconds
            self._end.wait(self._every)

    def _judge(self) -> None:
        """End the process when another rank has given no sign of life for too long."""
        while not self._end.wait(min(1.0, self._every)):
            now = time.monotonic()
            silent = [rank for rank, until in enumerate(self._until) if rank != self._place.rank and now > until]
            if silent and not self._end.is_set():
                all_came = all(self._beats[rank] for rank in silent)
                _leave(self._place.rank, silent, self._seconds if all_came else max(START, self._seconds))


def _leave(rank: int, silent: list[int], seconds: float) -> None:
    """End this process at once: its main thread may wait for a rank that never comes."""
    who = ", ".join(map(str, silent))
    to_stderr(
        f"tilespec: rank {rank} on {socket.gethostname()}: no sign of rank {who} for {seconds:g} s. "
        "The last checkpoint is kept; the same command resumes.\n"
    )
    os._exit(EXIT_INCOMPLETE)


def _open_store(place: RankAddress, wait: timedelta) -> TCPStore:
    """Return the store where ranks connect; rank 0 opens it, unless the starting process did.

    It listens only on the address of the connection, if that is one of this machine's own.
    """
    if place.rank or place.hosted:
        return _client(place, wait)
    if _named(place.address) is None:
        return TCPStore(place.address, place.port, is_master=True, timeout=wait, wait_for_workers=False)
    return listening(place.address, place.port, wait)


def listening(address: str, port: int = 0, wait: timedelta = LONGEST) -> TCPStore:
    """Return a store that listens on one address of this machine; port 0 means any free port."""
    try:
        server = socket.create_server((address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
    except OSError as error:
        raise UserError(
            f"{address}:{port}",
            found=error.strerror or str(error),
            expected="a free port where the ranks meet",
            do="Set MASTER_PORT to another one, or end the training that has it.",
        ) from error
    port = server.getsockname()[1]
    fd = server.detach()
    return TCPStore(address, port, is_master=True, timeout=wait, wait_for_workers=False, master_listen_fd=fd)


def _client(place: RankAddress, wait: timedelta) -> TCPStore:
    """Return a connection to the store, as soon as it listens."""
    return TCPStore(place.address, place.port, is_master=False, timeout=wait, wait_for_workers=False)


def interface(address: str) -> str | None:
    """Return the name of this machine's network interface that reaches ``address``, if it can be determined.

    Without it, gloo uses the address of this machine's name, which is 127.0.1.1 on many machines.
    """
    with (
        suppress(OSError),
        socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as s,
    ):
        s.connect((address, 9))  # sends nothing
        return _named(s.getsockname()[0])
    return None


def _named(address: str) -> str | None:
    """Return the name of this machine's interface that has an address."""
    interfaces = psutil.net_if_addrs().items()
    return next((name for name, own in interfaces if any(one.address == address for one in own)), None)
