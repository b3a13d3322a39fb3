"""Grid: the tiles of the output plane, and the input pixels that each tile reads, in integers and fractions.

Per axis of the *output* plane: tile ``t``, overlap ``v``, step ``s = t - v``; tile ``k`` starts at ``k s`` and there
are ``max(1, ceil((L - v) / s))`` of them. The last tile is never moved back: it extends over the edge, where values are
reflected on the global index, so that its padded values do not depend on where it is computed.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, final

import numpy as np
from jaxtyping import Float64, Int64

from tilespec.core.errors import UserError
from tilespec.core.types import TileClass
from tilespec.tiling.windows import profile


def reflect(index: Int64[np.ndarray, " n"], length: int) -> Int64[np.ndarray, " n"]:
    """Return the pixel whose reflection is the virtual index: period ``2 (length - 1)``; 0 for ``length`` 1."""
    if length == 1:
        return np.zeros_like(index)
    period = 2 * (length - 1)
    folded = np.mod(index, period)
    return np.minimum(folded, period - folded)


def centres(count: int, scale: Fraction) -> Int64[np.ndarray, " n"]:
    """Return the input pixel at the centre of each of ``count`` output pixels, ``scale`` of them per input pixel."""
    return (2 * np.arange(count) + 1) * scale.denominator // (2 * scale.numerator)


APPROXIMATE = TileClass(kind="approximate")


@final
@dataclass(frozen=True, kw_only=True)
class Axis:
    """The tiles along one axis of the output plane."""

    length: int
    """The length of the axis in output pixels."""
    tile: int
    """The side of a tile in output pixels."""
    overlap: int
    """The overlap of neighbouring tiles in output pixels."""

    def __post_init__(self) -> None:
        if self.tile < 1:
            raise UserError("--tile", found=self.tile, expected="1 or more", do="256 is usual.")
        if not 0 <= self.overlap < self.tile:
            raise UserError(
                "--overlap",
                found=f"{self.overlap} with tile {self.tile}",
                expected=f"0 <= overlap < tile, that is at most {self.tile - 1}",
                do=f"Half a tile is usual: --overlap {self.tile // 2}.",
            )

    @property
    def step(self) -> int:
        """The distance between the starts of neighbouring tiles in pixels."""
        return self.tile - self.overlap

    @property
    def count(self) -> int:
        """The number of tiles."""
        return max(1, -(-(self.length - self.overlap) // self.step))

    @property
    def end(self) -> int:
        """The end of the last tile, at or beyond ``length``."""
        return (self.count - 1) * self.step + self.tile

    def covering(self, start: int, stop: int) -> range:
        """Return the tiles that cover output pixels ``start`` to ``stop`` (exclusive)."""
        first = max(0, -(-(start - self.tile + 1) // self.step))
        return range(first, min(self.count, -(-stop // self.step)))

    def weights(self, k: int, window: str) -> Float64[np.ndarray, " tile"]:
        """Return the window of tile ``k``: rising over its upper overlap, falling over its lower one."""
        rise = profile(window, self.overlap)
        weight = np.ones(self.tile)
        if k > 0:
            weight[: self.overlap] *= rise
        if k < self.count - 1:
            weight[self.step :] *= rise[::-1]
        return weight

    def gains(self, k: int, window: str) -> Float64[np.ndarray, " tile"]:
        """Return ``w_k / (w_0 + ... + w_k)`` on the pixels of tile ``k``, its gain in the running mean.

        The gain is 1 where no earlier tile covers a pixel, so that the mean begins with the tile itself.
        """
        inner = (self.tile - 1) // self.step + 1  # from here on all tiles but the last have equal neighbours
        return _gains(self, k if k == self.count - 1 else min(k, inner), window)


@lru_cache(maxsize=256)
def _gains(axis: Axis, k: int, window: str) -> Float64[np.ndarray, " tile"]:
    """Return the gains of tile ``k`` of an axis; they are needed for each tile of the other axis."""
    total = axis.weights(k, window)
    own = total.copy()
    for earlier in range(max(0, k - (axis.tile - 1) // axis.step), k):
        shift = (k - earlier) * axis.step
        total[: axis.tile - shift] += axis.weights(earlier, window)[shift:]
    first = np.arange(axis.tile) >= (axis.overlap if k else 0)
    gains = np.divide(own, total, out=first.astype(np.float64), where=total > 0)
    gains.flags.writeable = False
    return gains


@final
@dataclass(frozen=True, kw_only=True)
class Grid:
    """The tiles of a plane."""

    y: Axis
    """The tile rows along y."""
    x: Axis
    """The tiles of a tile row along x."""
    window: str = "cosine"
    """The name of the blending window."""
    scale: Fraction = Fraction(1)
    """The number of output pixels for one input pixel, along each axis."""
    origin: int = 0
    """The input position of output pixel 0: the margin that a net without padding removes, else 0."""
    reach: TileClass = APPROXIMATE
    """The halo that is read around a tile, and the number of pixels that its input must be a multiple of."""

    @property
    def tiles(self) -> int:
        """The number of tiles of the plane."""
        return self.y.count * self.x.count

    def read(self, axis: Axis, k: int) -> tuple[int, int]:
        """Return the first and the last input index (exclusive, possibly beyond the scene) that tile ``k`` reads."""
        return self.span(k * axis.step, axis.tile)

    def span(self, start: int, count: int) -> tuple[int, int]:
        """Return the first and the last input index (exclusive) that ``count`` output pixels from ``start`` on need.

        The input of an exact net starts at a multiple of ``align``, so that its strides have the same phase as on the
        whole scene.
        """
        first = self._input(start) - self.reach.halo
        size = self._input(count) - self._input(0) + 2 * self.reach.halo
        if self.reach.kind == "exact":
            align = self.reach.align
            first, size = first // align * align, size + align - 1  # one size for every tile, wherever it starts
        return first, first + self.reach.size(size)

    def crop(self, axis: Axis, k: int) -> int:
        """Return the number of output pixels of the net before the first pixel of tile ``k``."""
        return self.ahead(k * axis.step, axis.tile)

    def ahead(self, start: int, count: int) -> int:
        """Return the number of output pixels of the net before output pixel ``start``, on the input of `span`."""
        lost = self.origin if self.reach.margin is None else self.reach.margin
        ahead = (self._input(start) - lost - self.span(start, count)[0]) * self.scale
        assert ahead.denominator == 1, "alignment and halo are whole output pixels"
        return int(ahead)

    def _input(self, output: int) -> int:
        """Return the input position of an output pixel's edge."""
        position = output / self.scale
        if position.denominator != 1:
            raise UserError(
                "tile and overlap",
                found=f"a tile edge at output pixel {output} with output scale {self.scale}",
                expected=f"multiples of {self.scale.numerator}",
                do="Choose tile and overlap so that every tile starts on a whole input pixel.",
            )
        return int(position) + self.origin

    def source(self, axis: Axis, length: int) -> Int64[np.ndarray, " n"]:
        """Return the input pixel at the centre of each output pixel of ``axis``, from which validity is taken."""
        return np.minimum(centres(axis.length, self.scale) + self.origin, length - 1)

    def to_json(self) -> dict[str, Any]:
        """Return everything that decides bytes as plain data."""
        return {
            "plane": [self.y.length, self.x.length],
            "tile": self.y.tile,
            "overlap": self.y.overlap,
            "window": self.window,
            "scale": str(self.scale),
            "origin": self.origin,
            "halo": self.reach.halo,
            "align": self.reach.align,
            "kind": self.reach.kind,
        }
