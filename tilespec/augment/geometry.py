"""Geometric kinds: pixels move, spectra stay what was measured, and labels move with them.

Each pixel takes spectrum and label of the nearest pixel of the patch. Between pixels one could interpolate: that would
smooth the noise, invent mixed spectra along the edges of classes, and spread what has no data; labels cannot follow.
"""

import math
from dataclasses import replace

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from tilespec.augment.draws import Draws
from tilespec.objectives import Batch
from tilespec.types import UNLABELLED


def rotate(batch: Batch, draws: Draws, strength: float) -> Batch:
    """Return patches turned about their centres by an angle, uniform in ``-strength`` to ``strength`` degrees.

    What lies outside the patch has no data: 0, and unlabelled.
    """
    drawn = draws.each(lambda stream: stream.uniform(-strength, strength))
    index, inside = _sources(torch.where(draws.chosen, drawn, 0).double(), tuple(batch.y.shape[1:]))
    spectra = batch.x.permute(0, 2, 3, 1).flatten(1, 2)
    which = torch.arange(len(index), device=index.device)[:, None]
    x = torch.where(inside.unsqueeze(2), spectra[which, index], 0)
    y = torch.where(inside, batch.y.flatten(1)[which, index], UNLABELLED)
    return replace(batch, x=x.view(*batch.y.shape, -1).permute(0, 3, 1, 2), y=y.view_as(batch.y))


def _sources(
    degrees: Float64[Tensor, " batch"], shape: tuple[int, ...]
) -> tuple[Int64[Tensor, "batch pixel"], Bool[Tensor, "batch pixel"]]:
    """Return for each pixel of turned patches where it comes from, and whether that is inside the patch."""
    high, wide = shape
    angle = degrees[:, None, None] * (math.pi / 180)
    y = torch.arange(high, device=degrees.device, dtype=torch.float64)[:, None] - (high - 1) / 2
    x = torch.arange(wide, device=degrees.device, dtype=torch.float64) - (wide - 1) / 2
    cos, sin = angle.cos(), angle.sin()
    row = (cos * y - sin * x + (high - 1) / 2 + 0.5).floor().long()
    column = (sin * y + cos * x + (wide - 1) / 2 + 0.5).floor().long()
    inside = (row >= 0) & (row < high) & (column >= 0) & (column < wide)
    return torch.where(inside, row * wide + column, 0).flatten(1), inside.flatten(1)
