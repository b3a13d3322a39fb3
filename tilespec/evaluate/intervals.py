"""Intervals: confidence intervals and splits of a score over square blocks of the scene."""

from typing import Any

import numpy as np

from tilespec.core.errors import UserError
from tilespec.core.types import Roi
from tilespec.evaluate.bootstrap import LEVEL, BlockStatistics, intervals, spatial_folds
from tilespec.evaluate.comparison import Comparison

FEW = 20
"""The number of blocks below which an interval is too narrow."""


def check_blocks(roi: Roi, *, bootstrap: int, folds: int, size: int) -> None:
    """Refuse numbers of draws and folds that the blocks cannot give.

    Raises:
        UserError: the number of draws is negative, there is one fold, or there are fewer blocks than needed.
    """
    for flag, value, least in (("--bootstrap", bootstrap, 0), ("--blocks", folds, 0), ("--block-size", size, 1)):
        if value < least:
            raise UserError(flag, found=value, expected=f"{least} or more", do=f"Leave {flag} away, or correct it.")
    rows, cols = (-(-b // size) - a // size for a, b in ((roi.y0, roi.y1), (roi.x0, roi.x1)))
    needed = max(2 * bool(bootstrap), folds)
    if folds == 1 or rows * cols < needed:
        raise UserError(
            "--blocks" if folds else "--bootstrap",
            found=f"{folds} folds of {rows * cols} blocks" if folds else f"{rows * cols} block",
            expected=f"2 folds or more, and blocks for all: {rows * cols} lie in {roi}",
            do=f"Give a --block-size below {size}.",
        )


def over_blocks(case: Comparison, blocked: BlockStatistics, **wanted: int) -> dict[str, Any]:
    """Return the intervals from ``bootstrap`` draws and the figures of ``folds`` folds, with ``seed``."""
    notes, out = [], {}
    filled, size = blocked.filled, blocked.size
    if len(filled) < max(2, wanted["folds"]):
        raise UserError(
            "--block-size",
            found=f"{len(filled)} blocks of {size} pixels with anything to score",
            expected=f"{max(2, wanted['folds'])} or more",
            do="Give smaller blocks.",
        )
    if wanted["bootstrap"]:
        ranges = intervals(blocked, draws=wanted["bootstrap"], seed=wanted["seed"], scores=case.scores)
        facts = {"draws": wanted["bootstrap"], "level": LEVEL, "block_size": size, "blocks": len(filled)}
        out["bootstrap"] = {**facts, "intervals": ranges}
        if len(filled) < FEW:
            notes.append(f"intervals over {len(filled)} blocks are too narrow: {FEW} or more are needed")
    if wanted["folds"]:
        out["folds"] = _folds(case, blocked, wanted["folds"], wanted["seed"])
    return {**out, "notes": notes}


def _folds(case: Comparison, blocked: BlockStatistics, folds: int, seed: int) -> dict[str, Any]:
    """Return the figures of each fold of blocks, and their mean and deviation."""
    size = blocked.size
    member = spatial_folds((-(-case.plane[0] // size), -(-case.plane[1] // size)), folds, seed)
    lines: list[dict[str, Any]] = []
    for fold in range(folds):
        keys = [key for key in blocked.filled if member[key] == fold]
        scores = blocked.total(keys).finish()
        figures = {name: scores[name] for name in (*case.counts, *case.scores) if not isinstance(scores[name], list)}
        lines.append({"fold": fold, "blocks": len(keys), **figures})
    out: dict[str, Any] = {"count": folds, "block_size": size, "scores": lines}
    for name, of in (("mean", np.mean), ("std", np.std)):
        columns = {key: [line[key] for line in lines if line.get(key) is not None] for key in case.scores}
        out[name] = {key: float(of(values)) for key, values in columns.items() if values}
    return out
