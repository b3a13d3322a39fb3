"""Results of a comparison as Markdown tables: means over patches, spread over seeds."""

from itertools import compress
from statistics import mean
from typing import Any

from ablation_variants import ABLATION, METHODS, VARIANTS, Variant
from table import markdown

BASE = "base"
"""What the others of the ablation are compared with, seed by seed."""


def tables(lines: list[dict[str, Any]], about: str) -> str:
    """Return the table of methods and the ablation, with ``about`` what they were made on."""
    parts = [about]
    for group, title in {METHODS: "Methods", ABLATION: f"Ablation: one change to `{BASE}` at a time"}.items():
        rows = [_row(one, found, lines) for one in VARIANTS if one.group == group and (found := _of(one, lines))]
        if rows:
            used = [any(cells) for cells in zip(*rows, strict=True)]
            columns, *rows = ([*compress(cells, used)] for cells in (COLUMNS, *rows))
            parts.append(f"### {title}\n\n{markdown(columns, rows)}")
    return "\n\n".join(parts) + "\n"


COLUMNS = [
    *("variant", "what", "IoU, mean ± std over patches", "over seeds", "seeds", "less base", "IoU of the region"),
    *("steps", "training, s", "steps/s", "waited"),
]


def _row(one: Variant, found: list[dict[str, Any]], lines: list[dict[str, Any]]) -> list[str]:
    """Return the cells of one variant."""
    ious = [line["iou_mean"] for line in found]
    spread = f"{min(ious):.3f} to {max(ious):.3f}" if len(ious) > 1 else ""
    iou = f"{mean(ious):.3f} ± {_mean(found, 'iou_std', '.3f')}"
    timed = [_mean(found, key, form) for key, form in TIMED]
    region = _mean(found, "scene_iou", ".3f")
    return [one.name, one.about, iou, spread, str(len(ious)), _less(one, found, lines), region, *timed]


TIMED = (("steps", ".0f"), ("train_seconds", ".0f"), ("steps_per_second", ".1f"), ("starvation", ".1%"))


def _less(one: Variant, found: list[dict[str, Any]], lines: list[dict[str, Any]]) -> str:
    """Return the mean difference from the base of the same seed."""
    base = {line["seed"]: line["iou_mean"] for line in lines if line["variant"] == BASE}
    pairs = [line["iou_mean"] - base[line["seed"]] for line in found if line["seed"] in base]
    return f"{mean(pairs):+.3f}" if pairs and one.group == ABLATION and one.name != BASE else ""


def _mean(found: list[dict[str, Any]], key: str, form: str) -> str:
    values = [line[key] for line in found if line.get(key) is not None]
    return format(mean(values), form) if values else ""


def _of(one: Variant, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the results of a variant, by seed."""
    return sorted((line for line in lines if line["variant"] == one.name), key=lambda line: line["seed"])
