"""Predictor: the net of a model folder as a predictor of `tilespec.tiling`, including the change of axis order."""

import copy
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from queue import LifoQueue
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from safetensors.numpy import load_file

from tilespec.core.arrays import on_host
from tilespec.core.device import ready
from tilespec.core.errors import UserError
from tilespec.core.types import UNLABELLED
from tilespec.models.determinism import batches_agree
from tilespec.models.frozen_norms import freeze
from tilespec.models.model import Model
from tilespec.models.nets.norms import SeededDropout, set_sample_ids
from tilespec.models.tasks import task
from tilespec.models.tasks.base import Task, stored_arrays
from tilespec.models.tensors import channels_last
from tilespec.spectra.recipe import Recipe
from tilespec.spectra.tensors import apply_on_torch, steps_on

TURNS = tuple((a, b, c) for a in (False, True) for b in (False, True) for c in (False, True))
"""The eight symmetries of a square: transposed, upside down, mirrored."""


@final
@dataclass(frozen=True, kw_only=True)
class Averaging:
    """The variants over which a prediction is averaged by a running mean, tile by tile."""

    flips: bool = False
    """Whether all eight symmetries of the square are averaged."""
    samples: int = 0
    """The number of draws of live dropout (Gal and Ghahramani 2016); 0: dropout is off."""
    spread: bool = False
    """Whether the variance between the variants, averaged over channels, is an additional channel."""

    @property
    def variants(self) -> list[tuple[tuple[bool, bool, bool], int]]:
        """The evaluated variants, each a symmetry and a draw."""
        turns = TURNS if self.flips else TURNS[:1]
        return [(turn, draw) for turn in turns for draw in range(max(1, self.samples))]


@final
@dataclass(frozen=True, kw_only=True)
class TorchPredictor:
    """A net, its recipe and its task on the CPU or another device, which any number of threads may call at once."""

    modules: "LifoQueue[torch.nn.Module]"
    """The modules in evaluation mode, one for each caller, with common weights but separate states."""
    recipe: Recipe
    """The recipe that is applied while reading; without steps if the scene was already transformed by it."""
    task: Task
    """Says what the net reads, activates and decodes."""
    channels: tuple[int, int]
    """After the recipe, and of the answer."""
    threads: int
    """The number of threads that read, prepare and evaluate."""
    intra: int
    """The number of torch's threads inside one evaluation."""
    probabilities: bool
    """Whether class probabilities are stored too."""
    dtype: torch.dtype
    """The data type in which the net computes; its input and output are float32."""
    averaging: Averaging
    """The symmetries and draws that are averaged."""
    device: torch.device | None = None
    """The device of tensors; None for the CPU, with NumPy's arrays between the net and the rest."""
    steps: tuple[Callable[[Any], Any], ...] = ()
    """The steps of the recipe on the device."""
    known: threading.local = field(default_factory=threading.local)
    """The record of each thread of whether it has set torch's threads."""

    def prepare(self, spectra: Float32[Any, "pixel band"]) -> Float32[Any, "pixel channel"]:
        """Apply the recipe; without steps the spectra are returned unchanged, and the caller handles missing data."""
        if not self.recipe.steps:
            return spectra
        return self.recipe.apply(spectra) if self.device is None else apply_on_torch(self.steps, spectra)

    def __call__(self, tiles: Float32[Any, "tile y x channel"], ids: list[int]) -> Float32[Any, "tile y2 x2 channel2"]:
        """Evaluate the net; ``y, x, channel`` viewed as ``channel, y, x`` is torch's channels_last, without a copy.

        Raises:
            UserError: the batch does not fit into the memory of the device.
        """
        if not hasattr(self.known, "set"):
            torch.set_num_threads(self.intra)
            self.known.set = True
        host = isinstance(tiles, np.ndarray)
        module = self.modules.get()
        try:
            with torch.no_grad():
                x = torch.from_numpy(tiles).to(self.device or "cpu") if host else tiles
                out = self._averaged(module, x.permute(0, 3, 1, 2), ids)
            return on_host(out) if host else out
        except torch.OutOfMemoryError as error:
            raise UserError(
                str(self.device),
                found=f"too little memory for tiles of {' x '.join(map(str, tiles.shape))}",
                expected="a batch of tiles that fits beside the network",
                do="Give a smaller --tile, or --device cpu.",
            ) from error
        finally:
            self.modules.put(module)

    def _averaged(
        self, module: torch.nn.Module, tiles: torch.Tensor, ids: list[int]
    ) -> Float[torch.Tensor, "tile y2 x2 channel2"]:
        """Return the running mean over all variants, and their spread if it is requested."""
        mean = spread = tiles[:0]
        for count, (turn, draw) in enumerate(self.averaging.variants):
            set_sample_ids(module, torch.tensor(ids), seed=draw)
            out = _turned(self._activated(module, _turned(tiles, turn)), turn, back=True)
            if count == 0:
                mean, spread = out, torch.zeros_like(out[:, :1])
                continue
            change = (out - mean) / (count + 1)
            mean = mean + change
            spread = (spread + change.square().mean(dim=1, keepdim=True) * (count + 1)) * (count / (count + 1))
        if self.averaging.spread and len(self.averaging.variants) > 1:
            mean = torch.cat([mean, spread], dim=1)
        return mean.permute(0, 2, 3, 1).contiguous()

    def _activated(self, module: torch.nn.Module, tiles: torch.Tensor) -> torch.Tensor:
        return self.task.activate(module(self.task.inputs(tiles).to(self.dtype)).float())

    def any_batch(self, shape: tuple[int, int, int], batch: int) -> bool:
        """Return whether a tile has the same bits in any batch, from a test once per process and shape."""
        return _agree(self, shape, batch)

    def decode(
        self, blended: Float32[np.ndarray, "y x channel"], valid: Bool[np.ndarray, "y x"]
    ) -> dict[str, np.ndarray]:
        """Return the arrays to store: classes (255 for no data), or channels (NaN for no data), with their ends."""
        decoded = self.task.decode(blended)
        if not valid.all():
            decoded[~valid] = UNLABELLED if decoded.dtype == np.uint8 else np.nan
        names = stored_arrays(self.task)
        arrays = dict(zip(names, np.split(decoded, len(names), axis=-1), strict=True))
        return {**arrays, "probability": blended} if self.probabilities else arrays

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


