"""Finished rows of a blended plane become rows of stored objects."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import final

import numpy as np
from jaxtyping import Bool, Float32

from tilespec.predict import Part, PredictPlan

Plane = Float32[np.ndarray, "y x channel"]
Decode = Callable[[Plane, Bool[np.ndarray, "y x"]], dict[str, np.ndarray]]


@final
@dataclass(kw_only=True)
class ObjectRows:
    """Rows of objects in the making: decoded rows are gathered until an object's height is reached."""

    plan: PredictPlan
    """What is predicted."""
    part: Part
    """Which rows of which panel."""
    decode: Decode
    """What is stored of blended rows."""
    row: int = -1
    """The row of objects being filled."""
    buffers: list[dict[str, np.ndarray]] = field(default_factory=lambda: [{}, {}])
    """One is filled while the other is written."""
    nodata: int = 0
    """Pixels without data in the row so far."""

    def __post_init__(self) -> None:
        self.row = self.part.rows[0]

    def add(self, top: int, rows: Plane) -> Iterator[tuple[int, dict[str, np.ndarray], int]]:
        """Take finished rows of the plane from ``top`` on; yield each row of objects, its arrays, its nodata."""
        bottom = top + len(rows)
        while self.row <= self.part.rows[-1] and top < bottom:
            y0, y1 = self.plan.product.span(self.row)
            end = min(bottom, y1)
            self._fill(top - y0, y1 - y0, rows[top - bottom : end - bottom or None])
            top = end
            if end == y1:
                filled = self.buffers[self.row % 2]
                yield self.row, {name: block[: y1 - y0] for name, block in filled.items()}, self.nodata
                self.row, self.nodata = self.row + 1, 0

    def _fill(self, offset: int, height: int, rows: Plane) -> None:
        """Decode rows into the buffer of the current row of objects."""
        channels = rows.shape[2] - self.plan.disagreement
        valid = ~np.isnan(rows[:, :, 0])
        blocks = self.decode(rows[:, :, :channels], valid)
        if self.plan.disagreement:
            blocks["disagreement"] = np.where(valid, np.sqrt(rows[:, :, -1]), np.float32(np.nan))
        self.nodata += int(valid.size - np.count_nonzero(valid))
        buffer = self.buffers[self.row % 2]
        for name, block in blocks.items():
            if name not in buffer:
                buffer[name] = np.empty((max(height, self.plan.product.edge), *block.shape[1:]), block.dtype)
            buffer[name][offset : offset + len(block)] = block
