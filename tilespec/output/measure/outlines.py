"""Outlines: perimeter, convex hull and second moments of objects, a statistic of planes of object numbers.

A plane has two more rows above and below, where there are any, so that every pixel knows its neighbours on the border
of its object; then strips add to the whole plane. Memory grows with the corners of the hulls, never with the pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np
from jaxtyping import Bool, Float64, Int64

from tilespec.output.measure.object_sums import NONE

Ids = Int64[np.ndarray, "_y _x"]
Points = Int64[np.ndarray, "_point 2"]
SIDES, CORNERS = ((0, 1), (0, -1), (1, 0), (-1, 0)), ((1, 1), (1, -1), (-1, 1), (-1, -1))
"""The steps to the neighbours of a pixel along its sides, and to those at its corners."""
LENGTHS = np.array([0, 1, np.sqrt(2), (1 + np.sqrt(2)) / 2])
"""The length of the border that passes a pixel: none, straight on, diagonally, and half and half."""
KINDS = {
    **dict.fromkeys(((2, 0), (3, 0), (2, 1), (3, 1), (2, 2), (3, 2)), 1),
    **dict.fromkeys(((0, 2), (1, 3)), 2),
    **dict.fromkeys(((1, 1), (1, 2)), 3),
}
"""The kind of a pixel of the border by how many neighbours on the border it has along its sides and at its corners."""
HALO = 2
"""How far away pixels decide the border at a pixel, in pixels."""
RIGHT, BELOW = np.array([0, 1]), np.array([1, 0])
"""The steps to the next column and to the next row."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Outline:
    """The outline of one object, in pixels; outlines of its parts in different strips add."""

    pixels: int
    """The number of pixels."""
    mean: Float64[np.ndarray, " axis"]
    """The mean row and column."""
    spread: Float64[np.ndarray, "axis axis"]
    """The sums of products of deviations from the mean."""
    border: Int64[np.ndarray, " kind"]
    """The number of pixels of the border of each kind in `LENGTHS`."""
    hull: Points
    """The corners of the convex hull of the squares of all pixels, as rows and columns of their upper left corners."""

    def __add__(self, other: "Outline") -> "Outline":
        total = self.pixels + other.pixels
        apart = other.mean - self.mean
        return Outline(
            pixels=total,
            mean=self.mean + apart * (other.pixels / total),
            spread=self.spread + other.spread + np.outer(apart, apart) * (self.pixels * other.pixels / total),
            border=self.border + other.border,
            hull=convex_hull(np.concatenate([self.hull, other.hull])),
        )

    def traits(self) -> dict[str, float]:
        """Return the traits of the object's shape: lengths in pixels, the angle in degrees.

        The perimeter is the length of a line through the centres of the border's pixels (Benkrid, Crookes and Benkrid
        2000, Electronics Letters 36, 1006), as in scikit-image. The ellipse has the second moments of the pixels'
        centres; its angle is that of the long axis, counter-clockwise from the direction of the columns.
        """
        (yy, xy), (_, xx) = (self.spread / self.pixels).tolist()
        root = float(np.hypot((yy - xx) / 2, xy))
        large, small = (yy + xx) / 2 + root, max((yy + xx) / 2 - root, 0.0)
        area = polygon_area(self.hull)
        return {
            "perimeter": float(self.border @ LENGTHS),
            "hull_area": area,
            "solidity": self.pixels / area,
            "ellipse_major": 4 * float(np.sqrt(large)),
            "ellipse_minor": 4 * float(np.sqrt(small)),
            "ellipse_angle": float(np.degrees(np.arctan2(-2 * xy, xx - yy) / 2)) if root > 0 else float("nan"),
            "eccentricity": float(np.sqrt(1 - small / large)) if large > 0 else 0.0,
        }


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Outlines:
    """The outlines of objects by their numbers, a statistic."""

    parts: Mapping[int, Outline] = field(default_factory=dict)
    """The outline of each object."""

    @staticmethod
    def of(plane: Ids, rows: slice, origin: tuple[int, int]) -> "Outlines":
        """Return the outlines of one plane.

        Args:
            plane: The object of each pixel, `NONE` for none; with the rows around ``rows``, if there are any.
            rows: The rows of the plane that count.
            origin: The row and column in the scene of the first pixel that counts.
        """
        inside = plane[rows]
        if not (inside != NONE).any():
            return Outlines()
        kinds = _border(plane)[rows]
        y, x = np.nonzero(inside != NONE)
        ids, which = np.unique(inside[y, x], return_inverse=True)
        order = np.argsort(which, kind="stable")
        starts = np.searchsorted(which[order], np.arange(len(ids) + 1))
        place = np.stack([y + origin[0], x + origin[1]], axis=1)[order]
        border = np.bincount(which * len(LENGTHS) + kinds[y, x], minlength=len(ids) * len(LENGTHS))
        border = border.reshape(len(ids), len(LENGTHS))
        return Outlines(
            parts={int(number): _outline(place[starts[i] : starts[i + 1]], border[i]) for i, number in enumerate(ids)}
        )

    def __add__(self, other: "Outlines") -> "Outlines":
        both = dict(self.parts)
        for number, part in other.parts.items():
            both[number] = both[number] + part if number in both else part
        return Outlines(parts=both)

    def columns(self, ids: Int64[np.ndarray, " _object"]) -> dict[str, list[float]]:
        """Return the traits of objects as columns, NaN for an object without pixels."""
        known = {number: part.traits() for number, part in self.parts.items()}
        names = (
            "perimeter",
            "hull_area",
            "solidity",
            "ellipse_major",
            "ellipse_minor",
            "ellipse_angle",
            "eccentricity",
        )
        return {name: [known[i][name] if i in known else float("nan") for i in ids.tolist()] for name in names}


