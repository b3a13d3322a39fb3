"""Class regions: the connected regions of each class of a map larger than memory, with their polygons.

Strips of rows are labelled and traced one after the other. A region is given out when no pixel of the row below
continues it, so memory holds one strip, and the outlines of the regions that the last row cuts. As in `measure`,
pixels that touch, diagonally too, are of one region. Its 4-connected parts are polygons, which touch at corners only.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
from jaxtyping import Int64, Integer

from tilespec.output.export.boundary import NOTHING, Codes, OpenChains, trace
from tilespec.output.measure.connected_regions import components

Plane = Int64[np.ndarray, "_y _x"]
Corners = Int64[np.ndarray, "_corner 2"]
"""The corners of a ring as columns and rows, without the first one again at the end."""


@final
@dataclass(kw_only=True, eq=False)
class ClassRegion:
    """A region of one class: all its pixels, and the rings around its parts."""

    value: int
    """The number of the class."""
    pixels: int
    """The number of pixels."""
    first: int
    """The first pixel in reading order of the plane."""
    last: int
    """The last row."""
    rings: list[tuple[int, Codes]] = field(default_factory=list)
    """The part that each ring is of, and its corners."""
    joins: list[tuple[int, int]] = field(default_factory=list)
    """The parts that are one across a border between strips."""

    def absorb(self, other: "ClassRegion") -> None:
        """Take over the pixels and rings of another region, which this one touches."""
        self.pixels += other.pixels
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)
        self.rings.extend(other.rings)
        self.joins.extend(other.joins)

    def polygons(self, width: int) -> list[list[Corners]]:
        """Return for each 4-connected part its outer ring and its holes, in the order of their first pixels.

        No ring touches itself: where it would, it is two rings that touch. Outer rings run clockwise, holes
        counter-clockwise, as one sees them with the first row above.
        """
        roots = Union()
        for one, other in self.joins:
            roots.join(one, other)
        parts: dict[int, list[Corners]] = {}
        for part, codes in self.rings:
            simple = [np.stack([piece % (width + 1), piece // (width + 1)], axis=1) for piece in _simple(codes)]
            parts.setdefault(roots.root(part), []).extend(simple)
        ordered = [sorted(rings, key=lambda ring: (_doubled_area(ring) < 0, _first(ring))) for rings in parts.values()]
        return sorted(ordered, key=lambda rings: _first(rings[0]))


@final
class Union:
    """Disjoint sets of whole numbers, of which the smallest stands for its set."""

    def __init__(self) -> None:
        self.parent: dict[int, int] = {}

    def root(self, number: int) -> int:
        """Return the number that stands for the set of a number."""
        while (parent := self.parent.get(number, number)) != number:
            self.parent[number] = self.parent.get(parent, parent)
            number = parent
        return number

    def join(self, one: int, other: int) -> None:
        """Make one set of those of two numbers."""
        low, high = sorted((self.root(one), self.root(other)))
        self.parent[high] = low


@final
class RegionSweep:
    """The regions of the strips so far, of which some go on."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.chains = OpenChains()
        self.open: dict[int, ClassRegion] = {}
        self.row: Plane | None = None  # values, parts and regions of the last row
        self.parts = self.regions = 0  # numbers given so far

    def add(self, around: Plane, y0: int) -> list[ClassRegion]:
        """Add a strip and return the regions that end in it, by their last rows, then their first pixels.

        Args:
            around: The values of the strip, `NOTHING` for none, with a row above and one below it.
            y0: The row of the plane at which it begins.
        """
        values = around[1:-1]
        parts, regions_of = connected_parts(values)
        base, parts = self.parts, parts + self.parts
        regions_of = regions_of + self.regions
        regions = regions_of[parts - base]
        self.parts, self.regions = base + len(regions_of), int(regions_of.max()) + 1
        self.open |= _records(values, regions, y0)
        known = {} if self.row is None else dict(zip(self.row[1].tolist(), self.row[2].tolist(), strict=True))
        roots = self._join(values[0], parts[0], regions[0])
        for piece in trace(around, parts, y0):
            ring = self.chains.add(piece) if piece.start != piece.end else piece
            if ring is not None:
                region = known[ring.part] if ring.part < base else int(regions_of[ring.part - base])
                self.open[roots.root(region)].rings.append((ring.part, ring.corners()))
        return self._ended(values[-1], parts[-1], regions[-1], roots)

    def _join(self, values: Any, parts: Any, regions: Any) -> Union:
        """Join the regions of the last row with those of the next; return the sets of their numbers."""
        roots = Union()
        if self.row is None:
            return roots
        above = self.row
        for shift in (-1, 0, 1):
            up, down = (
                slice(max(shift, 0), self.width + min(shift, 0)),
                slice(max(-shift, 0), self.width - max(shift, 0)),
            )
            same = (above[0][up] == values[down]) & (values[down] != NOTHING)
            pairs = np.stack([above[1][up], parts[down], above[2][up], regions[down]], axis=1)[same]
            for part, below, region, next_region in np.unique(pairs, axis=0).tolist():
                self._merge(roots, region, next_region)
                if shift == 0:
                    self.open[roots.root(region)].joins.append((part, below))
        return roots

    def _merge(self, roots: Union, one: int, other: int) -> None:
        """Make one region of two, whose number is the smaller one."""
        low, high = sorted((roots.root(one), roots.root(other)))
        if low == high:
            return
        roots.join(low, high)
        kept, gone = self.open.pop(low), self.open.pop(high)
        if len(gone.rings) > len(kept.rings):
            kept, gone = gone, kept
        kept.absorb(gone)
        self.open[low] = kept

    def _ended(self, values: Any, parts: Any, regions: Any, roots: Union) -> list[ClassRegion]:
        """Return the regions without a pixel in the last row, and keep that row."""
        numbers, places = np.unique(regions, return_inverse=True)
        resolved = np.array([roots.root(number) for number in numbers.tolist()], np.int64)
        self.row = np.stack([values, parts, resolved[places]])
        alive = set(resolved.tolist())
        ended = [self.open.pop(number) for number in [number for number in self.open if number not in alive]]
        return sorted(ended, key=lambda region: (region.last, region.first))

    def rest(self) -> list[ClassRegion]:
        """Return the regions that the last row of the plane ends."""
        ended = sorted(self.open.values(), key=lambda region: (region.last, region.first))
        self.open = {}
        return ended


