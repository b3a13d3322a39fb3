"""Opening: a pixelwise net and a morphological opening of each class, the simplest use of context."""

from typing import Any, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from tilespec.core.errors import UserError
from tilespec.core.types import TileClass
from tilespec.models.nets import build_inner


@final
class Opening(nn.Module):
    """Classes of ``inner`` after a binary opening of every class but the first with a disk, one-hot.

    Pixels that the opening removes become class 0. The net is exact on tiles: a pixel depends on ``2 * radius`` around
    it.

    Args:
        channels_in: The number of bands of the input.
        channels_out: The number of classes.
        radius: The radius of the disk in pixels.
        inner: The pixelwise net ``{"name": ..., **parameters}``.
    """

    disk: Tensor

    def __init__(self, channels_in: int, channels_out: int, *, radius: int, inner: dict[str, Any]) -> None:
        super().__init__()
        if radius < 1:
            raise UserError(
                "opening", found=radius, expected="a radius of 1 pixel or more", do="Leave it at 0 for none."
            )
        self.inner = build_inner(inner, channels_in, channels_out)
        self.tile_class = TileClass(kind="exact", halo=2 * radius, align=1)
        self.classes = channels_out
        self.radius = radius
        self.register_buffer("disk", disk(radius), persistent=False)

    def forward(self, x: Float[Tensor, "batch channel y x"]) -> Float[Tensor, "batch class y x"]:
        """Return the class of each pixel, one-hot ``batch, class, y, x``."""
        classes = self.inner(x).argmax(dim=1)
        planes = torch.stack([classes == c for c in range(1, self.classes)], dim=1)
        opened = self._dilated(self._eroded(planes))
        background = ~opened.any(dim=1, keepdim=True)
        return torch.cat([background, opened], dim=1).to(x.dtype)

    def _eroded(self, planes: Bool[Tensor, "batch class y x"]) -> Bool[Tensor, "batch class y x"]:
        return self._covered(planes) == self.disk.sum()

    def _dilated(self, planes: Bool[Tensor, "batch class y x"]) -> Bool[Tensor, "batch class y x"]:
        return self._covered(planes) > 0

    def _covered(self, planes: Bool[Tensor, "batch class y x"]) -> Float[Tensor, "batch class y x"]:
        """Return how many pixels of the disk are set, exact in float32; pixels outside of the plane are not set."""
        each = planes.flatten(0, 1)[:, None].float()
        return nn.functional.conv2d(each, self.disk, padding=self.radius)[:, 0].reshape(planes.shape)


def disk(radius: int) -> Float[Tensor, "1 1 y x"]:
    """Return a disk of ones: all offsets of at most ``radius`` pixels."""
    offsets = range(-radius, radius + 1)  # not on tensors: on the meta device their powers load torch's compiler
    return torch.tensor([[[[float(y * y + x * x <= radius * radius) for x in offsets] for y in offsets]]])
