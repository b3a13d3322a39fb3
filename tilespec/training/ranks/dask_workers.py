"""Ranks on the workers of a Dask cluster: each is a process beside a worker, started and watched by a task on it.

Dask transfers the work, the progress and the result of each rank; gradients go directly from rank to rank. The ranks
connect at the machine of rank 0. A rank ends with its worker, with the others, and with the command that started it.
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
from tilespec.training.ranks.launchers import RankAddress
from tilespec.training.ranks.processes import GRACE, LOOK, ExitReport, RankProcess, drained, forward, outcome

CHECK = 2.0
"""The seconds between two checks that the command that started a rank still holds its product's lock."""

_processes: dict[tuple[str, int], RankProcess] = {}
"""The ranks beside this worker, by launch and rank, so that other tasks can end them."""


@final
@dataclass(frozen=True, kw_only=True)
class RankTask:
    """The work of all ranks."""

    function: str
    """The dotted path of the function that each rank calls."""
    arguments: Mapping[str, Any]
    """The arguments of the function as plain data."""
    out: str
    """The absolute path of the product, whose lock the starting process holds."""
    token: str = ""
    """The token of that lock."""
    cwd: str = "."
    """The working folder of the command, from which relative paths start if the worker's machine has it."""
    path: tuple[str, ...] = ()
    """The folders from which the command imports modules, such as a user's own nets."""
    launch: str = ""
    """The name of this launch."""

    def launched(self) -> "RankTask":
        """Return the work of one launch with the present folder and paths."""
        name, token = f"tilespec-{uuid4().hex}", holder_token(self.out)
        return replace(self, token=token, cwd=str(Path.cwd()), path=tuple(sys.path), launch=name)


def workers_for(client: Any, wanted: int) -> list[str]:
    """Return the addresses of the workers that get a rank: all, or ``wanted`` of them, grouped by host.

    Raises:
        UserError: there are fewer, there are none, or they are threads of this process.
    """
    workers = sorted(addresses(client), key=lambda address: (urlparse(address).hostname or "", address))
    if any(address.startswith("inproc:") for address in workers):
        raise UserError(
            "--cluster",
            found="workers that are threads of this process",
            expected="workers that are processes",
            do="Start the cluster with processes=True.",
        )
    if not workers or len(workers) < wanted:
        raise UserError(
            "--cluster",
            found=f"{len(workers)} workers",
            expected=f"{wanted or 'at least 1'}, a rank on each",
            do="Start more workers, or give a smaller --workers.",
        )
    return workers[: wanted or None]


def present(client: Any, ranks: int, batch: int) -> list[str]:
    """Return the workers for another attempt: as many as before once they are back, or fewer after a while.

    A smaller number is the largest that divides a batch evenly, so that the patches of a step are the same.
    """
    until = time.monotonic() + PATIENCE
    while len(addresses(client)) < ranks and time.monotonic() < until:
        time.sleep(POLL)
    there = min(ranks, len(addresses(client)))
    if not there:
        raise IncompleteError(f"no worker is left since {PATIENCE:.0f} s; run the same command again, it resumes")
    return workers_for(client, max(number for number in range(1, there + 1) if batch % number == 0))


def on_workers(
    client: Any, hosts: Sequence[str], work: RankTask, *, progress: Progress, stop: Callable[[], bool] = bool
) -> Any:
    """Run one rank on each of the workers ``hosts``, and return the result of rank 0; when one fails, all end.

    Raises:
        IncompleteError: a rank or its worker is lost, or the scheduler is.
        KeyboardInterrupt: the ranks stopped on request.
        UserError: a rank raised it.
        RuntimeError: a rank raised another error; the message has its traceback.
    """
    work, words = work.launched(), SimpleQueue[list[Any]]()
    client.subscribe_topic(work.launch, lambda event: words.put(event[1]))
    try:
        flight = _Flight(client=client, launch=work.launch, flying=_started(client, hosts, work))
        while flight.flying:
            for word in drained(words):
                forward(progress, word)
            flight.look(stop())
            time.sleep(LOOK)
        for word in drained(words):
            forward(progress, word)
        return outcome(flight.endings)
    finally:
        _tell(client, _end, work.launch)
        client.unsubscribe_topic(work.launch)


def _started(client: Any, hosts: Sequence[str], work: RankTask) -> dict[Any, tuple[RankAddress, str]]:
    """Start a rank on each worker; they connect at a free port on the machine of rank 0."""
    address = _host(hosts[0])
    try:
        devices = _environments(client, hosts)
        port = client.run(free_port, address, workers=[hosts[0]])[hosts[0]]
    except (OSError, KeyError) as error:
        raise IncompleteError(f"a worker does not answer ({error}); the same command resumes") from error
    flying = {}
    for rank, worker in enumerate(hosts):
        place = RankAddress(rank=rank, world=len(hosts), address=address, port=port)
        local = sum(_host(other) == _host(worker) for other in hosts)
        key = f"tilespec-rank-{work.launch}-{rank}"
        future = client.submit(_run_rank, work, place, devices[rank], local, key=key, workers=[worker], retries=0)
        flying[future] = (place, worker)
    return flying


