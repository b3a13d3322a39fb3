"""Seam jumps: the mean jump of a prediction between adjacent tiles, relative to its mean jump elsewhere.

Line ``i`` of an axis lies between the pixels ``i`` and ``i + 1``. Its jumps ``J_i`` are the differences of the ``N_i``
pairs of pixels on its two sides: 1 where two classes differ, else the mean over channels of the absolute difference.
With the border lines ``B`` and all other lines ``I``, on both axes ``a``,

    score = sum_a J(B_a) / sum_a N(B_a) J(I_a) / N(I_a)

that is: the mean jump at borders over the mean jump inside, where each axis has its own inside, because a striped scene
has larger jumps along one axis. A score of 1 is seamless.

Border lines: tiles of side ``t`` and overlap ``v`` start every ``s = t - v`` pixels. A cut changes tiles in
the middle of the overlap, between the pixels ``k s + v / 2 - 1`` and ``k s + v / 2``. A blend changes tiles there too:
for any symmetric window the tile with the larger weight changes there, the weights have their steepest slope, and the
class changes there when two tiles predict different classes with equal probability. (With an odd overlap the middle is
a pixel, and both of its sides are borders.) Where tiles begin and end, at ``k s`` and ``k s + t``, the weight of a
blended tile starts at zero, which gives a kink and no step. These lines have their own score (`seam_score_edge`) and do
not belong to the inside.

A score differs from 1 by chance where borders are few and where the scene itself changes along them (pots in rows).
Therefore it is reported with the score of the truth on the same lines, and with the mean and the spread over the same
grid shifted to every position without a border. Tiles increase the jumps at every border, but an edge in the scene (a
pot's rim) only those at one border: the median over border lines (`by_line`) separates the two. All scores are computed
from two profiles, the jumps of all lines of an axis, which are one statistic over blocks: integers, so that they are
the same for any division of the plane.
"""

from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, Integer

from tilespec.core.types import UNLABELLED
from tilespec.tiling.grid import Axis

