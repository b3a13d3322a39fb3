"""History: the validations of a training in ``validation.jsonl``, and pure functions of them."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tilespec.evaluate.metrics.base import Metric
from tilespec.storage.backends.base import StorePath
from tilespec.storage.backends.paths import store_path
from tilespec.storage.files import parse_json, write_atomic

Line = Mapping[str, Any]
"""One validation: ``step`` (steps done), the metrics (None if undefined), ``seconds``."""


def best(history: Sequence[Line], metric: Metric) -> int | None:
    """Return the step of the best validation, the earliest of equals; None when none has a finite score."""
    ranked = [(value, -line["step"]) for line in history if (value := worth(line, metric)) is not None]
    return -int(max(ranked)[1]) if ranked else None


def stopped(history: Sequence[Line], patience: int, metric: Metric, burn_in: int = 0) -> bool:
    """Return whether ``patience`` validations in a row were no better than those before; 0: never.

    A validation without a finite score is not better. The first ``burn_in`` ones do not count.
    """
    top, counted = best(history, metric), history[burn_in:]
    since = len(counted) if top is None else sum(line["step"] > top for line in counted)
    return 0 < patience <= since


def worth(line: Line, metric: Metric) -> float | None:
    """Return the metric of a validation with larger values better; None if it is not finite."""
    value = line.get(metric.name)
    if metric.better is None or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value if metric.better == "larger" else -value


def read(folder: Path | StorePath) -> list[dict[str, Any]]:
    """Return the validations of the training in ``folder`` in their order, without incomplete lines."""
    path = store_path(folder) / "validation.jsonl"
    lines = (_line(text) for text in path.read_text().splitlines()) if path.exists() else iter(())
    return [line for line in lines if line is not None]


def write(folder: Path | StorePath, lines: Sequence[Line]) -> None:
    """Replace the validations of the training in ``folder``."""
    write_atomic(store_path(folder) / "validation.jsonl", "".join(json.dumps(dict(line)) + "\n" for line in lines))


def rewind(folder: Path | StorePath, step: int) -> list[dict[str, Any]]:
    """Delete the validations after ``step`` steps, because they are done again; return the others."""
    before = read(folder)
    lines = [line for line in before if line["step"] <= step]
    if len(lines) < len(before):
        write(folder, lines)
    return lines


def _line(text: str) -> dict[str, Any] | None:
    """Return a line of the history, or None for an incomplete one."""
    line = parse_json(text) or {}
    return line if isinstance(line.get("step"), int) else None
