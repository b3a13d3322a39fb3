"""Texture: lattice noise and cells around jittered points, as pure functions of (seed, absolute position).

Nothing is drawn in sequence: the value at a lattice point is a hash of its coordinates, so any part of an endless plane
can be computed alone. Positions are in pixels of the scene.
"""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float32, Float64, Int64

Line = Float64[np.ndarray, " n"]
Y = Float64[np.ndarray, " y"]
X = Float64[np.ndarray, " x"]
Field = Float32[np.ndarray, "y x"]
Lattice = Float32[np.ndarray, "row col"]


def uniform(seed: int, domain: int, rows: Int64[np.ndarray, " row"], cols: Int64[np.ndarray, " col"]) -> Lattice:
    """Return uniform numbers in [0, 1), one for each lattice point: a hash of (seed, domain, row, column).

    The mixer is the finaliser of SplitMix64 (Steele, Lea and Flood 2014), once for each coordinate.
    """
    key = _mix(np.array([(seed * 1_000_003 + domain) % 2**64], np.uint64))
    mixed = _mix(_mix(key ^ rows.view(np.uint64))[:, None] ^ cols.view(np.uint64)[None, :])
    return ((mixed >> np.uint64(40)).astype(np.float32)) * np.float32(2**-24)


def _mix(x: np.ndarray) -> np.ndarray:
    """Return 64-bit words with well mixed bits."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def smooth(seed: int, domain: int, y: Y, x: X, size: float) -> Field:
    """Return smooth noise in [0, 1] whose features are ``size`` pixels wide, on the grid ``y`` by ``x``."""
    rows, wy = _span(y / size)
    cols, wx = _span(x / size)
    lattice = uniform(seed, domain, np.arange(rows[0], rows[-1] + 2), np.arange(cols[0], cols[-1] + 2))
    i, j = rows - rows[0], cols - cols[0]
    down = lattice[i] + (lattice[i + 1] - lattice[i]) * wy[:, None]
    left = down[:, j]
    return left + (down[:, j + 1] - left) * wx


def _span(at: Line) -> tuple[Int64[np.ndarray, " n"], Float32[np.ndarray, " n"]]:
    """Return the lattice point before each position and the smooth step from there."""
    cell = np.floor(at)
    rest = at - cell
    return cell.astype(np.int64), (rest * rest * (3 - 2 * rest)).astype(np.float32)


@final
@dataclass(frozen=True, kw_only=True)
class LatticePoints:
    """For every position, its nearest jittered lattice point (Worley 1996)."""

    dy: Field
    """The rows from that point, in cells."""
    dx: Field
    """The columns from that point, in cells."""
    square: Field
    """The squared distance to that point, in cells."""
    identity: Field
    """The uniform number of the point in [0, 1)."""

    def other(self, k: int) -> Field:
        """Return the ``k``-th further uniform number of the point, computed from its identity."""
        wide = self.identity * np.float32(61.7 * (k + 1)) + np.float32(0.37 * k)
        return wide - np.floor(wide)


def cells(seed: int, domain: int, y: Y, x: X, size: float) -> LatticePoints:
    """Return the cells around one jittered point in each square of ``size`` pixels."""
    v, u = y / size, x / size
    row, col = np.floor(v).astype(np.int64), np.floor(u).astype(np.int64)
    rows, cols = np.arange(row[0] - 1, row[-1] + 2), np.arange(col[0] - 1, col[-1] + 2)
    py, px, own = (uniform(seed, domain * 8 + k, rows, cols) for k in range(3))
    fy, fx = (v - row).astype(np.float32)[:, None], (u - col).astype(np.float32)[None, :]
    shape = (y.size, x.size)
    best = np.full(shape, np.inf, np.float32)
    dy, dx, identity = np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape, np.float32)
    for a in (-1, 0, 1):
        for b in (-1, 0, 1):
            near = np.ix_(row - row[0] + 1 + a, col - col[0] + 1 + b)
            ey, ex = fy - a - py[near], fx - b - px[near]
            square = ey * ey + ex * ex
            closer = square < best
            np.copyto(best, square, where=closer)
            np.copyto(dy, ey, where=closer)
            np.copyto(dx, ex, where=closer)
            np.copyto(identity, own[near], where=closer)
    return LatticePoints(dy=dy, dx=dx, square=best, identity=identity)
