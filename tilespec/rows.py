"""Reading a scene by rows of chunks, prepared while it is read, every chunk decoded once as long as rows ascend."""

import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Int64

from tilespec.scene import Scene
from tilespec.types import Roi


@runtime_checkable
class Prepares(Protocol):
    """What is needed of a predictor to read for it."""

    @property
    def channels(self) -> tuple[int, int]:
        """Channels in and out."""
        ...

    @property
    def threads(self) -> int:
        """How many threads may work at once."""
        ...

    @property
    def prepare(self) -> Callable[[Float32[np.ndarray, "pixel band"]], Float32[np.ndarray, "pixel channel"]]:
        """The recipe, pixelwise."""
        ...


@final
@dataclass(kw_only=True)
class RowReader:
    """A region of a scene after the recipe, strip by strip; the strips in use are kept."""

    scene: Scene
    """Where values come from."""
    roi: Roi
    """The region; indices below are relative to it."""
    prepares: Prepares
    """The recipe that is applied at reading."""
    strips: dict[int, Float32[np.ndarray, "y x channel"]] = field(default_factory=dict)
    """Prepared rows by strip number; 0 where there is no data."""
    masks: dict[int, Bool[np.ndarray, "y x"]] = field(default_factory=dict)
    """Validity by strip number; kept longer than the values, a byte a pixel."""
    seconds: float = 0.0
    """Time spent reading and preparing."""
    bytes: int = 0
    """Stored bytes decoded."""

    @classmethod
    def of(cls, scene: Scene, roi: Roi, prepares: Prepares) -> "RowReader":
        """Return a reader of ``roi``."""
        return cls(scene=scene, roi=roi, prepares=prepares)

    @property
    def height(self) -> int:
        """Rows of the region."""
        return self.roi.shape[0]

    def load(self, index: Int64[np.ndarray, " y"]) -> None:
        """Read what the rows ``index`` need, and forget the strips above them."""
        needed = np.unique(self._number(index)).tolist()
        for old in [n for n in self.strips if n < needed[0]]:
            del self.strips[old]
        for number in needed:
            self._strip(number)

    def tile(
        self, out: Float32[np.ndarray, "y x channel"], y: Int64[np.ndarray, " y"], x: Int64[np.ndarray, " x"]
    ) -> bool:
        """Copy rows ``y`` and columns ``x`` into ``out``, 0 where there is no data; return whether there is any."""
        numbers, found = self._number(y), False
        for number in np.unique(numbers).tolist():
            rows = numbers == number
            local = np.ix_(y[rows] - self._span(number)[0], x)
            out[rows] = self._strip(number)[local]
            found = found or bool(self.masks[number][local].any())
        return found

    def valid(self, index: Int64[np.ndarray, " y"]) -> Bool[np.ndarray, "y x"]:
        """Return where the rows ``index`` have data; rows above them are forgotten."""
        numbers = self._number(index)
        for old in [n for n in self.masks if n < numbers.min()]:
            del self.masks[old]
        out = np.empty((len(index), self.roi.shape[1]), bool)
        for number in np.unique(numbers).tolist():
            rows = numbers == number
            if number not in self.masks:
                self._strip(number)
            out[rows] = self.masks[number][index[rows] - self._span(number)[0]]
        return out

    def _number(self, index: Int64[np.ndarray, " y"]) -> Int64[np.ndarray, " y"]:
        """Return the strip of each row: strips are the rows of chunks of the store."""
        return (index + self.roi.y0) // self.scene.chunks[0] - self.roi.y0 // self.scene.chunks[0]

    def _span(self, number: int) -> tuple[int, int]:
        """Return first and last row (exclusive) of a strip, relative to the region."""
        edge = self.scene.chunks[0]
        top = (self.roi.y0 // edge + number) * edge
        return max(top - self.roi.y0, 0), min(top + edge - self.roi.y0, self.height)

    def _strip(self, number: int) -> Float32[np.ndarray, "y x channel"]:
        """Return a strip, reading it when it is not there: column by column of chunks, on all threads."""
        if number in self.strips:
            return self.strips[number]
        began = time.monotonic()
        y0, y1 = self._span(number)
        out = np.empty((y1 - y0, self.roi.shape[1], self.prepares.channels[0]), np.float32)
        mask = np.empty(out.shape[:2], bool)

        def fill(columns: tuple[int, int]) -> None:
            x0, x1 = columns
            piece = self._roi(y0, y1, x0, x1)
            block = self.scene.read(piece)
            flat = self.prepares.prepare(block.reshape(-1, block.shape[2]))
            valid = np.logical_not(np.isnan(flat).any(axis=1))
            if not valid.all():
                flat = np.where(valid[:, None], flat, np.float32(0))
            out[:, x0:x1] = flat.reshape(y1 - y0, x1 - x0, -1)
            mask[:, x0:x1] = valid.reshape(y1 - y0, x1 - x0)

        with ThreadPoolExecutor(self.prepares.threads) as pool:
            list(pool.map(fill, self._columns()))
        self.strips[number], self.masks[number] = out, mask
        self.seconds += time.monotonic() - began
        self.bytes += (y1 - y0) * self.roi.shape[1] * self.scene.shape[2] * self.scene.dtype.itemsize
        return out

    def _columns(self) -> list[tuple[int, int]]:
        """Return the spans of columns that fall into one chunk each, relative to the region."""
        edge, x0, width = self.scene.chunks[1], self.roi.x0, self.roi.shape[1]
        cuts = [0, *range(edge - x0 % edge, width, edge), width]
        return list(itertools.pairwise(cuts))

    def _roi(self, y0: int, y1: int, x0: int, x1: int) -> Roi:
        oy, ox = self.roi.y0, self.roi.x0
        return Roi(y0=oy + y0, y1=oy + y1, x0=ox + x0, x1=ox + x1)
