"""Bootstrap: confidence intervals and splits over square blocks of a scene, for any metric that consists of sums.

Neighbouring pixels are correlated, so neither pixels nor overlapping patches are independent draws; blocks larger than
the range of the correlation nearly are (Roberts et al. 2017, Ecography 40, 913). A bootstrap draws blocks with
replacement (Efron and Tibshirani 1993, chapter 8) and takes percentiles of the score; since statistics add, a draw is a
weighted sum of the blocks' statistics and needs no second reading of the scene.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, final

import numpy as np
from jaxtyping import Float64, Int64, Shaped

from tilespec.evaluate.metrics.base import halo_of

LEVEL: Final = 0.95
"""The share of the draws between the ends of an interval."""
Corner = tuple[int, int]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class BlockStatistics:
    """A statistic for each square block of a scene, itself a statistic; blocks lie at multiples of ``size`` pixels."""

    zero: Any
    """The statistic of no pixel."""
    size: int
    """The side of a block in pixels."""
    corner: Corner = (0, 0)
    """The origin of the coordinates that `of` receives, in pixels of the scene."""
    parts: Mapping[Corner, Any] = field(default_factory=dict)
    """The statistic of each block, by its row and column among blocks."""

    @property
    def halo(self) -> int:
        """The rows below a block and the columns to its right that the statistic also reads."""
        return halo_of(self.zero)

    def of(self, block: Shaped[np.ndarray, "_two _y _x *channel"], origin: Corner) -> "BlockStatistics":
        """Return the contribution of a block of pixels with its halo, divided at the borders of the square blocks."""
        y0, x0 = (self.corner[0] + origin[0], self.corner[1] + origin[1])
        parts: dict[Corner, Any] = {}
        for row, ys in _spans(y0, block.shape[1] - self.halo, self.size):
            for col, xs in _spans(x0, block.shape[2] - self.halo, self.size):
                part = block[:, ys.start : ys.stop + self.halo, xs.start : xs.stop + self.halo]
                parts[row, col] = self.zero.of(part, (origin[0] + ys.start, origin[1] + xs.start))
        return replace(self, parts=parts)

    def __add__(self, other: "BlockStatistics") -> "BlockStatistics":
        both = dict(self.parts)
        for key, part in other.parts.items():
            both[key] = both[key] + part if key in both else part
        return replace(self, parts=both)

    def total(self, keys: Sequence[Corner] | None = None) -> Any:
        """Return the statistic of all blocks, or of some, in the order of rows and columns."""
        total = self.zero
        for key in sorted(self.parts if keys is None else keys):
            total = total + self.parts[key]
        return total

    def finish(self) -> Any:
        """Return the result of the statistic of all blocks."""
        return self.total().finish()

    @property
    def filled(self) -> list[Corner]:
        """The blocks with anything to score, ascending."""
        return sorted(key for key, part in self.parts.items() if part.known)


def intervals(blocked: BlockStatistics, *, draws: int, seed: int, scores: Sequence[str]) -> dict[str, Any]:
    """Return the percentile interval of each score, ``[low, high]``, over ``draws`` draws of blocks from PCG64.

    Scores are keys of the result of `finish`, each a number or a list of numbers (then with a list of intervals). A
    score that no draw has is None.
    """
    parts, whole = [blocked.parts[key] for key in blocked.filled], blocked.total()
    rng = np.random.Generator(np.random.PCG64([seed, 7]))
    weights = rng.multinomial(len(parts), np.full(len(parts), 1 / len(parts)), size=draws)
    stacks = _stacked(parts)
    draws_of: dict[str, list[Any]] = {name: [] for name in scores}
    for weight in weights:
        drawn = _drawn(whole, weight, stacks).finish()
        for name in scores:
            draws_of[name].append(drawn[name])
    return {name: _percentiles(np.array(values, np.float64)) for name, values in draws_of.items()}


def spatial_folds(shape: tuple[int, int], folds: int, seed: int) -> Int64[np.ndarray, "row col"]:
    """Return the number of the fold of each block for ``shape`` blocks: a pure function of its arguments.

    Folds differ by at most one block in size.
    """
    order = np.random.Generator(np.random.PCG64([seed, 8])).permutation(shape[0] * shape[1])
    member: Int64[np.ndarray, "row col"] = (order % folds).astype(np.int64).reshape(shape)
    return member


def _spans(start: int, length: int, size: int) -> list[tuple[int, slice]]:
    """Return the blocks that overlap ``length`` pixels from ``start`` on, each with its pixels."""
    rows = range(start // size, (start + length - 1) // size + 1)
    return [(row, slice(max(row * size - start, 0), min((row + 1) * size - start, length))) for row in rows]


def _stacked(parts: Sequence[Any]) -> Any:
    """Return the fields of statistics that are sums, stacked; for a tuple of statistics, a tuple."""
    first = parts[0]
    if isinstance(first, tuple):
        return tuple(_stacked(column) for column in zip(*parts, strict=True))
    if not hasattr(first, "ADDS"):
        return np.stack([np.asarray(part) for part in parts])
    return {name: _stacked([getattr(part, name) for part in parts]) for name in first.ADDS}


def _drawn(whole: Any, weight: Int64[np.ndarray, " _block"], stack: Any) -> Any:
    """Return a statistic with the weighted sum over blocks in each field that is a sum."""
    if isinstance(stack, tuple):
        return tuple(_drawn(one, weight, part) for one, part in zip(whole, stack, strict=True))
    if not isinstance(stack, dict):
        return _weighted(weight, stack)
    return replace(whole, **{name: _drawn(getattr(whole, name), weight, part) for name, part in stack.items()})


def _weighted(weight: Int64[np.ndarray, " _block"], stack: Shaped[np.ndarray, "_block *_field"]) -> Any:
    """Return the weighted sum over blocks in the data type of the stack."""
    return np.tensordot(weight.astype(stack.dtype), stack, axes=1)


def _percentiles(values: Float64[np.ndarray, "_draw *_class"]) -> Any:
    """Return the low and the high percentile over the draws with a score, for each class if there are classes."""
    if values.ndim == 2:
        return [_percentiles(column) for column in values.T]
    finite = values[~np.isnan(values)]
    ends = [50 * (1 - LEVEL), 50 * (1 + LEVEL)]
    return np.percentile(finite, ends).tolist() if len(finite) else None
