"""What all commands share: how a verb is called, and how its result or its error is shown."""

import errno
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn, final

import typer

from tilespec import api
from tilespec.core.errors import (
    EXIT_INCOMPLETE,
    EXIT_INTERRUPTED,
    EXIT_USER,
    IncompleteError,
    UserError,
    without_credentials,
)
from tilespec.core.progress import Lines, Progress, Silent, to_stderr
from tilespec.core.results import human


@final
class Ended(typer.Exit):
    """The end of a command that could not do its work, with what was said of it."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(code)
        self.message = message


@contextmanager
def logged(verb: str, file: str | None) -> Iterator[Progress]:
    """Yield a progress that appends to a file: the command, its progress, how it ended; without a file a silent one."""
    if file is None:
        yield Silent()
        return
    try:
        stream = Path(file).open("a", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115 - it is closed below
    except OSError as error:
        fail(f"tilespec {verb}: --log: {file}: {error.strerror}; expected a file that can be written", EXIT_USER)
    with stream:
        log = Lines(file=stream)
        log.say(without_credentials(shlex.join(["tilespec", *sys.argv[1:]])))
        try:
            yield log
        except typer.Exit as end:
            log.say(end.message if isinstance(end, Ended) else f"tilespec {verb}: exit code {end.exit_code}")
            raise
        except BaseException as error:
            log.say(without_credentials(f"tilespec {verb}: {type(error).__name__}: {error}"))
            raise
        log.say(f"tilespec {verb}: done")


def run(
    verb: str,
    given: Mapping[str, Any],
    *,
    log: Progress,
    as_json: bool,
    answers: Callable[[], bool],
    sets_exit_code: bool,
) -> None:
    """Call a verb, print its result if this process ``answers``, and turn errors into exit codes.

    With ``sets_exit_code`` a result that is incomplete ends with `EXIT_INCOMPLETE`; its notes go to stderr and ``log``.
    """
    try:
        result = getattr(api, function_of(verb))(**given)
    except UserError as error:
        fail(f"tilespec {verb}: {error}", EXIT_USER)
    except IncompleteError as error:
        fail(f"tilespec {verb}: {error}", EXIT_INCOMPLETE)
    except OSError as error:
        fail(f"tilespec {verb}: {error.filename or 'storage'}: {error.strerror or error}", EXIT_USER)
    except KeyboardInterrupt:
        fail(f"tilespec {verb}: interrupted; run the same command again, it resumes", EXIT_INTERRUPTED)
    else:
        answering = answers()
        for note in result.get("notes", []) if answering and sets_exit_code else []:
            said = without_credentials(f"tilespec {verb}: note: {note}")
            to_stderr(f"{said}\n")
            log.say(said)
        if answering:
            answer(verb, json.dumps(result) if as_json else human(result))
        if sets_exit_code and (result.get("status") == "incomplete" or result.get("whole") is False):
            raise typer.Exit(EXIT_INCOMPLETE)


def function_of(verb: str) -> str:
    """Return the name of a verb in Python."""
    return verb.replace("-", "_").replace(" ", "_")


def pairs(verb: str, option: str, texts: Sequence[str] | None) -> dict[str, str]:
    """Return the values of texts ``KEY=VALUE``, the last of each key."""
    parts = [text.partition("=") for text in texts or []]
    for key, equals, value in parts:
        if not equals:
            example = "Write for example --set train.steps=100"
            fail(f"tilespec {verb}: {option}: found {key + value!r}; expected KEY=VALUE. {example}", EXIT_USER)
    return {key.strip(): value.strip() for key, _, value in parts}


def fail(message: str, code: int) -> NoReturn:
    """Say why, and end with an exit code."""
    said = without_credentials(message)
    to_stderr(f"{said}\n")
    raise Ended(said, code)


def answer(verb: str, text: str) -> None:
    """Print the answer of a verb on stdout; a reader that has gone away has seen enough of it.

    Where it cannot be written (a full disk), one message says so: the work itself is done.
    """
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except OSError as error:
        with suppress(OSError):  # what is left in the buffer is not written again at the end of the process
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno != errno.EPIPE:
            fail(f"tilespec {verb}: standard output: {error.strerror}; the work is done", EXIT_USER)


def open_streams() -> None:
    """Open the standard streams that who started this process has closed, so that no file takes their place."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        with suppress(AttributeError, ValueError):  # a locale without umlauts is no reason to end
            stream.reconfigure(errors="backslashreplace")
