"""Boundary: the sides of pixels between a region and what is not of it, traced strip by strip and joined to rings.

A side is walked with its region on the right: along the top of a pixel to the east, along its right to the south, and
so on around it. Which side follows depends on two pixels ahead only, so each strip is traced alone; what leaves a strip
waits for the side that it goes on with in the next one. Where two pixels of a class touch at a corner only, the walk
stays with its own pixel: rings are those of 4-connected parts.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, final

import numpy as np
from jaxtyping import Int64

Codes = Int64[np.ndarray, " _corner"]
"""Corners of pixels: the row times the width of the plane plus one, and the column."""
NOTHING: Final = int(np.iinfo(np.int64).min)
"""The number of a pixel that is of no region."""
STEPS: Final = ((0, 1), (1, 0), (0, -1), (-1, 0))
"""Where the walk along the top, the right, the bottom and the left of a pixel leads: rows and columns."""
ENDS: Final = ((0, 1), (1, 1), (1, 0), (0, 0))
"""Where it ends, from the upper left corner of the pixel."""


@final
@dataclass(kw_only=True)
class Chain:
    """A part of a ring: the walk from a side to the one that follows after its last."""

    start: int
    """The first side: its pixel times four, and its direction."""
    end: int
    """The side that follows; the first one, of a ring."""
    codes: deque[Codes]
    """The corners at which the direction changes, in pieces."""
    part: int
    """The 4-connected part that the walk goes around."""

    def corners(self) -> Codes:
        """Return all corners in order."""
        return np.concatenate(self.codes)


@final
@dataclass
class OpenChains:
    """The chains that go on in strips to come."""

    starts: dict[int, Chain] = field(default_factory=dict)
    """The chains by their first side."""
    ends: dict[int, Chain] = field(default_factory=dict)
    """The chains by the side that follows."""

    def add(self, piece: Chain) -> Chain | None:
        """Add a chain of a strip, joined with those that it touches; return the ring that it closes, if it does."""
        before = self.ends.pop(piece.start, None)
        if before is None:
            chain = self.starts[piece.start] = piece
        else:
            chain = before
            chain.end = piece.end
            chain.codes.extend(piece.codes)
        if chain.end == chain.start:
            return self.starts.pop(chain.start)
        after = self.starts.pop(chain.end, None)
        if after is not None:
            chain.end = after.end
            if len(after.codes) <= len(chain.codes):
                chain.codes.extend(after.codes)
            else:
                after.codes.extendleft(reversed(chain.codes))
                chain.codes = after.codes
        self.ends[chain.end] = chain
        return None


def trace(around: Int64[np.ndarray, "_y _x"], parts: Int64[np.ndarray, "_h _w"], y0: int) -> Iterator[Chain]:
    """Yield the chains of a strip, of which those with an ``end`` at their ``start`` are rings.

    Args:
        around: The numbers of the pixels of the strip, with a row above and one below it.
        parts: The 4-connected part of each pixel of the strip.
        y0: The row of the plane at which the strip begins.
    """
    width = parts.shape[1]
    sides, following, turns, corners = _sides(around, y0)
    local = np.full(4 * parts.size, NOTHING, np.int64)
    base = 4 * y0 * width
    local[sides - base] = np.arange(len(sides))
    inside = (following >= base) & (following < base + local.size)
    successor = np.full(len(sides), NOTHING, np.int64)
    successor[inside] = local[following[inside] - base]
    entered = np.zeros(len(sides), bool)
    entered[successor[successor != NOTHING]] = True
    first = np.concatenate([np.flatnonzero(~entered), np.flatnonzero(entered)])
    owner = parts.ravel()[(sides - base) // 4]
    for start, last, codes in _walks(first, successor, turns, corners):
        yield Chain(
            start=int(sides[start]),
            end=int(following[last]),
            codes=deque([np.array(codes, np.int64)]),
            part=int(owner[start]),
        )


def _sides(around: Int64[np.ndarray, "_y _x"], y0: int) -> tuple[Codes, Codes, np.ndarray, Codes]:
    """Return the sides of a strip, the side that follows each, whether the walk turns there, and the corner there."""
    wide = np.pad(around, ((0, 0), (1, 1)), constant_values=NOTHING)
    height, width = around.shape[0] - 2, around.shape[1]
    inner = around[1:-1]
    columns = []
    for way, ((dy, dx), (end_y, end_x)) in enumerate(zip(STEPS, ENDS, strict=True)):
        out_y, out_x = STEPS[way - 1]  # to the left of the walk
        y, x = np.nonzero((inner != NOTHING) & (inner != _shifted(wide, out_y, out_x, (height, width))))
        here = inner[y, x]
        ahead = wide[y + 1 + dy, x + 1 + dx] == here
        left = ahead & (wide[np.clip(y + 1 + dy + out_y, 0, height + 1), x + 1 + dx + out_x] == here)
        turn = np.where(left, way - 1, np.where(ahead, way, way + 1)) % 4
        to_y, to_x = y + y0 + ahead * dy + left * out_y, x + ahead * dx + left * out_x
        columns.append(
            (
                4 * ((y + y0) * width + x) + way,
                4 * (to_y * width + to_x) + turn,
                turn != way,
                (y + y0 + end_y) * (width + 1) + x + end_x,
            )
        )
    sides, following, turns, corners = (np.concatenate(column) for column in zip(*columns, strict=True))
    return sides, following, turns, corners


def _shifted(wide: Int64[np.ndarray, "_y _x"], dy: int, dx: int, shape: tuple[int, int]) -> Int64[np.ndarray, "_h _w"]:
    """Return the neighbours of the pixels of a strip in one direction."""
    return wide[1 + dy : 1 + dy + shape[0], 1 + dx : 1 + dx + shape[1]]


def _walks(first: Codes, successor: Codes, turns: np.ndarray, corners: Codes) -> Iterator[tuple[int, int, list[int]]]:
    """Yield the first and the last side of each walk, and its corners; ``first`` has the begins of open walks first."""
    following, turning, corner = successor.tolist(), turns.tolist(), corners.tolist()
    passed = bytearray(len(following))
    for start in first.tolist():
        if passed[start]:
            continue
        codes: list[int] = []
        side = last = start
        while side != NOTHING and not passed[side]:
            passed[side] = 1
            if turning[side]:
                codes.append(corner[side])
            last, side = side, following[side]
        yield start, last, codes
