"""Spectral errors: differences of predicted and true spectra for each pixel, as a statistic of a few sums.

`tilespec.evaluate.metrics.channel_errors` adds all values; here every pixel has its own figure, and the figures are
averaged, as in papers on spectra from RGB: a mean of roots is not the root of a mean. The statistic takes a block ``2 y
x channel``: truth and prediction, NaN = no data, and uses the pixels with every channel in both.
"""

from dataclasses import dataclass, replace
from typing import Any, Final, final

import numpy as np
from jaxtyping import Float32, Float64, Int64

from tilespec.core.arrays import namespace
from tilespec.evaluate.metrics.channel_errors import pieces

FIGURES: Final = ("rmse_pixel", "rmse_relative", "rmse_relative_mean", "gfc")
"""The figures of each pixel; the mean over pixels is reported under the same name."""
VERY_GOOD, EXACT = 0.999, 0.9999
"""The limits of GFC for very good and exact reconstructions (Romero, Garcia-Beltran, Hernandez-Andres 1997, JOSA A 14,
1007).
"""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SpectralErrors:
    """Sums of the figures of pixels in float64; a statistic of blocks (truth, prediction)."""

    floor: float
    """The true value up to which no ratio is computed, because a divisor must be positive."""
    counts: Int64[np.ndarray, "3"]
    """The number of pixels with every channel in both, and of those with a GFC above `VERY_GOOD`, and above `EXACT`."""
    sums: Float64[np.ndarray, "figure 2"]
    """The number of pixels with each figure, and its sum, in the order of `FIGURES`."""
    ratios: Float64[np.ndarray, "3"]
    """The number of values with a ratio of error to truth, the sum of its absolute values, and the number without one.
    """

    ADDS = ("counts", "sums", "ratios")
    """The names of the fields that are sums, and so can be weighted."""
    TENSORS = True
    """Blocks may be tensors on a device."""

    @classmethod
    def zero(cls, floor: float = 0.0) -> "SpectralErrors":
        """Return the errors of no pixel."""
        return cls(floor=floor, counts=np.zeros(3, np.int64), sums=np.zeros((len(FIGURES), 2)), ratios=np.zeros(3))

    def of(self, block: Float32[Any, "2 y x channel"], origin: tuple[int, int] = (0, 0)) -> "SpectralErrors":
        """Return the errors of one block; its position does not matter."""
        del origin
        total = SpectralErrors.zero(self.floor)
        for truth, predicted in pieces(block):
            total = total + self._piece(truth, predicted)
        return total

    def __add__(self, other: "SpectralErrors") -> "SpectralErrors":
        assert self.floor == other.floor, "errors above two floors"
        return replace(self, **{name: getattr(self, name) + getattr(other, name) for name in self.ADDS})

    @property
    def known(self) -> int:
        """The number of compared pixels."""
        return int(self.counts[0])

    def finish(self) -> dict[str, Any]:
        """Return the figures; None means undefined. ``S`` is the true spectrum of a pixel, ``P`` the predicted one.

        ``pixels``: compared, each with every channel. ``rmse_pixel``: ``sqrt(mean_k (S - P)^2)``, mean over pixels.
        ``rmse_relative``: ``sqrt(mean_k ((S - P) / S)^2)`` over the channels with ``S > floor``, mean over the pixels
        that have any; ``rmse_relative_mean``: ``sqrt(mean_k (S - P)^2) / mean(S)``, over pixels of ``mean(S) > floor``.
        ``gfc``: ``|S . P| / (|S| |P|)`` (goodness of fit), mean over the pixels that are not 0; a prediction of 0 has
        GFC 0, so that a method cannot improve its score by leaving out difficult pixels; ``gfc_very_good`` and
        ``gfc_exact`` are the shares above 0.999 and 0.9999. ``mrae``: ``|S - P| / S``, mean over all values with ``S >
        floor`` (Arad et al. 2020, NTIRE); ``ratios_left_out``: the number of values up to ``floor``, which have no
        ratio. With one channel there is no GFC.
        """
        means = {name: _over(total, n) for name, (n, total) in zip(FIGURES, self.sums.tolist(), strict=True)}
        counted = self.sums[FIGURES.index("gfc"), 0]
        good, exact = (_over(share, counted) for share in self.counts[1:].tolist())
        values, ratio, left = self.ratios.tolist()
        shares = {"gfc_very_good": good, "gfc_exact": exact}
        return {"pixels": self.known, **means, **shares, "mrae": _over(ratio, values), "ratios_left_out": int(left)}

    def _piece(
        self, truth: Float32[Any, "pixel channel"], predicted: Float32[Any, "pixel channel"]
    ) -> "SpectralErrors":
        """Return the errors of some pixels."""
        xp = namespace(truth)
        whole = xp.isfinite(truth).all(1) & xp.isfinite(predicted).all(1)
        t, p = (xp.asarray(plane[whole], dtype=xp.float64) for plane in (truth, predicted))
        gfc = _goodness(t, p) if t.shape[1] > 1 else np.empty(0)
        p -= t
        rmse, bright = xp.sqrt(xp.einsum("ij,ij->i", p, p) / t.shape[1]), t.mean(1)
        over = t > self.floor
        ratio = xp.abs(_quotient(p, t, over))
        channels = over.sum(1)
        some, lit = channels > 0, bright > self.floor
        relative = xp.sqrt(xp.einsum("ij,ij->i", ratio, ratio)[some] / channels[some])
        figures = (rmse, relative, rmse[lit] / bright[lit], gfc)
        above = float(over.sum())
        return replace(
            self,
            counts=np.array([len(t), int((gfc > VERY_GOOD).sum()), int((gfc > EXACT).sum())], np.int64),
            sums=np.array([[len(values), float(values.sum())] for values in figures], np.float64),
            ratios=np.array([above, float(ratio.sum()), t.shape[0] * t.shape[1] - above], np.float64),
        )


def _goodness(truth: Float64[Any, "pixel channel"], predicted: Float64[Any, "pixel channel"]) -> Float64[Any, " lit"]:
    """Return the GFC of the pixels whose truth is not 0; a prediction of 0 has the GFC 0."""
    xp = namespace(truth)
    lengths = [xp.sqrt(xp.einsum("ij,ij->i", plane, plane)) for plane in (truth, predicted)]
    norm, dot = lengths[0] * lengths[1], xp.abs(xp.einsum("ij,ij->i", truth, predicted))
    return _quotient(dot, norm, norm > 0).clip(max=1.0)[lengths[0] > 0]


def _quotient(part: Any, whole: Any, where: Any) -> Any:
    """Return ``part / whole``, 0 where it is not wanted."""
    xp = namespace(part)
    return xp.where(where, part / xp.where(where, whole, 1.0), 0.0)


def _over(part: float, whole: float) -> float | None:
    """Return ``part / whole``, or None when ``whole`` is 0."""
    return part / whole if whole else None
