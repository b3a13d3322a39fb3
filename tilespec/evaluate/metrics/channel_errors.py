"""Channel errors: differences of predicted and true channels, as statistics of a few sums per channel.

Both statistics take a block ``2 y x channel``: truth and prediction, NaN = no data. A value that is missing in the
truth is not counted. A value that is missing only in the prediction is counted as missing and enters no figure, because
its error is undefined; therefore the figures of two methods are comparable only if the same values are missing.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, final

import numpy as np
from jaxtyping import Float32, Float64, Int64

from tilespec.core.arrays import namespace, on_host
from tilespec.evaluate.metrics.confusion import Patches, box_sums, corners

FieldPair = Float32[np.ndarray, "2 y x channel"]

KINDS: Final = ("n", "missing", "truth", "truth2", "error", "error2", "absolute")
"""The sums of each channel: values, values missing, the truth and its square, the error, its square and size."""
PIECE: Final = 1 << 20
"""The approximate number of values that are converted to float64 at once."""
ALMOST: Final = 1e-12
"""The share of the mean square below which a variance is only rounding, so the channel is constant."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ChannelErrors:
    """Sums of errors in float64, a statistic of blocks (truth, prediction)."""

    sums: Float64[np.ndarray, "kind channel"]
    """The sums in the order of `KINDS`."""
    angles: Float64[np.ndarray, "3"]
    """The number of pixels with an angle, the sum of the angles between true and predicted spectrum (rad), and of
    squares.
    """
    low: Float32[np.ndarray, " channel"]
    """The smallest true value of each channel."""
    high: Float32[np.ndarray, " channel"]
    """The largest true value of each channel."""
    ratio: float = 1.0
    """The size of a pixel divided by that of the pixels that the prediction was made of; 1/4 if it has four for one."""

    ADDS = ("sums", "angles")
    """The names of the fields that are sums, and so can be weighted."""
    TENSORS = True
    """Blocks may be tensors on a device."""

    @classmethod
    def zero(cls, channels: int, ratio: float = 1.0) -> "ChannelErrors":
        """Return the residuals of no pixel."""
        far = np.full(channels, np.inf, np.float32)
        return cls(sums=np.zeros((len(KINDS), channels)), angles=np.zeros(3), low=far, high=-far, ratio=ratio)

    def of(self, block: Float32[Any, "2 y x channel"], origin: tuple[int, int] = (0, 0)) -> "ChannelErrors":
        """Return the residuals of one block; its position does not matter."""
        del origin
        total = ChannelErrors.zero(self.sums.shape[1], self.ratio)
        for truth, predicted in pieces(block):
            total = total + _piece(truth, predicted)
        return total

    def __add__(self, other: "ChannelErrors") -> "ChannelErrors":
        return replace(
            self,
            sums=self.sums + other.sums,
            angles=self.angles + other.angles,
            low=np.minimum(self.low, other.low),
            high=np.maximum(self.high, other.high),
        )

    @property
    def known(self) -> int:
        """The number of compared values."""
        return int(self.sums[0].sum())

    def finish(self) -> dict[str, Any]:
        """Return the figures of all values, and under ``channels`` those of each channel; None means undefined.

        ``rmse``, ``mae`` and ``bias`` (mean of prediction minus truth) in the unit of the values. ``r2`` is 1 minus the
        squared errors over the squared deviations of the truth, each from its channel's mean; ``r2_mean`` is the mean
        over channels. ``psnr`` in dB is over the range of the truth (of the channel; of all for the figure of all);
        None if no value differs. ``snr`` in dB is the squared truth over the squared error. ``ergas`` is ``100 ratio
        sqrt(mean_k (RMSE_k / M_k)^2)`` with the mean ``M_k`` of the truth, over channels where that is not 0 (Wald
        2000, Third Conference Fusion of Earth Data, 99-103). ``sam`` and ``sam_std`` in degrees: angle between true
        and predicted spectrum (Kruse et al. 1993, Remote Sens. Environ. 44, 145), over the pixels that have all
        channels and are not 0.
        """
        n, missing, truth, truth2, error, error2, absolute = self.sums
        spread = np.maximum(truth2 - _over(truth**2, n), 0.0)
        spread[spread <= ALMOST * truth2] = 0.0
        r2 = 1.0 - _over(error2, spread)
        total, squares = float(n.sum()), float(error2.sum())
        span = float(self.high.max() - self.low.min()) if total else math.nan
        scored = ~np.isnan(r2)
        channels = {
            "rmse": np.sqrt(_over(error2, n)),
            "mae": _over(absolute, n),
            "bias": _over(error, n),
            "r2": r2,
            "psnr": _decibel(self.high - self.low, _over(error2, n)),
            "snr": _decibel(np.sqrt(truth2), error2),
        }
        return {
            "rmse": _plain(np.sqrt(_over(squares, total))),
            "mae": _plain(_over(absolute.sum(), total)),
            "bias": _plain(_over(error.sum(), total)),
            "r2": _plain(1.0 - _over(error2[scored].sum(), spread[scored].sum())),
            "r2_mean": _plain(r2[scored].mean()) if scored.any() else None,
            "psnr": _plain(_decibel(span, _over(squares, total))),
            "snr": _plain(_decibel(math.sqrt(truth2.sum()), squares)),
            "ergas": self._ergas(),
            **self._angle(),
            "values": int(total),
            "missing": int(missing.sum()),
            "channels": {name: [_plain(value) for value in values] for name, values in channels.items()},
        }

    def _ergas(self) -> float | None:
        """Return the relative error over all channels, in percent times the ratio of the sizes of pixels."""
        n, _, truth, truth2, _, error2, _ = self.sums
        squares = _over(error2 * n, np.where(truth**2 > ALMOST * n * truth2, truth**2, 0.0))
        there = ~np.isnan(squares)
        return 100 * self.ratio * math.sqrt(float(squares[there].mean())) if there.any() else None

    def _angle(self) -> dict[str, float | None]:
        """Return the mean and the population deviation of the angle in degrees."""
        pixels, angle, square = self.angles.tolist()
        if not pixels or self.sums.shape[1] == 1:
            return {"sam": None, "sam_std": None}
        mean = angle / pixels
        return {"sam": math.degrees(mean), "sam_std": math.degrees(math.sqrt(max(square / pixels - mean**2, 0.0)))}


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class PatchErrors:
    """The squared error in each patch, from one pass; a statistic of blocks (truth, prediction), see `PatchCounts`."""

    patches: Patches
    """The positions of the patches."""
    n: Int64[np.ndarray, " patch"]
    """The number of compared values in each patch."""
    squares: Float64[np.ndarray, " patch"]
    """The sum of the squared errors in each patch."""

    @classmethod
    def zero(cls, patches: Patches) -> "PatchErrors":
        """Return the errors of no pixel."""
        count = len(patches.origins)
        return cls(patches=patches, n=np.zeros(count, np.int64), squares=np.zeros(count))

    def of(self, block: FieldPair, origin: tuple[int, int]) -> "PatchErrors":
        """Return the contribution of a block at ``origin`` to every patch."""
        n, squares = (np.zeros(block.shape[1:3], kind) for kind in (np.int64, np.float64))
        for channel in range(block.shape[3]):  # one at a time: no copy of all channels
            error = block[1, :, :, channel].astype(np.float64) - block[0, :, :, channel]
            valid = np.isfinite(error)
            n += valid
            squares += np.where(valid, error, 0.0) ** 2
        where = corners(self.patches, origin, n.shape)
        return replace(self, n=box_sums(n, where), squares=box_sums(squares, where))

    def __add__(self, other: "PatchErrors") -> "PatchErrors":
        return replace(self, n=self.n + other.n, squares=self.squares + other.squares)

    def finish(self) -> dict[str, Any]:
        """Return mean and population deviation of the RMSE of the patches that have data."""
        filled = self.n > 0
        rmse = np.sqrt(np.maximum(self.squares[filled], 0.0) / self.n[filled])
        some = bool(filled.any())
        return {
            "rmse_mean": float(rmse.mean()) if some else None,
            "rmse_std": float(rmse.std()) if some else None,
            "kept": int(filled.sum()),
        }


