"""Values: what all tasks share that predict numbers of several channels for each pixel."""

from dataclasses import dataclass
from typing import ClassVar, Final, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from tilespec.core.errors import UserError
from tilespec.core.types import Reflectance
from tilespec.models.tasks.base import ReadsScores, without_gaps

Field = Float32[np.ndarray, "y x channel"]
Truth = Float32[np.ndarray, "y2 x2 channel"]
"""A field on the plane of the output, which may be another one than that of the scene."""

HEADS: Final = {"linear": (0.0, 1.0), "tanh": (-1.0, 1.0)}
"""The outputs of a net for the lower and the upper end of the range, by head."""

SMALLEST: Final = 1e-3
"""The smallest divisor of relative errors as a share of the range."""


@dataclass(frozen=True, kw_only=True)
class Values(ReadsScores):
    """A field of values; NaN is unknown and does not enter the training.

    A net learns numbers near 1, and the blended values are in the units of the truth. The map from one to the other is
    linear, so the order of map and blending does not matter.
    """

    truth: ClassVar[Literal["classes", "field"]] = "field"
    metrics: ClassVar[tuple[str, ...]]
    """What a prediction is judged by, the leading metric first."""

    channels: int
    """The number of values of a pixel."""
    low: float = 0.0
    """The value at the net's lower end, in units of the truth."""
    high: float = 1.0
    """The value at the net's upper end; larger values can be learned with a linear head only."""
    head: str = "linear"
    """The net's output for the range: ``linear``, 0 to 1 and beyond, or ``tanh``, -1 to 1 as in pix2pix."""

    def __post_init__(self) -> None:
        if self.channels < 1 or not -np.inf < self.low < self.high < np.inf:
            raise UserError(
                "task.channels, task.low, task.high",
                found=f"{self.channels} channels from {self.low:g} to {self.high:g}",
                expected="at least one channel, and low below high",
                do="Leave them out: they are taken from the target.",
            )
        if self.head not in HEADS:
            raise UserError(
                "task.head", found=repr(self.head), expected=" or ".join(HEADS), do="Use what the net ends in."
            )

    @property
    def channels_out(self) -> int:
        """The number of channels of the target."""
        return self.channels

    def pair(self, scores: Reflectance, truth: Truth) -> tuple[Reflectance, Truth]:
        """Return scores and values: 0 and NaN where a pixel has no data."""
        return without_gaps(scores, truth, self.geometry, np.nan)

    def known(self, target: Float[Tensor, "batch channel y x"]) -> Bool[Tensor, "batch channel y x"]:
        """Return which values are known, that is, not NaN."""
        return torch.isfinite(target)

    def planes(self, target: Float[Tensor, "batch channel y x"]) -> Float[Tensor, "batch channel y x"]:
        """Return values in the units of the head, 0 where they are unknown."""
        first, last = HEADS[self.head]
        scaled = (target - self.low) * ((last - first) / (self.high - self.low)) + first
        return torch.where(self.known(target), scaled, 0)

    def answer(self, raw: Float[Tensor, "batch channel y x"]) -> Float[Tensor, "batch channel y x"]:
        """Return the net's output unchanged."""
        return raw

    def magnitude(self, target: Float[Tensor, "batch channel y x"]) -> Float[Tensor, "batch channel y x"]:
        """Return the absolute values, or a thousandth of the range where they are smaller or unknown.

        The published relative error (MRAE) is error over value, which is undefined at 0 and dominated by noise near it;
        Cai et al. 2022 (MST++) add a small constant to zeros.
        """
        span, (first, last) = self.high - self.low, HEADS[self.head]
        size = torch.where(self.known(target), target, 0).abs().clamp(min=SMALLEST * span)
        return size * ((last - first) / span)

    def activate(self, raw: Float[Tensor, "batch channel y x"]) -> Float[Tensor, "batch channel y x"]:
        """Return values in the units of the truth."""
        first, last = HEADS[self.head]
        return (raw - first) * ((self.high - self.low) / (last - first)) + self.low

    def decode(self, blended: Field) -> Field:
        """Return the blended values unchanged."""
        return blended