def class_regions(strips: Iterable[tuple[int, Integer[np.ndarray, "_h _w"]]], width: int) -> Iterator[ClassRegion]:
    """Yield the regions of a plane from its strips, each with its first row and its values, `NOTHING` for none.

    They come by their last rows, then by their first pixels, whatever the height of the strips.
    """
    sweep, outside = RegionSweep(width), np.full((1, width), NOTHING, np.int64)
    above, held = outside, None
    for y0, strip in strips:
        if held is not None:
            yield from sweep.add(np.concatenate([above, held[1], strip[:1]]), held[0])
            above = held[1][-1:]
        held = y0, strip.astype(np.int64)
    if held is not None:
        yield from sweep.add(np.concatenate([above, held[1], outside]), held[0])
    yield from sweep.rest()


def connected_parts(values: Plane) -> tuple[Plane, Codes]:
    """Return the 4-connected part of each pixel, from 0, and the 8-connected region of each part, from 0.

    Pixels of `NOTHING` have parts too, of which none are joined at corners.
    """
    change = np.ones(values.shape, bool)
    change[:, 1:] = values[:, 1:] != values[:, :-1]
    runs = np.cumsum(change).reshape(values.shape) - 1
    same = values[1:] == values[:-1]
    parts = components(runs[:-1][same], runs[1:][same], int(runs[-1, -1]) + 1)[runs]
    pairs: list[tuple[Any, Any]] = []
    for above, below in (
        ((slice(None, -1), slice(None, -1)), (slice(1, None), slice(1, None))),
        ((slice(None, -1), slice(1, None)), (slice(1, None), slice(None, -1))),
    ):
        touch = (values[above] == values[below]) & (values[above] != NOTHING)
        pairs.append((parts[above][touch], parts[below][touch]))
    one, other = (np.concatenate(ends) for ends in zip(*pairs, strict=True))
    return parts, components(one, other, int(parts.max()) + 1)


def _records(values: Plane, regions: Plane, y0: int) -> dict[int, ClassRegion]:
    """Return the regions of one strip by their numbers."""
    width = values.shape[1]
    flat, low = regions.ravel(), int(regions.min())
    pixels = np.bincount(flat - low)
    first, last = np.zeros(len(pixels), np.int64), np.zeros(len(pixels), np.int64)
    first[flat[::-1] - low] = np.arange(flat.size)[::-1]  # of several the last assignment holds: the first pixel
    last[flat - low] = np.arange(flat.size)
    number = values.ravel()[first]
    return {
        int(i) + low: ClassRegion(
            value=int(number[i]),
            pixels=int(pixels[i]),
            first=int(first[i]) + y0 * width,
            last=int(last[i]) // width + y0,
        )
        for i in np.flatnonzero((pixels > 0) & (number != NOTHING))
    }


def _simple(codes: Codes) -> Iterator[Codes]:
    """Yield rings that pass each corner once, each from its first corner, from one that may pass some of them twice."""
    if len(np.unique(codes)) == len(codes):
        yield np.roll(codes, -int(codes.argmin()))
        return
    path: list[int] = []
    at: dict[int, int] = {}
    for code in codes.tolist():
        if code in at:
            loop = path[at[code] :]
            yield np.roll(loop, -int(np.argmin(loop)))
            for passed in loop:
                del at[passed]
            del path[len(path) - len(loop) :]
        at[code] = len(path)
        path.append(code)
    yield np.roll(path, -int(np.argmin(path)))


def _doubled_area(ring: Corners) -> int:
    """Return twice the area within a ring, below 0 for one that runs counter-clockwise with the first row above."""
    x, y = ring.T
    return int((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())


def _first(ring: Corners) -> tuple[int, int]:
    """Return the row and the column of the first corner in reading order."""
    x, y = ring.T
    return int(y.min()), int(x[y == y.min()].min())
