"""Tasks: what is predicted. One small file and one line in the table for each; a dotted path loads a user's own."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol, final, runtime_checkable

import numpy as np
from torch import Tensor

from tilespec.options import checked
from tilespec.plugins import load
from tilespec.types import ClassMap, Reflectance

TASKS = {"segment": "tilespec.tasks.segment:Segment"}


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

    @property
    def channels_out(self) -> int:
        """Channels that the net predicts."""

    @property
    def geometry(self) -> Geometry:
        """Where the output lies."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the folds that judge a prediction."""

    def pair(self, scores: Reflectance, labels: ClassMap) -> tuple[Reflectance, ClassMap]:
        """Return what the net reads and what it should answer, both ``y, x, ...``."""

    def planes(self, target: Tensor) -> Tensor:
        """Return a target as ``batch, channel, y, x`` float32, as the net would predict it; 0 where unknown."""

    def activate(self, raw: Tensor) -> Tensor:
        """Return what is blended, of what the net answers (``batch, channel, y, x``)."""

    def decode(self, blended: np.ndarray) -> np.ndarray:
        """Return the product, of what was blended (``y, x, channel``)."""


def task(config: Mapping[str, Any]) -> Task:
    """Return the task ``{"name": ..., **options}``.

    Raises:
        UserError: the table has no such task, or the task no such option.
    """
    options = {key: value for key, value in config.items() if key != "name"}
    kind = load(TASKS, config["name"], "task")
    built: Task = checked(kind, options, "task")(**options)
    return built
