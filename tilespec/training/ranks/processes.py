"""Processes: ranks that this process starts on this machine.

`python -m tilespec.training.ranks.processes` is one of them.

The starting process sends the work over the rank's standard input and leaves it open: when it closes, the rank ends, so
no rank outlives the starting process. The rank sends its progress and its result over its standard output.
"""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Any, final

from tilespec.core.cpu import cores
from tilespec.core.errors import EXIT_DONE, EXIT_INCOMPLETE, EXIT_INTERRUPTED, EXIT_USER, IncompleteError, UserError
from tilespec.core.memory import one_heap
from tilespec.core.progress import Progress, Silent, to_stderr
from tilespec.core.registry import import_object
from tilespec.core.signals import end_at_once, ignore_terminal
from tilespec.training.ranks.launchers import RankAddress

GRACE = 10.0
"""The seconds that ranks have to end by themselves after one of them has failed."""
LOOK = 0.05
"""The seconds between two checks of processes."""
OFTEN = 0.1
"""The seconds between two progress messages."""
STORAGE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES}
"""The errors of a disk that is full or must not be written, which the user mends."""
CODES = {UserError: EXIT_USER, IncompleteError: EXIT_INCOMPLETE, KeyboardInterrupt: EXIT_INTERRUPTED}
"""The exit code of a rank by the exception that it raises; any other gives 1."""


@final
@dataclass(frozen=True, kw_only=True)
class ExitReport:
    """The end of a rank: its exit code and its result."""

    rank: int
    """The number of the rank."""
    host: str
    """The host of the rank."""
    code: int
    """The exit code; below 0: the signal that killed the process."""
    text: str = ""
    """The text of the rank's error."""
    facts: Any = None
    """The return value of the rank."""
    cut: bool = False
    """Whether this process ended the rank, because it did not end with the others."""
    gone: bool = False
    """Whether the end is unknown, because the machine of the rank is lost."""


