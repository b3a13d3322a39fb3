"""Halving: four pixels become one, by their mean or by the class of most of them."""

import numpy as np
from jaxtyping import Float32, Integer


def halved_means(values: Float32[np.ndarray, "y x *band"]) -> Float32[np.ndarray, "h w *band"]:
    """Return the means of 2 x 2 pixels, NaN where all of them are; the last of an odd number counts twice."""
    a, b, c, d = _quarters(values)
    total: np.ndarray = (a + b) + (c + d)
    total *= np.float32(0.25)
    gaps = ~np.isfinite(total)
    if gaps.any():
        parts = np.stack([part[gaps] for part in (a, b, c, d)])
        there = np.isfinite(parts)
        counts = there.sum(axis=0)
        sums = np.where(there, parts, np.float32(0)).sum(axis=0, dtype=np.float64)
        total[gaps] = np.where(counts == 0, np.nan, sums / np.maximum(counts, 1))
    return total


def halved_classes(values: Integer[np.ndarray, "y x"], none: int | None) -> Integer[np.ndarray, "h w"]:
    """Return the class of most of 2 x 2 pixels, the smallest of equals; ``none`` where more than two of them are."""
    parts = _quarters(values)
    best, most = np.full(parts[0].shape, none or 0, values.dtype), np.zeros(parts[0].shape, np.uint8)
    for part in parts:
        count = sum((part == other).astype(np.uint8) for other in parts)
        better = (count > most) | ((count == most) & (part < best))
        better &= True if none is None else part != none
        best, most = np.where(better, part, best), np.where(better, count, most)
    if none is not None:
        best[sum((part == none).astype(np.uint8) for part in parts) > 2] = none
    return best


def _quarters(values: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the upper left, lower left, upper right and lower right pixels of 2 x 2, as views."""
    height, width = values.shape[:2]
    if height % 2 or width % 2:
        more = ((0, height % 2), (0, width % 2), *((0, 0) for _ in values.shape[2:]))
        values = np.pad(values, more, mode="edge")
    return values[::2, ::2], values[1::2, ::2], values[::2, 1::2], values[1::2, 1::2]
