"""HybridSN (Roy, Krishna, Dubey and Chaudhuri 2020): 3-D convolutions, then 2-D ones, then a classifier of a window.

The published net answers for one window at a time. Here the dense layer that reads the whole window is a convolution of
its size, so that one pass answers for the window around every pixel, and neighbours share their convolutions.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import final

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from tilespec.core.types import TileClass
from tilespec.models.nets.checks import one_of, within
from tilespec.models.nets.norms import SeededDropout
from tilespec.models.nets.unet import HEADS


@final
class HybridSn(nn.Module):
    """Classes of the window around each pixel: ``HybridSn(30, 16)`` is the published net with 5,122,176 parameters.

    Every convolution is valid, 3 x 3 pixels, and followed by a ReLU. A window that reaches beyond the image has zeros
    there; `tilespec predict` reads the pixels around a tile instead.

    Args:
        channels_in: The number of bands or components; more than the filters remove, 13 or more with those published.
        channels_out: The number of classes.
        window: The side of the window in pixels, an odd number.
        widths: The number of features of each convolution over bands and pixels.
        depths: The number of bands that each of these convolutions reads.
        plane: The number of channels of the convolution over pixels that follows.
        dense: The numbers of units of the two or more dense layers before the classes.
        dropout: The share dropped behind each dense layer while training.
        head: The last layer: ``logits`` of classes, ``linear`` values, ``tanh``, or ``bounded``.
    """

    def __init__(  # noqa: PLR0913 - one keyword for each number of the architecture
        self,
        channels_in: int,
        channels_out: int,
        *,
        window: int = 25,
        widths: Sequence[int] = (8, 16, 32),
        depths: Sequence[int] = (7, 5, 3),
        plane: int = 64,
        dense: Sequence[int] = (256, 128),
        dropout: float = 0.4,
        head: str = "logits",
    ) -> None:
        super().__init__()
        bands, side = channels_in - sum(depths) + len(depths), window - 2 * len(widths) - 2
        counts, least = (*widths, *depths, plane, *dense), 2 * len(widths) + 3
        within(
            {
                "net.depths": (list(depths), len(depths) == len(widths) > 0, f"one for each of {len(widths)} widths"),
                "net.dense": (list(dense), len(dense) > 0, "one dense layer or more"),
                "net.widths": (list(counts), min(counts) >= 1, "at least 1 of widths, depths, plane and dense"),
                "net.window": (window, side >= 1 and window % 2 == 1, f"an odd number of at least {least} pixels"),
                "recipe.steps": (f"{channels_in} channels", bands >= 1, f"at least {channels_in - bands + 1}"),
                "net.dropout": (dropout, 0 <= dropout < 1, "a share below 1"),
                "net.head": one_of(head, HEADS),
            }
        )
        volumes = zip(pairwise([1, *widths]), depths, strict=True)
        self.volumes = nn.Sequential(*(_relu(nn.Conv3d(a, b, (depth, 3, 3))) for (a, b), depth in volumes))
        self.plane = _relu(nn.Conv2d(widths[-1] * bands, plane, 3))
        sizes = [side] + [1] * (len(dense) - 1)
        self.dense = nn.Sequential(
            *(
                nn.Sequential(_relu(nn.Conv2d(a, b, size)), SeededDropout(dropout, layer))
                for layer, ((a, b), size) in enumerate(zip(pairwise([plane, *dense]), sizes, strict=True))
            )
        )
        self.last = nn.Sequential(nn.Conv2d(dense[-1], channels_out, 1), HEADS[head]())
        self.radius = window // 2
        self.tile_class = TileClass(kind="exact", halo=self.radius)

    def forward(self, x: Float[Tensor, "batch band y x"]) -> Float[Tensor, "batch channel y x"]:
        """Return the values of the class of every pixel, ``batch, channel, y, x``."""
        features = self.volumes(functional.pad(x, (self.radius,) * 4).unsqueeze(1))
        y: Tensor = self.last(self.dense(self.plane(features.flatten(1, 2))))
        return y


def _relu(convolution: nn.Module) -> nn.Module:
    return nn.Sequential(convolution, nn.ReLU(inplace=True))
