"""Spikes: one or a few bands far above or below their neighbours, as cosmic rays leave them, and their replacement.

Whitaker and Hayes, Chemometr. Intell. Lab. Syst. 179 (2018) 82-84: the differences between neighbours of a smooth
spectrum scatter about their median, and a spike's are far outside. So are those on the flanks of strong narrow lines;
but a spike rises and falls again within its width. Pixels are the last axis, so each has the same operations whatever
its neighbours are; the code runs on NumPy and torch.
"""

from typing import Any, Final

from tilespec.core.arrays import namespace

NORMAL: Final = 0.6745
"""The median absolute deviation of a normal distribution of deviation 1 (Iglewicz and Hoaglin 1993)."""


def spikes(y: Any, threshold: float, width: int = 1) -> Any:
    """Return which bands lie between two differences of opposite sign, each with a modified z-score over ``threshold``.

    The score of a difference ``d`` is ``0.6745 * (d - median(d)) / MAD`` (Whitaker and Hayes 2018, eq. 1 and 2). The
    paper marks every band with such a difference, and with it the flanks of strong lines. Without any scatter (``MAD``
    is 0) no band is marked; the first and the last band never are, because nothing lies beyond them.

    Args:
        y: The spectra, float64 ``band pixel``, at least 3 bands.
        threshold: The score above which a difference is a spike's.
        width: The largest number of neighbouring bands of a spike.

    Returns:
        Booleans ``band pixel``.
    """
    xp = namespace(y)
    steps = y[1:] - y[:-1]
    steps -= xp.quantile(steps, 0.5, 0)
    scatter = xp.quantile(abs(steps), 0.5, 0)
    limit = xp.where(scatter > 0, threshold / NORMAL * scatter, xp.inf)
    up, down = steps > limit, steps < -limit
    marked = xp.zeros_like(y, dtype=xp.bool)
    for wide in range(1, min(width, len(y) - 2) + 1):
        around = (up[:-wide] & down[wide:]) | (down[:-wide] & up[wide:])
        for band in range(1, wide + 1):
            marked[band : band + len(around)] |= around
    return marked


def bridge(y: Any, marked: Any) -> Any:
    """Return spectra whose marked bands lie on the line between the nearest bands that are not marked.

    Args:
        y: The spectra, float64 ``band pixel``.
        marked: Booleans of the same shape, false for the first and the last band.
    """
    xp, (bands, pixels) = namespace(y), y.shape
    number = xp.arange(bands, device=y.device)[:, None]
    low, high = xp.where(marked, 0, number), xp.where(marked, 0, number)
    for band in range(1, bands):
        low[band] = xp.where(marked[band], low[band - 1], low[band])
    for band in range(bands - 2, -1, -1):
        high[band] = xp.where(marked[band], high[band + 1], high[band])
    everyone = xp.arange(pixels, device=y.device)
    y_low, y_high = y.take(low * pixels + everyone), y.take(high * pixels + everyone)
    return y_low + (y_high - y_low) * ((number - low) / xp.where(marked, high - low, 1))
