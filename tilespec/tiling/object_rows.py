"""Object rows: finished blocks of a blended plane are gathered to rows of stored objects."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import final

import numpy as np
from jaxtyping import Bool, Float32

from tilespec.core.arrays import on_host
from tilespec.tiling.blend_rows import BlendedBlock
from tilespec.tiling.plan import PredictPlan, Slab

Plane = Float32[np.ndarray, "y x channel"]
Decode = Callable[[Plane, Bool[np.ndarray, "y x"]], dict[str, np.ndarray]]


@final
@dataclass(kw_only=True)
class ObjectRow:
    """A row of objects that is being gathered."""

    number: int
    """The number of the row."""
    height: int
    """The height of the row in pixels."""
    blocks: dict[str, np.ndarray]
    """The stored arrays by name, with the height of the highest row of objects."""
    pixels: int = 0
    """The number of pixels that are gathered."""
    nodata: int = 0
    """The number of pixels without data."""

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The stored arrays of this row, cut to its height."""
        return {name: block[: self.height] for name, block in self.blocks.items()}


@final
@dataclass(kw_only=True)
class ObjectRows:
    """Rows of objects that are being gathered from decoded blocks until each is complete."""

    plan: PredictPlan
    """The plan of the prediction."""
    part: Slab
    """The part of the plan: some rows of a panel."""
    decode: Decode
    """The function from blended values to stored arrays."""
    rows: dict[int, ObjectRow] = field(default_factory=dict)
    """The rows that are begun and not complete."""
    free: list[dict[str, np.ndarray]] = field(default_factory=list)
    """The memory of rows that were written, for the next rows."""
    done: int = 0
    """The number of rows that were completed."""

    def add(self, block: BlendedBlock) -> Iterator[ObjectRow]:
        """Add a finished block of the plane; yield the rows of objects that are now complete."""
        x0, x1 = self.plan.product.columns(self.part.panel)
        edge, values = self.plan.product.edge, on_host(block.values)
        bottom = block.top + len(values)
        for number in range(block.top // edge, -(-bottom // edge)):
            y0, y1 = self.plan.product.span(number)
            top, end = max(block.top, y0), min(bottom, y1)
            row = self.rows.setdefault(number, ObjectRow(number=number, height=y1 - y0, blocks={}))
            self._fill(row, top - y0, block.left - x0, values[top - block.top : end - block.top])
            if row.pixels == (y1 - y0) * (x1 - x0):
                self.done += 1
                yield self.rows.pop(number)

    def again(self, row: ObjectRow) -> None:
        """Take back the memory of a row that was written."""
        self.free.append(row.blocks)

    def _fill(self, row: ObjectRow, top: int, left: int, values: Plane) -> None:
        """Decode values into a row of objects."""
        valid = ~np.isnan(values[:, :, 0])
        blocks = self.decode(values[:, :, : values.shape[2] - self.plan.disagreement], valid)
        if self.plan.disagreement:
            blocks["disagreement"] = np.where(valid, np.sqrt(values[:, :, -1]), np.float32(np.nan))
        row.blocks = row.blocks or self._memory(blocks)
        for name, block in blocks.items():
            row.blocks[name][top : top + len(block), left : left + block.shape[1]] = block
        row.pixels += valid.size
        row.nodata += valid.size - int(np.count_nonzero(valid))

    def _memory(self, blocks: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return memory for a complete row of objects."""
        if self.free:
            return self.free.pop()
        (x0, x1), height = self.plan.product.columns(self.part.panel), self.plan.product.edge
        return {name: np.empty((height, x1 - x0, *one.shape[2:]), one.dtype) for name, one in blocks.items()}