def convex_hull(points: Points) -> Points:
    """Return the corners of the convex hull of integer points in order around it (Andrew 1979, IPL 9, 216)."""
    ordered = np.unique(points, axis=0).tolist()
    half: list[list[list[int]]] = []
    for walk in (ordered, ordered[::-1]):
        chain: list[list[int]] = []
        for point in walk:
            while len(chain) > 1 and _turn(chain[-2], chain[-1], point) <= 0:
                chain.pop()
            chain.append(point)
        half.append(chain[:-1])
    return np.asarray(half[0] + half[1] or ordered, np.int64)


def polygon_area(corners: Points) -> float:
    """Return the area of a polygon from its corners in order, exact for integers."""
    y, x = (corners - corners[0]).T
    return abs(int((y * np.roll(x, -1) - x * np.roll(y, -1)).sum())) / 2


def _outline(place: Points, border: Int64[np.ndarray, " kind"]) -> Outline:
    """Return the outline of the pixels ``y, x`` of one object, in reading order."""
    mean = place.mean(axis=0)
    apart = place - mean
    first = np.flatnonzero(np.r_[True, place[1:, 0] != place[:-1, 0]])
    ends = np.concatenate([place[first], place[np.r_[first[1:] - 1, len(place) - 1]] + RIGHT])
    return Outline(
        pixels=len(place),
        mean=mean,
        spread=apart.T @ apart,
        border=border,
        hull=convex_hull(np.concatenate([ends, ends + BELOW])),
    )


def _border(plane: Ids) -> Int64[np.ndarray, "_y _x"]:
    """Return the kind of each pixel's part of the border of its object, an index into `LENGTHS`."""
    edge = (plane != NONE) & (_same(plane, plane != NONE, SIDES) < len(SIDES))
    sides, corners = _same(plane, edge, SIDES), _same(plane, edge, CORNERS)
    table = np.zeros((len(SIDES) + 1, len(CORNERS) + 1), np.int64)
    for (beside, across), kind in KINDS.items():
        table[beside, across] = kind
    return np.where(edge, table[sides, corners], 0)


def _same(plane: Ids, mask: Bool[np.ndarray, "_y _x"], steps: Sequence[tuple[int, int]]) -> Int64[np.ndarray, "_y _x"]:
    """Return how many of the pixels at ``steps`` from each are of its object and in the mask."""
    height, width = plane.shape
    ids, inside = np.pad(plane, 1, constant_values=NONE), np.pad(mask, 1)
    count = np.zeros(plane.shape, np.int64)
    for dy, dx in steps:
        there = np.s_[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
        count += (ids[there] == plane) & inside[there]
    return count


def _turn(a: list[int], b: list[int], c: list[int]) -> int:
    """Return whether a path turns left (above 0) or right (below 0) at ``b``."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
