"""The command line: `verbs` is the table of commands, and `commands` makes each from the options of its verb.

Progress goes to stderr; ``--json`` prints one JSON object on stdout; ``--dry-run`` prints the plan and does nothing.
Exit codes: 0 done, 2 the user's mistake, 3 finished but incomplete, 130 interrupted and resumable.
"""

import os
import sys
from typing import Annotated, Any, final

import typer
from typer.core import TyperGroup

from tilespec import __version__
from tilespec.cli.commands import LazyCommand
from tilespec.cli.shared import answer, open_streams
from tilespec.cli.verbs import COMMANDS
from tilespec.core.errors import EXIT_USER
from tilespec.core.memory import one_heap
from tilespec.core.progress import to_stderr
from tilespec.core.signals import end_at_once


@final
class Verbs(TyperGroup):
    """The commands of the table."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options | {"commands": {command.name: LazyCommand(command) for command in COMMANDS}})

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands under their headings, each with what it does."""
        del ctx
        listed = [command for command in self.commands.values() if isinstance(command, LazyCommand)]
        width = max(len(command.name or "") for command in listed)
        for heading in dict.fromkeys(command.heading for command in listed):
            with formatter.section(heading):
                rows = [(command.name, command.summary) for command in listed if command.heading == heading]
                formatter.write_dl([(f"{name:<{width}}", summary) for name, summary in rows])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return a command and what follows its name, which may have two words."""
        two = " ".join(args[:2])
        return super().resolve_command(ctx, [two, *args[2:]] if two in self.commands else args)


def _print_version(wanted: bool) -> bool:
    """Print the version and end, or return that nobody wants it: typer takes the value from here."""
    if wanted:
        answer("--version", f"tilespec {__version__}")
        raise typer.Exit
    return wanted


def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Take the options before the verb."""


app = typer.Typer(
    cls=Verbs,
    name="tilespec",
    help="Hyperspectral scenes larger than memory, from raw counts to a blended prediction.",
    callback=_options,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Run the command line."""
    # Idle OpenMP threads that spin cost half the speed beside one busy neighbour; read when torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    open_streams()
    one_heap()
    end_at_once()
    try:
        app()
    except OSError as error:  # the help, or a message of the parser, that nobody can read
        to_stderr(f"tilespec: standard output: {error.strerror}\n")
        sys.exit(EXIT_USER)
