"""Connected regions of a class map larger than memory: strips are labelled separately and joined at their borders.

A strip of rows has parts, the 8-connected components of the strip alone. Joined strips store only the first and the
last row of parts, and the root of each part, so memory grows with the parts and the width. Joining is exact: parts that
touch across a border, including diagonally, belong to one region.
"""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Int64

Parts = Int64[np.ndarray, " _part"]
Row = Int64[np.ndarray, " _x"]
NOTHING = -1
"""The part number of a pixel outside of all regions."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class RegionStrips:
    """The regions of vertically adjacent strips. In ``a + b`` the strips of ``b`` follow those of ``a``."""

    counts: tuple[int, ...]
    """The number of parts of each strip."""
    root: Parts
    """The root of each part, the part that represents its region."""
    first: Parts
    """The first pixel of a region (at its root) in reading order of the plane."""
    pixels: Parts
    """The number of pixels of a region (at its root)."""
    top: Row
    """The parts along the first row."""
    bottom: Row
    """The parts along the last row."""

    @classmethod
    def of(cls, mask: Bool[np.ndarray, "y x"], y0: int) -> "RegionStrips":
        """Return the regions of one strip whose first row is row ``y0`` of the plane."""
        parts, count = label(mask)
        flat = parts.ravel()
        inside = np.flatnonzero(flat != NOTHING)
        first = np.zeros(count, np.int64)
        first[flat[inside[::-1]]] = inside[::-1]  # of several the last assignment holds: the first pixel
        return cls(
            counts=(count,),
            root=np.arange(count),
            first=first + y0 * mask.shape[1],
            pixels=np.bincount(flat[inside], minlength=count),
            top=parts[0],
            bottom=parts[-1],
        )

    def __add__(self, other: "RegionStrips") -> "RegionStrips":
        shift = len(self.root)
        root = np.concatenate([self.root, other.root + shift])
        first, pixels = np.concatenate([self.first, other.first]), np.concatenate([self.pixels, other.pixels])
        top, bottom = (np.where(row == NOTHING, NOTHING, row + shift) for row in (other.top, other.bottom))
        moved = _joined(_pairs(root, self.bottom, top), first)
        total = np.zeros_like(pixels)
        np.add.at(total, moved, pixels)  # a part that is no root has 0 here
        return RegionStrips(
            counts=self.counts + other.counts,
            root=moved[root],
            first=first,
            pixels=total,
            top=self.top,
            bottom=bottom,
        )

    def numbered(self, least: int) -> tuple[list[Parts], Parts]:
        """Return for each strip the region of each of its parts, and the pixels of the regions.

        Regions are numbered from 1 in the order of their first pixels; regions of fewer than ``least`` pixels are 0.
        """
        roots = np.unique(self.root)
        large = roots[self.pixels[roots] >= least]
        large = large[np.argsort(self.first[large])]
        number = np.zeros(len(self.root), np.int64)
        number[large] = np.arange(1, len(large) + 1)
        return np.split(number[self.root], np.cumsum(self.counts)[:-1]), self.pixels[large]

    @property
    def regions(self) -> int:
        """The number of regions."""
        return len(np.unique(self.root))


def label(mask: Bool[np.ndarray, "y x"]) -> tuple[Int64[np.ndarray, "y x"], int]:
    """Return the 8-connected component of each pixel from 0, `NOTHING` outside, and the number of components."""
    from scipy.ndimage import label as labelled

    parts, count = labelled(mask, structure=np.ones((3, 3)))
    return parts.astype(np.int64) - 1, int(count)


def components(one: Parts, other: Parts, count: int) -> Parts:
    """Return the connected component, from 0, of each of ``count`` nodes, of which pairs are joined."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(one), bool), (one, other)), shape=(count, count))
    found: np.ndarray = connected_components(graph, directed=False)[1]
    return found.astype(np.int64)


def _pairs(root: Parts, above: Row, below: Row) -> Int64[np.ndarray, "_pair 2"]:
    """Return the roots of parts that touch across a border, each pair once."""
    pairs = []
    for shift in (-1, 0, 1):
        a = above[max(shift, 0) : len(above) + min(shift, 0)]
        b = below[max(-shift, 0) : len(below) + min(-shift, 0)]
        touch = (a != NOTHING) & (b != NOTHING)
        pairs.append(np.stack([root[a[touch]], root[b[touch]]], axis=1))
    return np.unique(np.concatenate(pairs), axis=0)


def _joined(pairs: Int64[np.ndarray, "_pair 2"], first: Parts) -> Parts:
    """Return the new root of each part: of joined regions the one whose first pixel comes first."""
    moved = np.arange(len(first))
    if len(pairs):
        involved, edges = np.unique(pairs, return_inverse=True)
        edges = edges.reshape(pairs.shape)
        group = components(edges[:, 0], edges[:, 1], len(involved))
        order = np.argsort(-first[involved])
        best = np.zeros(len(involved), np.int64)
        best[group[order]] = involved[order]  # of several the last assignment holds: the earliest first pixel
        moved[involved] = best[group]
    return moved
