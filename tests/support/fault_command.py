"""The command line with other constants: ``CHAOS_SET`` is a JSON object, dotted name to value.

The file ``CHAOS_ROWS`` gets a line for each row of objects that is recorded: its number, the panel, the process.
``CHAOS_REST`` is how many seconds pass after each.
"""

import json
import os
import time
from importlib import import_module
from pathlib import Path


def count_rows(file):
    """Note each record of a row in a file."""
    ledger = import_module("tilespec.storage.ledger").Ledger
    record = ledger.record

    def noted(self, row, facts, panel=0):
        record(self, row, facts, panel)
        with Path(file).open("a") as lines:
            lines.write(f"{row}-{panel} {os.getpid()}\n")
        time.sleep(float(os.environ.get("CHAOS_REST", "0")))

    ledger.record = noted


def dask_setup(worker):
    """Count rows in a worker of Dask too, where this module is preloaded."""
    del worker
    if "CHAOS_ROWS" in os.environ:
        count_rows(os.environ["CHAOS_ROWS"])


if __name__ == "__main__":
    for name, value in json.loads(os.environ.get("CHAOS_SET", "{}")).items():
        module, _, attribute = name.rpartition(".")
        setattr(import_module(module), attribute, tuple(value) if isinstance(value, list) else value)
    if "CHAOS_ROWS" in os.environ:
        count_rows(os.environ["CHAOS_ROWS"])
    import_module("tilespec.cli").main()
