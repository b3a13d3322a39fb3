"""Commands of tilespec, each a process of its own, and what they say of themselves."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def command(*words: str | Path) -> dict[str, Any]:
    """Run a command of tilespec; return its result."""
    line = [sys.executable, "-m", "tilespec", *map(str, words), "--json"]
    run = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(run.stdout)
    return result


def figures(result: dict[str, Any], *more: str) -> dict[str, Any]:
    """Return the seconds, the peak memory and further figures of a result."""
    return {key: result[key] for key in ("seconds", "peak_memory", *more) if key in result}


def settings(values: dict[str, Any]) -> list[str]:
    """Return dotted keys and their values as words of a command."""
    return [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