def pieces(block: Float32[Any, "2 y x channel"]) -> Iterator[tuple[Any, Any]]:
    """Yield the truth and the prediction of some lines after the other, each ``pixel channel``."""
    step = max(1, PIECE // max(math.prod(block.shape[2:]), 1))
    for y in range(0, block.shape[1], step):
        truth, predicted = (plane.reshape(-1, plane.shape[-1]) for plane in block[:, y : y + step])
        yield truth, predicted


def _piece(truth: Float32[Any, "pixel channel"], predicted: Float32[Any, "pixel channel"]) -> ChannelErrors:
    """Return the residuals of some pixels, at least one."""
    xp = namespace(truth)
    real = xp.isfinite(truth)
    both = real & xp.isfinite(predicted)
    t, p = (xp.asarray(xp.where(both, plane, 0.0), dtype=xp.float64) for plane in (truth, predicted))
    sums = [both.sum(0), (real & ~both).sum(0), t.sum(0), xp.einsum("ij,ij->j", t, t)]
    whole = both.all(1)
    norm = xp.sqrt(xp.einsum("ij,ij->i", t, t) * xp.einsum("ij,ij->i", p, p))
    whole &= norm > 0
    cosine = xp.einsum("ij,ij->i", t, p)[whole] / norm[whole]
    angle = xp.arccos(cosine.clip(-1.0, 1.0))
    p -= t
    sums += [p.sum(0), xp.einsum("ij,ij->j", p, p), xp.abs(p).sum(0)]
    return ChannelErrors(
        sums=np.stack([on_host(total) for total in sums]).astype(np.float64),
        angles=np.array([len(angle), float(angle.sum()), float(angle @ angle)]),
        low=on_host(xp.amin(xp.where(both, truth, np.inf), 0)),
        high=on_host(xp.amax(xp.where(both, truth, -np.inf), 0)),
    )


def _over(part: Any, whole: Any) -> Any:
    """Return ``part / whole``, NaN for an empty whole."""
    some = np.asarray(whole) > 0
    return np.where(some, np.asarray(part) / np.where(some, whole, 1), np.nan)


def _decibel(span: Any, error: Any) -> Any:
    """Return the ratio of a range to a mean squared error in dB; NaN where either is 0."""
    fine = (np.asarray(span) > 0) & (np.asarray(error) > 0)
    ratio = np.where(fine, np.asarray(span, np.float64), 1) ** 2 / np.where(fine, error, 1)
    return np.where(fine, 10 * np.log10(ratio), np.nan)


def _plain(value: Any) -> float | None:
    """Return a number for JSON, None for NaN."""
    return None if math.isnan(value) else float(value)
