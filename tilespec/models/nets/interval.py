"""Interval: an affine map of each spectrum with an interval around each number, from the variance of the map."""

from typing import final

import torch
from torch import Tensor, nn

from tilespec.core.types import TileClass
from tilespec.models.nets.checks import within
from tilespec.models.nets.pixelwise import Answer, Image, Pieces, affine, each_pixel, times


@final
class Interval(nn.Module):
    """Numbers of each spectrum, then their lower ends, then their upper ends.

    With the leverage ``h = |F (x - mean)|^2`` of a spectrum, less that of its noise (but at least 0), half the width is
    ``sqrt(base + slope h)``.
    """

    tile_class = TileClass(kind="pixelwise")
    mean: Tensor
    groups: Tensor
    base: Tensor
    slope: Tensor
    noise: Tensor

    def __init__(self, channels_in: int, channels_out: int, *, factors: int) -> None:
        super().__init__()
        quantities = channels_out // 3
        whole = channels_out == 3 * quantities > 0
        within({"net.channels": (channels_out, whole, "three for each quantity: its number and both ends")})
        self.register_buffer("mean", torch.zeros(channels_in))
        self.affine = nn.Linear(channels_in, quantities)
        self.factors = nn.Linear(channels_in, factors)
        self.register_buffer("groups", torch.zeros(quantities, factors))
        self.register_buffer("base", torch.zeros(quantities))
        self.register_buffer("slope", torch.zeros(quantities))
        self.register_buffer("noise", torch.zeros(quantities))

    def numbers(self, pieces: Pieces) -> Pieces:
        """Return numbers, lower and upper ends, ``pixel quantity`` beside each other."""
        centred = pieces - self.mean
        middle = affine(self.affine, centred)
        leverage = times(affine(self.factors, centred).square(), self.groups)
        half = (self.base + self.slope * (leverage - self.noise).clamp(min=0)).sqrt()
        return torch.cat([middle, middle - half, middle + half], dim=-1)

    def forward(self, x: Image) -> Answer:
        """Return the numbers ``batch, 3 * quantity, y, x``."""
        return each_pixel(self.numbers, x)
