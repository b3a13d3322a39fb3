"""Enlarged: any net on an image of more pixels, which learned sub-pixel convolutions make of the scene."""

from collections.abc import Mapping
from math import gcd
from typing import Any, final

from jaxtyping import Float
from torch import Tensor, nn

from tilespec.core.types import TileClass
from tilespec.models.nets import UNDECLARED, build_inner, tile_class_of
from tilespec.models.nets.checks import within
from tilespec.models.nets.rcan import STEPS, enlarged

READ = 2
"""The number of pixels beyond a tile that the sub-pixel convolutions read: less than this for any scale."""


@final
class Enlarged(nn.Module):
    """The answer of ``inner`` to an image of ``scale`` times the pixels along each side, as spectrai's U-Nets have it.

    The task is ``superres`` with the same ``scale``.

    Args:
        channels_in: The number of bands of the image.
        channels_out: The number of channels of the enlarged image.
        scale: The number of output pixels for an input pixel along each side: 2, 3, 4 or 8.
        inner: The net ``{"name": ..., **parameters}``, which answers with as many pixels as it reads.
    """

    def __init__(self, channels_in: int, channels_out: int, *, scale: int = 2, inner: Mapping[str, Any]) -> None:
        super().__init__()
        within({"net.scale": (scale, scale in STEPS, f"one of {', '.join(map(str, STEPS))}")})
        self.scale = scale
        self.before = enlarged(channels_in, scale)
        self.inner = build_inner(inner, channels_in, channels_out)
        self.tile_class = tile_class(tile_class_of(self.inner) or UNDECLARED, scale)
        frozen = getattr(self.inner, "frozen_class", None)
        self.frozen_class = frozen and tile_class(frozen, scale)

    def forward(self, x: Float[Tensor, "batch band y x"]) -> Float[Tensor, "batch channel y2 x2"]:
        """Return the answer of the inner net, ``batch, channel, scale * y, scale * x``."""
        y: Tensor = self.inner(self.before(x))
        return y


def tile_class(inner: TileClass, scale: int) -> TileClass:
    """Return the relation between tiles and the scene, from that of the inner net between their enlarged images."""
    align = inner.align // gcd(inner.align, scale)
    if inner.kind == "approximate":
        return TileClass(kind="approximate", align=align)
    halo = READ - (-inner.halo // scale)
    return TileClass(kind="exact", halo=-(-halo // align) * align, align=align)
