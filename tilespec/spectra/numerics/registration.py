"""Registration: how far each spectrum is shifted against a reference, and the shift of spectra by parts of a band.

Pixels are the first axis; every product has bits that depend on one pixel only; the code runs on NumPy and torch.
"""

from typing import Any, Final

import numpy as np
from jaxtyping import Float32, Float64

from tilespec.core.arrays import namespace
from tilespec.spectra.numerics.rowwise import rowwise

LEAST: Final = 1e-6
"""The smallest share of a spectrum's variance that a window must hold to be compared by its shape."""
TINY: Final = float(np.finfo(np.float32).tiny)


def templates(
    reference: Float64[np.ndarray, " band"], reach: int
) -> tuple[Float32[np.ndarray, "band lag"], Float32[np.ndarray, "band lag"]]:
    """Return the middle of the reference at every lag from ``-reach - 1`` to ``reach + 1``, and where it lies.

    The middle is what stays inside the spectrum at every lag; its mean is subtracted and its norm is 1.

    Args:
        reference: The reference spectrum, more than ``2 * reach + 4`` bands.
        reach: The largest shift in bands.
    """
    margin = reach + 1
    middle = reference[margin : len(reference) - margin]
    shape = middle - middle.mean()
    shape /= max(np.linalg.norm(shape), TINY)
    lags = range(2 * margin + 1)
    values, windows = np.zeros((2, len(reference), len(lags)), np.float32)
    for lag in lags:
        values[lag : lag + len(middle), lag] = shape
        windows[lag : lag + len(middle), lag] = 1
    return values, windows


def shifts(x: Any, values: Any, windows: Any) -> Any:
    """Return the shift of each spectrum against the reference of `templates`, in bands.

    It is the lag of the largest normalised cross-correlation, refined by the parabola through that lag and its two
    neighbours. It is 0 where no lag has a positive correlation, as for a constant spectrum.

    Args:
        x: The spectra, float32 ``pixel band``.
        values: The templates ``band lag``.
        windows: The windows ``band lag``.

    Returns:
        Float32 ``pixel``, at most ``reach`` in either direction.
    """
    xp, (bands, lags) = namespace(x), values.shape
    centred = x - rowwise(x, xp.ones_like(values[:, 0]))[:, None] / bands
    squares = rowwise(centred * centred, windows)
    inside = squares - rowwise(centred, windows) ** 2 / float(windows[:, 0].sum())
    least = LEAST * xp.amax(squares, 1)[:, None] + TINY
    score = rowwise(centred, values) / xp.maximum(inside, least) ** 0.5
    best = xp.argmax(score[:, 1:-1], 1) + 1
    at = xp.arange(len(x), device=x.device) * lags + best
    left, top, right = score.take(at - 1), score.take(at), score.take(at + 1)
    bend = xp.minimum(left - 2 * top + right, -TINY * xp.ones_like(top))
    part = xp.clip((left - right) / (2 * bend), -0.5, 0.5)
    middle, reach = lags // 2, lags // 2 - 1
    found = xp.clip(xp.asarray(best, dtype=x.dtype) - middle + part, -reach, reach)
    return xp.where(top > 0, found, xp.zeros_like(found))


def shifted(x: Any, by: Any) -> Any:
    """Return spectra read ``by`` bands further on, by cubic convolution (Keys 1981, IEEE Trans. ASSP 29, 1153).

    Positions outside of the spectrum have the value of its first or last band. A whole number of bands copies values.

    Args:
        x: The spectra, float32 ``pixel band``.
        by: The shift of each, ``pixel``.
    """
    xp, (pixels, bands) = namespace(x), x.shape
    whole = xp.floor(by)
    t = (by - whole)[:, None]
    first = xp.asarray(whole, dtype=xp.int64)[:, None] + xp.arange(bands, device=x.device)
    rows = xp.arange(pixels, device=x.device)[:, None] * bands
    weights = (
        ((-0.5 * t + 1) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1,
        ((-1.5 * t + 2) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    )
    out = xp.zeros_like(x)
    for tap, weight in enumerate(weights, start=-1):
        out += weight * x.take(rows + xp.clip(first + tap, 0, bands - 1))
    return out
