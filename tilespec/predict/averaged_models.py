"""Averaged models: the predictor of several models of one task, which evaluates each of them on every tile."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, final

import numpy as np
from jaxtyping import Bool, Float32

from tilespec.core.arrays import namespace
from tilespec.core.errors import UserError
from tilespec.models.determinism import batches_agree
from tilespec.predict.predictor import ModelSpec, TorchPredictor


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class AveragedPredictor:
    """Predictors whose mean is taken tile by tile; their recipes are applied side by side while reading."""

    members: tuple[TorchPredictor, ...]
    """The predictor of each model."""
    inputs: tuple[slice, ...]
    """The channels that each of them reads."""
    channels: tuple[int, int]
    """The number of channels of all different recipes together, and of the answer."""
    threads: int
    """The number of threads that read, prepare and evaluate."""
    spread: bool
    """Whether the variance between the models, averaged over channels, is an additional channel."""

    @property
    def device(self) -> Any:
        """The device of tensors, or None."""
        return self.members[0].device

    def prepare(self, spectra: Float32[Any, "pixel band"]) -> Float32[Any, "pixel channel"]:
        """Apply all different recipes and join their channels."""
        different = {(part.start, part.stop): i for i, part in reversed(list(enumerate(self.inputs)))}
        own = (lambda: spectra) if self.device is None else spectra.clone  # steps on a device overwrite what they get
        prepared = [self.members[i].prepare(own()) for _, i in sorted(different.items())]
        return namespace(spectra).concatenate(prepared, axis=1)

    def __call__(self, tiles: Float32[Any, "tile y x channel"], ids: list[int]) -> Float32[Any, "tile y2 x2 channel2"]:
        """Return the running mean over the models, and the variance of all their variants if it is requested."""
        wide, xp = self.channels[1], namespace(tiles)
        mean = within = between = 0.0
        for count, (member, part) in enumerate(zip(self.members, self.inputs, strict=True)):
            own = tiles[..., part]
            answer = member(np.ascontiguousarray(own) if xp is np else own, ids)
            change = (answer[..., :wide] - mean) / (count + 1)
            between = (between + xp.square(change).mean(axis=3, keepdims=True) * (count + 1)) * (count / (count + 1))
            spread = answer[..., wide:].sum(axis=3, keepdims=True)  # of flips and draws; 0 without any
            mean, within = mean + change, within + (spread - within) / (count + 1)
        return xp.concatenate([mean, within + between], axis=3) if self.spread else mean

    def any_batch(self, shape: tuple[int, int, int], batch: int) -> bool:
        """Return whether a tile has the same bits in any batch, from a test once per process and shape."""
        return _agree(self, shape, batch)

    def decode(
        self, blended: Float32[np.ndarray, "y x channel"], valid: Bool[np.ndarray, "y x"]
    ) -> dict[str, np.ndarray]:
        """Return the arrays to store: classes (255 for no data), or channels (NaN for no data)."""
        return self.members[0].decode(blended, valid)


@lru_cache(maxsize=8)
def _agree(predictor: AveragedPredictor, shape: tuple[int, int, int], batch: int) -> bool:
    return batches_agree(predictor, shape, batch)


@final
@dataclass(frozen=True, kw_only=True)
class AveragedSpec:
    """The models of an ensemble, as they are sent to workers."""

    members: tuple[ModelSpec, ...]
    """The folder and the hash of each model."""
    inputs: tuple[tuple[int, int], ...]
    """The first channel that each of them reads, and the end."""
    channels: tuple[int, int]
    """The number of channels of all different recipes together, and of the answer."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes in their order, none for a prediction of values."""
        return self.members[0].classes

    def with_norms(self, file: str) -> "AveragedSpec":
        """Refuse the statistics of a scene, which belong to a single net."""
        raise UserError(file, found="norms of one net", expected="one model", do="Leave --norm frozen out.")

    def with_intra(self, threads: int) -> "AveragedSpec":
        """Return the same specification with ``threads`` threads of torch inside one evaluation."""
        return replace(self, members=tuple(member.with_intra(threads) for member in self.members))

    def open(self, threads: int) -> AveragedPredictor:
        """Return the predictor, which each process loads once."""
        return _load(self, threads)


@lru_cache(maxsize=1)
def _load(spec: AveragedSpec, threads: int) -> AveragedPredictor:
    return AveragedPredictor(
        members=tuple(member.load(threads) for member in spec.members),
        inputs=tuple(slice(*part) for part in spec.inputs),
        channels=spec.channels,
        threads=threads,
        spread=spec.members[0].averaging.spread,
    )
