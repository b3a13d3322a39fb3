"""Spectrum MLP: fully connected layers on each pixel, the nets of Audebert, Le Saux and Lefevre (IGARSS 2018)."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal, final

import torch
from torch import nn

from tilespec.core.errors import UserError
from tilespec.core.types import TileClass
from tilespec.models.nets.pixelwise import Answer, Image, Pieces, affine, each_pixel


@final
class SpectrumMlp(nn.Module):
    """Fully connected layers with leaky ReLU between them: generator, critic and classifier of spectra.

    Weights are He-normal (He et al. 2015), biases 0. With the published ``hidden`` a generator of 103 bands from 30
    latent numbers and 10 classes has 599,143 parameters, its critic 579,073, its classifier 583,690.
    """

    tile_class = TileClass(kind="pixelwise")

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        hidden: Sequence[int] = (512, 512, 512),
        slope: float = 0.01,
        head: Literal["linear", "sigmoid"] = "linear",
    ) -> None:
        """Build the net.

        Args:
            channels_in: The number of input channels.
            channels_out: The number of output channels.
            hidden: The widths of the hidden layers.
            slope: The slope of the activation below 0.
            head: Nothing (``linear``) or a sigmoid behind the last layer, which gives values between 0 and 1.
        """
        super().__init__()
        if head not in ("linear", "sigmoid"):
            raise UserError("net.head", found=repr(head), expected="linear or sigmoid", do="Set one of these.")
        self.slope, self.head = slope, head
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise([channels_in, *hidden, channels_out]))
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.get_parameter("weight"), a=slope)
            nn.init.zeros_(layer.get_parameter("bias"))

    def values(self, pieces: Pieces, apply: Callable[[nn.Module, Pieces], Pieces] = affine) -> Pieces:
        """Return the output of spectra, ``piece pixel channel``; ``apply`` applies a layer."""
        *hidden, last = self.layers
        for layer in hidden:
            pieces = nn.functional.leaky_relu(apply(layer, pieces), self.slope)
        answer = apply(last, pieces)
        return torch.sigmoid(answer) if self.head == "sigmoid" else answer

    def forward(self, x: Image) -> Answer:
        """Return the output of every pixel; in training at once: only bits of products depend on tiles."""
        if not self.training:
            return each_pixel(self.values, x)
        pixels = x.permute(0, 2, 3, 1)
        answer = self.values(pixels.reshape(1, -1, x.shape[1]), lambda layer, pieces: layer(pieces))
        return answer.reshape(*pixels.shape[:3], -1).permute(0, 3, 1, 2)
