"""Base: the input and the result of fitting a baseline."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, final

import numpy as np
import torch

from tilespec.baselines.diagnostics import PlsResiduals
from tilespec.baselines.options import BaselineOptions
from tilespec.core.errors import UserError
from tilespec.core.progress import Progress
from tilespec.core.types import Roi
from tilespec.spectra.recipe import Recipe
from tilespec.storage.backends.paths import absolute
from tilespec.storage.references import References
from tilespec.storage.samples import Sample
from tilespec.storage.scene import Scene


@final
@dataclass(frozen=True, kw_only=True)
class FitInput:
    """The input of fitting a baseline."""

    scene: Scene
    """The raw scene of the fit, the first of several."""
    roi: Roi
    """The training region."""
    recipe: Recipe
    """The fitted steps that are applied before the method."""
    recipes: tuple[Recipe, ...] = ()
    """The recipes that a method chooses from by itself; the first is ``recipe``."""
    samples: tuple[Sample, ...] = ()
    """The samples of a regression on reference numbers."""
    references: References | None = None
    """The table of their numbers."""
    options: BaselineOptions
    """The options of the method."""
    seed: int
    """The seed of all random draws."""
    client: Any
    """The `distributed.Client`, or None for this process."""
    progress: Progress
    """The progress that counts the blocks of passes."""
    target: Scene | None = None
    """The target scene of a regression, with the same pixels."""

    @property
    def labels(self) -> str:
        """The URL of the store with the class labels: the scene itself, or another one on its plane."""
        return absolute(self.options.labels or self.scene.url)

    def in_memory(self, default: int) -> int:
        """Return the number of pixels to draw, for a method that holds them in memory."""
        if self.options.count == 0:
            raise UserError(
                "--samples",
                found="all",
                expected="a number of pixels, which this method holds in memory",
                do=f"Give for example --samples {default}; plsda without --synthetic takes all.",
            )
        return self.options.count or default


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class FittedBaseline:
    """The result of fitting a baseline."""

    net: dict[str, Any]
    """The name of a pixelwise net, with its parameters."""
    weights: dict[str, torch.Tensor]
    """The state of the net."""
    classes: tuple[str, ...]
    """The names of the classes, none for a method that predicts spectra."""
    head: str
    """The head: ``tanh`` for scores without activation, ``logits`` for logits, ``linear`` for values."""
    facts: dict[str, Any]
    """The facts of the fit as plain data for the result."""
    notes: tuple[str, ...] = ()
    """The notes for the user."""
    least: float | None = None
    """The value below which a pixel's largest score gives no class."""
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    """The arrays that are stored beside the weights, in the model folder's ``arrays.npz``."""
    tables: Mapping[str, str] = field(default_factory=dict)
    """The texts that are stored beside the weights, by the names of their files."""
    residuals: Mapping[str, PlsResiduals] = field(default_factory=dict)
    """The residuals that give Q and T2 of a pixel, if the method has them, by quantity."""
    recipe: Recipe | None = None
    """The recipe that the method chose; None: that of the input."""

    def with_facts(self, **facts: Any) -> "FittedBaseline":
        """Return the same result with further facts."""
        return replace(self, facts=self.facts | facts)
