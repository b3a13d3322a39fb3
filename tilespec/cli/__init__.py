"""The command line: one function for each verb, as thin as its options.

Progress goes to stderr; ``--json`` prints one JSON object on stdout; ``--dry-run`` prints the plan and does nothing.
Exit codes: 0 done, 2 the user's mistake, 3 finished but incomplete, 130 interrupted and resumable.
"""

import os

from tilespec.cli.shared import app
from tilespec.core.memory import one_heap

# verbs are listed in the order of a day's work
# isort: off
from tilespec.cli import scenes  # noqa: F401
from tilespec.cli import models  # noqa: F401
from tilespec.cli import products  # noqa: F401
from tilespec.cli import studies  # noqa: F401
# isort: on


def main() -> None:
    """Run the command line."""
    # Idle OpenMP threads that spin cost half the speed beside one busy neighbour; read when torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    one_heap()
    app()
