"""Stop: the first SIGINT or SIGTERM lets work in flight end, the second one ends at once."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol, runtime_checkable

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@runtime_checkable
class Flag(Protocol):
    """A file, or an object in a bucket, that is there or not."""

    def exists(self) -> bool:
        """Return whether it is there."""
        ...

    def touch(self) -> None:
        """Put it there."""
        ...

    def unlink(self, *, missing_ok: bool = False) -> None:
        """Take it away."""
        ...


@contextmanager
def stopping(flag: Flag) -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether to stop; workers on other machines see it as the file ``flag``.

    Signals are caught in the main thread only; elsewhere (a notebook's worker, a test's thread) nothing changes.
    """
    flag.unlink(missing_ok=True)
    if threading.current_thread() is not threading.main_thread():
        yield flag.exists
        return

    def first(number: int, _: FrameType | None) -> None:
        if flag.exists():
            raise KeyboardInterrupt
        flag.touch()
        name = signal.Signals(number).name
        sys.stderr.write(f"\n{name}: finishing what is in flight; once more to stop at once\n")

    before: dict[int, Any] = {number: signal.signal(number, first) for number in SIGNALS}
    try:
        yield flag.exists
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        flag.unlink(missing_ok=True)