def _turned(planes: torch.Tensor, turn: tuple[bool, bool, bool], *, back: bool = False) -> torch.Tensor:
    """Return planes after a symmetry of the square, or after its inverse."""
    transposed, *mirrored = turn
    axes = [axis for axis, wanted in zip((-2, -1), mirrored, strict=True) if wanted]
    if back:
        flipped = torch.flip(planes, axes) if axes else planes
        return flipped.transpose(-2, -1) if transposed else flipped
    planes = planes.transpose(-2, -1) if transposed else planes
    return torch.flip(planes, axes) if axes else planes


@lru_cache(maxsize=8)
def _agree(predictor: TorchPredictor, shape: tuple[int, int, int], batch: int) -> bool:
    return batches_agree(predictor, shape, batch)


@final
@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model folder by path and hash, as it is sent to workers."""

    folder: str
    """The folder of the model, which workers see in the same file system."""
    digest: str
    """The digest that the model must have."""
    channels: tuple[int, int]
    """The number of channels of the net, in and out."""
    classes: tuple[str, ...]
    """The names of the classes in their order, none for a prediction of values."""
    prepared: bool
    """Whether the scene was already transformed by the recipe."""
    probabilities: bool = False
    """Whether class probabilities are stored too."""
    precision: str = "float32"
    """The data type in which the net computes."""
    averaging: Averaging = Averaging()
    """The symmetries and draws that are averaged."""
    norms: str | None = None
    """The file of a scene's norm statistics that replace those of each tile (`tilespec.models.frozen_norms`)."""
    intra: int = 1
    """The number of torch's threads inside one evaluation."""
    device: str | None = None
    """The device of tensors (`tilespec.core.device`), None for the CPU with NumPy."""

    def with_norms(self, file: str) -> "ModelSpec":
        """Return the same specification with a scene's norm statistics in ``file``."""
        return replace(self, norms=file)

    def with_intra(self, threads: int) -> "ModelSpec":
        """Return the same specification with ``threads`` threads of torch inside one evaluation."""
        return replace(self, intra=threads)

    def open(self, threads: int) -> TorchPredictor:
        """Return the predictor, which each process loads once."""
        return _loaded_once(self, threads)

    def load(self, threads: int) -> TorchPredictor:
        """Return the predictor, which is loaded now."""
        return _load(self, threads)


@lru_cache(maxsize=2)
def _loaded_once(spec: ModelSpec, threads: int) -> TorchPredictor:
    return _load(spec, threads)


def _load(spec: ModelSpec, threads: int) -> TorchPredictor:
    model = Model.of(spec.folder, spec.digest)
    module = model.module()
    if spec.norms is not None:
        module = freeze(module, load_file(Path(spec.norms)))
    device = None if spec.device is None else ready(spec.device)
    module = channels_last(module.to(device=device, dtype=getattr(torch, spec.precision))).requires_grad_(False)
    for layer in module.modules():
        if isinstance(layer, SeededDropout) and spec.averaging.samples:
            layer.live = True
    modules: LifoQueue[torch.nn.Module] = LifoQueue()
    for _ in range(threads):
        modules.put(_twin(module))
    recipe = Recipe.empty(model.recipe.bands_out, None) if spec.prepared else model.recipe
    return TorchPredictor(
        modules=modules,
        recipe=recipe,
        device=device,
        steps=steps_on(recipe.steps, spec.device),
        task=task(model.task),
        channels=(model.recipe.bands_out, model.channels[1]),
        threads=threads,
        intra=spec.intra,
        probabilities=spec.probabilities,
        dtype=getattr(torch, spec.precision),
        averaging=spec.averaging,
    )


def forget() -> None:
    """Remove the models that this process has loaded, so that predictions with several models hold only one."""
    _loaded_once.cache_clear()
    _agree.cache_clear()


def _twin(module: torch.nn.Module) -> torch.nn.Module:
    """Return a module with its own state and the same weights in the same memory."""
    weights = [*module.parameters(), *module.buffers()]
    return copy.deepcopy(module, {id(weight): weight for weight in weights})
