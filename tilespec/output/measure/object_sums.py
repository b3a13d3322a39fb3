"""Object sums: the sums of every object, added block by block; their memory grows with the number of objects alone."""

from dataclasses import dataclass, replace
from typing import Final, final

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8

Counts = Int64[np.ndarray, " _object"]
Moments = Float64[np.ndarray, "_object _band"]

NONE: Final = np.iinfo(np.int64).min
"""The id of a pixel without an object."""
FAR: Final = np.iinfo(np.int64).max


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ObjectBlock:
    """A block of a scene, its prediction, and its objects."""

    ids: Int64[np.ndarray, "y x"]
    """The object of each pixel, `NONE` for none."""
    classes: UInt8[np.ndarray, "y x"]
    """The predicted class of each pixel; an invalid class is nodata."""
    values: Float32[np.ndarray, "y x band"]
    """The spectra, NaN for no data."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ObjectSums:
    """Position, size, classes and spectral moments of objects, a statistic of blocks.

    Moments are the mean and the sum of squared deviations, and are merged by the pairwise formula of Chan, Golub and
    LeVeque (The American Statistician 37, 1983), which needs no guess of the mean. Each band has its own count, so that
    a dead band of a pixel does not affect the others.
    """

    wanted: Bool[np.ndarray, " class_and_nodata"]
    """Whether the spectra of each class count; the last entry, nodata, is False."""
    ids: Counts
    """The ids of the objects, ascending."""
    pixels: Counts
    """The number of pixels of any class."""
    invalid: Counts
    """The number of pixels without a finite value in any band."""
    partial: Counts
    """The number of pixels with finite values in some bands only."""
    low: Int64[np.ndarray, "_object 2"]
    """The first row and the first column."""
    high: Int64[np.ndarray, "_object 2"]
    """The last row and the last column."""
    places: Int64[np.ndarray, "_object 2"]
    """The sums of the rows and of the columns."""
    classes: Int64[np.ndarray, "_object class_and_nodata"]
    """The number of pixels of each class; the last column is nodata."""
    taken: Counts
    """The number of pixels of the wanted classes with a finite value."""
    n: Int64[np.ndarray, "_object _band"]
    """The number of finite values of the wanted classes."""
    mean: Moments
    """The mean of these values, 0 without any."""
    squares: Moments
    """The sum of squared deviations from the mean."""

    @classmethod
    def zero(cls, wanted: Bool[np.ndarray, " class_and_nodata"], bands: int, objects: int = 0) -> "ObjectSums":
        """Return the sums of ``objects`` objects without ids and pixels."""
        counts, pair = np.zeros(objects, np.int64), np.zeros((objects, 2), np.int64)
        return cls(
            wanted=wanted,
            ids=counts,
            pixels=counts,
            invalid=counts,
            partial=counts,
            low=pair + FAR,
            high=pair - FAR,
            places=pair,
            classes=np.zeros((objects, len(wanted)), np.int64),
            taken=counts,
            n=np.zeros((objects, bands), np.int64),
            mean=np.zeros((objects, bands)),
            squares=np.zeros((objects, bands)),
        )

    def of(self, block: ObjectBlock, origin: tuple[int, int]) -> "ObjectSums":
        """Return the sums of the objects of one block, whose first pixel lies at ``origin`` (y, x)."""
        there = block.ids != NONE
        ids, index = np.unique(block.ids[there], return_inverse=True)
        count, width = len(ids), len(self.wanted)
        place = np.argwhere(there) + np.asarray(origin)
        low, high = np.full((count, 2), FAR), np.full((count, 2), -FAR)
        np.minimum.at(low, index, place)
        np.maximum.at(high, index, place)
        column = np.minimum(block.classes[there].astype(np.int64), width - 1)
        values = block.values[there]
        finite = np.isfinite(values)
        valid = finite.sum(axis=1)
        usable = self.wanted[column] & (valid > 0)
        n, mean, squares = _moments(index[usable], values[usable], finite[usable], count)
        return replace(
            self,
            ids=ids,
            pixels=_count(index, count),
            invalid=_count(index[valid == 0], count),
            partial=_count(index[(valid > 0) & (valid < values.shape[1])], count),
            low=low,
            high=high,
            places=np.stack([_sum(index, place[:, axis], count) for axis in (0, 1)], axis=1),
            classes=_count(index * width + column, count * width).reshape(count, width),
            taken=_count(index[usable], count),
            n=n,
            mean=mean,
            squares=squares,
        )

    def __add__(self, other: "ObjectSums") -> "ObjectSums":
        if not len(self.ids) or not len(other.ids):
            return self if len(self.ids) else other
        ids = np.union1d(self.ids, other.ids)
        a, b = self.among(ids), other.among(ids)
        n, apart = a.n + b.n, b.mean - a.mean
        share = b.n / np.maximum(n, 1)
        return replace(
            a,
            pixels=a.pixels + b.pixels,
            invalid=a.invalid + b.invalid,
            partial=a.partial + b.partial,
            low=np.minimum(a.low, b.low),
            high=np.maximum(a.high, b.high),
            places=a.places + b.places,
            classes=a.classes + b.classes,
            taken=a.taken + b.taken,
            n=n,
            mean=a.mean + apart * share,
            squares=a.squares + b.squares + apart**2 * (a.n * share),
        )

    def finish(self) -> tuple[Moments, Moments]:
        """Return the mean and the standard deviation (ddof 1) of each object's spectrum, NaN if undefined."""
        with np.errstate(invalid="ignore", divide="ignore"):
            deviation = np.sqrt(self.squares / (self.n - 1))
        return np.where(self.n > 0, self.mean, np.nan), np.where(self.n > 1, deviation, np.nan)

    def among(self, ids: Counts) -> "ObjectSums":
        """Return the sums of all ``ids``, ascending, with empty sums for unknown ones."""
        if len(ids) == len(self.ids):
            return self
        empty, at = vars(ObjectSums.zero(self.wanted, self.n.shape[1], len(ids))), np.searchsorted(ids, self.ids)
        filled = {name: field.copy() for name, field in empty.items() if name not in ("wanted", "ids")}
        for name, field in filled.items():
            field[at] = getattr(self, name)
        return replace(self, ids=ids, **filled)


