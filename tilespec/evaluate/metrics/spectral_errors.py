"""Spectral errors: differences of predicted and true spectra for each pixel, as a statistic of a few sums.

`tilespec.evaluate.metrics.channel_errors` adds all values; here every pixel has its own figure, and the figures are
averaged, as in papers on spectra from RGB: a mean of roots is not the root of a mean. The statistic takes a block ``2 y
x channel``: truth and prediction, NaN = no data, and uses the pixels with every channel in both.
"""

from dataclasses import dataclass, replace
from typing import Any, Final, final

import numpy as np
from jaxtyping import Float32, Float64, Int64

from tilespec.evaluate.metrics.channel_errors import PIECE, FieldPair

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

    @classmethod
    def zero(cls, floor: float = 0.0) -> "SpectralErrors":
        """Return the errors of no pixel."""
        return cls(floor=floor, counts=np.zeros(3, np.int64), sums=np.zeros((len(FIGURES), 2)), ratios=np.zeros(3))

    def of(self, block: FieldPair, origin: tuple[int, int] = (0, 0)) -> "SpectralErrors":
        """Return the errors of one block; its position does not matter."""
        del origin
        total, step = SpectralErrors.zero(self.floor), max(1, PIECE // max(block[0, 0].size, 1))
        for y in range(0, block.shape[1], step):
            total = total + self._piece(*(plane.reshape(-1, plane.shape[-1]) for plane in block[:, y : y + step]))
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
        self, truth: Float32[np.ndarray, "pixel channel"], predicted: Float32[np.ndarray, "pixel channel"]
    ) -> "SpectralErrors":
        """Return the errors of some pixels."""
        whole = np.isfinite(truth).all(axis=1) & np.isfinite(predicted).all(axis=1)
        t, p = (plane[whole].astype(np.float64) for plane in (truth, predicted))
        gfc = _goodness(t, p) if t.shape[1] > 1 else np.empty(0)
        p -= t
        rmse, bright = np.sqrt(np.einsum("ij,ij->i", p, p) / t.shape[1]), t.mean(axis=1)
        over = t > self.floor
        ratio = np.abs(np.divide(p, t, out=np.zeros_like(p), where=over))
        channels = over.sum(axis=1)
        some, lit = channels > 0, bright > self.floor
        relative = np.sqrt(np.einsum("ij,ij->i", ratio, ratio)[some] / channels[some])
        figures = (rmse, relative, rmse[lit] / bright[lit], gfc)
        return replace(
            self,
            counts=np.array([len(t), (gfc > VERY_GOOD).sum(), (gfc > EXACT).sum()], np.int64),
            sums=np.array([[len(values), values.sum()] for values in figures], np.float64),
            ratios=np.array([over.sum(), ratio.sum(), over.size - over.sum()], np.float64),
        )


def _goodness(
    truth: Float64[np.ndarray, "pixel channel"], predicted: Float64[np.ndarray, "pixel channel"]
) -> Float64[np.ndarray, " lit"]:
    """Return the GFC of the pixels whose truth is not 0; a prediction of 0 has the GFC 0."""
    lengths = [np.sqrt(np.einsum("ij,ij->i", plane, plane)) for plane in (truth, predicted)]
    norm, dot = lengths[0] * lengths[1], np.abs(np.einsum("ij,ij->i", truth, predicted))
    cosine = np.divide(dot, norm, out=np.zeros_like(dot), where=norm > 0)
    return np.minimum(cosine, 1.0)[lengths[0] > 0]


def _over(part: float, whole: float) -> float | None:
    """Return ``part / whole``, or None when ``whole`` is 0."""
    return part / whole if whole else None
