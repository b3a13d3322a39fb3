"""The command line in this process: what a user types, without the seconds in which a new interpreter loads torch.

That the command is there, and what its exit codes are outside of Python, `tests/cli` asks of real processes.
"""

from contextlib import chdir
from dataclasses import dataclass

from typer.testing import CliRunner

from tilespec.cli import app


@dataclass(frozen=True)
class Ran:
    """What a command came to."""

    returncode: int
    stdout: str
    stderr: str


def tilespec(*words, cwd="."):
    """Run ``tilespec WORDS`` in a folder; an exception that a user would see as a traceback is raised."""
    with chdir(cwd):
        found = CliRunner().invoke(app, [*map(str, words)])
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return Ran(returncode=found.exit_code, stdout=found.stdout, stderr=found.stderr)
