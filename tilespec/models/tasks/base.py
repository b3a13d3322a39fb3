"""Base: the interface of a task: the prediction, the training target, and the geometry of the output."""

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal, Protocol, final, runtime_checkable

import numpy as np
from torch import Tensor

from tilespec.core.types import Reflectance


@final
@dataclass(frozen=True, kw_only=True)
class Geometry:
    """The position of the output plane on the input plane."""

    scale: Fraction = Fraction(1)
    """The number of output pixels for one input pixel."""
    margin: int = 0
    """The number of input pixels on each side without output."""


@runtime_checkable
class Task(Protocol):
    """The interface of every task; no other module depends on which task it is."""

    truth: ClassVar[Literal["classes", "field"]]
    """The kind of target (`training.data.targets`): uint8 ``batch, y, x`` or float32 ``batch, channel, y, x``."""

    @property
    def head(self) -> str:
        """The name of the net's last layer."""

    @property
    def channels_out(self) -> int:
        """The number of channels that the net predicts."""

    @property
    def geometry(self) -> Geometry:
        """The position of the output."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the statistics that score a prediction."""

    def pair(self, scores: Reflectance, truth: np.ndarray) -> tuple[Reflectance, np.ndarray]:
        """Return the net's input and its target, both ``y, x, ...``."""

    def known(self, target: Tensor) -> Tensor:
        """Return where a target is known: ``batch, channel, y, x``, or ``batch, 1, y, x`` for all channels alike."""

    def planes(self, target: Tensor) -> Tensor:
        """Return a target as ``batch, channel, y, x`` float32 in the form of the net's output; 0 where unknown."""

    def answer(self, raw: Tensor) -> Tensor:
        """Return the net's output in the units of `planes`, which losses and discriminators compare with them."""

    def magnitude(self, target: Tensor) -> Tensor:
        """Return the divisor of relative errors of a target, in the units of `planes`, above 0 everywhere."""

    def activate(self, raw: Tensor) -> Tensor:
        """Return the values that are blended, from the net's output (``batch, channel, y, x``)."""

    def decode(self, blended: np.ndarray) -> np.ndarray:
        """Return the product from blended values (``y, x, channel``)."""
