"""What all verbs share: the options that many have, and how an answer or an error is said."""

import json
import sys
from typing import Annotated, Any

import typer

from tilespec import api
from tilespec.core.errors import EXIT_INCOMPLETE, EXIT_INTERRUPTED, EXIT_USER, IncompleteError, UserError
from tilespec.core.progress import Lines, Silent

app = typer.Typer(
    name="tilespec",
    help="Hyperspectral scenes larger than memory, from raw counts to a blended prediction.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and do nothing.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")]
Rows = Annotated[str | None, typer.Option("--rows", metavar="A:B", help="Only these rows.")]
Cols = Annotated[str | None, typer.Option("--cols", metavar="A:B", help="Only these columns.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of everything random.")]
Workers = Annotated[int, typer.Option("--workers", help="Processes on this machine; 0: in this process.")]


def run(verb: str, *, as_json: bool, quiet: bool | None, answer: Any = None, **options: Any) -> None:
    """Call a verb, print what it returns unless ``answer()`` says no, and turn errors into exit codes."""
    try:
        told = {} if quiet is None else {"progress": Silent() if quiet else Lines()}
        result = getattr(api, verb)(**told, **options)
    except UserError as error:
        fail(f"tilespec {verb}: {error}", EXIT_USER)
    except IncompleteError as error:
        fail(f"tilespec {verb}: {error}", EXIT_INCOMPLETE)
    except OSError as error:
        fail(f"tilespec {verb}: {error.filename or 'storage'}: {error.strerror or error}", EXIT_USER)
    except KeyboardInterrupt:
        fail(f"tilespec {verb}: interrupted; run the same command again, it resumes", EXIT_INTERRUPTED)
    else:
        answers = answer is None or answer()  # of several processes, one
        for note in result.get("notes", []) if answers else []:
            print(f"tilespec {verb}: note: {note}", file=sys.stderr)  # noqa: T201 - what users should know
        if answers:
            print(json.dumps(result) if as_json else human(result))  # noqa: T201 - the verb's answer
        if result.get("status") == "incomplete" or result.get("whole") is False:  # ended, but not whole
            raise typer.Exit(EXIT_INCOMPLETE)


def pairs(verb: str, option: str, told: list[str] | None) -> dict[str, str]:
    """Return what was told as ``KEY=VALUE``, the last of each key."""
    found = [text.partition("=") for text in told or []]
    for key, equals, value in found:
        if not equals:
            example = "Write for example --set train.steps=100"
            fail(f"tilespec {verb}: {option}: found {key + value!r}; expected KEY=VALUE. {example}", EXIT_USER)
    return {key.strip(): value.strip() for key, _, value in found}


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