Classes = Integer[np.ndarray, "y x"]
Channels = Float32[np.ndarray, "y x channel"]
Lines = Int64[np.ndarray, " _"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Profile:
    """The jumps across the lines of one axis from line ``start`` on; profiles are added line by line."""

    start: int
    """The first line, between the pixels ``start`` and ``start + 1``."""
    jumps: Lines
    """The sum of the jumps across each line."""
    pairs: Lines
    """The number of pairs of pixels across each line that both have data."""

    @classmethod
    def zero(cls) -> "Profile":
        """Return the profile without a line."""
        return cls(start=0, jumps=np.zeros(0, np.int64), pairs=np.zeros(0, np.int64))

    def __add__(self, other: "Profile") -> "Profile":
        if not len(self.jumps) or not len(other.jumps):
            return self if len(self.jumps) else other
        start = min(self.start, other.start)
        sums = np.zeros((2, max(p.start + len(p.jumps) for p in (self, other)) - start), np.int64)
        for part in (self, other):
            sums[:, part.start - start :][:, : len(part.jumps)] += (part.jumps, part.pairs)
        return Profile(start=start, jumps=sums[0], pairs=sums[1])


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Jumps:
    """Both profiles of a plane, a statistic of blocks with a halo.

    A pair of neighbouring pixels belongs to its upper or left one. So a block of ``y x`` pixels has one additional row
    below and one column to the right, nodata where the plane ends, and ``of(a) + of(b) == of(a and b)`` exactly.
    """

    y: Profile
    """The profile between rows."""
    x: Profile
    """The profile between columns."""
    unit: float = 1.0
    """The value of an integer jump of 1; classes are counted."""

    @classmethod
    def zero(cls, unit: float = 1.0) -> "Jumps":
        """Return the jumps of no pixel."""
        return cls(y=Profile.zero(), x=Profile.zero(), unit=unit)

    def of(self, block: Classes | Channels, origin: tuple[int, int]) -> "Jumps":
        """Return the jumps of a block with its halo: classes (255 = nodata), or channels (NaN = nodata)."""
        down, known_down = self._steps(block[:-1, :-1], block[1:, :-1])
        right, known_right = self._steps(block[:-1, :-1], block[:-1, 1:])
        y = Profile(start=origin[0], jumps=_sum(down, 1), pairs=_sum(known_down, 1))
        x = Profile(start=origin[1], jumps=_sum(right, 0), pairs=_sum(known_right, 0))
        return replace(self, y=y, x=x)

    def __add__(self, other: "Jumps") -> "Jumps":
        assert self.unit == other.unit, "jumps in two units"
        return replace(self, y=self.y + other.y, x=self.x + other.x)

    def finish(self) -> tuple[Profile, Profile]:
        """Return the profiles between rows and between columns."""
        return self.y, self.x

    def _steps(self, a: Any, b: Any) -> tuple[Any, Bool[np.ndarray, "y x"]]:
        """Return the integer jump of each pair, 0 without data, and which pairs have data."""
        if a.ndim == 2:
            valid = (a != UNLABELLED) & (b != UNLABELLED)
            return (a != b) & valid, valid
        total = np.zeros(a.shape[:2])
        for channel in range(a.shape[2]):  # one at a time: no copy of all channels
            total += np.abs(a[..., channel] - b[..., channel])
        valid = np.isfinite(total)
        total[~valid] = 0
        return np.rint(total / (a.shape[2] * self.unit)).astype(np.int64), valid


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Borders:
    """The border lines of one axis."""

    step: int
    """The distance in pixels from one tile to the next."""
    handover: Lines
    """The lines at which the tile with the larger weight changes."""
    edge: Lines
    """The lines at which blended tiles begin and end; a cut has none."""

    @classmethod
    def of(cls, axis: Axis, window: str, region: tuple[int, int]) -> "Borders":
        """Return the borders between pixels ``region[0]`` to ``region[1]`` (exclusive), counted from ``region[0]``."""
        step, overlap = axis.step, axis.overlap
        later = np.arange(1, axis.count) * step
        middle = [later + overlap // 2 + side for side in range(1 + overlap % 2)]
        ends = [] if window == "none" or not overlap else [later, later - step + axis.tile]
        handover, edge = (_within(pixels, axis.length, region) for pixels in (middle, ends))
        return cls(step=step, handover=handover, edge=np.setdiff1d(edge, handover))

    def shifted(self, lines: Lines, size: int) -> list[Lines]:
        """Return ``lines`` shifted by less than half a step, for every shift without a border, of ``size`` lines."""
        borders, out = np.concatenate([self.handover, self.edge]), []
        for shift in range(-((self.step - 1) // 2), self.step // 2 + 1):
            there = lines + shift
            there = there[(there >= 0) & (there < size)]
            if len(there) and not np.isin(there, borders).any():
                out.append(there)
        return out


def score(profiles: tuple[Profile, Profile], lines: list[Lines], borders: list[Borders]) -> float | None:
    """Return the score of ``lines``, a vector for each axis; None without lines, or without jumps inside."""
    sums = [_observed(*axis) for axis in zip(profiles, lines, borders, strict=True)]
    jumps, expected = (sum(column) for column in zip(*sums, strict=True))
    return jumps / expected if expected > 0 else None


def by_line(profiles: tuple[Profile, Profile], borders: list[Borders]) -> Float64[np.ndarray, " line"]:
    """Return the score of each border line alone."""
    ratios = []
    for profile, axis in zip(profiles, borders, strict=True):
        jumps, expected = (profile.jumps[axis.handover], profile.pairs[axis.handover] * _rate(profile, axis))
        ratios.append(jumps[expected > 0] / expected[expected > 0])
    return np.concatenate(ratios)


def shifted(profiles: tuple[Profile, Profile], borders: list[Borders]) -> Float64[np.ndarray, " grid"]:
    """Return the scores of the border lines shifted to every position without a border, on both axes."""
    jumps, expected = np.zeros((1, 1)), np.zeros((1, 1))
    for index, (profile, axis) in enumerate(zip(profiles, borders, strict=True)):
        if len(axis.handover):
            sums = [_observed(profile, there, axis) for there in axis.shifted(axis.handover, len(profile.jumps) - 1)]
            own = np.asarray(sums, np.float64).reshape(-1, 2)
            shape = (-1, 1) if index == 0 else (1, -1)
            jumps, expected = jumps + own[:, 0].reshape(shape), expected + own[:, 1].reshape(shape)
    return (jumps[expected > 0] / expected[expected > 0]).ravel()


def _observed(profile: Profile, lines: Lines, borders: Borders) -> tuple[float, float]:
    """Return the jumps across ``lines`` of one axis, and the expected jumps of as many pairs inside the tiles."""
    rate = _rate(profile, borders, lines)
    return float(profile.jumps[lines].sum()), float(rate * profile.pairs[lines].sum())


def _rate(profile: Profile, borders: Borders, *but: Lines) -> float:
    """Return the mean jump of a pair inside the tiles, without the lines ``but``."""
    inside = np.ones(len(profile.jumps), bool)
    inside[np.concatenate([borders.handover, borders.edge, *but])] = False
    pairs = int(profile.pairs[inside].sum())
    return int(profile.jumps[inside].sum()) / pairs if pairs else 0.0


def _within(pixels: list[Lines], length: int, region: tuple[int, int]) -> Lines:
    """Return the lines before ``pixels``, ascending, that lie inside a plane of ``length`` and inside ``region``."""
    lines = np.unique(np.concatenate([np.zeros(0, np.int64), *pixels])) - 1
    lines = lines[(lines >= region[0]) & (lines < min(region[1], length) - 1)]
    return (lines - region[0]).astype(np.int64)


def _sum(values: Any, axis: int) -> Lines:
    """Return integer sums along an axis."""
    sums: Lines = values.sum(axis=axis, dtype=np.int64)
    return sums
