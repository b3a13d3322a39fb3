"""Structural similarity (SSIM) of predicted bands, exact over a plane of any size: windows read across blocks.

Wang, Bovik, Sheikh and Simoncelli, IEEE Trans. Image Process. 13 (2004) 600: in a Gaussian window of 11 x 11 pixels and
deviation 1.5, with the means ``m``, variances ``v`` and covariance ``c`` of truth ``t`` and prediction ``p``,

    ssim = (2 m_t m_p + (0.01 L)^2) (2 c + (0.03 L)^2) / (m_t^2 + m_p^2 + (0.01 L)^2) (v_t + v_p + (0.03 L)^2)

The range ``L`` is that of the truth, or a given peak; it never depends on the prediction. A window belongs to its upper
left pixel, and only whole windows of known values count: on a plane without gaps the mean is that of scikit-image
(``gaussian_weights=True, sigma=1.5, use_sample_covariance=False``).
"""

from dataclasses import dataclass, replace
from typing import Any, Final, final

import numpy as np
from jaxtyping import Bool, Float64
from scipy.ndimage import correlate1d

from tilespec.evaluate.metrics.channel_errors import FieldPair

SIDE: Final = 11
"""The side of a window in pixels."""
DEVIATION: Final = 1.5
"""The deviation of the Gaussian weights in pixels."""
STABLE: Final = (0.01, 0.03)
"""The shares of the range, K1 and K2, whose squares keep the ratios stable."""
Plane = Float64[np.ndarray, "y x"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class StructuralSimilarity:
    """The sums over windows of each band in float64; a statistic of blocks (truth, prediction) with a halo."""

    span: float
    """The range of the values; 0: it is not known yet, or the truth is constant, and nothing is computed."""
    sums: Float64[np.ndarray, "2 channel"]
    """The number of windows of each channel, and the sum of their similarities."""

    ADDS = ("sums",)
    """The names of the fields that are sums, and so can be weighted."""
    halo = SIDE - 1
    """The number of rows below a block and of columns to its right that it also reads."""

    @classmethod
    def zero(cls, channels: int, span: float = 0.0) -> "StructuralSimilarity":
        """Return the similarity of no window."""
        return cls(span=span, sums=np.zeros((2, channels)))

    def of(self, block: FieldPair, origin: tuple[int, int] = (0, 0)) -> "StructuralSimilarity":
        """Return the sums of one block with its halo; its position does not matter."""
        del origin
        sums = np.zeros_like(self.sums)
        if self.span > 0 and min(block.shape[1:3]) >= SIDE:
            for channel in range(block.shape[3]):  # one at a time: five filtered copies of one plane
                sums[:, channel] = self._channel(*block[..., channel].astype(np.float64))
        return replace(self, sums=sums)

    def __add__(self, other: "StructuralSimilarity") -> "StructuralSimilarity":
        assert self.span == other.span, "similarities over two ranges"
        return replace(self, sums=self.sums + other.sums)

    @property
    def known(self) -> int:
        """The number of windows."""
        return int(self.sums[0].sum())

    def finish(self) -> dict[str, Any]:
        """Return ``ssim``, the mean over channels of the means over windows; None without a window or a range."""
        windows, totals = self.sums
        there = windows > 0
        return {"ssim": float((totals[there] / windows[there]).mean()) if there.any() else None}

    def _channel(self, truth: Plane, predicted: Plane) -> tuple[int, float]:
        """Return the number of whole windows of known values, and the sum of their similarities."""
        known = np.isfinite(truth) & np.isfinite(predicted)
        t, p = (np.where(known, plane, 0.0) for plane in (truth, predicted))
        whole = _whole(known)
        mean_t, mean_p = _smooth(t), _smooth(p)
        variances = _smooth(t * t) - mean_t**2 + _smooth(p * p) - mean_p**2
        covariance = _smooth(t * p) - mean_t * mean_p
        c1, c2 = ((share * self.span) ** 2 for share in STABLE)
        similar = (2 * mean_t * mean_p + c1) * (2 * covariance + c2)
        similar /= (mean_t**2 + mean_p**2 + c1) * (variances + c2)
        return int(np.count_nonzero(whole)), float(similar[whole].sum())


@final
@dataclass(frozen=True, kw_only=True)
class TruthRange:
    """The smallest and the largest true value; a statistic of blocks (truth, prediction)."""

    low: float = np.inf
    """The smallest true value."""
    high: float = -np.inf
    """The largest true value."""

    def of(self, block: FieldPair, origin: tuple[int, int] = (0, 0)) -> "TruthRange":
        """Return the range of one block; its position does not matter."""
        del origin
        known = block[0][np.isfinite(block[0])]
        return TruthRange(low=float(known.min(initial=np.inf)), high=float(known.max(initial=-np.inf)))

    def __add__(self, other: "TruthRange") -> "TruthRange":
        return TruthRange(low=min(self.low, other.low), high=max(self.high, other.high))

    def finish(self) -> float:
        """Return the range, 0 without a value."""
        return max(self.high - self.low, 0.0)


def _smooth(plane: Plane) -> Float64[np.ndarray, "y2 x2"]:
    """Return the weighted mean of each whole window, by its upper left pixel."""
    weights = np.exp(-0.5 * ((np.arange(SIDE) - SIDE // 2) / DEVIATION) ** 2)
    weights /= weights.sum()
    for axis in (0, 1):
        plane = correlate1d(plane, weights, axis=axis)
    inner = slice(SIDE // 2, -(SIDE // 2))
    return plane[inner, inner]


def _whole(known: Bool[np.ndarray, "y x"]) -> Bool[np.ndarray, "y2 x2"]:
    """Return which windows have all their values, by their upper left pixel."""
    gaps = np.pad((~known).astype(np.int64).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    return gaps[SIDE:, SIDE:] - gaps[:-SIDE, SIDE:] - gaps[SIDE:, :-SIDE] + gaps[:-SIDE, :-SIDE] == 0
