"""Layout: a plane cut into a grid of cells, one for each plant or sample, and the random numbers of each cell."""

from dataclasses import dataclass

import numpy as np

from tilespec.core.errors import UserError

EDGE = 128
"""The rows and columns of a block in pixels, for any size of scene and any number of workers."""


@dataclass(frozen=True, kw_only=True)
class GridLayout:
    """A scene's size and its grid of cells."""

    seed: int
    """The seed of everything that varies."""
    rows: int
    """The height in pixels."""
    cols: int
    """The width in pixels."""
    bands: int
    """The number of bands, evenly spaced over the range of the kind of scene."""
    grid: tuple[int, int]
    """The numbers of cells down and across."""

    @property
    def cell(self) -> tuple[float, float]:
        """The height and the width of a cell in pixels."""
        return self.rows / self.grid[0], self.cols / self.grid[1]

    @property
    def side(self) -> float:
        """The shorter side of a cell in pixels, the unit of all lengths in it."""
        return min(self.cell)

    def rng(self, index: int, domain: int) -> np.random.Generator:
        """Return the random number generator for one purpose in one cell."""
        key = np.array([self.seed, (domain << 32) | index], np.uint64)
        return np.random.Generator(np.random.Philox(key=key))

    def near(self, y0: float, y1: float, x0: float, x1: float) -> list[int]:
        """Return the cells that overlap a rectangle, in reading order."""
        height, width = self.cell
        first, last = (min(max(int(v // height), 0), self.grid[0] - 1) for v in (y0, y1))
        left, right = (min(max(int(v // width), 0), self.grid[1] - 1) for v in (x0, x1))
        return [r * self.grid[1] + c for r in range(first, last + 1) for c in range(left, right + 1)]


def checked_grid(name: str, count: int, *, between: tuple[int, int], smallest: float, **size: int) -> tuple[int, int]:
    """Return the numbers of cells down and across whose cells are nearest to square.

    Args:
        name: The option that gives ``count``.
        count: The number of things that get a cell each.
        between: The smallest and the largest possible count.
        smallest: The smallest side of a cell in pixels.
        size: The ``rows`` and ``cols`` in pixels, the number of ``bands``, and the ``seed``.

    Raises:
        UserError: the size is below one, or there are more things than the size permits.
    """
    values, least = {**size, name: count}, {"seed": 0, name: between[0]}
    for option, value in values.items():
        low = least.get(option, 1)
        if not low <= value < 2**62:
            raise UserError(f"--{option}", found=value, expected=f"at least {low}", do="Give another number.")
    rows, cols = size["rows"], size["cols"]
    grid = _grid(rows, cols, max(count, 1))
    side = min(rows / grid[0], cols / grid[1])
    if (count and side < smallest) or count > between[1]:
        raise UserError(
            f"--{name}",
            found=f"{count} on {rows} x {cols} pixels, cells of {side:.1f} pixels",
            expected=f"at most {between[1]}, in cells of at least {smallest:.0f} pixels",
            do=f"Give fewer {name}, or more rows and columns.",
        )
    return grid


def _grid(rows: int, cols: int, count: int) -> tuple[int, int]:
    """Return the numbers of cells down and across, nearly square and with few empty cells."""

    def cost(down: int) -> float:
        across = -(-count // down)
        stretch = abs(np.log(rows / down * across / cols))
        return float(stretch + 2.0 * (down * across / count - 1))

    down = min(range(1, count + 1), key=cost)
    return down, -(-count // down)
