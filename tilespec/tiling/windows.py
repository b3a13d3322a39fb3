"""Windows: blending weights, and the running mean of overlapping tiles, bit for bit reproducible.

For the tiles that cover a pixel, in ascending order, ``m += (w_k / S_k) (p_k - m)`` with ``S_k = w_0 + ... + w_k``:
first along x, then along y. Two tiles give the linear interpolation ``A + r (B - A)``. Constants and the identity are
exact, the expression tree is fixed, and it continues row by row: the carried value is a mean, never a sum. Subtract,
multiply and add stay separate operations, because a fused one rounds differently in vector tails.

The disagreement of tiles is one more channel: with ``g = w_k / S_k`` and ``d`` the change of the mean
squared over channels, the weighted variance follows ``V = (1 - g) V + g V_k + g (1 - g) d`` (West 1979, for weights;
``V_k`` is the tile's own spread, from blending along the other axis).
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from tilespec.core.arrays import beside, namespace
from tilespec.core.errors import UserError

PIECE = 1 << 18
"""The number of values that are blended at once, so that change, gain and mean fit the cache."""


def _cosine(overlap: int) -> Float64[np.ndarray, " overlap"]:
    return 0.5 - 0.5 * np.cos(np.pi * (np.arange(overlap) + 0.5) / overlap)


def _linear(overlap: int) -> Float64[np.ndarray, " overlap"]:
    return (np.arange(overlap) + 0.5) / overlap


def _gaussian(overlap: int) -> Float64[np.ndarray, " overlap"]:
    """Return the share of the later of two Gaussians (sigma an eighth of the tile) that overlap by half a tile."""
    return 1 / (1 + np.exp(-8 * ((2 * np.arange(overlap) + 1) / overlap - 1)))


def _none(overlap: int) -> Float64[np.ndarray, " overlap"]:
    return (np.arange(overlap) >= overlap // 2).astype(np.float64)


WINDOWS: dict[str, Callable[[int], Float64[np.ndarray, " overlap"]]] = {
    "cosine": _cosine,
    "linear": _linear,
    "gaussian": _gaussian,
    "none": _none,
}
"""The rising flanks ``r`` with ``r(j) + r(v - 1 - j) = 1`` ("none" cuts in the middle: for comparison, seams show)."""


def profile(window: str, overlap: int) -> Float64[np.ndarray, " overlap"]:
    """Return the rising flank of a window over ``overlap`` pixels."""
    if window not in WINDOWS:
        raise UserError(
            "--window", found=repr(window), expected=f"one of {', '.join(WINDOWS)}", do="Check the spelling."
        )
    return WINDOWS[window](overlap)


def mix(
    mean: Float32[Any, "y x channel"],
    tile: Float32[Any, "y x channel2"],
    gains: Float64[np.ndarray, " n"],
    *,
    axis: int,
    into: Float32[Any, "y x channel"],
    spread: bool = False,
) -> None:
    """Add a tile to the running mean; ``gains`` belong to ``axis`` (0: y, 1: x).

    Where the gain is 1 the mean becomes the tile itself, and where it is 0 it does not change, both without rounding.

    Args:
        mean: The mean of the earlier tiles, ``y x channel``.
        tile: The next tile on the same pixels; its spread channel may be missing (no spread so far).
        gains: The gain of the tile along ``axis``.
        axis: The axis along which tiles overlap.
        into: The array of the result, ``mean`` or ``tile`` itself.
        spread: Whether the last channel of ``mean`` is the variance between tiles.
    """
    for start, stop, kind in _runs(gains):
        part = (slice(None),) * axis + (slice(start, stop),)
        if kind == 1:
            weight = gains[start:stop].astype(np.float32).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
            _lerp(mean[part], tile[part], beside(mean, weight), into[part], spread=spread)
        elif kind == 2 and into is not tile:
            into[part][..., : tile.shape[2]] = tile[part]
            into[part][..., tile.shape[2] :] = 0
        elif kind == 0 and into is not mean:
            into[part] = mean[part]


def _runs(gains: Float64[np.ndarray, " n"]) -> Iterator[tuple[int, int, int]]:
    """Yield runs of pixels of three kinds: mean unchanged (0), mixed (1), replaced by the tile (2)."""
    kind = (np.sign(gains) + (gains >= 1)).astype(int)
    edges = [0, *(np.flatnonzero(np.diff(kind)) + 1).tolist(), len(gains)]
    for start, stop in itertools.pairwise(edges) if len(gains) else ():
        yield start, stop, int(kind[start])


def _lerp(mean: Any, tile: Any, weight: Any, into: Any, *, spread: bool) -> None:
    """Write ``mean + weight (tile - mean)`` in pieces of rows; a device takes all at once."""
    xp = namespace(mean)
    rows = max(1, PIECE // max(1, mean[0].size)) if isinstance(mean, np.ndarray) else max(1, len(mean))
    last = mean.shape[2] - spread
    for start in range(0, len(mean), rows):
        piece = slice(start, start + rows)
        gain = weight[piece] if len(weight) > 1 else weight
        change = tile[piece, :, :last] - mean[piece, :, :last]
        if spread:
            own = tile[piece, :, last:] if tile.shape[2] > last else 0.0
            between = xp.square(change).mean(axis=2, keepdims=True, dtype=xp.float32)
            into[piece, :, last:] = (1 - gain) * mean[piece, :, last:] + gain * own + gain * (1 - gain) * between
        change *= gain
        xp.add(mean[piece, :, :last], change, out=into[piece, :, :last])
