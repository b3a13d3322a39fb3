"""Statistics: values that are computed for blocks of a scene in one pass, and then added.

For blocks without a common pixel, every statistic satisfies ``of(a) + of(b) == of(a and b)``, exactly for counts and
extremes, up to rounding for sums. With a reduction tree that is fixed by the order of the blocks
(`tilespec.cluster.reduction.reduce_blocks`), rounding too is the same for any number of workers.

The statistics here take spectra after a recipe: float32 ``pixel band``, where an invalid pixel is NaN in every band.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, Num

from tilespec.core.arrays import beside, namespace, on_host
from tilespec.core.types import Spectra

Origin = tuple[int, int]
Part = tuple[Spectra, Float32[np.ndarray, " _pixel"] | None]
"""Spectra and the weight of each, or None for equal weights."""


@runtime_checkable
class Statistic(Protocol):
    """A statistic that `tilespec.cluster.reduction.reduce_blocks` adds.

    Its initial value is the statistic of no pixel.
    """

    def of(self, block: Any, origin: Origin) -> Any:
        """Return the contribution of one block, whose first pixel lies at ``origin`` (y, x)."""

    def __add__(self, other: Any) -> Any:
        """Return the sum of both contributions."""

    def finish(self) -> Any:
        """Return the result of the statistic."""


@runtime_checkable
class StreamedStatistic(Protocol):
    """A statistic that adds many parts at less cost than `Statistic.of` for each and ``+``."""

    def over(self, parts: Iterable[Part]) -> Any:
        """Return the contribution of all ``parts``, each of which it may overwrite; they may be tensors on a device."""


@runtime_checkable
class NeighbourStatistic(Protocol):
    """A statistic that compares pixels with those to the right and below; a pair belongs to its upper left pixel."""

    @property
    def halo(self) -> tuple[int, int]:
        """The number of rows below a block and of columns to its right that it also reads."""

    def of(self, block: Any, own: tuple[int, int]) -> Any:
        """Return the contribution of the first ``own`` rows and columns of a block ``y x band``."""


@runtime_checkable
class MomentStatistic(Protocol):
    """A statistic whose moments are stored with the fitted step, so that another scene can be added to them."""

    @property
    def moments(self) -> Any:
        """The `Moments` by name; ``signal`` are those of the pixels."""

    def like(self, moments: Any) -> Any:
        """Return the statistic that contains ``moments``."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Moments:
    """Count, sum and sum of products of spectra, after subtraction of a fixed shift, from which an exact PCA follows.

    Products are summed in float32 within a piece and in float64 between pieces. With a shift near the mean no digits
    cancel (Chan, Golub and LeVeque, The American Statistician 37, 1983), so pieces of a few thousand pixels keep the
    relative error of a variance near 1e-7.

    Pixels may have weights (importances, not counts): then the mean is weighted, and the covariance is that of
    ``numpy.cov(x, aweights=weights)``.
    """

    shift: Float32[np.ndarray, " band"]
    """The spectrum near the mean that is subtracted before summation."""
    n: int
    """The number of valid pixels."""
    invalid: int
    """The number of pixels that were left out because they are NaN or have no weight."""
    weight: float
    """The sum of the weights; ``n`` without weights."""
    squares: float
    """The sum of the squared weights."""
    sums: Float64[np.ndarray, " band"]
    """The sum of the shifted spectra."""
    products: Float64[np.ndarray, "band band"]
    """The sum of the outer products of the shifted spectra."""

    @classmethod
    def zero(cls, shift: Float32[np.ndarray, " band"]) -> "Moments":
        """Return empty moments with the shift ``shift``."""
        p = len(shift)
        return cls(shift=shift, n=0, invalid=0, weight=0.0, squares=0.0, sums=np.zeros(p), products=np.zeros((p, p)))

    def of(
        self, block: Spectra, origin: Origin = (0, 0), weights: Float32[np.ndarray, " pixel"] | None = None
    ) -> "Moments":
        """Return the moments of one block of spectra."""
        del origin
        return self.over([(block.copy(), weights)])

    def over(self, parts: Iterable[Part]) -> "Moments":
        """Return the moments of spectra in several parts, which are overwritten, so that no further array is needed."""
        counts, sums, products = np.zeros(4), np.zeros_like(self.sums), np.zeros_like(self.products)
        for part, weights in parts:
            xp = namespace(part)
            xp.subtract(part, beside(part, self.shift), out=part)
            weigh = _weigh(part, weights)
            root = xp.sqrt(weigh)
            if weights is not None:
                xp.multiply(part, root[:, None], out=part)
            counts += [xp.count_nonzero(weigh), len(part), weigh.sum(dtype=xp.float64), xp.vdot(weigh, weigh)]
            sums += on_host(root @ part)
            products += on_host(part.T @ part)
        n, count, weight, squares = counts.tolist()
        total = replace(self, n=int(n), invalid=int(count - n), weight=weight, squares=squares)
        return replace(total, sums=sums, products=products)

    def __add__(self, other: "Moments") -> "Moments":
        assert self.shift is other.shift or np.array_equal(self.shift, other.shift), "moments about two shifts"
        return replace(
            self,
            n=self.n + other.n,
            invalid=self.invalid + other.invalid,
            weight=self.weight + other.weight,
            squares=self.squares + other.squares,
            sums=self.sums + other.sums,
            products=self.products + other.products,
        )

    @property
    def moments(self) -> "dict[str, Moments]":
        """The moments that a later scene can be added to."""
        return {"signal": self}

    def like(self, moments: "Mapping[str, Moments]") -> "Moments":
        """Return the statistic that contains ``moments``."""
        del self
        return moments["signal"]

    @property
    def mean(self) -> Float64[np.ndarray, " band"]:
        """The mean spectrum, NaN without pixels."""
        return self.shift + self.sums / self.weight if self.n else np.full(len(self.sums), np.nan)

    def finish(self) -> Float64[np.ndarray, "band band"]:
        """Return the covariance matrix (ddof 1)."""
        outer = np.outer(self.sums, self.sums) / self.weight
        return (self.products - outer) / (self.weight - self.squares / self.weight)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Spread:
    """Count, sum, sum of squares and extremes of every band."""

    shift: Float32[np.ndarray, " band"]
    """The spectrum near the mean that is subtracted before summation."""
    n: int
    """The number of valid pixels."""
    invalid: int
    """The number of pixels that were left out because they are NaN."""
    sums: Float64[np.ndarray, " band"]
    """The sum of the shifted spectra."""
    squares: Float64[np.ndarray, " band"]
    """The sum of the squares of the shifted spectra."""
    low: Float32[np.ndarray, " band"]
    """The smallest value of each band."""
    high: Float32[np.ndarray, " band"]
    """The largest value of each band."""

    @classmethod
    def zero(cls, shift: Float32[np.ndarray, " band"]) -> "Spread":
        """Return an empty spread with the shift ``shift``."""
        p, far = len(shift), np.full(len(shift), np.inf, np.float32)
        return cls(shift=shift, n=0, invalid=0, sums=np.zeros(p), squares=np.zeros(p), low=far, high=-far)

    def of(self, block: Spectra, origin: Origin = (0, 0)) -> "Spread":
        """Return the spread of one block of spectra."""
        del origin
        valid = block[np.isfinite(block).all(axis=1)]
        shifted = (valid - self.shift).astype(np.float64)
        return replace(
            self,
            n=len(valid),
            invalid=len(block) - len(valid),
            sums=shifted.sum(axis=0),
            squares=np.einsum("ij,ij->j", shifted, shifted),
            low=valid.min(axis=0, initial=np.inf),
            high=valid.max(axis=0, initial=-np.inf),
        )

    def __add__(self, other: "Spread") -> "Spread":
        return replace(
            self,
            n=self.n + other.n,
            invalid=self.invalid + other.invalid,
            sums=self.sums + other.sums,
            squares=self.squares + other.squares,
            low=np.minimum(self.low, other.low),
            high=np.maximum(self.high, other.high),
        )

    @property
    def mean(self) -> Float64[np.ndarray, " band"]:
        """The mean of every band."""
        return self.shift + self.sums / self.n

    def finish(self) -> Float64[np.ndarray, " band"]:
        """Return the standard deviation of every band (ddof 1)."""
        return np.sqrt(np.maximum(self.squares - self.sums**2 / self.n, 0) / (self.n - 1))


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Histogram:
    """The number of values between equally spaced edges; values outside count in the first or the last bin."""

    low: float
    """The left edge of the first bin."""
    high: float
    """The right edge of the last bin."""
    counts: Int64[np.ndarray, " bin"]
    """The number of values in each bin."""
    invalid: int
    """The number of values that were left out because they are NaN."""

    @classmethod
    def zero(cls, low: float, high: float, bins: int) -> "Histogram":
        """Return the empty histogram."""
        return cls(low=low, high=high, counts=np.zeros(bins, np.int64), invalid=0)

    def of(self, block: Num[np.ndarray, "..."], origin: Origin = (0, 0)) -> "Histogram":
        """Return the histogram of one block of values, of any shape."""
        del origin
        values = block[np.isfinite(block)].astype(np.float64)
        bins = len(self.counts)
        index = ((values - self.low) * (bins / (self.high - self.low))).clip(0, bins - 1).astype(np.int64)
        return replace(self, counts=np.bincount(index, minlength=bins), invalid=block.size - values.size)

    def __add__(self, other: "Histogram") -> "Histogram":
        return replace(self, counts=self.counts + other.counts, invalid=self.invalid + other.invalid)

    def finish(self) -> float:
        """Return Otsu's threshold: the edge between bins that separates two classes best.

        Otsu, IEEE Trans. SMC 9 (1979): maximise the variance between the classes left and right of the edge. Where
        a run of empty bins makes several edges equally good, the middle one is returned.
        """
        edges = np.linspace(self.low, self.high, len(self.counts) + 1)
        centres, share = (edges[1:] + edges[:-1]) / 2, self.counts / max(self.counts.sum(), 1)
        left, mass = np.cumsum(share)[:-1], np.cumsum(share * centres)
        with np.errstate(divide="ignore", invalid="ignore"):
            between = (mass[-1] * left - mass[:-1]) ** 2 / (left * (1 - left))
        between[~np.isfinite(between)] = 0
        best = np.flatnonzero(between >= between.max() * (1 - 1e-12))
        return float(edges[1 + best].mean())


def _weigh(
    shifted: Float32[Any, "pixel band"], weights: Float32[np.ndarray, " pixel"] | None
) -> Float32[Any, " pixel"]:
    """Return the weights, 0 for invalid pixels; set invalid spectra to 0."""
    xp = namespace(shifted)
    ok: Bool[Any, " pixel"] = xp.isfinite(shifted[:, 0])
    if not ok.all():
        shifted[~ok] = 0
    return xp.asarray(ok, dtype=xp.float32) if weights is None else xp.where(ok, beside(shifted, weights), 0.0)
