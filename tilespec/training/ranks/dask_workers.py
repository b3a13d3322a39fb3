"""Ranks on the workers of a Dask cluster: a process beside each worker, started and watched by a task on it.

Dask carries what to do, progress and the end of each rank; gradients go from rank to rank. The ranks meet at the
worker of rank 0. A rank ends with its worker, with the others, and with the command that started it.
"""

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any, final
from urllib.parse import urlparse
from uuid import uuid4

from tilespec.cluster.submit import PATIENCE, POLL, addresses, lost
from tilespec.core.errors import EXIT_INCOMPLETE, IncompleteError, UserError
from tilespec.core.progress import Progress
from tilespec.storage.lock import holder, holder_token
from tilespec.training.ranks.launchers import Place
from tilespec.training.ranks.processes import GRACE, LOOK, Ending, Seat, drained, outcome, tell

CHECK = 2.0
"""Seconds between two looks at whether the command that started a rank still holds its product."""

_seats: dict[tuple[str, int], Seat] = {}
"""The ranks that run beside this worker, by launch and number, so that others can be told to end them."""


@final
@dataclass(frozen=True, kw_only=True)
class Work:
    """What all ranks do."""

    function: str
    """Dotted path of what a rank does."""
    arguments: Mapping[str, Any]
    """Plain data for it."""
    out: str
    """Absolute path of the product; who starts the ranks holds its lock."""
    token: str = ""
    """Of that lock."""
    cwd: str = "."
    """Where the command runs: relative paths begin there, if the worker's machine has that place."""
    path: tuple[str, ...] = ()
    """Where the command finds modules, such as a user's own nets."""
    launch: str = ""
    """Names this launch among all."""

    def launched(self) -> "Work":
        """Return the work of one launch from here and now."""
        name, token = f"tilespec-{uuid4().hex}", holder_token(self.out)
        return replace(self, token=token, cwd=str(Path.cwd()), path=tuple(sys.path), launch=name)


def workers_for(client: Any, wanted: int) -> list[str]:
    """Return the addresses of the workers that get a rank: all, or ``wanted`` of them; those of one host together.

    Raises:
        UserError: there are fewer, none at all, or they are threads of this process.
    """
    found = sorted(addresses(client), key=lambda address: (urlparse(address).hostname or "", address))
    if any(address.startswith("inproc:") for address in found):
        raise UserError(
            "--cluster",
            found="workers that are threads of this process",
            expected="workers that are processes",
            do="Start the cluster with processes=True.",
        )
    if not found or len(found) < wanted:
        raise UserError(
            "--cluster",
            found=f"{len(found)} workers",
            expected=f"{wanted or 'at least 1'}, a rank on each",
            do="Start more workers, or give a smaller --workers.",
        )
    return found[: wanted or None]


def present(client: Any, ranks: int, batch: int) -> list[str]:
    """Return the workers for another attempt: as many as before, once they are there again, or fewer after a while.

    Fewer are the most that share a batch evenly: the patches, and what is learned from them, stay the same.
    """
    until = time.monotonic() + PATIENCE
    while len(addresses(client)) < ranks and time.monotonic() < until:
        time.sleep(POLL)
    there = min(ranks, len(addresses(client)))
    if not there:
        raise IncompleteError(f"no worker is left since {PATIENCE:.0f} s; run the same command again, it resumes")
    return workers_for(client, max(number for number in range(1, there + 1) if batch % number == 0))


def on_workers(
    client: Any, hosts: Sequence[str], work: Work, *, progress: Progress, stop: Callable[[], bool] = bool
) -> Any:
    """Run one rank on each of the workers ``hosts``, and return what rank 0 returns; when one fails, all end.

    Raises:
        IncompleteError: a rank or its worker is lost, or the scheduler is.
        KeyboardInterrupt: ranks stopped because they were asked to.
        UserError: what a rank said.
        RuntimeError: what a rank raised, with its traceback.
    """
    work, words = work.launched(), SimpleQueue[list[Any]]()
    client.subscribe_topic(work.launch, lambda event: words.put(event[1]))
    try:
        flight = _Flight(client=client, launch=work.launch, flying=_started(client, hosts, work))
        while flight.flying:
            for word in drained(words):
                tell(progress, word)
            flight.look(stop())
            time.sleep(LOOK)
        for word in drained(words):
            tell(progress, word)
        return outcome(flight.endings)
    finally:
        _tell(client, _end, work.launch)
        client.unsubscribe_topic(work.launch)


def _started(client: Any, hosts: Sequence[str], work: Work) -> dict[Any, tuple[Place, str]]:
    """Start a rank on each worker; they meet at a port that was free on that of rank 0."""
    address = _host(hosts[0])
    try:
        devices = _environments(client, hosts)
        port = client.run(free_port, address, workers=[hosts[0]])[hosts[0]]
    except (OSError, KeyError) as error:
        raise IncompleteError(f"a worker does not answer ({error}); the same command resumes") from error
    flying = {}
    for rank, worker in enumerate(hosts):
        place = Place(rank=rank, world=len(hosts), address=address, port=port)
        local = sum(_host(other) == _host(worker) for other in hosts)
        key = f"tilespec-rank-{work.launch}-{rank}"
        future = client.submit(_sit, work, place, devices[rank], local, key=key, workers=[worker], retries=0)
        flying[future] = (place, worker)
    return flying


