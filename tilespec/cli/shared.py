"""What all commands share: how a verb is called, and how its result or its error is shown."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import typer

from tilespec import api
from tilespec.core.errors import EXIT_INCOMPLETE, EXIT_INTERRUPTED, EXIT_USER, IncompleteError, UserError


def run(
    verb: str, given: Mapping[str, Any], *, as_json: bool, answers: Callable[[], bool], sets_exit_code: bool
) -> None:
    """Call a verb, print its result if this process ``answers``, and turn errors into exit codes.

    With ``sets_exit_code`` a result that is incomplete ends with `EXIT_INCOMPLETE`, and its notes go to stderr.
    """
    try:
        result = getattr(api, verb)(**given)
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
            print(f"tilespec {verb}: note: {note}", file=sys.stderr)  # noqa: T201 - what users should know
        if answering:
            print(json.dumps(result) if as_json else human(result))  # noqa: T201 - the verb's answer
        if sets_exit_code and (result.get("status") == "incomplete" or result.get("whole") is False):
            raise typer.Exit(EXIT_INCOMPLETE)


def pairs(verb: str, option: str, texts: Sequence[str] | None) -> dict[str, str]:
    """Return the values of texts ``KEY=VALUE``, the last of each key."""
    parts = [text.partition("=") for text in texts or []]
    for key, equals, value in parts:
        if not equals:
            example = "Write for example --set train.steps=100"
            fail(f"tilespec {verb}: {option}: found {key + value!r}; expected KEY=VALUE. {example}", EXIT_USER)
    return {key.strip(): value.strip() for key, _, value in parts}


def fail(message: str, code: int) -> None:
    """Say why, and end with an exit code."""
    print(message, file=sys.stderr)  # noqa: T201 - the message is the product here
    raise typer.Exit(code)


def human(result: dict[str, Any], indent: str = "") -> str:
    """Return a result as aligned lines."""
    width = max((len(key) for key in result), default=0)
    lines = []
    for key, value in result.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}", human(value, indent + "  ")]
        elif isinstance(value, str) and "\n" in value:
            lines += [f"{indent}{key}", value]
        else:
            lines.append(f"{indent}{key:<{width}}  {_short(value)}")
    return "\n".join(lines)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = json.dumps(value) if isinstance(value, list) else str(value)
    return text if len(text) <= 160 else text[:157] + "..."
