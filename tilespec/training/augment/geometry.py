"""Geometric kinds: pixels move, spectra stay what was measured, and labels move with them.

Each pixel takes spectrum and answer of the nearest pixel of the patch. Between pixels one could interpolate: that would
smooth the noise, invent mixed spectra along the edges of classes, and spread what has no data; labels cannot follow.
"""

import math
from dataclasses import replace

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from tilespec.training.augment.draws import Draws
from tilespec.training.augment.targets import Answers, Filler, blank, first, last
from tilespec.training.objectives.base import Batch


def rotate(batch: Batch, draws: Draws, strength: float) -> Batch:
    """Return patches turned about their centres by an angle, uniform in ``-strength`` to ``strength`` degrees.

    What lies outside the patch has no data: 0, and unknown.
    """
    drawn = draws.each(lambda stream: stream.uniform(-strength, strength))
    index, inside = _sources(torch.where(draws.chosen, drawn, 0).double(), tuple(batch.x.shape[2:]))
    x, y = (_taken(planes, index, inside, fill) for planes, fill in ((batch.x, 0), (batch.y, blank(batch.y))))
    return replace(batch, x=x, y=y)


def _taken(
    planes: Answers, index: Int64[Tensor, "batch pixel"], inside: Bool[Tensor, "batch pixel"], outside: Filler
) -> Answers:
    """Return planes whose pixels come from elsewhere; ``outside`` is what stands where nothing comes from."""
    pixels = last(planes)
    flat, which = pixels.flatten(1, 2), torch.arange(len(index), device=index.device)[:, None]
    there = inside.view(*inside.shape, *[1] * (flat.ndim - 2))
    return first(torch.where(there, flat[which, index], outside).view(pixels.shape))


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
