"""PatchGAN: a discriminator of the patches of an image (Isola et al. 2017; Mishra and Herrmann 2021)."""

from itertools import pairwise
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tilespec.core.errors import UserError
from tilespec.core.types import TileClass
from tilespec.models.nets.checks import DEEPEST
from tilespec.models.nets.norms import initialise, norm

SLOPE = 0.2
WIDEST = 8


@final
class PatchGan(nn.Module):
    """4 x 4 convolutions, ``n_layers`` of stride 2 and two of stride 1. ``PatchGan(6)`` has 6,965,441 parameters.

    An input of 512 x 512 (image and mask as channels) gives 32 x 32 outputs, each for 142 x 142 pixels.

    Args:
        channels_in: The number of channels of the image plus that of the mask.
        channels_out: The number of output channels, 1.
        base_width: The number of channels of the first layer, which doubles with each layer, up to 8 times this.
        n_layers: The number of layers of stride 2.
        norm: The norm of all layers except the first and the last.
        init: The initial weights: ``normal`` as published, or ``kaiming``.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int = 1,
        *,
        base_width: int = 64,
        n_layers: int = 4,
        norm: str = "batch",
        init: str = "normal",
    ) -> None:
        super().__init__()
        if base_width < 1 or not 1 <= n_layers <= DEEPEST:
            raise UserError(
                "discriminator",
                found=f"base_width {base_width}, n_layers {n_layers}",
                expected=f"both at least 1, and at most {DEEPEST} layers",
                do="Change objective.discriminator in the configuration.",
            )
        widths = [base_width * min(2**layer, WIDEST) for layer in range(n_layers + 1)]
        layers = [_layer(channels_in, widths[0], "none", 2)]
        layers += [_layer(a, b, norm, 2) for a, b in pairwise(widths[:-1])]
        layers += [_layer(widths[-2], widths[-1], norm, 1), _same(widths[-1], channels_out)]
        self.layers = nn.Sequential(*layers)
        self.tile_class = TileClass(kind="approximate", align=2**n_layers)
        initialise(self, init)

    def forward(self, x: Float[Tensor, "batch channel y x"]) -> Float[Tensor, "batch 1 v u"]:
        """Return the logit of "real" for each patch; `probability` is its sigmoid."""
        logits: Tensor = self.layers(x)
        return logits

    def probability(self, x: Float[Tensor, "batch channel y x"]) -> Float[Tensor, "batch 1 v u"]:
        """Return the published map: the probability, in (0, 1), that each patch is real."""
        return torch.sigmoid(self.forward(x))


def _layer(channels_in: int, channels_out: int, name: str, stride: int) -> nn.Module:
    """Return one layer: convolution, norm, leaky ReLU."""
    halving = stride == 2
    conv = nn.Conv2d(channels_in, channels_out, 4, stride=2, padding=1) if halving else _same(channels_in, channels_out)
    return nn.Sequential(conv, norm(name, channels_out), nn.LeakyReLU(SLOPE))


def _same(channels_in: int, channels_out: int) -> nn.Module:
    """Return a 4 x 4 convolution of stride 1 with the same size: one pixel of zeros before, two after, as in Keras."""
    return nn.Sequential(nn.ZeroPad2d((1, 2, 1, 2)), nn.Conv2d(channels_in, channels_out, 4))
