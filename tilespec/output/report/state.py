"""State: whether a prediction is complete, and whether its net depends on the statistics of each tile."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tilespec.output.report.inputs import FieldRun, ModelRun, PredictionRun
from tilespec.storage.layout import COMPLETE
from tilespec.tiling.grid import Axis

SHOWN = 12
"""The number of failed tiles that are listed; further ones are counted."""
PER_TILE = (
    "Statistics of each tile: {names} normalised every tile by itself. Such a net can blend to a seamless map while "
    "its accuracy falls, the more so the smaller the tile, so a low seam score says nothing without the IoU beside "
    "it. Predict with tiles of the training size, or with the statistics of the whole scene."
)


def completeness(run: PredictionRun | FieldRun) -> str:
    """Return a short note that a prediction is incomplete, or an empty text for a complete one."""
    if run.map.status == COMPLETE and not run.failed:
        return ""
    count = len(run.failed)
    return f"incomplete: {count} failed tile{'' if count == 1 else 's'}, no prediction there" if count else "incomplete"


def failures(run: PredictionRun | FieldRun) -> tuple[tuple[str, str], ...]:
    """Return the positions of the failed tiles as facts."""
    if not run.failed:
        return ()
    listed = [_where(run, tile) for tile in run.failed[:SHOWN]]
    more = len(run.failed) - len(listed)
    return ((f"failed tiles of {run.name}", "; ".join([*listed, *([f"and {more} more"] if more else [])])),)


def looks_at_tiles(run: PredictionRun, models: Sequence[ModelRun]) -> bool:
    """Return whether a prediction of several tiles used statistics of each tile, as far as the report can know."""
    grid = run.map.attrs.get("grid") or {}
    if grid.get("kind", "approximate") != "approximate" or run.map.attrs.get("norm") == "frozen":
        return False
    if run.map.attrs.get("spatial_norms"):
        return True
    digest = run.map.attrs.get("model_digest")
    cards = [model.card for model in models if digest is not None and model.card.get("digest") == digest]
    return any(_spatial(card.get("net") or {}) for card in cards)


def _spatial(net: Mapping[str, Any]) -> bool:
    """Return whether a net of the table normalises by the statistics of its input."""
    return net.get("norm") == "instance" or (net.get("norm") == "batch" and bool(net.get("live")))


def _where(run: PredictionRun | FieldRun, tile: int) -> str:
    """Return the region of a tile in pixels of the scene."""
    grid = run.map.attrs.get("grid") or {}
    if not {"tile", "overlap"} <= set(grid):
        return f"tile {tile}"
    sides, overlaps = (np.broadcast_to(grid[key], 2).tolist() for key in ("tile", "overlap"))
    axes = [Axis(length=n, tile=t, overlap=v) for n, t, v in zip(run.map.roi.shape, sides, overlaps, strict=True)]
    corner = [k * axis.step for k, axis in zip(divmod(tile, axes[1].count), axes, strict=True)]
    spans = [
        f"{first + start}:{first + min(start + axis.tile, axis.length)}"
        for first, start, axis in zip((run.map.roi.y0, run.map.roi.x0), corner, axes, strict=True)
    ]
    return f"tile {tile} (rows {spans[0]}, columns {spans[1]})"
