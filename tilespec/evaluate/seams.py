"""Seams: the seam scores of a stored prediction, of its truth and of its probabilities, one pass over each map.

`tilespec.evaluate.metrics.seam_jumps` defines the score and the border lines; this module reads stores,
block by block, each with a halo of one row and one column.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from tilespec.cluster.reduction import reduce_blocks
from tilespec.core.errors import UserError
from tilespec.core.progress import Progress, Silent
from tilespec.core.types import UNLABELLED, Roi
from tilespec.evaluate.metrics.seam_jumps import Borders, Jumps, Profile, by_line, score, shifted
from tilespec.storage.group import check_complete, open_group
from tilespec.storage.layer import Layer
from tilespec.storage.rasters import corner_of, scale_of
from tilespec.tiling.grid import Axis

VALUES = 1 << 21
"""The approximate number of values in a block."""
BITS = 30
"""The resolution of jumps of channels, which are summed as integers: this many bits below the largest value."""
WIDE = 0.5
"""The spread over shifted grids above which a score near theirs is inconclusive."""
NEAR = 2.0
"""The number of spreads within which a score is near."""


def seam_score(
    pred: str,
    *,
    truth: str | None = None,
    rows: str | None = None,
    cols: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Return the seam scores of the prediction ``pred``, plain data under keys ``seam_*``; None for undefined ones.

    ``seam_score`` is of the classes (of the channels, where it has no classes), ``seam_score_probability`` of the
    probabilities where they are stored, ``seam_score_edge`` of the classes where blended tiles begin and end.
    ``_truth`` is the truth's score on the same lines; ``_shifted`` and ``_spread`` are mean and standard deviation over
    the same grid shifted; ``_median`` is the score that half of the border lines exceed. Pairs without data are left
    out and counted. Each map is read once.

    Args:
        pred: The URL of the prediction.
        truth: The URL of a scene with labels, or of a class map.
        rows: The rows "A:B" in pixels of the scene.
        cols: The columns "A:B" in pixels of the scene.
        progress: The progress that counts the rows.

    Raises:
        UserError: the prediction does not exist, or the region is not inside it or the truth.
    """
    store = open_group(pred)
    check_complete(pred, store.attrs, partial=True)
    attrs, main = dict(store.attrs), _layer(pred, "prediction")
    region = _region(attrs, main, rows, cols)
    borders = _borders(attrs.get("grid"), main, region)
    lines = sum(len(axis.handover) for axis in borders)
    if lines == 0:
        return {**NOTHING, "seam_note": _untiled(attrs.get("grid"))}
    profiles = _profiles(main, region, progress)
    out = {**NOTHING, "seam_lines": lines, "seam_left_out": _left_out(profiles, region)}
    out |= _seam_figures(profiles, borders, "seam_score")
    alone = by_line(profiles, borders)
    out["seam_score_median"] = float(np.median(alone)) if len(alone) else None
    out["seam_score_edge"] = score(profiles, [axis.edge for axis in borders], borders)
    if "probability" in store:
        probability = _seam_figures(
            _profiles(_layer(pred, "probability"), region, progress), borders, "seam_score_probability"
        )
        notes = [note for note in (out["seam_note"], probability["seam_note"]) if note]
        out |= {**probability, "seam_note": "; ".join(notes) or None}
    if truth is not None and _classes(main) and (place := _place(attrs, truth, region)) is not None:
        truth_profiles = _profiles(*place, progress)
        out["seam_score_truth"] = score(truth_profiles, [axis.handover for axis in borders], borders)
    return out


NOTHING: dict[str, Any] = {
    "seam_score": None,
    "seam_score_truth": None,
    "seam_score_shifted": None,
    "seam_score_spread": None,
    "seam_score_median": None,
    "seam_score_edge": None,
    "seam_score_probability": None,
    "seam_score_probability_shifted": None,
    "seam_score_probability_spread": None,
    "seam_lines": 0,
    "seam_left_out": None,
    "seam_note": None,
}
"""The keys and values of a prediction without borders."""


def _seam_figures(profiles: tuple[Profile, Profile], borders: list[Borders], key: str) -> dict[str, Any]:
    """Return the score with those of shifted grids, or None with a note if it cannot be distinguished from them."""
    figure, moved = score(profiles, [axis.handover for axis in borders], borders), shifted(profiles, borders)
    mean, spread = (float(moved.mean()), float(moved.std())) if len(moved) else (None, None)
    out = {key: figure, f"{key}_shifted": mean, f"{key}_spread": spread, "seam_note": None}
    if figure is None:
        return {**out, "seam_note": f"no {key}: nothing changes inside the tiles"}
    if mean is not None and spread is not None and spread > WIDE and abs(figure - mean) <= NEAR * spread:
        note = f"{key} {figure:.2f} says nothing: so few borders score {mean:.2f} ± {spread:.2f} anywhere"
        return {**out, key: None, "seam_note": note}
    return out


def _left_out(profiles: tuple[Profile, Profile], region: Roi) -> int:
    """Return the number of pairs of neighbours without data."""
    height, width = region.shape
    return (height - 1) * width + height * (width - 1) - sum(int(profile.pairs.sum()) for profile in profiles)


