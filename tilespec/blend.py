"""Blending: windows, and the running mean that makes overlapping tiles one plane, bit for bit reproducible.

For the tiles that cover a pixel, in ascending order, ``m += (w_k / S_k) (p_k - m)`` with ``S_k = w_0 + ... + w_k``:
first along x, then along y. Two tiles give the lerp ``A + r (B - A)``. Constants and the identity come out exactly,
the expression tree is fixed, and it continues row by row: what is handed down is a mean, never a sum.
Subtract, multiply and add stay separate operations, because a fused one rounds differently in vector tails.
"""

import itertools
from collections.abc import Callable

import numpy as np
from jaxtyping import Float32, Float64

from tilespec.errors import UserError


def _cosine(overlap: int) -> Float64[np.ndarray, " overlap"]:
    return 0.5 - 0.5 * np.cos(np.pi * (np.arange(overlap) + 0.5) / overlap)


def _linear(overlap: int) -> Float64[np.ndarray, " overlap"]:
    return (np.arange(overlap) + 0.5) / overlap


def _none(overlap: int) -> Float64[np.ndarray, " overlap"]:
    return (np.arange(overlap) >= overlap // 2).astype(np.float64)


WINDOWS: dict[str, Callable[[int], Float64[np.ndarray, " overlap"]]] = {
    "cosine": _cosine,
    "linear": _linear,
    "none": _none,
}
"""Rising flanks ``r`` with ``r(j) + r(v - 1 - j) = 1`` ("none" cuts in the middle: for comparison, seams show)."""


def profile(window: str, overlap: int) -> Float64[np.ndarray, " overlap"]:
    """Return the rising flank of a window over ``overlap`` pixels."""
    if window not in WINDOWS:
        raise UserError(
            "--window", found=repr(window), expected=f"one of {', '.join(WINDOWS)}", do="Check the spelling."
        )
    return WINDOWS[window](overlap)


def mix(
    mean: Float32[np.ndarray, "n other channel"],
    tile: Float32[np.ndarray, "n other channel"],
    gains: Float64[np.ndarray, " n"],
) -> None:
    """Continue the running mean in place with a tile; ``gains`` belong to the first axis.

    Where the gain is 1 the mean becomes the tile itself, and where it is 0 it stays: both without rounding.
    """
    kind = np.sign(gains) + (gains >= 1)  # 0 keep, 1 mix, 2 take
    edges = [0, *(np.flatnonzero(np.diff(kind)) + 1).tolist(), len(gains)]
    for start, stop in itertools.pairwise(edges):
        part = slice(start, stop)
        if kind[start] == 2:
            mean[part] = tile[part]
        elif kind[start] == 1:
            change = tile[part] - mean[part]
            change *= gains[part].astype(np.float32)[:, None, None]
            mean[part] += change
