"""Signals: the first SIGINT or SIGTERM lets the tasks in flight finish, the second ends the process at once.

SIGHUP, which a terminal sends when it is closed, only ever requests a stop: it may come twice, once from the terminal
and once from the shell. Under ``nohup`` it stays ignored.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Final, Protocol, final, runtime_checkable

from tilespec.core.errors import EXIT_INTERRUPTED
from tilespec.core.progress import to_stderr

URGENT: Final = (signal.SIGINT, signal.SIGTERM)
"""The signals of which a second one ends the process at once."""
SIGNALS: Final = (*URGENT, *filter(None, [getattr(signal, "SIGHUP", None)]))
"""The signals that request a stop."""
TERMINAL: Final = tuple(number for number in SIGNALS if number != signal.SIGTERM)
"""The signals that a terminal sends to all processes of a command."""
GRACE: Final = 3.0
"""The seconds after a second signal in which a command may still end by itself."""

_last_acts: list[Callable[[], None]] = []
"""What a command does before it ends at once, the newest last."""
_ends_at_once = False
"""Whether this process is a command, which a second signal may end while its threads are still computing, and which a
late warning signal must not kill on its way out; others get their handlers back."""


@runtime_checkable
class Flag(Protocol):
    """A flag that several processes can see: a file, or an object in a bucket, that exists or does not exist."""

    def exists(self) -> bool:
        """Return whether the flag exists."""
        ...

    def touch(self) -> None:
        """Create the flag if it does not exist."""
        ...

    def unlink(self, *, missing_ok: bool = False) -> None:
        """Delete the flag if it exists."""
        ...


@final
class LocalFlag:
    """A flag that only this process sees."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def exists(self) -> bool:
        """Return whether the flag exists."""
        return self._event.is_set()

    def touch(self) -> None:
        """Create the flag if it does not exist."""
        self._event.set()

    def unlink(self, *, missing_ok: bool = False) -> None:  # noqa: ARG002 - the interface of files
        """Delete the flag if it exists."""
        self._event.clear()


@contextmanager
def catch_signals(flag: Flag, signals: tuple[signal.Signals, ...] = SIGNALS) -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether to stop; workers on other machines see the file ``flag`` instead.

    Besides SIGINT and SIGTERM, ``signals`` may hold warning signals, which never end the process at once. Signals are
    caught in the main thread only; in any other thread (of a notebook or a test) nothing changes.
    """
    flag.unlink(missing_ok=True)
    if threading.current_thread() is not threading.main_thread():
        yield flag.exists
        return

    def first(number: int, _: FrameType | None) -> None:
        if flag.exists():
            if number in URGENT:
                _interrupt()
            return  # a warning signal may arrive twice
        flag.touch()
        to_stderr(f"\n{signal.Signals(number).name}: finishing what is in flight; once more to stop at once\n")

    caught = [number for number in signals if not _ignored(number)]
    before: dict[int, Any] = {number: signal.signal(number, first) for number in caught}
    try:
        yield flag.exists
    finally:
        leaving = _ends_at_once and flag.exists()
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if leaving and number not in URGENT else handler)
        flag.unlink(missing_ok=True)


def ignore_terminal() -> None:
    """Ignore what a terminal sends to all processes at once; who started this process requests a stop itself."""
    for number in TERMINAL:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def terminal_ignored() -> Iterator[None]:
    """Open a block in which this process ignores its terminal; processes that start meanwhile inherit this."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in TERMINAL}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_at_once() -> None:
    """Let a second signal end this process although its threads compute; only commands and their ranks call this."""
    global _ends_at_once  # noqa: PLW0603 - the process is a command or is not
    _ends_at_once = True


@contextmanager
def last_act(act: Callable[[], None]) -> Iterator[None]:
    """Open a block in which a process that ends at once calls ``act`` before, such as the release of a lock."""
    _last_acts.append(act)
    try:
        yield
    finally:
        _last_acts.remove(act)


def _ignored(number: signal.Signals) -> bool:
    """Return whether who started this process wants it to survive a warning signal, as ``nohup`` does with SIGHUP."""
    return number not in URGENT and signal.getsignal(number) is signal.SIG_IGN


def _interrupt() -> None:
    """Raise KeyboardInterrupt; a command whose threads do not end within `GRACE` is ended without them."""
    if _ends_at_once:
        timer = threading.Timer(GRACE, _end)
        timer.daemon = True
        timer.start()
    raise KeyboardInterrupt


def _end() -> None:
    """End this process now, whatever its threads do."""
    for act in reversed(_last_acts):
        with suppress(Exception):
            act()
    to_stderr("interrupted; run the same command again, it resumes\n")
    os._exit(EXIT_INTERRUPTED)
