"""Rendezvous: where ranks find each other, and how they notice that one of them is gone.

A collective that waits for a rank that is gone cannot be interrupted from outside. So every rank says every now and
then that it lives, to a small store in rank 0 (or in who started the ranks), and listens to the others from a thread of
its own. When one has been silent for too long, the process ends: the last checkpoint is kept, the same command resumes.
Work that takes long (fitting a recipe, a validation) is no silence.
"""

import os
import socket
import sys
import threading
import time
from contextlib import suppress
from datetime import timedelta
from typing import final

import psutil
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

from tilespec.core.errors import EXIT_INCOMPLETE, UserError
from tilespec.training.ranks.launchers import Place

START = 60.0
"""Seconds, at least, that a rank may take to come: it loads torch and opens the scenes."""
LONGEST = timedelta(hours=24)
"""That a rank may wait for one that lives and works."""
LOOK = 0.02
"""Seconds between two looks at what rank 0 is doing."""


@final
class Meeting:
    """The ranks that came, and the watch over them. Use it as a context: outside nobody watches."""

    def __init__(self, place: Place, seconds: float) -> None:
        """Meet; ``seconds`` is how long another rank may be silent."""
        wait = timedelta(seconds=max(START, seconds))
        self._place = place
        attempt = f"attempt-{place.attempt}"
        self.store = PrefixStore(attempt, _opened(place, wait))
        self._turn = 0
        self._watch = _Watch(PrefixStore(attempt, _client(place, wait)), place, seconds)

    def __enter__(self) -> "Meeting":
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.stop()

    def hosts(self) -> tuple[str, ...]:
        """Return the machine of each rank; all of them have come by then."""
        self.store.set(f"host/{self._place.rank}", socket.gethostname())
        keys = [f"host/{rank}" for rank in range(self._place.world)]
        self.store.wait(keys, LONGEST)
        return tuple(self.store.get(key).decode() for key in keys)

    def follow(self) -> None:
        """Wait until rank 0 has come as far, however long it works before."""
        self._turn += 1
        key = f"turn/{self._turn}"
        if self._place.rank == 0:
            self.store.set(key, "come")
        else:
            while not self.store.check([key]):
                time.sleep(LOOK)


@final
class _Watch:
    """Two threads: one tells and asks the store, which may block for ever; the other looks at the clock."""

    def __init__(self, store: Store, place: Place, seconds: float) -> None:
        self._store, self._place, self._seconds = store, place, seconds
        self._every = min(5.0, seconds / 10)
        self._beats = [0] * place.world
        self._until = [time.monotonic() + max(START, seconds)] * place.world
        self._end = threading.Event()

    def start(self) -> None:
        """Begin."""
        for work in (self._listen, self._judge):
            threading.Thread(target=work, daemon=True, name=f"tilespec-{work.__name__}").start()

    def stop(self) -> None:
        """End; a thread that is blocked stays so until the process ends."""
        self._end.set()

    def _listen(self) -> None:
        """Say that this rank lives, and hear who else does."""
        while not self._end.is_set():
            with suppress(RuntimeError):  # no answer from the store is silence of all: the other thread judges that
                for rank in range(self._place.world):
                    beats = self._store.add(f"beat/{rank}", int(rank == self._place.rank))
                    if beats > self._beats[rank]:
                        self._beats[rank], self._until[rank] = beats, time.monotonic() + self._seconds
            self._end.wait(self._every)

    def _judge(self) -> None:
        """End the process when another rank has been silent for too long."""
        while not self._end.wait(min(1.0, self._every)):
            now = time.monotonic()
            silent = [rank for rank, until in enumerate(self._until) if rank != self._place.rank and now > until]
            if silent and not self._end.is_set():
                known = all(self._beats[rank] for rank in silent)
                _leave(self._place.rank, silent, self._seconds if known else max(START, self._seconds))


def _leave(rank: int, silent: list[int], seconds: float) -> None:
    """End this process: its main thread may wait for a rank that never comes, and cannot be woken."""
    who = ", ".join(map(str, silent))
    sys.stderr.write(
        f"tilespec: rank {rank} on {socket.gethostname()}: no sign of rank {who} for {seconds:g} s. "
        "The last checkpoint is kept; the same command resumes.\n"
    )
    sys.stderr.flush()
    os._exit(EXIT_INCOMPLETE)


def _opened(place: Place, wait: timedelta) -> TCPStore:
    """Return the store where ranks meet; rank 0 opens it, unless who started the ranks did.

    It listens on the address where they meet and nowhere else, where that is one of this machine's own.
    """
    if place.rank or place.hosted:
        return _client(place, wait)
    if _named(place.address) is None:
        return TCPStore(place.address, place.port, is_master=True, timeout=wait, wait_for_workers=False)
    return listening(place.address, place.port, wait)


def listening(address: str, port: int = 0, wait: timedelta = LONGEST) -> TCPStore:
    """Return a store that listens on one address of this machine; port 0 is any free one."""
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


def _client(place: Place, wait: timedelta) -> TCPStore:
    """Return a connection to the store, once it listens."""
    return TCPStore(place.address, place.port, is_master=False, timeout=wait, wait_for_workers=False)


def interface(address: str) -> str | None:
    """Return the name of this machine's network interface through which ``address`` is reached, if it can be told.

    Without it, gloo takes the address that this machine's name stands for: on many that is 127.0.1.1.
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
    found = psutil.net_if_addrs().items()
    return next((name for name, own in found if any(one.address == address for one in own)), None)
