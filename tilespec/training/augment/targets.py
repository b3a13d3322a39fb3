"""Targets: what a net should answer on patches, classes or values, changed alike."""

from typing import Any

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

from tilespec.core.types import UNLABELLED

Answers = Shaped[Tensor, "batch *channel y x"]
Filler = int | float
"""Of the kind of the answers: a float would turn classes into floats."""


def blank(y: Answers) -> Filler:
    """Return what stands for an answer that is unknown."""
    return float("nan") if y.is_floating_point() else UNLABELLED


def unknown(y: Answers) -> Bool[Tensor, "batch y x"]:
    """Say of which pixels nothing is known."""
    return ~torch.isfinite(y).any(dim=1) if y.is_floating_point() else y == UNLABELLED


def each(pixels: Bool[Tensor, "batch y x"], y: Answers) -> Any:
    """Return what is said of pixels as it is said of their answers: of all channels alike."""
    return pixels.unsqueeze(1) if y.ndim == 4 else pixels


def last(planes: Answers) -> Shaped[Tensor, "batch y x *channel"]:
    """Return planes with channels behind, as they lie in memory; a view."""
    return planes.movedim(1, -1) if planes.ndim == 4 else planes


def first(pixels: Shaped[Tensor, "batch y x *channel"]) -> Answers:
    """Undo `last`."""
    return pixels.movedim(-1, 1) if pixels.ndim == 4 else pixels
