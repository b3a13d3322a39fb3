"""Seam forecast: blended tiles are compared with the net on a larger window, for several overlaps."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from tilespec.core.types import TileClass
from tilespec.tiling.grid import Axis

OVERLAPS = (0.0, 0.125, 0.25, 0.5)
"""The compared overlaps as shares of the tile."""
WORK = 1.3
"""The largest work for an exact net's tile with halo relative to the tile; smaller tiles are enlarged."""

Plane = Float32[np.ndarray, "row column value"]
Net = Callable[[Float32[Tensor, "batch channel y x"]], Float32[Tensor, "batch channel2 y x"]]


@final
@dataclass(frozen=True, kw_only=True)
class Window:
    """The geometry for comparing overlaps: tiles on a plane of two tiles' sides, in the middle of a larger window."""

    tile: int
    """The side of a tile in pixels, a multiple of the alignment."""
    align: int
    """The alignment of the net in pixels."""

    @property
    def ahead(self) -> int:
        """The pixels of the window before the plane: half a tile, aligned."""
        return -(-self.tile // 2 // self.align) * self.align

    @property
    def side(self) -> int:
        """The side of the window in pixels."""
        return 2 * self.tile + 2 * self.ahead

    @property
    def inside(self) -> slice:
        """The rows, or columns, of the plane that count: one tile's side around the border between two tiles."""
        return slice(self.tile // 2, self.tile // 2 + self.tile)


def seam_errors(
    net: Net, window: Window, x: Float32[Tensor, "n channel y x"], *, classes: bool
) -> list[dict[str, Any]]:
    """Return, for each overlap, the difference between blended tiles and the net on the larger window.

    Args:
        net: The net with activated output.
        window: The geometry of tiles and window.
        x: The windows ``batch, band, y, x``.
        classes: Whether the largest channel is the class.

    Returns:
        For each overlap ``rms``, ``max`` and, for classes, ``changed``: the share of pixels of another class. ``work``:
        network work relative to no overlap on a large scene.
    """
    errors: dict[float, list[tuple[float, float, float]]] = {share: [] for share in OVERLAPS}
    crop = slice(window.ahead, window.ahead + 2 * window.tile)
    for one in x:
        whole = _plane(net(one[None]))[crop, crop][window.inside, window.inside]
        for share in OVERLAPS:
            axis = Axis(length=2 * window.tile, tile=window.tile, overlap=round(share * window.tile))
            blended = _blended(net, one, axis, window.ahead)[window.inside, window.inside]
            apart = np.abs(blended - whole)
            changed = float((blended.argmax(2) != whole.argmax(2)).mean()) if classes else float("nan")
            errors[share].append((float(np.square(apart).mean()), float(apart.max()), changed))
    return [_row(share, window.tile, differences, classes=classes) for share, differences in errors.items()]


def _row(share: float, tile: int, differences: list[tuple[float, float, float]], *, classes: bool) -> dict[str, Any]:
    """Return one line of the table."""
    squares, largest, changed = np.asarray(differences).T
    overlap = round(share * tile)
    row = {"overlap": overlap, "rms": float(np.sqrt(squares.mean())), "max": float(largest.max())}
    return row | ({"changed": float(changed.mean())} if classes else {}) | {"work": (tile / (tile - overlap)) ** 2}


def _plane(out: Float32[Tensor, "1 channel y x"]) -> Plane:
    return np.ascontiguousarray(out[0].permute(1, 2, 0).numpy())


def _blended(net: Net, x: Float32[Tensor, "channel y x"], axis: Axis, ahead: int) -> Plane:
    """Return the tiles of a square plane, blended as in `tiling.windows`; ``x`` begins ``ahead`` before the plane.

    Tiles that extend over the plane's edge read the window's values.
    """
    room = x.shape[1] - ahead - axis.end
    padded = torch.nn.functional.pad(x[None], (0, -room, 0, -room), mode="reflect")[0] if room < 0 else x
    rows = []
    for k in range(axis.count):
        y = slice(ahead + k * axis.step, ahead + k * axis.step + axis.tile)
        tiles = [
            _plane(net(padded[None, :, y, ahead + c * axis.step : ahead + c * axis.step + axis.tile])).swapaxes(0, 1)
            for c in range(axis.count)
        ]
        rows.append(_mean(tiles, axis).swapaxes(0, 1))
    return _mean(rows, axis)[: axis.length, : axis.length]


def _mean(tiles: list[np.ndarray], axis: Axis) -> np.ndarray:
    """Return the running mean of tiles along their first axis."""
    mean = np.zeros((axis.end, *tiles[0].shape[1:]), np.float32)
    for k, tile in enumerate(tiles):
        part = mean[k * axis.step : k * axis.step + axis.tile]
        part += axis.gains(k, "cosine").astype(np.float32)[:, None, None] * (tile - part)
    return mean


def recommended(reach: TileClass, side: int, errors: list[dict[str, Any]], tolerance: float) -> dict[str, Any]:
    """Return the tile and the overlap to predict with, their network work, and whether they meet the tolerance.

    Exact nets need no overlap; a pixelwise one not even a halo. For the others it is the smallest overlap whose rms
    error is below the tolerance, or else the one with the smallest error.
    """
    if reach.kind != "approximate":
        tile = side
        while reach.halo and _work(tile, reach) > WORK and tile < 1024:
            tile *= 2
        return {"tile": tile, "overlap": 0, "halo": reach.halo, "work": _work(tile, reach), "error": 0.0, "met": True}
    if not errors:
        return {"tile": side, "overlap": side // 2, "halo": 0, "work": 4.0, "error": None, "met": False}
    good = [row for row in errors if row["rms"] <= tolerance]
    best = good[0] if good else min(errors, key=lambda row: row["rms"])
    return {
        "tile": side,
        "overlap": best["overlap"],
        "halo": 0,
        "work": best["work"],
        "error": best["rms"],
        "met": bool(good),
    }


def _work(tile: int, reach: TileClass) -> float:
    """Return the input pixels of an exact tile for each of its output pixels."""
    read = -(-(tile + 2 * reach.halo + reach.align - 1) // reach.align) * reach.align
    return (read / tile) ** 2
