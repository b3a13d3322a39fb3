"""Geometry: kinds that move pixels together with their labels, without changing spectra.

Each pixel takes the spectrum and the target of the nearest pixel of the patch. Interpolation would smooth the noise,
create mixed spectra along the edges of classes, and enlarge areas without data; and labels cannot be interpolated.
"""

import math
from dataclasses import replace

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from tilespec.training.augment.draws import Draws
from tilespec.training.augment.target_planes import Answers, Filler, blank, first, last
from tilespec.training.objectives.base import Batch


def rotate(batch: Batch, draws: Draws, strength: float) -> Batch:
    """Return patches rotated about their centres by a uniform angle of ``-strength`` to ``strength`` degrees.

    Pixels from outside of the patch have no data: 0, and unknown.
    """
    drawn = draws.each(lambda stream: stream.uniform(-strength, strength))
    index, inside = _sources(torch.where(draws.chosen, drawn, 0).double(), tuple(batch.x.shape[2:]))
    x, y = (_gather(planes, index, inside, fill) for planes, fill in ((batch.x, 0), (batch.y, blank(batch.y))))
    return replace(batch, x=x, y=y)


def _gather(
    planes: Answers, index: Int64[Tensor, "batch pixel"], inside: Bool[Tensor, "batch pixel"], outside: Filler
) -> Answers:
    """Return planes with each pixel taken from its source; ``outside`` is the value of pixels without one."""
    pixels = last(planes)
    flat, which = pixels.flatten(1, 2), torch.arange(len(index), device=index.device)[:, None]
    there = inside.view(*inside.shape, *[1] * (flat.ndim - 2))
    return first(torch.where(there, flat[which, index], outside).view(pixels.shape))


def _sources(
    degrees: Float64[Tensor, " batch"], shape: tuple[int, ...]
) -> tuple[Int64[Tensor, "batch pixel"], Bool[Tensor, "batch pixel"]]:
    """Return the source of each pixel of rotated patches, and whether it is inside the patch."""
    high, wide = shape
    angle = degrees[:, None, None] * (math.pi / 180)
    y = torch.arange(high, device=degrees.device, dtype=torch.float64)[:, None] - (high - 1) / 2
    x = torch.arange(wide, device=degrees.device, dtype=torch.float64) - (wide - 1) / 2
    cos, sin = angle.cos(), angle.sin()
    row = (cos * y - sin * x + (high - 1) / 2 + 0.5).floor().long()
    column = (sin * y + cos * x + (wide - 1) / 2 + 0.5).floor().long()
    inside = (row >= 0) & (row < high) & (column >= 0) & (column < wide)
    return torch.where(inside, row * wide + column, 0).flatten(1), inside.flatten(1)
