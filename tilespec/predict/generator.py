"""Generator: a model that makes spectra of random numbers and classes, in the units of the scenes that it has seen."""

from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np
import torch
from jaxtyping import Float32, Int64

from tilespec.core.arrays import on_host
from tilespec.core.device import ready
from tilespec.core.errors import UserError
from tilespec.core.types import SpectralAxis
from tilespec.models.keyed_numbers import normals
from tilespec.models.model import Model
from tilespec.models.tasks import task
from tilespec.models.tasks.synthesize import Synthesize
from tilespec.spectra.operators import Affine, Take
from tilespec.spectra.recipe import Recipe
from tilespec.storage.backends.paths import absolute

Spectra = Float32[np.ndarray, "spectrum band"]
Numbers = Int64[np.ndarray, " spectrum"]
Latent = Float32[np.ndarray, "spectrum number"]


@final
@dataclass(frozen=True, kw_only=True)
class Generator:
    """A model that makes spectra, a small value that is sent to workers."""

    folder: str
    """The folder of the model."""
    digest: str
    """The hash of the model."""
    seed: int
    """The seed of the random numbers."""
    classes: tuple[str, ...]
    """The names of its classes."""
    learned: tuple[int, ...]
    """The numbers of the classes that it has seen a pixel of."""
    axis: SpectralAxis | None
    """The axis of its spectra."""
    bands: int
    """The number of bands of its spectra."""
    device: str | None = None
    """The device of the net, None for the CPU."""

    @classmethod
    def of(cls, folder: str, seed: int, device: str | None = None) -> "Generator":
        """Return the generator in a model folder, on a device.

        Raises:
            UserError: the model reads scenes, or its recipe cannot be undone.
        """
        model = Model.load(folder)
        if not isinstance(task(model.task), Synthesize):
            raise UserError(
                folder,
                found=f"a model of the task {model.task['name']}, which reads a scene",
                expected="one of the task synthesize",
                do="Use `tilespec predict`, or train a generator: preset:audebert2018.",
            )
        _check_recipe(folder, model.recipe)
        return cls(
            folder=absolute(folder),
            digest=model.digest,
            seed=seed,
            classes=model.classes,
            learned=tuple(i for i in range(len(model.classes)) if _pixels_of(model, i)),
            axis=model.recipe.axis_out,
            bands=model.channels[1],
            device=device,
        )

    def latent(self, numbers: Numbers, kind: str) -> Latent:
        """Return the random numbers of spectra, by their numbers among those of a kind."""
        drawn = normals(self.seed, kind, torch.from_numpy(numbers), _loaded(self).task.latent)
        values: Latent = drawn.numpy()
        return values

    def spectra(self, latent: Latent, classes: Int64[np.ndarray, " spectrum"]) -> Spectra:
        """Return spectra of classes in the units of the scenes that the generator learned from."""
        return self.answered(latent, self.one_hot(classes))

    def one_hot(self, classes: Int64[np.ndarray, " spectrum"]) -> Float32[np.ndarray, "spectrum class"]:
        """Return the vectors of classes, the last number of which stands for no class."""
        return np.eye(_loaded(self).task.classes + 1, dtype=np.float32)[classes]

    def answered(self, latent: Latent, classes: Float32[np.ndarray, "spectrum class"]) -> Spectra:
        """Return spectra of vectors of classes, in the units of the scenes that the generator learned from."""
        loaded = _loaded(self)
        x = torch.from_numpy(np.concatenate([latent, classes], axis=1)).to(loaded.device)
        with torch.inference_mode():
            values = loaded.module(x.T[None, :, None, :])[0, :, 0, :].T
        return restored(loaded.recipe, on_host(values))


def stranger(generator: Generator, where: str, name: str) -> UserError:
    """Return the error for a class that a generator has never seen."""
    return UserError(
        where,
        found=f"a class {name!r} that the generator never saw",
        expected=f"some of {', '.join(generator.classes[i] for i in generator.learned)}",
        do="Name classes of the model, or train a generator with labels of that class.",
    )


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class _Loaded:
    """What a process needs of a generator."""

    module: torch.nn.Module
    task: Synthesize
    recipe: Recipe
    device: torch.device


@lru_cache(maxsize=2)
def _loaded(generator: Generator) -> _Loaded:
    model = Model.of(generator.folder, generator.digest)
    chosen = task(model.task)
    assert isinstance(chosen, Synthesize), "it was when the command began"
    device = ready(generator.device or "cpu")
    return _Loaded(module=model.module().to(device), task=chosen, recipe=model.recipe, device=device)


def _pixels_of(model: Model, number: int) -> int:
    """Return how many pixels of a class a model has seen; of a model that does not say, some."""
    counts = model.provenance.get("labelled_pixels")
    return int(counts[number]) if isinstance(counts, list) and number < len(counts) else 1


def _check_recipe(folder: str, recipe: Recipe) -> None:
    """Refuse a recipe with a step that cannot be undone, behind which spectra have lost something."""
    names, scaled = [part for part in recipe.text.split(",") if part.strip()], False
    for step, name in zip(recipe.steps, names, strict=True):
        if not isinstance(step, Affine | Take) or (isinstance(step, Take) and scaled):
            raise UserError(
                f"{folder}: recipe {recipe.text}",
                found=f"the step {name}, which cannot be undone",
                expected="bands that are chosen, then steps that scale: crop, drop, minmax, scale, mean, autoscale",
                do="Train the generator on a recipe such as minmax=shared.",
            )
        scaled = scaled or isinstance(step, Affine)


def restored(recipe: Recipe, values: Spectra) -> Spectra:
    """Return spectra before the scaling of a recipe, in the units of the scene."""
    for step in reversed(recipe.steps):
        if isinstance(step, Affine):
            values = step.restore(values)
    return values.astype(np.float32, copy=False)