def _borders(grid: Mapping[str, Any] | None, layer: Layer, region: Roi) -> list[Borders]:
    """Return the borders of both axes; a prediction without tiles has none."""
    spans = (region.y0, region.y1), (region.x0, region.x1)
    if not grid:
        none = np.zeros(0, np.int64)
        return [Borders(step=1, handover=none, edge=none)] * 2
    tiles, overlaps = (np.broadcast_to(grid[key], 2).tolist() for key in ("tile", "overlap"))
    axes = [Axis(length=n, tile=t, overlap=v) for n, t, v in zip(layer.shape[:2], tiles, overlaps, strict=True)]
    return [Borders.of(axis, str(grid["window"]), span) for axis, span in zip(axes, spans, strict=True)]


def _untiled(grid: Mapping[str, Any] | None) -> str:
    """Return the reason for a missing score."""
    return "no seam score: one tile, or none of its borders in the region" if grid else "no seam score: not tiled"


def _classes(layer: Layer) -> bool:
    """Return whether a layer is a map of classes."""
    return len(layer.shape) == 2 and layer.dtype.kind in "iu"


def _layer(url: str, name: str) -> Layer:
    """Return a map of classes or of channels."""
    layer = Layer.find(url, name, dimensions=(2, 3))
    if layer is None:
        raise UserError(
            url,
            found=f"arrays {sorted(open_group(url).array_keys())}",
            expected=f"an array {name}(y, x) or {name}(y, x, channel)",
            do="Name a store that `tilespec predict` wrote.",
        )
    return layer


def _region(attrs: Mapping[str, Any], layer: Layer, rows: str | None, cols: str | None) -> Roi:
    """Return ``rows``, ``cols`` of the scene as pixels of the prediction."""
    (y, x), (height, width) = corner_of(attrs), layer.shape[:2]
    region = Roi.of((y + height, x + width), rows, cols)
    y0, x0 = region.y0 - y if rows else 0, region.x0 - x if cols else 0
    if y0 < 0 or x0 < 0:
        raise UserError(
            "region",
            found=str(region),
            expected=f"a part of rows {y}:{y + height}, columns {x}:{x + width}, what was predicted",
            do="Give other --rows, --cols.",
        )
    return Roi(y0=y0, y1=region.y1 - y, x0=x0, x1=region.x1 - x)


def _place(attrs: Mapping[str, Any], url: str, region: Roi) -> tuple[Layer, Roi] | None:
    """Return the region of the truth for a region of a prediction; None if it is no class map of the same scale."""
    store = open_group(url)
    name = next((name for name in ("labels", "prediction") if name in store), "labels")
    layer = _layer(url, name)
    if not _classes(layer) or scale_of(attrs) != "1":
        return None
    y, x = (ours - theirs for ours, theirs in zip(corner_of(attrs), corner_of(dict(store.attrs)), strict=True))
    if region.y0 + y < 0 or region.x0 + x < 0 or region.y1 + y > layer.shape[0] or region.x1 + x > layer.shape[1]:
        raise UserError(
            url,
            found=f"labels of {layer.shape[0]} x {layer.shape[1]} pixels",
            expected=f"labels of the scene that was predicted, {region} of the prediction among them",
            do="Name the scene that was predicted.",
        )
    return layer, Roi(y0=region.y0 + y, y1=region.y1 + y, x0=region.x0 + x, x1=region.x1 + x)


def _profiles(layer: Layer, region: Roi, progress: Progress | None) -> tuple[Profile, Profile]:
    """Return the profiles of a region of a layer, relative to the region's corner, in one pass, block by block."""
    pieces = region.cut(*_sides(layer, region))
    zero, say = Jumps.zero(1.0 if _classes(layer) else _unit(layer, region)), progress or Silent()
    say.start(f"seams of {layer.name}", len(pieces), "blocks")
    total = reduce_blocks(pieces, partial(_contribution, zero, layer, region), progress=say)
    say.finish()
    jumps: tuple[Profile, Profile] = total.finish()
    return jumps


def _contribution(zero: Jumps, layer: Layer, region: Roi, piece: Roi) -> Jumps:
    """Return the contribution of one block, read with its halo, with nodata where the region ends."""
    block = layer.read(region.common(replace(piece, y1=piece.y1 + 1, x1=piece.x1 + 1)))
    nodata: float = UNLABELLED
    if not _classes(layer):
        block, nodata = np.atleast_3d(block).astype(np.float32, copy=False), np.nan
    missing = [side + 1 - there for side, there in zip(piece.shape, block.shape, strict=False)]
    pads = [(0, n) for n in missing] + [(0, 0)] * (block.ndim - 2)
    return zero.of(np.pad(block, pads, constant_values=nodata), (piece.y0 - region.y0, piece.x0 - region.x0))


def _sides(layer: Layer, region: Roi) -> tuple[int, int]:
    """Return the height and the width of a block: complete stored objects with about `VALUES` values."""
    height, width = layer.chunks[:2]
    budget = max(1, VALUES // math.prod((height, width, *layer.shape[2:])))
    across = min(budget, -(-region.shape[1] // width) + 1)
    return height * max(1, budget // across), width * across


def _unit(layer: Layer, region: Roi) -> float:
    """Return the unit of a jump: a power of two, `BITS` bits below the largest value of the region's middle row."""
    row = (region.y0 + region.y1) // 2
    middle = layer.read(replace(region, y0=row, y1=row + 1)).astype(np.float64)
    magnitudes = np.abs(middle[np.isfinite(middle)])
    return math.ldexp(1.0, math.frexp(float(magnitudes.max(initial=0.0)) or 1.0)[1] - BITS)