@final
@dataclass(kw_only=True)
class _Flight:
    """Ranks that run on workers, as the command sees them."""

    client: Any
    """Of the cluster."""
    launch: str
    """Names this launch."""
    flying: dict[Any, tuple[Place, str]]
    """The task of each rank that has not ended, its place, its worker."""
    endings: list[Ending] = field(default_factory=list)
    """How the others ended."""
    asked: bool = False
    """Whether they were asked to stop."""
    limit: float = float("inf")
    """When those that still run are ended, since one of them ended badly."""
    there: tuple[float, Sequence[str]] = (float("-inf"), ())
    """When the workers were counted, and who was there."""

    def look(self, stop: bool) -> None:
        """See who has ended; pass on that they shall stop; end those that do not end with the others."""
        now = time.monotonic()
        if stop and not self.asked:
            self.asked = True
            _tell(self.client, _ask, self.launch)
        if now > self.there[0] + POLL:
            self.there = now, addresses(self.client)
        for future, (place, worker) in list(self.flying.items()):
            ending = _ending(future, place, worker, self.there[1])
            if ending is None and now > self.limit + GRACE:  # it did not even end when it was told to
                ending = Ending(rank=place.rank, host=_host(worker), code=EXIT_INCOMPLETE, cut=True)
            if ending is not None:
                self.endings.append(ending)
                del self.flying[future]
                future.cancel()
        if any(ending.code for ending in self.endings):
            self.limit = min(self.limit, now + GRACE)
        if self.flying and now > self.limit:
            _tell(self.client, _end, self.launch)


def _ending(future: Any, place: Place, address: str, there: Sequence[str]) -> Ending | None:
    """Return how a rank ended, None while it runs."""
    host = _host(address)
    if future.status == "finished":
        found: Ending = future.result()
        return found
    if future.status in ("error", "lost", "cancelled"):
        try:
            future.result(timeout=POLL)
        except CancelledError as error:
            raise lost() from error
        except Exception as error:  # noqa: BLE001 - the task itself failed: its worker cannot start a rank
            return Ending(rank=place.rank, host=host, code=1, text=f"{type(error).__name__}: {error}")
    if address not in there:
        return Ending(rank=place.rank, host=host, code=EXIT_INCOMPLETE, gone=True)
    return None


def free_port(address: str) -> int:
    """Return a port of this machine's ``address`` that nobody listens on."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def _environments(client: Any, hosts: Sequence[str]) -> list[dict[str, str]]:
    """Return the GPU of each rank where workers have been given different ones, each its own first."""
    seen = client.run(_visible, workers=list(hosts))
    given = {host: [seen[a] for a in hosts if _host(a) == host] for host in map(_host, hosts)}
    return [_device(seen[address], given[_host(address)]) for address in hosts]


def _device(visible: str | None, given: Sequence[str | None]) -> dict[str, str]:
    """Return what a rank sees of the GPUs that its worker sees, beside what workers of its machine are ``given``."""
    if visible is None or len(given) < 2 or len(set(given)) < len(given):
        return {}
    return {"CUDA_VISIBLE_DEVICES": visible.partition(",")[0]}


def _visible() -> str | None:
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def _host(address: str) -> str:
    return urlparse(address).hostname or address


def _sit(work: Work, place: Place, environment: Mapping[str, str], local: int) -> Ending:
    """Be the task of one rank on its worker: start its process, pass on its progress, see it end."""
    from distributed import get_worker

    worker, name = get_worker(), socket.gethostname()
    seat = Seat.start(
        place,
        work.function,
        work.arguments,
        local=local,
        host=name,
        cwd=work.cwd,
        path=work.path,
        environment=environment,
    )
    _seats[work.launch, place.rank] = seat
    try:
        checked = time.monotonic()
        while seat.running():
            for word in drained(seat.said):
                worker.log_event(work.launch, word)
            if time.monotonic() - checked > CHECK:
                checked = time.monotonic()
                if not _held(work):
                    seat.kill()
            time.sleep(LOOK)
        ending = seat.ending()
        for word in drained(seat.said):
            worker.log_event(work.launch, word)
        return ending
    finally:
        seat.kill()
        _seats.pop((work.launch, place.rank), None)


def _held(work: Work) -> bool:
    """Return whether the command that started the ranks lives and holds its product."""
    if holder_token(work.out) != work.token:
        return False
    found = holder(work.out)
    return found is not None and bool(found["alive"])


def _ask(launch: str) -> None:
    """Ask the ranks beside this worker to stop after their step."""
    for (name, _), seat in list(_seats.items()):
        if name == launch:
            seat.ask()


def _end(launch: str) -> None:
    """End the ranks beside this worker."""
    for (name, _), seat in list(_seats.items()):
        if name == launch:
            seat.kill()


def _tell(client: Any, what: Callable[[str], None], launch: str) -> None:
    """Let every worker do something now, beside its tasks; one that does not answer is not waited for."""
    telling = threading.Thread(
        target=client.run, args=(what, launch), kwargs={"on_error": "ignore"}, daemon=True, name="tilespec-tell"
    )
    telling.start()
    telling.join(GRACE / 2)