@final
@dataclass(kw_only=True)
class RankProcess:
    """A process that is one rank."""

    place: RankAddress
    """The number and the address of the rank."""
    host: str
    """The name of the host for messages."""
    process: "subprocess.Popen[bytes]"
    """The operating system's process."""
    reports: "SimpleQueue[list[Any]]" = field(default_factory=SimpleQueue)
    """The progress messages that were not read yet."""
    last: dict[str, Any] = field(default_factory=dict)
    """The result of the rank."""
    cut: bool = False
    """Whether this process killed the rank."""
    heard: threading.Event = field(default_factory=threading.Event)
    """The event that all messages of the rank have been read."""

    @classmethod
    def start(  # noqa: PLR0913 - what a process is
        cls,
        place: RankAddress,
        function: str,
        arguments: Mapping[str, Any],
        *,
        local: int,
        host: str = "this machine",
        cwd: str | None = None,
        path: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> "RankProcess":
        """Start ``function(**arguments, progress=...)``, a dotted path, as one of ``local`` ranks of this machine."""
        own = {**os.environ, **place.environment(), **(environment or {})}
        own.setdefault("OMP_WAIT_POLICY", "passive")  # read when torch loads, like the threads of BLAS
        own.setdefault("OMP_NUM_THREADS", str(max(1, cores() // local)))
        task = {"function": function, "arguments": dict(arguments), "path": [*path]}
        line = json.dumps(task).encode() + b"\n"
        process = subprocess.Popen(
            [sys.executable, "-m", "tilespec.training.ranks.processes"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=own,
            cwd=cwd if cwd is not None and Path(cwd).is_dir() else None,
        )
        rank_process = cls(place=place, host=host, process=process)
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it died at once, as its exit code shows
            process.stdin.write(line)
            process.stdin.flush()
        threading.Thread(target=rank_process._hear, daemon=True, name="tilespec-seat").start()
        return rank_process

    def running(self) -> bool:
        """Return whether the process is alive."""
        return self.process.poll() is None

    def ask(self) -> None:
        """Request the rank to stop after its step."""
        if self.running():
            self.process.terminate()

    def kill(self) -> None:
        """End the process now, if it lives."""
        if self.running():
            self.cut = True
            self.process.kill()
        self.process.wait()
        if self.process.stdin is not None:
            with suppress(BrokenPipeError):
                self.process.stdin.close()

    def ending(self) -> ExitReport:
        """Return how the rank ended, after it has ended."""
        code = self.process.wait()
        self.heard.wait(GRACE)
        return ExitReport(rank=self.place.rank, host=self.host, code=code, cut=self.cut, **self.last)

    def _hear(self) -> None:
        """Read the messages of the process until its output ends."""
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                word = json.loads(line)
                if isinstance(word, dict):
                    self.last = word
                else:
                    self.reports.put(word)
        self.heard.set()


def drained(words: "SimpleQueue[list[Any]]") -> Iterator[list[Any]]:
    """Yield the messages that have arrived so far."""
    with suppress(Empty):
        while True:
            yield words.get_nowait()


def forward(progress: Progress, word: Sequence[Any]) -> None:
    """Forward one message of a `Relay` to a progress."""
    getattr(progress, word[0])(*word[1:])


def run_processes(
    function: str,
    arguments: Mapping[str, Any],
    world: int,
    *,
    progress: Progress | None = None,
    stop: Callable[[], bool] = bool,
) -> Any:
    """Run ``function`` in ``world`` processes of this machine, and return rank 0's result; when one fails, all end.

    They connect on loopback, at a store that listens only there.

    Args:
        function: The dotted path of a function that takes ``arguments`` and ``progress``, and returns plain data.
        arguments: The arguments as plain data.
        world: The number of processes.
        progress: The progress that forwards rank 0's messages.
        stop: The function that returns whether to request a stop.

    Raises:
        IncompleteError: a rank was killed, or lost another one; the same command resumes.
        KeyboardInterrupt: the ranks stopped on request.
        UserError: a rank raised it.
        RuntimeError: a rank raised another error; the message has its traceback.
    """
    from tilespec.training.ranks.rendezvous import listening

    store = listening("127.0.0.1")
    rank_processes: list[RankProcess] = []
    try:
        for rank in range(world):
            place = RankAddress(rank=rank, world=world, address="127.0.0.1", port=store.port, hosted=True)
            rank_processes.append(RankProcess.start(place, function, arguments, local=world, path=sys.path))
        watch(rank_processes, progress or Silent(), stop)
    finally:
        for rank_process in rank_processes:
            rank_process.kill()
    return outcome([rank_process.ending() for rank_process in rank_processes])


def watch(rank_processes: Sequence[RankProcess], progress: Progress, stop: Callable[[], bool]) -> None:
    """Watch ranks until all have ended; forward a stop request; end ranks that do not end together with the others."""
    stopping_now, limit = False, float("inf")
    while any(rank_process.running() for rank_process in rank_processes):
        _pass(rank_processes, progress)
        if stop() and not stopping_now:
            stopping_now = True
            for rank_process in rank_processes:
                rank_process.ask()
        if any(rank_process.process.poll() for rank_process in rank_processes):
            limit = min(limit, time.monotonic() + GRACE)
        if time.monotonic() > limit:
            for rank_process in rank_processes:
                rank_process.kill()
        time.sleep(LOOK)
    _pass(rank_processes, progress)


def _pass(rank_processes: Sequence[RankProcess], progress: Progress) -> None:
    """Forward the messages of the ranks so far."""
    for rank_process in rank_processes:
        for word in drained(rank_process.reports):
            forward(progress, word)


def outcome(endings: Sequence[ExitReport]) -> Any:
    """Return the result of rank 0, or raise the cause of its absence: a user's mistake, else a failure, else a loss."""
    worst = min(endings, key=lambda ending: (_severity(ending), ending.rank))
    who = f"rank {worst.rank} on {worst.host}"
    if worst.code == EXIT_DONE:
        return worst.facts
    if worst.code == EXIT_USER:
        error = UserError.__new__(UserError)  # its message is whole already
        error.args = (worst.text,)
        raise error
    if worst.code == EXIT_INTERRUPTED:
        raise KeyboardInterrupt
    if worst.gone:
        raise IncompleteError(f"{who} is gone with its worker. All ranks have ended; the same command resumes.")
    if worst.cut:
        raise IncompleteError(f"{who} did not end with the others. All ranks have ended; the same command resumes.")
    if worst.code < 0:
        name = signal.Signals(-worst.code).name
        raise IncompleteError(f"{who} was killed by {name}. All ranks have ended; the same command resumes.")
    if worst.code == EXIT_INCOMPLETE:
        raise IncompleteError(worst.text or f"{who} lost another one. The same command resumes.")
    raise RuntimeError(f"{who} ended with code {worst.code}.\n{worst.text}")


def _severity(ending: ExitReport) -> int:
    """Return the order of an end among those that may be the cause; the others are its consequences."""
    order = (EXIT_USER, 1, "killed", "cut", EXIT_INCOMPLETE, EXIT_INTERRUPTED, EXIT_DONE)
    kind = "cut" if ending.cut else "killed" if ending.code < 0 or ending.gone else ending.code
    return order.index(kind) if kind in order else 1


def again(attempt: Callable[[], Any], times: int, progress: Progress, stop: Callable[[], bool] = bool) -> Any:
    """Return the result of ``attempt``; when it loses a rank, resume it up to ``times`` times.

    Raises:
        IncompleteError: a rank was lost once more. KeyboardInterrupt: a rank was lost after ``stop`` had returned True,
            which counts as the stop.
    """
    for left in reversed(range(times + 1)):
        try:
            return attempt()
        except IncompleteError as error:
            if stop():
                raise KeyboardInterrupt from error
            if not left:
                raise
            progress.say(f"{error} It resumes by itself now; {left - 1} more times if need be.")
    raise AssertionError("the last attempt returns or raises")


@final
class Relay:
    """A progress that is sent to the starting process as a list on each line, at limited frequency."""

    def __init__(self, out: IO[str]) -> None:
        self._out, self._units, self._told = out, 0.0, 0.0

    def say(self, text: str) -> None:
        """Send the message ``text``."""
        self._pass("say", text)

    def start(self, what: str, total: float, unit: str) -> None:
        """Send that ``what`` begins."""
        self._pass("start", what, total, unit)

    def advance(self, units: float, note: str = "") -> None:
        """Count ``units`` and send them when the next message is due."""
        self._units += units
        if time.monotonic() - self._told >= OFTEN:
            self._flush(note)

    def finish(self) -> None:
        """Send the remaining units, and that the work has ended."""
        self._flush("")
        self._pass("finish")

    def _flush(self, note: str) -> None:
        self._pass("advance", self._units, note)
        self._units, self._told = 0.0, time.monotonic()

    def _pass(self, *word: Any) -> None:
        self._out.write(json.dumps(word) + "\n")
        self._out.flush()


def _main() -> None:
    """Run as a rank: call the requested function, and send its result."""
    one_heap()
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of libraries must not mix with the messages
    ignore_terminal()
    end_at_once()
    task = json.loads(_line())
    threading.Thread(target=_orphaned, daemon=True, name="tilespec-orphaned").start()
    sys.path.extend(entry for entry in task["path"] if entry not in sys.path)
    progress = Relay(out) if os.environ["RANK"] == "0" else Silent()
    try:
        last, code = (
            {"facts": import_object(task["function"], "function")(**task["arguments"], progress=progress)},
            EXIT_DONE,
        )
    except BaseException as error:  # noqa: BLE001 - said to who started this rank, who raises it
        code = next((code for kind, code in CODES.items() if isinstance(error, kind)), 1)
        text = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
        if isinstance(error, OSError) and error.errno in STORAGE:
            code = EXIT_USER
        last = {"text": text if code != 1 else traceback.format_exc()}
    out.write(json.dumps(last) + "\n")
    out.flush()
    to_stderr("")
    # All is said. Leave without C++ destructors: gloo's and autograd's threads race with them, and now and then a rank
    # that did its work would end in "terminate called without an active exception".
    os._exit(code)


def _line() -> bytes:
    """Return the first line of standard input without reading beyond it."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):
        line += byte
    return line


def _orphaned() -> None:
    """End this process when the starting process has ended."""
    while os.read(0, 1):
        pass
    os._exit(EXIT_INCOMPLETE)


if __name__ == "__main__":
    _main()
