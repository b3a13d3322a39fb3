"""The discriminator of Alvarez-Gila, van de Weijer and Garrote (ICCV Workshops 2017): convolutions of stride 2."""

from itertools import pairwise
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tilespec.core.types import TileClass
from tilespec.models.nets.checks import DEEPEST, within
from tilespec.models.nets.norms import initialise

SLOPE = 0.2


@final
class BranchedDiscriminator(nn.Module):
    """``n_layers`` convolutions whose widths double, and a last one to one output channel; there are no norms.

    ``BranchedDiscriminator(34)`` reads an image and its spectra, 3 + 31 channels, with 1,573,441 parameters (399,649
    with ``base_width`` 32). An input of 256 x 256 gives 8 x 8 outputs, each for 63 x 63 pixels.

    Args:
        channels_in: The number of channels of the image plus that of the spectra.
        channels_out: The number of output channels, 1.
        base_width: The number of channels of the first layer, which the paper does not give.
        n_layers: The number of layers before the last one.
        init: The initial weights: ``kaiming``, or ``normal``.
    """

    def __init__(
        self, channels_in: int, channels_out: int = 1, *, base_width: int = 64, n_layers: int = 4, init: str = "kaiming"
    ) -> None:
        super().__init__()
        within(
            {
                "objective.discriminator.base_width": (base_width, base_width >= 1, "at least 1"),
                "objective.discriminator.n_layers": (n_layers, 1 <= n_layers <= DEEPEST, f"1 to {DEEPEST}"),
            }
        )
        widths = [channels_in, *(base_width * 2**layer for layer in range(n_layers))]
        layers = [nn.Sequential(_halving(a, b), nn.LeakyReLU(SLOPE)) for a, b in pairwise(widths)]
        self.layers = nn.Sequential(*layers, _halving(widths[-1], channels_out))
        self.tile_class = TileClass(kind="approximate", align=2 ** (n_layers + 1))
        initialise(self, init)

    def forward(self, x: Float[Tensor, "batch channel y x"]) -> Float[Tensor, "batch judgement v u"]:
        """Return the logit of "real" for each patch; `probability` is its sigmoid."""
        logits: Tensor = self.layers(x)
        return logits

    def probability(self, x: Float[Tensor, "batch channel y x"]) -> Float[Tensor, "batch judgement v u"]:
        """Return the published map: the probability, in (0, 1), that each patch is real."""
        return torch.sigmoid(self.forward(x))


def _halving(channels_in: int, channels_out: int) -> nn.Module:
    """Return a convolution that halves the sides, rounded up."""
    return nn.Conv2d(channels_in, channels_out, 3, stride=2, padding=1)
