"""What a baseline is fitted on, and what it learned."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, final

import numpy as np
import torch

from tilespec.baselines.diagnostics import Residuals
from tilespec.baselines.options import MethodOptions
from tilespec.core.errors import UserError
from tilespec.core.progress import Progress
from tilespec.core.types import Roi
from tilespec.spectra.recipe import Recipe
from tilespec.storage.scene import Scene


@final
@dataclass(frozen=True, kw_only=True)
class Training:
    """What a baseline is fitted on."""

    scene: Scene
    """A raw scene."""
    roi: Roi
    """The region to learn from."""
    recipe: Recipe
    """Fitted steps that the method's input goes through."""
    asked: MethodOptions
    """The method's options."""
    seed: int
    """Of whatever is drawn."""
    client: Any
    """A `distributed.Client`, or None for this process."""
    progress: Progress
    """Told about passes."""
    target: Scene | None = None
    """What a regression should answer, pixel by pixel."""

    def in_memory(self, default: int) -> int:
        """Return how many pixels to draw, for a method that holds them in memory."""
        if self.asked.count == 0:
            raise UserError(
                "--samples",
                found="all",
                expected="a number of pixels, which this method holds in memory",
                do=f"Give for example --samples {default}; plsda learns from all pixels out of core.",
            )
        return self.asked.count or default


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Learned:
    """What a baseline learned."""

    net: dict[str, Any]
    """A pixelwise net by name, with its parameters."""
    weights: dict[str, torch.Tensor]
    """Its state."""
    classes: tuple[str, ...]
    """Names of the classes; none where it predicts spectra."""
    head: str
    """``tanh`` for scores that are used as they are, ``logits`` for logits, ``linear`` for values."""
    facts: dict[str, Any]
    """Plain data for the result."""
    notes: tuple[str, ...] = ()
    """What users should know."""
    least: float | None = None
    """A pixel whose largest score is below this has no class."""
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    """What is worth keeping beside the weights: the model folder's ``arrays.npz``."""
    residuals: Residuals | None = None
    """What Q and T2 of a pixel follow from, where the method has them."""

    def told(self, **facts: Any) -> "Learned":
        """Return the same with further facts."""
        return replace(self, facts=self.facts | facts)
