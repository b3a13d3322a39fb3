"""Residual: any net that learns what to add to the scene (VDSR, Kim et al. 2016; DnCNN, Zhang et al. 2017)."""

from collections.abc import Mapping
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from tilespec.core.types import TileClass
from tilespec.models.nets import UNDECLARED, build_inner, tile_class_of
from tilespec.models.nets.checks import within

READ = 2
"""The number of pixels beyond a tile that bicubic interpolation reads."""


@final
class ResidualNet(nn.Module):
    """The input and what ``inner`` adds to it; a finer answer is added to the bicubic enlargement of the input.

    A net that adds nothing is no worse than its input, or than interpolation, so a short training suffices. Each
    channel of the input has a gain and an offset, learned from 1 and 0, because a recipe may have given it other units
    than the target has.

    Args:
        channels_in: The number of channels of the input, one for each of the output.
        channels_out: The number of channels of the output.
        inner: The net ``{"name": ..., **parameters}``, whose answer is added; its ``scale`` is that of the task.
    """

    def __init__(self, channels_in: int, channels_out: int, *, inner: Mapping[str, Any]) -> None:
        super().__init__()
        what = f"{channels_in} channels, as the output has, to add to"
        within({"net.inner: channels of the output": (channels_out, channels_in == channels_out, what)})
        self.inner = build_inner(inner, channels_in, channels_out)
        self.gain = nn.Parameter(torch.ones(channels_in, 1, 1))
        self.offset = nn.Parameter(torch.zeros(channels_in, 1, 1))
        self.scale = int(getattr(self.inner, "scale", 1))
        self.tile_class = tile_class(tile_class_of(self.inner) or UNDECLARED, self.scale)
        frozen = getattr(self.inner, "frozen_class", None)
        self.frozen_class = frozen and tile_class(frozen, self.scale)

    def forward(self, x: Float[Tensor, "batch channel y x"]) -> Float[Tensor, "batch channel y2 x2"]:
        """Return the input with the answer of the inner net added, at the pixels of the answer."""
        added: Tensor = self.inner(x)
        known = self.gain * x + self.offset
        if self.scale > 1:
            known = interpolate(known, scale_factor=self.scale, mode="bicubic", align_corners=False)
        within({"net.inner": (_size(added), added.shape == known.shape, f"an answer of {_size(known)} to add")})
        return known + added


def tile_class(inner: TileClass, scale: int) -> TileClass:
    """Return the relation between tiles and the scene: that of the inner net, or of the interpolation if wider."""
    if inner.kind == "approximate" or scale == 1 or inner.halo >= READ:
        return inner
    return TileClass(kind="exact", halo=-(-READ // inner.align) * inner.align, align=inner.align)


def _size(planes: Tensor) -> str:
    return f"{planes.shape[1]} x {planes.shape[2]} x {planes.shape[3]} values"
