"""Apart: a parser that can crash or hang on damaged input runs in a process of its own, with a time limit."""

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tilespec.core.errors import UserError


@contextmanager
def run_apart(script: Path, path: Path, *words: str, seconds: float) -> Iterator[IO[bytes]]:
    """Run a script of ours on a file, and yield what it wrote to its standard output, from the beginning.

    The script is run by its path, so neither the caller's main module nor this package is imported there. Its first
    argument is the time in seconds after which it ends by itself, should this process be gone by then.

    Raises:
        UserError: it failed, crashed, or did not end in time.
    """
    with tempfile.TemporaryFile() as out:
        command = [sys.executable, "-P", str(script), str(int(seconds) + 1), str(path), *words]
        try:
            done = subprocess.run(  # noqa: S603 - our own script
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise _unreadable(path, f"its parser still ran after {seconds:.0f} s") from error
        if done.returncode:
            raise _unreadable(path, _why(done.returncode, done.stderr))
        out.seek(0)
        yield out


def _why(code: int, stderr: bytes) -> str:
    """Return why a process ended: the signal, or the last line that it wrote."""
    if code < 0:
        return f"its parser crashed with {signal.Signals(-code).name}"
    lines = [line.strip() for line in stderr.decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else f"its parser ended with {code}"


def _unreadable(path: Path, why: str) -> UserError:
    return UserError(
        path,
        found=f"a file that cannot be read ({why})",
        expected="a whole file of its format, such as MATLAB 5 or 7.3",
        do="It is damaged or of another format: copy it again, or save it anew.",
    )
