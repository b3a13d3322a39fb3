"""Mixing: two patches in one. Patches 2k and 2k + 1 of the stream are partners, whatever batch or rank they are in.

Therefore every rank must have both: its share of a batch is a multiple of two. The order of patches is drawn again in
every epoch (inside windows of ``data.window`` neighbours), and so are the partners.
"""

import math
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from tilespec.core.errors import UserError
from tilespec.training.augment.draws import Draws
from tilespec.training.augment.target_planes import blank, each, first, last, unknown
from tilespec.training.objectives.base import Batch, Mixed


def partners(ids: tuple[int, ...], batch: int | None = None, ranks: int = 1) -> list[int]:
    """Return the index of each patch's partner among ``ids``.

    Args:
        ids: The positions in the stream.
        batch: The number of patches per step of all ranks, for the message.
        ranks: The number of ranks, for the message.

    Raises:
        UserError: a partner is on another rank.
    """
    places = {i: place for place, i in enumerate(ids)}
    if any(i ^ 1 not in places for i in ids):
        raise UserError(
            "train.batch",
            found=f"{batch or len(ids)} patches, of which a rank holds {len(ids)}",
            expected="an even number for each rank: augment.cutmix and augment.mixup mix patches 2k and 2k + 1",
            do=f"Set train.batch to a multiple of {2 * ranks}, or both kinds to 0.",
        )
    return [places[i ^ 1] for i in ids]


def cutmix(batch: Batch, draws: Draws, strength: float) -> Batch:
    """Return patches in which a box shows the partner, with its spectra and targets (Yun et al. 2019).

    A patch keeps a share of its pixels, drawn from Beta(strength, strength). The box lies completely inside the patch;
    the published one is clipped at the edges. Targets and loss follow pixel by pixel.
    """
    other = _partner(batch)
    plane = tuple(batch.x.shape[2:])
    boxes = draws.each(lambda stream: _box(stream, strength, plane))
    box = _inside(boxes, plane) & draws.chosen[:, None, None]
    x = torch.where(box.unsqueeze(1), other.x, batch.x)
    return replace(batch, x=x, y=torch.where(each(box, batch.y), other.y, batch.y))


def mixup(batch: Batch, draws: Draws, strength: float) -> Batch:
    """Return weighted means of patches and their partners: with both labels, or with mixed values (Zhang et al. 2018).

    The weight of a patch is drawn from Beta(strength, strength). If one of the two pixels has no data, the mixture has
    none; if one is unlabelled, only the other's share enters the loss; an unknown value makes the mixture unknown.
    """
    other = _partner(batch)
    share = torch.where(draws.chosen, draws.each(lambda stream: stream.beta(strength, strength)), 1)
    gap = (_blank(batch) | _blank(other)) & draws.chosen[:, None, None]
    weight, chosen = share[:, None, None, None], draws.chosen[:, None, None, None]

    def mixture(mine: Tensor, others: Tensor) -> Tensor:
        return torch.where(chosen, weight * mine + (1 - weight) * others, mine)

    x = torch.where(gap.unsqueeze(1), 0, mixture(batch.x, other.x))
    mine, others = (torch.where(each(gap, y), blank(y), y) for y in (batch.y, other.y))
    if mine.is_floating_point():
        return replace(batch, x=x, y=mixture(mine, others))
    return replace(batch, x=x, y=mine, mixed=Mixed(y=others, share=share))


def _partner(batch: Batch) -> Batch:
    """Return the partner of each patch, in channels-last memory."""
    at = torch.tensor(partners(batch.ids), device=batch.y.device)
    x, y = (first(last(planes)[at]) for planes in (batch.x, batch.y))
    return replace(batch, x=x, y=y)


def _box(stream: np.random.Generator, strength: float, shape: tuple[int, ...]) -> list[int]:
    """Return the rows and columns ``y0, y1, x0, x1`` of a box with random size and position."""
    (high, wide), covered = shape, 1 - stream.beta(strength, strength)
    rows = min(high, math.ceil(high * math.sqrt(covered)))
    columns = round(covered * high * wide / max(rows, 1))  # at most `wide`, because rows were rounded up
    y0, x0 = (int(stream.integers(free + 1)) for free in (high - rows, wide - columns))
    return [y0, y0 + rows, x0, x0 + columns]


def _inside(boxes: Float32[Tensor, "batch 4"], shape: tuple[int, ...]) -> Bool[Tensor, "batch y x"]:
    """Return which pixels of each patch lie in its box."""
    y0, y1, x0, x1 = (edge[:, None] for edge in boxes.unbind(1))
    y, x = (torch.arange(length, device=boxes.device) for length in shape)
    return ((y >= y0) & (y < y1)).unsqueeze(2) & ((x >= x0) & (x < x1)).unsqueeze(1)


def _blank(batch: Batch) -> Bool[Tensor, "batch y x"]:
    """Return which pixels have no data: a task sets them to 0 and unknown."""
    return unknown(batch.y) & (batch.x == 0).all(dim=1)
