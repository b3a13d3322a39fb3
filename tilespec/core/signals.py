"""Signals: the first SIGINT or SIGTERM lets the tasks in flight finish, the second ends the process at once."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol, final, runtime_checkable

SIGNALS = (signal.SIGINT, signal.SIGTERM)


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
            if number in SIGNALS:
                raise KeyboardInterrupt
            return  # a warning signal may arrive twice
        flag.touch()
        name = signal.Signals(number).name
        sys.stderr.write(f"\n{name}: finishing what is in flight; once more to stop at once\n")

    before: dict[int, Any] = {number: signal.signal(number, first) for number in signals}
    try:
        yield flag.exists
    finally:
        for number, handler in before.items():  # during the exit, another warning signal must not kill
            signal.signal(number, signal.SIG_IGN if number not in SIGNALS and flag.exists() else handler)
        flag.unlink(missing_ok=True)
