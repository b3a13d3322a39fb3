"""Group moments: mergeable moments of spectra by group, and of spectra with responses, about their own means.

Two sets merge by Chan, Golub and LeVeque, The American Statistician 37 (1983): sums are always relative to a near
point, so no digits cancel, and a fold of a cross-validation is left out by merging the others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import final

import numpy as np
from jaxtyping import Float, Float64, Int64

from tilespec.core.types import Spectra

ROWS = 4096
"""The number of spectra that are converted to float64 at once."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """The count, the mean and the scatter of some spectra."""

    n: int
    """The number of spectra."""
    mean: Float64[np.ndarray, " band"]
    """The mean of the spectra."""
    scatter: Float64[np.ndarray, "_ _"]
    """The sum of outer products about the mean, ``band band``; ``0 0`` if it is not needed."""

    @classmethod
    def of(cls, x: Float[np.ndarray, "pixel band"], *, scatter: bool = True) -> "Group":
        """Return the moments of spectra, summed in float64."""
        mean = x.mean(axis=0, dtype=np.float64)
        total = np.zeros((x.shape[1], x.shape[1]) if scatter else (0, 0))
        for start in range(0, len(x) if scatter else 0, ROWS):
            centred = x[start : start + ROWS] - mean
            total += centred.T @ centred
        return cls(n=len(x), mean=mean, scatter=total)

    def __add__(self, other: "Group") -> "Group":
        n, apart = self.n + other.n, other.mean - self.mean
        between = np.outer(apart, apart) * (self.n * other.n / n) if len(self.scatter) else 0.0
        return Group(n=n, mean=self.mean + apart * (other.n / n), scatter=self.scatter + other.scatter + between)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Grouped:
    """The moments of each group of spectra, and the number of NaN spectra; a statistic of blocks."""

    scatter: bool
    """Whether the scatter is needed, or means alone."""
    groups: Mapping[int, Group] = field(default_factory=dict)
    """The groups by number, without groups that have no valid spectrum."""
    invalid: int = 0
    """The number of spectra that were left out."""

    def of(self, block: tuple[Spectra, Int64[np.ndarray, " pixel"]], origin: tuple[int, int] = (0, 0)) -> "Grouped":
        """Return the moments of spectra and their groups' numbers."""
        del origin
        x, number = block
        valid = np.isfinite(x[:, 0])
        numbers = np.unique(number[valid])
        groups = {int(g): Group.of(x[valid & (number == g)], scatter=self.scatter) for g in numbers}
        return Grouped(scatter=self.scatter, groups=groups, invalid=int((~valid).sum()))

    def __add__(self, other: "Grouped") -> "Grouped":
        groups = dict(self.groups)
        for number, group in other.groups.items():
            groups[number] = groups[number] + group if number in groups else group
        return Grouped(scatter=self.scatter, groups=groups, invalid=self.invalid + other.invalid)

    def finish(self) -> dict[int, Group]:
        """Return the groups in ascending order."""
        return dict(sorted(self.groups.items()))


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Cross:
    """The weighted moments of spectra and responses about their means, from which PLS follows."""

    n: int
    """The number of pixels."""
    weight: float
    """The sum of their weights."""
    mean_x: Float64[np.ndarray, " band"]
    """The weighted mean spectrum."""
    mean_y: Float64[np.ndarray, " target"]
    """The weighted mean response."""
    xx: Float64[np.ndarray, "band band"]
    """The weighted sum of products of centred spectra."""
    xy: Float64[np.ndarray, "band target"]
    """The weighted sum of products of centred spectra with centred responses."""
    yy: Float64[np.ndarray, "target target"]
    """The weighted sum of products of centred responses."""

    @classmethod
    def of(cls, x: Float[np.ndarray, "pixel band"], y: Float[np.ndarray, "pixel target"]) -> "Cross":
        """Return the moments of spectra with responses, each of weight 1."""
        n, mean_x, mean_y = len(x), x.mean(axis=0, dtype=np.float64), y.mean(axis=0, dtype=np.float64)
        cx, cy = x - mean_x, y - mean_y
        return cls(n=n, weight=float(n), mean_x=mean_x, mean_y=mean_y, xx=cx.T @ cx, xy=cx.T @ cy, yy=cy.T @ cy)

    @classmethod
    def of_classes(cls, groups: Mapping[int, Group], classes: int, *, balanced: bool) -> "Cross":
        """Return the moments of spectra with one-hot classes.

        Args:
            groups: The moments of the pixels of each class, possibly without absent classes.
            classes: The number of classes, including absent ones.
            balanced: Whether all present classes have the same weight; the weights sum to the number of pixels.
        """
        there = sorted(groups)
        counts = np.array([groups[c].n for c in there], float)
        share = np.full(len(there), counts.sum() / len(there)) if balanced else counts
        mean = np.asarray(np.average([groups[c].mean for c in there], axis=0, weights=share))
        mean_y, xy = np.zeros(classes), np.zeros((len(mean), classes))
        xx = np.zeros((len(mean), len(mean)))
        for c, n, mass in zip(there, counts, share, strict=True):
            apart = groups[c].mean - mean
            mean_y[c], xy[:, c] = mass / share.sum(), mass * apart
            xx += groups[c].scatter * (mass / n) + mass * np.outer(apart, apart)
        yy = share.sum() * (np.diag(mean_y) - np.outer(mean_y, mean_y))
        weight = float(share.sum())
        return cls(n=int(counts.sum()), weight=weight, mean_x=mean, mean_y=mean_y, xx=xx, xy=xy, yy=yy)

    def __add__(self, other: "Cross") -> "Cross":
        weight = self.weight + other.weight
        mean_x = self.mean_x + (other.mean_x - self.mean_x) * (other.weight / weight)
        mean_y = self.mean_y + (other.mean_y - self.mean_y) * (other.weight / weight)
        a, b = self.about(mean_x, mean_y), other.about(mean_x, mean_y)
        sums = {name: getattr(a, name) + getattr(b, name) for name in ("xx", "xy", "yy")}
        return Cross(n=self.n + other.n, weight=weight, mean_x=mean_x, mean_y=mean_y, **sums)

    def about(self, x: Float64[np.ndarray, " band"], y: Float64[np.ndarray, " target"]) -> "Cross":
        """Return the same sums of products relative to another spectrum and response than the means."""
        dx, dy, w = self.mean_x - x, self.mean_y - y, self.weight
        sums = {
            "xx": self.xx + w * np.outer(dx, dx),
            "xy": self.xy + w * np.outer(dx, dy),
            "yy": self.yy + w * np.outer(dy, dy),
        }
        return Cross(n=self.n, weight=w, mean_x=x, mean_y=y, **sums)


def merged(parts: Sequence[Mapping[int, Group]]) -> dict[int, Group]:
    """Return the groups of several parts, with groups of one number merged."""
    numbers = sorted({number for part in parts for number in part})
    return {c: reduce(Group.__add__, [part[c] for part in parts if c in part]) for c in numbers}
