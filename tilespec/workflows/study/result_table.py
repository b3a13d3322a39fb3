"""Table: the mean and the spread over seeds, for each fold and over all folds, as plain data, CSV and Markdown."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from statistics import mean, stdev
from typing import Any, Final

from tilespec.evaluate.metrics.table import METRICS, figures
from tilespec.workflows.study.run import Run

EVERY: Final = "all folds"
"""The name of the line of a variant over its folds, weighted by their valid pixels."""
HIDDEN: Final = {metric.figure for metric in METRICS.values() if not metric.shown}
"""Scores that the Markdown table leaves to CSV and JSON, for it has to fit a page."""


def rows_of(runs: Sequence[Run], lines: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each variant and fold, and one over the folds if there are several.

    ``mean`` and ``std`` (of a sample: n - 1; None for one seed) are over seeds. The row over the folds has, for each
    seed with all folds, their mean weighted by valid pixels; its mean and spread are over those seeds.
    """
    rows = []
    for variant in dict.fromkeys(run.variant.name for run in runs):
        mine = [run for run in runs if run.variant.name == variant]
        folds = list(dict.fromkeys(run.fold.name for run in mine))
        seeds = list(dict.fromkeys(run.seed for run in mine))
        by_fold = {(run.fold.name, run.seed): lines[run.key] for run in mine if run.key in lines}
        rows += [
            _row(variant, fold, [by_fold[fold, seed] for seed in seeds if (fold, seed) in by_fold]) for fold in folds
        ]
        if len(folds) > 1:
            whole = [seed for seed in seeds if all((fold, seed) in by_fold for fold in folds)]
            rows.append(_row(variant, EVERY, [_weighted([by_fold[fold, seed] for fold in folds]) for seed in whole]))
    return rows


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as CSV: a column for each mean, and one for its deviation."""
    names = _scored(row["mean"] for row in rows)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["variant", "fold", "seeds", "pixels", *(f"{name}{end}" for name in names for end in ("", "_std"))])
    for row in rows:
        cells = [(row["mean"].get(name), row["std"].get(name)) for name in names]
        writer.writerow([row["variant"], row["fold"], row["seeds"], row["pixels"], *_flat(cells)])
    return out.getvalue()


def as_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as a Markdown table: mean ± deviation over seeds."""
    names = [name for name in _scored(row["mean"] for row in rows) if name not in HIDDEN]
    lines = [_line(["variant", "fold", "seeds", *names]), _line(["---"] * (3 + len(names)))]
    for row in rows:
        cells = [_cell(row["mean"].get(name), row["std"].get(name)) for name in names]
        lines.append(_line([row["variant"], row["fold"], str(row["seeds"]), *cells]))
    return "\n".join(lines) + "\n"


def _row(variant: str, fold: str, lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one row from the lines of several seeds."""
    means, spreads = {}, {}
    for name in _scored(line["scores"] for line in lines):
        values = [line["scores"][name] for line in lines if line["scores"].get(name) is not None]
        if values:
            means[name] = mean(values)
            spreads[name] = stdev(values) if len(values) > 1 else None
    pixels = lines[0]["pixels"] if lines else 0
    return {"variant": variant, "fold": fold, "seeds": len(lines), "pixels": pixels, "mean": means, "std": spreads}


def _weighted(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the mean of the scores of several folds, weighted by their valid pixels."""
    total, scores = sum(line["pixels"] for line in lines), {}
    for name in _scored(line["scores"] for line in lines):
        if all(line["scores"].get(name) is not None for line in lines):
            scores[name] = sum(line["scores"][name] * line["pixels"] for line in lines) / total
    return {"pixels": total, "scores": scores}


def _scored(scores: Iterable[Iterable[str]]) -> list[str]:
    """Return the names that are among any scores: those of tilespec in their order, then others as they come."""
    there = dict.fromkeys(name for names in scores for name in names)
    return [*(name for name in figures() if name in there), *(name for name in there if name not in figures())]


def _flat(cells: Iterable[tuple[Any, Any]]) -> list[Any]:
    """Return pairs in sequence, with nothing for None."""
    return ["" if value is None else value for pair in cells for value in pair]


def _cell(value: float | None, spread: float | None) -> str:
    """Return a mean and its spread with four digits."""
    if value is None:
        return "–"
    return f"{value:.4g}" if spread is None else f"{value:.4g} ± {spread:.2g}"


def _line(cells: Iterable[str]) -> str:
    """Return a line of a Markdown table; a bar within a cell is escaped, because it would end the cell."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
