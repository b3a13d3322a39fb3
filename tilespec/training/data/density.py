"""Density: the probability of each pixel of some regions, and the pixel for a number between 0 and 1.

The regions are divided into cells; cells, and the pixels in them, are ordered along Hilbert curves, along which masses
are summed. So a number between 0 and 1 is a position on the curve: numbers drawn one from each of ``n`` equal intervals
are a sample that is spread evenly over all regions, whatever the weights, and neighbouring numbers are neighbouring
pixels (generalized random-tessellation stratified sampling: Stevens and Olsen 2004, J. Am. Stat. Assoc. 99, 262-278).
Only the masses of cells are in memory; the weights of a cell are read when a pixel is drawn from it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, final

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from tilespec.core.errors import UserError
from tilespec.core.types import UNLABELLED, Roi
from tilespec.storage.layer import Layer

CELL = 128
"""The side of a cell in pixels, for any chunks of stores, so that draws do not depend on chunks."""
LAST: Final = float(np.nextafter(1, 0))
"""The largest number below 1."""
POWERS = {"labelled": 0.0, "sqrt": 0.5, "classes": 1.0}
"""The exponents of balancing: the probability of a class of ``n`` pixels is proportional to ``n`` to the power of 1
minus this.
"""

Weights = Callable[[Roi], Float64[np.ndarray, "y x"]]
Masses = Float64[np.ndarray, " _cell"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Density:
    """The masses of cells along the curve, one scene after another, and the weights within them."""

    cells: tuple[tuple[int, Roi], ...]
    """The index of the scene and the region of each cell."""
    ends: Masses
    """The sum of the masses up to and including each cell."""
    weights: tuple[Weights, ...]
    """The function of each scene that returns the weights of the pixels of a cell."""

    def at(self, quantiles: Float64[np.ndarray, " patch"]) -> Int64[np.ndarray, "patch 3"]:
        """Return the pixels ``scene, y, x`` at positions (0 to 1) on the curve; none of them has weight 0.

        The weights of each cell are read once.
        """
        total, starts = self.ends[-1], np.concatenate([[0.0], self.ends[:-1]])
        places = np.minimum(quantiles, LAST) * total
        chosen = np.searchsorted(self.ends, places, side="right")
        within = np.minimum((places - starts[chosen]) / (self.ends[chosen] - starts[chosen]), LAST)
        drawn = np.empty((len(quantiles), 3), np.int64)
        for number in np.unique(chosen):
            (scene, roi), here = self.cells[number], chosen == number
            order = _order(roi.shape)
            sums = np.cumsum(self.weights[scene](roi).ravel()[order])
            pixels = order[np.searchsorted(sums, within[here] * sums[-1], side="right")]
            rows, cols = np.divmod(pixels, roi.shape[1])
            drawn[here] = np.stack([np.full(len(rows), scene), roi.y0 + rows, roi.x0 + cols], axis=1)
        return drawn


@final
@dataclass(frozen=True, kw_only=True)
class WeightedRegion:
    """The labels and the weights of the pixels of a region."""

    roi: Roi
    """The region in pixels of the scene."""
    labels: Layer | None
    """The classes of the pixels; None: all pixels have the same class."""
    weight: Layer | None = None
    """The weights of the pixels; None: all have the same weight."""

    def read(self, roi: Roi) -> tuple[UInt8[np.ndarray, "y x"], Float64[np.ndarray, "y x"]]:
        """Return labels and weights of a part of the region.

        Raises:
            UserError: a weight is negative or infinite.
        """
        labels = np.zeros(roi.shape, np.uint8) if self.labels is None else self.labels.read(roi).astype(np.uint8)
        if self.weight is None:
            return labels, np.ones(roi.shape)
        weights = self.weight.read(roi).astype(np.float64)
        weights[np.isnan(weights)] = 0
        if weights.min() < 0 or np.isinf(weights).any():
            raise UserError(
                f"{self.weight.store}, layer {self.weight.name!r}",
                found=f"weights from {weights.min():g} to {weights.max():g} in {roi}",
                expected="finite weights, 0 or more (NaN counts as 0)",
                do="Correct the layer, or name another in data.weight.",
            )
        return labels, weights


def even(regions: Sequence[Roi], shares: tuple[float, ...] | None = None) -> Density:
    """Return the density in which all pixels of all regions are equally likely.

    ``shares`` are the probabilities of whole regions; None: by their sizes.
    """
    cells = [squares(roi) for roi in regions]
    masses = [np.array([float(np.prod(cell.shape)) for cell in each]) for each in cells]
    return _joined(cells, masses, [_ones] * len(regions), shares)


def weighted(
    fields: Sequence[WeightedRegion],
    *,
    classes: int,
    balance: str = "none",
    unlabelled: bool = False,
    shares: tuple[float, ...] | None = None,
) -> Density:
    """Return the density by the weights of pixels and the ``balance`` of classes.

    Classes are balanced over all regions together, or with ``shares`` within each; with any balance but ``none``
    unlabelled pixels have probability 0, or 1/2 if they are learned from. Labels and weights are read once.

    Args:
        fields: The labels and weights of each scene.
        classes: The number of classes; labels are below it, or 255.
        balance: The balance, ``none`` or a key of `POWERS`.
        unlabelled: Whether pixels without a label are learned from.
        shares: The probabilities of whole scenes; None: by the weights of their pixels.

    Raises:
        UserError: a weight is negative or infinite, or all are 0.
    """
    power, by_class = POWERS.get(balance, 0.0), balance in POWERS
    of_unlabelled = (0.5 if unlabelled else 0.0) if by_class else None
    tables = [_table(field, classes if by_class else None) for field in fields]
    totals = [table.sum(axis=0) for table in tables]
    shared = totals if shares is not None else [np.sum(totals, axis=0)] * len(fields)
    factors = [_factors(total, power, of_unlabelled) for total in shared]
    masses = [table @ factor for table, factor in zip(tables, factors, strict=True)]
    for field, mass, share in zip(fields, masses, shares or [0.0] * len(fields), strict=True):
        if (share > 0 and not mass.any()) or not any(each.any() for each in masses):
            raise _nothing(field)
    within = [_weights(field, factor, by_class=by_class) for field, factor in zip(fields, factors, strict=True)]
    return _joined([squares(field.roi) for field in fields], masses, within, shares)


def squares(roi: Roi) -> tuple[Roi, ...]:
    """Return the cells of a region along a Hilbert curve."""
    cells = roi.cut(CELL, CELL)
    y, x = np.array([(cell.y0 // CELL, cell.x0 // CELL) for cell in cells]).T
    return tuple(cells[number] for number in np.argsort(hilbert(y - y.min(), x - x.min())))


def hilbert(y: Int64[np.ndarray, " place"], x: Int64[np.ndarray, " place"]) -> Int64[np.ndarray, " place"]:
    """Return the indices of positions on Hilbert's curve through a square (Warren 2012, Hacker's Delight, 16-2)."""
    side = 1 << int(max(y.max(), x.max())).bit_length()
    place, step = np.zeros_like(y), side >> 1
    while step:
        down, right = (y & step) > 0, (x & step) > 0
        place += step * step * ((3 * right) ^ down)
        mirrored = right & ~down
        y, x = np.where(mirrored, side - 1 - y, y), np.where(mirrored, side - 1 - x, x)
        y, x = np.where(down, y, x), np.where(down, x, y)
        step >>= 1
    return place


@lru_cache(maxsize=64)
def _order(shape: tuple[int, int]) -> Int64[np.ndarray, " pixel"]:
    """Return the pixels of a cell, numbered row by row, in the order of a Hilbert curve."""
    y, x = (index.ravel() for index in np.indices(shape))
    return np.argsort(hilbert(y, x))


def _table(field: WeightedRegion, classes: int | None) -> Float64[np.ndarray, "cell class"]:
    """Return the weight of each class, and of no class, in each cell of a region; or of all pixels as one class."""
    rows = []
    for cell in squares(field.roi):
        labels, weights = (plane.ravel() for plane in field.read(cell))
        if classes is None:
            rows.append(weights.sum(keepdims=True))
        else:
            rows.append(np.bincount(np.minimum(labels, classes), weights, minlength=classes + 1))
    return np.stack(rows).astype(np.float64)


def _factors(totals: Float64[np.ndarray, " class"], power: float, share: float | None) -> Float64[np.ndarray, " class"]:
    """Return the factor of each class from the weights of all classes; the last one, of no class, gets a share."""
    present = totals > 0
    factors = np.where(present, np.where(present, totals, 1.0) ** -power, 0.0)
    if share is not None:
        rest = share / (1 - share) * (totals[:-1] @ factors[:-1])
        factors[-1] = rest / totals[-1] if present[-1] else 0.0
    return factors


def _weights(field: WeightedRegion, factors: Float64[np.ndarray, " class"], *, by_class: bool) -> Weights:
    """Return the function that reads the weights of pixels."""
    of_label = np.full(UNLABELLED + 1, 0.0 if by_class else 1.0)
    if by_class:
        of_label[: len(factors) - 1], of_label[UNLABELLED] = factors[:-1], factors[-1]

    def weights_of(roi: Roi) -> Float64[np.ndarray, "y x"]:
        labels, weights = field.read(roi)
        return weights * of_label[labels]

    return weights_of


def _ones(roi: Roi) -> Float64[np.ndarray, "y x"]:
    """Return equal weights for all pixels of a cell."""
    return np.ones(roi.shape)


def _joined(
    cells: Sequence[tuple[Roi, ...]],
    masses: Sequence[Masses],
    weights: Sequence[Weights],
    shares: tuple[float, ...] | None,
) -> Density:
    """Return the density of all scenes in sequence."""
    if shares is not None:
        masses = [mass * (share / (mass.sum() or 1.0)) for mass, share in zip(masses, shares, strict=True)]
    return Density(
        cells=tuple((scene, cell) for scene, each in enumerate(cells) for cell in each),
        ends=np.cumsum(np.concatenate(masses)),
        weights=tuple(weights),
    )


def _nothing(field: WeightedRegion) -> UserError:
    """Return the error for a region in which no pixel can be drawn."""
    where = field.labels or field.weight
    assert where is not None, "without either, all pixels may be"
    return UserError(
        "data.weight, data.balance",
        found=f"no pixel in {field.roi} of {where.store} that may be drawn",
        expected="labelled pixels with weights above 0",
        do="Correct the layer, choose another region, or leave the scene out.",
    )
