"""Variogram: how much of the variance of a predicted map is spatially correlated, and how much of it is impossible.

The semivariogram of a map ``P`` is ``gamma(h) = mean (P(x) - P(x + h))^2 / 2`` over the pairs of known pixels that lie
``h`` rows or ``h`` columns apart (Matheron 1963, Economic Geology 58, 1246). A nugget ``C0`` and one of three models
with a sill ``C1`` and a range ``a`` are fitted to it by least squares, with weights 1/h; the best of the three counts.
The share ``C1 / (C0 + C1)`` of the variance is spatially correlated, the nugget is noise from pixel to pixel
(Herrero-Langreo et al. 2019, Anal. Chim. Acta, doi 10.1016/j.aca.2019.05.067).

Fits of known mixtures of white noise and a smooth field are right within 5 points; structure finer than about two
pixels looks like noise. Objects of different levels in one map are structure too.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, final

import numpy as np
from jaxtyping import Float64
from scipy.optimize import minimize_scalar, nnls

from tilespec.evaluate.metrics.channel_errors import ALMOST, PIECE, FieldPair

LAGS: Final = 20
"""The largest distance of a pair in pixels."""
RANGES: Final = np.geomspace(1.5, 3 * LAGS, 24)
"""The ranges in pixels from which the best one is refined."""
LIMITS: Final = (0.0, 100.0)
"""The smallest and the largest possible value of a map, in percent."""
FIGURES: Final = ("spatially_correlated_variance", "correlated_variance_bound", "out_of_range")
"""The figures of a map."""

Lags = Float64[np.ndarray, " lag"]
MODELS: Final[dict[str, Callable[[Any, float], Any]]] = {
    "spherical": lambda h, a: np.where(h < a, 1.5 * (h / a) - 0.5 * (h / a) ** 3, 1.0),
    "exponential": lambda h, a: 1 - np.exp(-h / a),
    "gaussian": lambda h, a: 1 - np.exp(-((h / a) ** 2)),
}
"""The models of the structured part, from 0 to 1, by lag and range in pixels (Webster and Oliver 2007, chapter 5)."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Variogram:
    """Sums over pairs of pixels of predicted maps in float64; a statistic of blocks (truth, prediction) with a halo.

    A pair belongs to its upper or left pixel. So a block of ``y x`` pixels has `halo` additional rows below and columns
    to the right, NaN where the plane ends, and ``of(a) + of(b) == of(a and b)``. Pixels count that both truth and
    prediction have.
    """

    pairs: Float64[np.ndarray, "lag channel"]
    """The number of pairs of each lag."""
    squares: Float64[np.ndarray, "lag channel"]
    """The sum of the squared differences of pairs."""
    moments: Float64[np.ndarray, "4 channel"]
    """The number of pixels, their sum, their sum of squares, and the number of those outside of `LIMITS`."""

    ADDS = ("pairs", "squares", "moments")
    """The names of the fields that are sums, and so can be weighted."""
    halo = LAGS
    """The number of rows below a block and of columns to its right that it also reads."""

    @classmethod
    def zero(cls, channels: int) -> "Variogram":
        """Return the variogram of no pixel."""
        return cls(
            pairs=np.zeros((LAGS, channels)), squares=np.zeros((LAGS, channels)), moments=np.zeros((4, channels))
        )

    def of(self, block: FieldPair, origin: tuple[int, int] = (0, 0)) -> "Variogram":
        """Return the sums of one block with its halo; its position does not matter."""
        del origin
        height, total = block.shape[1] - LAGS, Variogram.zero(self.pairs.shape[1])
        step = max(1, PIECE // max(block[0, 0].size, 1))
        for y in range(0, height, step):
            total = total + _piece(block[:, y : min(y + step, height) + LAGS])
        return total

    def __add__(self, other: "Variogram") -> "Variogram":
        return replace(self, **{name: getattr(self, name) + getattr(other, name) for name in self.ADDS})

    @property
    def known(self) -> int:
        """The number of pixels."""
        return int(self.moments[0].sum())

    @property
    def semivariance(self) -> Float64[np.ndarray, "lag channel"]:
        """The mean of half the squared difference of pairs of each lag; NaN without pairs."""
        return self.squares / (2 * np.where(self.pairs > 0, self.pairs, np.nan))

    def channel(self, channel: int) -> "Variogram":
        """Return the variogram of one map."""
        return replace(self, **{name: getattr(self, name)[..., [channel]] for name in self.ADDS})

    def finish(self) -> dict[str, Any]:
        """Return the figures, each the mean over the channels that have it; None means undefined.

        ``spatially_correlated_variance`` is ``100 C1 / (C0 + C1)``. ``correlated_variance_bound`` needs no model: it is
        ``100 (1 - gamma(1) / variance)``, which is lower where the map changes within a pixel's distance. Both are
        None for a constant map. ``out_of_range`` is the share of pixels, from 0 to 1, outside of `LIMITS`.
        """
        rows = [self._channel(channel) for channel in range(self.pairs.shape[1])]
        return {name: _mean([row[k] for row in rows]) for k, name in enumerate(FIGURES)}

    def _channel(self, channel: int) -> tuple[float | None, float | None, float | None]:
        """Return the figures of one map."""
        n, total, squares, outside = self.moments[:, channel].tolist()
        there = self.pairs[:, channel] > 0
        if not n or not there[0]:
            return None, None, outside / n if n else None
        variance = squares / n - (total / n) ** 2
        if variance <= ALMOST * squares / n:
            return None, None, outside / n
        lags = np.arange(1.0, LAGS + 1)[there]
        gamma = self.semivariance[there, channel]
        return correlated_share(lags, gamma), 100 * (1 - float(gamma[0]) / variance), outside / n


def correlated_share(lags: Lags, gamma: Lags) -> float:
    """Return the percentage of structured variance, ``100 C1 / (C0 + C1)``, of the best model of a semivariogram.

    Args:
        lags: The distances in pixels, ascending.
        gamma: The semivariance at each of them, not all 0.
    """
    fits = [_best(lags, gamma / gamma.max(), model) for model in MODELS.values()]
    _, (nugget, sill) = min(fits, key=lambda fit: fit[0])
    return 100 * sill / (nugget + sill)


def _best(lags: Lags, gamma: Lags, model: Callable[[Any, float], Any]) -> tuple[float, tuple[float, float]]:
    """Return the residual, and nugget and sill, of a model with its best range.

    Given the range, nugget and sill are non-negative least squares. So only the range is searched, first on `RANGES`.
    """
    root = np.sqrt(1 / lags)

    def fit(log_range: float) -> tuple[float, tuple[float, float]]:
        design = np.column_stack([root, root * model(lags, float(np.exp(log_range)))])
        (nugget, sill), residual = nnls(design, root * gamma)
        return float(residual), (float(nugget), float(sill))

    starts = np.log(RANGES)
    k = int(np.argmin([fit(start)[0] for start in starts]))
    ends = (starts[max(k - 1, 0)], starts[min(k + 1, len(starts) - 1)])
    refined = minimize_scalar(lambda at: fit(at)[0], bounds=ends, method="bounded")
    return min(fit(starts[k]), fit(refined.x))


def _piece(block: FieldPair) -> Variogram:
    """Return the sums of some rows with their halo."""
    values = np.where(np.isfinite(block[0]), block[1], np.nan).astype(np.float64)
    height, width = (length - LAGS for length in values.shape[:2])
    own = values[:height, :width]
    pairs, squares = [], []
    for lag in range(1, LAGS + 1):
        steps = [values[lag : lag + height, :width] - own, values[:height, lag : lag + width] - own]
        known = [np.isfinite(step) for step in steps]
        pairs.append(sum(np.count_nonzero(there, axis=(0, 1)) for there in known))
        parts = (np.where(there, step, 0.0) for step, there in zip(steps, known, strict=True))
        squares.append(sum(np.einsum("yxc,yxc->c", part, part) for part in parts))
    there = np.isfinite(own)
    filled = np.where(there, own, 0.0)
    outside = ((filled < LIMITS[0]) | (filled > LIMITS[1])).sum((0, 1))
    moments = [there.sum((0, 1)), filled.sum((0, 1)), np.einsum("yxc,yxc->c", filled, filled), outside]
    return Variogram(pairs=np.stack(pairs).astype(np.float64), squares=np.stack(squares), moments=np.stack(moments))


def _mean(values: list[float | None]) -> float | None:
    """Return the mean of the numbers; None without any."""
    some = [value for value in values if value is not None]
    return float(np.mean(some)) if some else None
