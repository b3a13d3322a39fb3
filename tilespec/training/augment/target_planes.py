"""Targets: the targets of patches, classes or values, are changed in the same way as the patches."""

from typing import Any

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

from tilespec.core.types import UNLABELLED

Answers = Shaped[Tensor, "batch *channel y x"]
Filler = int | float
"""The fill value, of the data type of the targets: a float would turn classes into floats."""


def blank(y: Answers) -> Filler:
    """Return the value of an unknown target."""
    return float("nan") if y.is_floating_point() else UNLABELLED


def unknown(y: Answers) -> Bool[Tensor, "batch y x"]:
    """Return which pixels are unknown in all channels."""
    return ~torch.isfinite(y).any(dim=1) if y.is_floating_point() else y == UNLABELLED


def each(pixels: Bool[Tensor, "batch y x"], y: Answers) -> Any:
    """Return a mask of pixels in the shape of targets, the same for all channels."""
    return pixels.unsqueeze(1) if y.ndim == 4 else pixels


def last(planes: Answers) -> Shaped[Tensor, "batch y x *channel"]:
    """Return planes with the channels as last axis, a view in the order of memory."""
    return planes.movedim(1, -1) if planes.ndim == 4 else planes


def first(pixels: Shaped[Tensor, "batch y x *channel"]) -> Answers:
    """Return planes with the channels as first axis again, the inverse of `last`."""
    return pixels.movedim(-1, 1) if pixels.ndim == 4 else pixels
