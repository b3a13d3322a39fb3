"""Hull: upper convex hulls of many spectra at once, over the same bands.

Andrew's monotone chain (Information Processing Letters 9, 1979): bands are pushed on the hull from left to right, and
a band that the next one covers is popped again. Here all pixels of an array take one such step, push or pop, at the
same time; each band is pushed and popped at most once, so twice the number of bands is enough steps. The code runs on
NumPy and torch.
"""

from typing import Any

from tilespec.core.arrays import namespace

LOOK = 16
"""The number of steps between two checks of whether every pixel has pushed its last band."""


def upper_hull(y: Any, places: Any) -> Any:
    """Return the upper convex hull of each column.

    Args:
        y: The spectra, float64 ``band pixel``, at least 2 bands.
        places: The band centres, ascending, float64 ``band``.

    Returns:
        The hulls, float64 ``band pixel``: not below ``y``, and equal to ``y`` at the hull's corners.
    """
    return _between(y, places, _chain(y, places))


def _chain(y: Any, places: Any) -> Any:
    """Return the previous corner of each band on the hull of the bands up to it, as flat indices ``band pixel``."""
    xp, (bands, pixels) = namespace(y), y.shape
    x = _lines(y, bands + 1)
    x[:bands] = places[:, None]
    x[bands] = 2 * places[-1] - places[0]
    height = _lines(y, bands + 1)
    height[:bands], height[bands] = y, -xp.inf  # an extra line at -inf, which never covers a band
    everyone = xp.arange(pixels, device=y.device)
    before = xp.zeros(((bands + 1) * pixels,), dtype=xp.int64, device=y.device)
    end, first = everyone + bands * pixels, float(places[0])
    before[pixels : 2 * pixels] = everyone
    far, top, now = everyone, everyone + pixels, everyone + 2 * pixels
    x_far, x_top, y_far, y_top = x[0], x[1], height[0], height[1]
    for step in range(2 * bands):
        x_now, y_now = x.take(now), height.take(now)
        popped = (y_top - y_far) * (x_now - x_far) <= (y_now - y_far) * (x_top - x_far)
        popped &= x_top > first
        before[now] = top
        far, top, now = (
            xp.where(popped, before.take(far), top),
            xp.where(popped, far, now),
            xp.minimum(now + pixels * ~popped, end),
        )
        x_top, y_top = xp.where(popped, x_far, x_now), xp.where(popped, y_far, y_now)
        x_far, y_far = x.take(far), height.take(far)
        if step % LOOK == 0 and bool((now == end).all()):
            break
    return before[: bands * pixels].reshape(bands, pixels)


def _lines(y: Any, count: int) -> Any:
    """Return an array for ``count`` values of each pixel."""
    xp = namespace(y)
    return xp.empty((count, y.shape[1]), dtype=y.dtype, device=y.device)


def _between(y: Any, x: Any, before: Any) -> Any:
    """Return the hull's values between its corners, from the last corner to the first."""
    xp, (bands, pixels) = namespace(y), y.shape
    hull = xp.empty_like(y)
    hull[bands - 1] = y[bands - 1]
    left = before[bands - 1] + 0
    x_left, y_left = x[left // pixels], y.take(left)
    slope = (y[bands - 1] - y_left) / (x[bands - 1] - x_left)
    everyone = xp.arange(pixels, device=y.device)
    for band in range(bands - 2, -1, -1):
        hull[band] = xp.maximum(y_left + slope * (x[band] - x_left), y[band])
        corner = x_left == x[band]
        if band and bool(corner.any()):
            who = everyone[corner]
            left = before[band][who]
            x_new, y_new = x[left // pixels], y.take(left)
            x_left[who], y_left[who] = x_new, y_new
            slope[who] = (y[band][who] - y_new) / (x[band] - x_new)
    return hull