@final
@dataclass(kw_only=True)
class _Flight:
    """The ranks on workers as the command sees them."""

    client: Any
    """The client of the cluster."""
    launch: str
    """The name of this launch."""
    flying: dict[Any, tuple[RankAddress, str]]
    """The task of each running rank, with its address among the ranks and its worker."""
    endings: list[ExitReport] = field(default_factory=list)
    """The ends of the other ranks."""
    stopping: bool = False
    """Whether the ranks received a request to stop."""
    limit: float = float("inf")
    """The time at which running ranks are ended, after one of them failed."""
    there: tuple[float, Sequence[str]] = (float("-inf"), ())
    """The time of the last count of the workers, and their addresses."""

    def look(self, stop: bool) -> None:
        """Collect ranks that have ended; forward a stop request; end ranks that do not end together with the others."""
        now = time.monotonic()
        if stop and not self.stopping:
            self.stopping = True
            _tell(self.client, _ask, self.launch)
        if now > self.there[0] + POLL:
            self.there = now, addresses(self.client)
        for future, (place, worker) in list(self.flying.items()):
            ending = _ending(future, place, worker, self.there[1])
            if ending is None and now > self.limit + GRACE:  # it did not end on request
                ending = ExitReport(rank=place.rank, host=_host(worker), code=EXIT_INCOMPLETE, cut=True)
            if ending is not None:
                self.endings.append(ending)
                del self.flying[future]
                future.cancel()
        if any(ending.code for ending in self.endings):
            self.limit = min(self.limit, now + GRACE)
        if self.flying and now > self.limit:
            _tell(self.client, _end, self.launch)


def _ending(future: Any, place: RankAddress, address: str, there: Sequence[str]) -> ExitReport | None:
    """Return how a rank ended, or None while it runs."""
    host = _host(address)
    if future.status == "finished":
        ending: ExitReport = future.result()
        return ending
    if future.status in ("error", "lost", "cancelled"):
        try:
            future.result(timeout=POLL)
        except CancelledError as error:
            raise lost() from error
        except Exception as error:  # noqa: BLE001 - the task itself failed: its worker cannot start a rank
            return ExitReport(rank=place.rank, host=host, code=1, text=f"{type(error).__name__}: {error}")
    if address not in there:
        return ExitReport(rank=place.rank, host=host, code=EXIT_INCOMPLETE, gone=True)
    return None


def free_port(address: str) -> int:
    """Return a free port of this machine's ``address``."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def _environments(client: Any, hosts: Sequence[str]) -> list[dict[str, str]]:
    """Return the GPU of each rank if workers have different ones, each its own first."""
    visible = client.run(_visible, workers=list(hosts))
    by_host = {host: [visible[a] for a in hosts if _host(a) == host] for host in map(_host, hosts)}
    return [_device(visible[address], by_host[_host(address)]) for address in hosts]


def _device(visible: str | None, devices: Sequence[str | None]) -> dict[str, str]:
    """Return the GPUs that a rank sees: those of its worker, besides those ``devices`` to workers of its machine."""
    if visible is None or len(devices) < 2 or len(set(devices)) < len(devices):
        return {}
    return {"CUDA_VISIBLE_DEVICES": visible.partition(",")[0]}


def _visible() -> str | None:
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def _host(address: str) -> str:
    return urlparse(address).hostname or address


def _run_rank(work: RankTask, place: RankAddress, environment: Mapping[str, str], local: int) -> ExitReport:
    """Run the task of one rank on its worker: start its process, forward its progress, wait for its end."""
    from distributed import get_worker

    worker, name = get_worker(), socket.gethostname()
    rank_process = RankProcess.start(
        place,
        work.function,
        work.arguments,
        local=local,
        host=name,
        cwd=work.cwd,
        path=work.path,
        environment=environment,
    )
    _processes[work.launch, place.rank] = rank_process
    try:
        checked = time.monotonic()
        while rank_process.running():
            for word in drained(rank_process.reports):
                worker.log_event(work.launch, word)
            if time.monotonic() - checked > CHECK:
                checked = time.monotonic()
                if not _held(work):
                    rank_process.kill()
            time.sleep(LOOK)
        ending = rank_process.ending()
        for word in drained(rank_process.reports):
            worker.log_event(work.launch, word)
        return ending
    finally:
        rank_process.kill()
        _processes.pop((work.launch, place.rank), None)


def _held(work: RankTask) -> bool:
    """Return whether the command that started the ranks is alive and holds its product's lock."""
    if holder_token(work.out) != work.token:
        return False
    owner = holder(work.out)
    return owner is not None and bool(owner["alive"])


def _ask(launch: str) -> None:
    """Request the ranks beside this worker to stop after their step."""
    for (name, _), rank_process in list(_processes.items()):
        if name == launch:
            rank_process.ask()


def _end(launch: str) -> None:
    """End the ranks beside this worker at once."""
    for (name, _), rank_process in list(_processes.items()):
        if name == launch:
            rank_process.kill()


def _tell(client: Any, what: Callable[[str], None], launch: str) -> None:
    """Let every worker call a function now, beside its tasks, without waiting for workers that do not answer."""
    telling = threading.Thread(
        target=client.run, args=(what, launch), kwargs={"on_error": "ignore"}, daemon=True, name="tilespec-tell"
    )
    telling.start()
    telling.join(GRACE / 2)
