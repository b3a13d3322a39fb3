"""The predictor of a model folder: where torch meets `predict.py`, and the axes change their order."""

from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float32

from tilespec.errors import UserError
from tilespec.model import Model
from tilespec.nets.norms import set_sample_ids
from tilespec.recipe import Recipe
from tilespec.tasks import Task, task
from tilespec.types import UNLABELLED


@final
@dataclass(frozen=True, kw_only=True)
class TorchPredictor:
    """A net, its recipe and its task, on this machine's CPU."""

    module: torch.nn.Module
    """In evaluation mode."""
    recipe: Recipe
    """Applied at reading; without steps when the scene went through it already."""
    task: Task
    """Activates and decodes."""
    channels: tuple[int, int]
    """In and out."""
    threads: int
    """Threads that read and prepare."""
    probabilities: bool
    """Whether class probabilities are stored too."""

    def prepare(self, spectra: Float32[np.ndarray, "pixel band"]) -> Float32[np.ndarray, "pixel channel"]:
        """Apply the recipe."""
        return self.recipe.apply(spectra)

    def __call__(
        self, tiles: Float32[np.ndarray, "tile y x channel"], ids: list[int]
    ) -> Float32[np.ndarray, "tile y2 x2 channel2"]:
        """Evaluate the net; ``y, x, channel`` seen as ``channel, y, x`` is torch's channels_last, without a copy."""
        set_sample_ids(self.module, torch.tensor(ids))
        with torch.inference_mode():
            raw = self.module(torch.from_numpy(tiles).permute(0, 3, 1, 2))
            out = self.task.activate(raw).permute(0, 2, 3, 1)
        return out.contiguous().numpy()

    def decode(
        self, blended: Float32[np.ndarray, "y x channel"], valid: Bool[np.ndarray, "y x"]
    ) -> dict[str, np.ndarray]:
        """Return the arrays to store: classes (255 without data), or channels (NaN without data)."""
        decoded = self.task.decode(blended)
        decoded[~valid] = UNLABELLED if decoded.dtype == np.uint8 else np.nan
        if not self.probabilities:
            return {"prediction": decoded}
        blended[~valid] = np.nan
        return {"prediction": decoded, "probability": blended}


@final
@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model folder by path and hash, as it travels to workers."""

    folder: str
    """Where the model is; workers see the same file system."""
    digest: str
    """What it must be."""
    prepared: bool
    """The scene went through the recipe already."""
    probabilities: bool
    """Whether class probabilities are stored too."""

    def open(self, threads: int) -> TorchPredictor:
        """Return the predictor, loaded once per process."""
        return _load(self, threads)


@lru_cache(maxsize=2)
def _load(spec: ModelSpec, threads: int) -> TorchPredictor:
    torch.set_num_threads(threads)
    model = Model.load(spec.folder)
    if model.digest != spec.digest:
        raise UserError(
            spec.folder,
            found="another model than the plan's",
            expected=spec.digest,
            do="Run the command again.",
        )
    module = model.module().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    recipe = Recipe.empty(model.channels[0], None) if spec.prepared else model.recipe
    return TorchPredictor(
        module=module,
        recipe=recipe,
        task=task(model.task),
        channels=model.channels,
        threads=threads,
        probabilities=spec.probabilities,
    )