def _count(index: Counts, size: int) -> Counts:
    """Return the number of occurrences of each number below ``size``."""
    return np.bincount(index, minlength=size).astype(np.int64)


def _sum(index: Counts, values: Counts, size: int) -> Counts:
    """Return the sum of the integers of each group, exact below 2^53."""
    return np.bincount(index, weights=values, minlength=size).astype(np.int64)


def _moments(
    index: Counts, values: Float32[np.ndarray, "_pixel _band"], finite: Bool[np.ndarray, "_pixel _band"], count: int
) -> tuple[Int64[np.ndarray, "_object _band"], Moments, Moments]:
    """Return count, mean and sum of squared deviations of each group of pixels, in two passes and float64."""
    shape = (count, values.shape[1])
    n, mean, squares = np.zeros(shape, np.int64), np.zeros(shape), np.zeros(shape)
    if not len(index):
        return n, mean, squares
    order = np.argsort(index, kind="stable")
    sorted_, wide = index[order], np.where(finite, values, 0)[order].astype(np.float64)
    valid, starts = finite[order], np.flatnonzero(np.r_[True, sorted_[1:] != sorted_[:-1]])
    groups = sorted_[starts]
    n[groups] = np.add.reduceat(valid, starts, axis=0, dtype=np.int64)
    mean[groups] = np.add.reduceat(wide, starts, axis=0) / np.maximum(n[groups], 1)
    wide -= mean[sorted_]
    wide *= valid
    squares[groups] = np.add.reduceat(np.square(wide, out=wide), starts, axis=0)
    return n, mean, squares
