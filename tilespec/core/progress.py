"""Progress on stderr: a live line on a terminal or in a notebook, else a plain line every few seconds, also in a file.

Progress is not the work: where nobody reads it any more (a closed terminal, a full disk, a pipe without a reader) it is
lost, and the work goes on.
"""

import sys
import time
from contextlib import suppress
from datetime import datetime
from typing import Any, Protocol, TextIO, final, runtime_checkable


@runtime_checkable
class Progress(Protocol):
    """The interface through which long work reports its progress."""

    def say(self, text: str) -> None:
        """Report one message: a forecast or a plan."""

    def start(self, what: str, total: float, unit: str) -> None:
        """Begin the work ``what``, which has ``total`` units."""

    def advance(self, units: float, note: str = "") -> None:
        """Report that ``units`` more units are done; ``note`` is shown beside the rate."""

    def finish(self) -> None:
        """End the work that was begun last."""


@final
class Silent:
    """A progress that reports nothing."""

    def say(self, text: str) -> None:
        """Ignore the message."""

    def start(self, what: str, total: float, unit: str) -> None:
        """Ignore the begin of the work."""

    def advance(self, units: float, note: str = "") -> None:
        """Ignore the units that are done."""

    def finish(self) -> None:
        """Ignore the end of the work."""


@final
class Several:
    """Several progresses, each of which gets every report."""

    def __init__(self, *each: Progress) -> None:
        self._each = each

    def say(self, text: str) -> None:
        """Report one message to all."""
        for one in self._each:
            one.say(text)

    def start(self, what: str, total: float, unit: str) -> None:
        """Begin the work everywhere."""
        for one in self._each:
            one.start(what, total, unit)

    def advance(self, units: float, note: str = "") -> None:
        """Report the units to all."""
        for one in self._each:
            one.advance(units, note)

    def finish(self) -> None:
        """End the work everywhere."""
        for one in self._each:
            one.finish()


@final
class Lines:
    """Rate and time left on stderr: one live line on a terminal or in a notebook, else a line every ``every`` seconds.

    A notebook shows it as plain text, on stdout, because it paints stderr red. In a ``file`` each line has its time.
    """

    def __init__(self, every: float = 10.0, file: TextIO | None = None) -> None:
        self._file = file
        self._notebook, self._width = file is None and in_notebook(), 0
        self._tty = file is None and not self._notebook and _is_terminal(sys.stderr)
        self._every = 0.2 if self._tty or self._notebook else every

    def say(self, text: str) -> None:
        """Write ``text`` on a line of its own."""
        self._write(text, end="\n")

    def start(self, what: str, total: float, unit: str) -> None:
        """Begin the work ``what``, which has ``total`` units."""
        self._what, self._total, self._unit, self._done = what, total, unit, 0.0
        self._began = self._last = time.monotonic()

    def advance(self, units: float, note: str = "") -> None:
        """Count ``units`` and write the progress when the next line is due."""
        self._done += units
        now = time.monotonic()
        if now - self._last >= self._every:
            self._last = now
            self._say(now - self._began, note)

    def finish(self) -> None:
        """Write the total number of units and the mean rate."""
        spent = max(time.monotonic() - self._began, 1e-9)
        text = f"{self._what}: {_human(self._done)} {self._unit} in {_clock(spent)}"
        self._write(f"{text} ({_human(self._done / spent)} {self._unit}/s)", end="\n")

    def _say(self, spent: float, note: str) -> None:
        rate = self._done / spent
        left = _clock((self._total - self._done) / rate) if rate > 0 else "?"
        share = 100 * self._done / self._total if self._total else 100.0
        text = f"{self._what}: {share:5.1f} %  {_human(rate)} {self._unit}/s  {left} left  {note}"
        self._write(text.rstrip(), end="" if self._tty or self._notebook else "\n")

    def _write(self, text: str, end: str) -> None:
        if self._file is not None:
            lines = (
                f"{datetime.now().astimezone().isoformat(timespec='seconds')} {line}\n" for line in text.splitlines()
            )
            to_stderr("".join(lines), self._file)
        elif self._notebook:  # blanks cover the rest of a longer line, which notebooks cannot erase
            to_stderr(f"\r{text:<{self._width}}{end}", sys.stdout)
            self._width = 0 if end else len(text)
        else:
            to_stderr((f"\r\x1b[2K{text}" if self._tty else text) + end)


def to_stderr(text: str, stream: Any = None) -> None:
    """Write a text to stderr, or to another stream, if anybody can still read it."""
    # The stream may be full, closed or None, or in the midst of writing when the handler of a signal writes.
    with suppress(OSError, ValueError, AttributeError, RuntimeError):
        file = stream or sys.stderr
        file.write(text)
        file.flush()


def default_progress() -> Progress:
    """Return the progress of a verb that was called without one: lines where somebody watches, else none.

    Somebody watches in a notebook and at an interactive prompt; a script and a library are silent.
    """
    return Lines() if in_notebook() or (hasattr(sys, "ps1") and _is_terminal(sys.stderr)) else Silent()


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


def _is_terminal(stream: Any) -> bool:
    """Return whether a stream is a terminal; one that is closed or missing is none."""
    try:
        return stream is not None and bool(stream.isatty())
    except ValueError:
        return False


def _human(x: float) -> str:
    """Return a number with three digits and a unit prefix."""
    for limit, scale, prefix in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(x) >= limit:
            return f"{x / scale:.3g} {prefix}"
    return f"{x:.3g}"


def _clock(seconds: float) -> str:
    """Return seconds as ``h:mm:ss``, ``m:ss`` or ``s.s s``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


__all__ = ["Lines", "Progress", "Several", "Silent", "default_progress", "in_notebook", "to_stderr"]
