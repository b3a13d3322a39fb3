"""What a task is: what is predicted, what is learned from, and where the output lies."""

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal, Protocol, final, runtime_checkable

import numpy as np
from torch import Tensor

from tilespec.core.types import Reflectance


@final
@dataclass(frozen=True, kw_only=True)
class Geometry:
    """How the output plane lies on the input plane."""

    scale: Fraction = Fraction(1)
    """Output pixels per input pixel."""
    margin: int = 0
    """Input pixels on each side that have no output."""


@runtime_checkable
class Task(Protocol):
    """What every task has; nothing else in tilespec asks which task it is."""

    truth: ClassVar[Literal["classes", "field"]]
    """What it learns from (`training.data.targets`): uint8 ``batch, y, x`` or float32 ``batch, channel, y, x``."""

    @property
    def head(self) -> str:
        """What the net must end in."""

    @property
    def channels_out(self) -> int:
        """Channels that the net predicts."""

    @property
    def geometry(self) -> Geometry:
        """Where the output lies."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the folds that judge a prediction."""

    def pair(self, scores: Reflectance, truth: np.ndarray) -> tuple[Reflectance, np.ndarray]:
        """Return what the net reads and what it should answer, both ``y, x, ...``."""

    def known(self, target: Tensor) -> Tensor:
        """Say what is known of a target: ``batch, channel, y, x``, or ``batch, 1, y, x`` for all channels alike."""

    def planes(self, target: Tensor) -> Tensor:
        """Return a target as ``batch, channel, y, x`` float32, as the net should answer it; 0 where unknown."""

    def answer(self, raw: Tensor) -> Tensor:
        """Return what the net answers in the units of `planes`: what losses and discriminators compare with them."""

    def magnitude(self, target: Tensor) -> Tensor:
        """Return what errors of a target are relative to, in the units of `planes`, above 0 everywhere."""

    def activate(self, raw: Tensor) -> Tensor:
        """Return what is blended, of what the net answers (``batch, channel, y, x``)."""

    def decode(self, blended: np.ndarray) -> np.ndarray:
        """Return the product, of what was blended (``y, x, channel``)."""
