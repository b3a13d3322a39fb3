"""Inputs: windows of a real scene after the recipe, or random images with its statistics, as inputs for a probe."""

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from tilespec.core.types import Roi
from tilespec.models.model import Model
from tilespec.models.probe.narrow_input import fields
from tilespec.spectra.operators import Affine, Normalise, Project
from tilespec.spectra.recipe import Recipe
from tilespec.storage.scene import Scene
from tilespec.tiling.grid import reflect

REFLECTANCE = (0.3, 0.15)
"""The approximate mean and deviation of a vegetation scene, for nets without a recipe."""
TRIES = 8
"""The number of positions that are tried for each window until one has data."""


def windows(model: Model, scene: str | None, side: int, count: int, seed: int) -> Float32[Tensor, "n channel y x"]:
    """Return ``count`` square windows as the net reads them.

    Args:
        model: The model, whose recipe is applied or gives the statistics.
        scene: The scene of the windows, reflected if it is smaller; None: random images.
        side: The side of a window in pixels.
        count: The number of windows.
        seed: The seed of the positions or images.
    """
    if scene is not None:
        opened, rng = Scene.open(scene), np.random.default_rng([seed, 7])
        return torch.from_numpy(np.stack([_window(model, opened, side, rng) for _ in range(count)])).permute(0, 3, 1, 2)
    mean, deviation = (torch.from_numpy(v.astype(np.float32))[:, None, None] for v in statistics(model.recipe))
    images = [fields(model.recipe.bands_out, (side, side), seed * 1000 + k) for k in range(count)]
    return torch.cat(images) * deviation + mean


def statistics(recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the deviation of each channel after a recipe, as far as its steps define them."""
    mean, deviation = (np.full(recipe.bands_in, value) for value in REFLECTANCE)
    for step in recipe.steps:
        if isinstance(step, Project):
            mean, deviation = np.zeros(len(step.variance)), np.sqrt(np.asarray(step.variance, np.float64))
        elif isinstance(step, Affine) and len(step.gain) == len(mean):
            mean, deviation = (mean - step.offset) * step.gain, deviation * np.abs(step.gain)
        elif isinstance(step, Normalise) or len(mean) != recipe.bands_out:
            mean, deviation = np.zeros(recipe.bands_out), np.ones(recipe.bands_out)
    if len(mean) != recipe.bands_out:
        return np.zeros(recipe.bands_out), np.ones(recipe.bands_out)
    return mean, deviation


def _window(model: Model, scene: Scene, side: int, rng: np.random.Generator) -> Float32[np.ndarray, "y x channel"]:
    """Return a window at a random position, 0 for no data; windows entirely without data are avoided."""
    for _ in range(TRIES):
        y, x = (
            reflect(np.arange(start, start + side), length)
            for length in scene.shape[:2]
            for start in [int(rng.integers(max(length - side, 0) + 1))]
        )
        box = Roi(y0=int(y.min()), y1=int(y.max()) + 1, x0=int(x.min()), x1=int(x.max()) + 1)
        cube = scene.read(box)
        flat = cube.reshape(-1, cube.shape[2])
        if not model.recipe.applied_to(scene):
            flat = model.recipe.apply(flat)
        scores = flat.reshape(*cube.shape[:2], -1)[np.ix_(y - y.min(), x - x.min())]
        if np.isfinite(scores).any():
            break
    return np.nan_to_num(scores, nan=0.0, posinf=0.0, neginf=0.0)
