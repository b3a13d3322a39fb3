"""Cells: a net that answers every pixel becomes one that answers once for each image of a scene made of images."""

from collections.abc import Mapping
from typing import Any, final

from jaxtyping import Float
from torch import Tensor, nn

from tilespec.core.types import TileClass
from tilespec.models.nets import UNDECLARED, build_inner, tile_class_of
from tilespec.models.nets.checks import multiples, within


@final
class Cells(nn.Module):
    """The mean over each cell of ``cell`` x ``cell`` pixels of what ``inner`` answers for that cell alone.

    A cell is an image by itself: the net reads nothing beyond its edge, so that the answer is exact on tiles of whole
    cells, whatever the class of ``inner``. The task is ``classify`` with the same ``cell``.

    Args:
        channels_in: The number of bands.
        channels_out: The number of classes or values.
        cell: The number of pixels along each side of a cell; cells lie side by side from the corner of the scene.
        inner: The net ``{"name": ..., **parameters}``, which answers with as many pixels as it reads. Its alignment
            must divide ``cell``.
    """

    def __init__(self, channels_in: int, channels_out: int, *, cell: int, inner: Mapping[str, Any]) -> None:
        super().__init__()
        within({"net.cell": (cell, cell >= 1, "at least 1")})
        self.inner = build_inner(inner, channels_in, channels_out)
        align = (tile_class_of(self.inner) or UNDECLARED).align
        within({"net.cell": (cell, cell % align == 0, f"a multiple of {align}, which the inner net halves")})
        self.cell = cell
        self.tile_class = self.frozen_class = TileClass(kind="exact", align=cell)

    def forward(self, x: Float[Tensor, "batch band y x"]) -> Float[Tensor, "batch channel y2 x2"]:
        """Return one pixel for each cell.

        Raises:
            UserError: a side is no multiple of the cell.
        """
        multiples("cells", x, self.cell, why="cell", do="Read whole cells.")
        batch, bands, height, width = x.shape
        rows, columns, side = height // self.cell, width // self.cell, self.cell
        cells = x.reshape(batch, bands, rows, side, columns, side).permute(0, 2, 4, 1, 3, 5)
        means: Tensor = self.inner(cells.reshape(-1, bands, side, side)).mean(dim=(2, 3))
        return means.reshape(batch, rows, columns, -1).permute(0, 3, 1, 2)
