"""A net at its worst for tiles: waves whose phase each tile chooses by itself, so that neighbours never agree."""

import math
from typing import final

import torch
from torch import Tensor, nn

from tilespec.core.types import TileClass

PERIOD = 64
"""Pixels of a wave: smooth inside a tile, so that a border stands out."""
SPREAD = 1e4
"""Radians for a tile's mean of 1: small differences of content make any phase."""


@final
class Phase(nn.Module):
    tile_class = TileClass(kind="approximate")

    def __init__(self, _channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.channels = channels_out

    def forward(self, x: Tensor) -> Tensor:
        """Return one diagonal wave for each channel, each in its own direction."""
        v, u = (torch.arange(n, dtype=torch.float32) * (2 * math.pi / PERIOD) for n in x.shape[2:])
        turn = torch.arange(1, self.channels + 1)[:, None, None] / (self.channels + 1) * (math.pi / 2)
        wave = torch.cos(turn) * u[None, None, :] + torch.sin(turn) * v[None, :, None]
        return torch.sin(wave[None] + (x.mean(dim=(1, 2, 3)) * SPREAD)[:, None, None, None])
