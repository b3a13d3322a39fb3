"""The command line: `verbs` is the table of commands, and `commands` makes each from the options of its verb.

Progress goes to stderr; ``--json`` prints one JSON object on stdout; ``--dry-run`` prints the plan and does nothing.
Exit codes: 0 done, 2 the user's mistake, 3 finished but incomplete, 130 interrupted and resumable.
"""

import os
from typing import Any, final

import typer
from typer.core import TyperGroup

from tilespec.cli.commands import LazyCommand
from tilespec.cli.verbs import COMMANDS
from tilespec.core.memory import one_heap


@final
class Verbs(TyperGroup):
    """The commands of the table."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options | {"commands": {command.name: LazyCommand(command) for command in COMMANDS}})


app = typer.Typer(
    cls=Verbs,
    name="tilespec",
    help="Hyperspectral scenes larger than memory, from raw counts to a blended prediction.",
    callback=lambda: None,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Run the command line."""
    # Idle OpenMP threads that spin cost half the speed beside one busy neighbour; read when torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    one_heap()
    app()
