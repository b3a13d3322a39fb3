"""Peers: patches of a Zarr store through torch's DataLoader, trained on by the same loop."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import numpy as np
import torch
import xarray as xr
import zarr
from job import Clock
from plain import loadings, normalised, vsn
from torch.utils.data import DataLoader, Dataset, RandomSampler
from train_instead import Source, instead
from train_job import SIZES, Training
from train_ours import channels, measured
from xbatcher import BatchGenerator

from tilespec.spectra.recipe import Recipe

Pair = tuple[np.ndarray, np.ndarray]


@final
@dataclass(frozen=True, kw_only=True)
class Scores:
    """The recipe as a user writes it in NumPy, with the numbers that tilespec fitted."""

    weights: tuple[np.ndarray, np.ndarray]
    mean: np.ndarray
    vectors: np.ndarray

    @classmethod
    def of(cls, job: Training) -> "Scores | None":
        """Return the recipe of a job: VSN, components, their scaling; None where the scene holds scores."""
        if not job.recipe:
            return None
        mean, vectors = loadings(job)  # type: ignore[arg-type]
        gain = next(step.gain for step in Recipe.load(job.recipe).steps if hasattr(step, "gain"))
        return cls(weights=vsn(job), mean=mean, vectors=vectors * gain[:, None])  # type: ignore[arg-type]

    def __call__(self, cube: np.ndarray) -> np.ndarray:
        return (normalised(cube, *self.weights) - self.mean) @ self.vectors.T


class Patches(Dataset[Pair]):
    """Patches anywhere in a scene, read by xarray when they are asked for."""

    def __init__(self, job: Training, side: int, count: int) -> None:
        self.source, self.side, self.scores = job.source, side, Scores.of(job)
        shape, rng = zarr.open_group(job.source, mode="r")["cube"].shape, np.random.default_rng(0)
        self.corners = [tuple(int(rng.integers(n - side + 1)) for n in shape[:2]) for _ in range(count)]
        self.opened: Any = None

    def __len__(self) -> int:
        return len(self.corners)

    def __getitem__(self, index: int) -> Pair:
        y, x = self.corners[index]
        return self.cut(y, x)

    def cut(self, y: int, x: int) -> Pair:
        """Return image and labels of a patch."""
        if self.opened is None:  # in the process that reads
            self.opened = xr.open_zarr(self.source, consolidated=False, chunks=None)
        patch = self.opened.isel(y=slice(y, y + self.side), x=slice(x, x + self.side))
        return self.finished(patch["cube"].values, patch["labels"].values)

    def finished(self, cube: np.ndarray, labels: np.ndarray) -> Pair:
        """Return what the net reads, and what it should answer."""
        return self.scores(cube) if self.scores else cube, labels


class Lattice(Patches):
    """Patches of xbatcher: from a lattice of half a patch, its way to overlapping ones."""

    def __init__(self, job: Training, side: int, count: int) -> None:
        super().__init__(job, side, 0)
        self.count, self.generator = count, None

    def __len__(self) -> int:
        return len(self.batches())

    def __getitem__(self, index: int) -> Pair:
        patch = self.batches()[index]
        return self.finished(patch["cube"].values, patch["labels"].values)

    def batches(self) -> Any:
        """Return xbatcher's generator, made in the process that reads."""
        if self.generator is None:
            stored = xr.open_zarr(self.source, consolidated=False, chunks=None)[["cube", "labels"]]
            sides = {"y": self.side, "x": self.side}
            self.generator = BatchGenerator(stored, sides, {name: side // 2 for name, side in sides.items()})
        return self.generator


class Loaded(Source):
    """A dataset behind torch's DataLoader with a process for each core."""

    def __init__(self, job: Training, kind: type[Patches], blocks: Any, share: range) -> None:
        super().__init__(SIZES[job.size], channels(job), blocks, share)
        self.job, self.kind = job, kind

    def ready(self, start: int, stop: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        count = (stop - start) * len(self.share)
        data = self.kind(self.job, self.size.patch, count)
        drawn = RandomSampler(data, replacement=True, num_samples=count, generator=torch.Generator().manual_seed(0))
        loader = DataLoader(
            data,
            batch_size=len(self.share),
            sampler=drawn,
            num_workers=self.job.threads,
            multiprocessing_context="forkserver",
        )
        edges = zarr.open_group(self.job.source, mode="r")["cube"].chunks[:2]
        for x, y in loader:
            self.blocks.used += y.numel()
            self.blocks.decoded += round(y.numel() * amplification(self.size.patch, edges))
            yield x.permute(0, 3, 1, 2), y.to(torch.uint8)


def amplification(side: int, edges: tuple[int, int]) -> float:
    """Return pixels of the objects that a patch anywhere touches, on average, over its own."""
    return math.prod(((side - 1) / edge + 1) * edge / side for edge in edges)


def plain(job: Training, clock: Clock) -> dict[str, Any]:
    with instead(partial(Loaded, job, Patches)):
        return measured(job, clock, job.config())


def lattice(job: Training, clock: Clock) -> dict[str, Any]:
    with instead(partial(Loaded, job, Lattice)):
        return measured(job, clock, job.config())
