"""Patches: the patches of a training and their order.

Patch ``k`` of epoch ``e`` is a pure function of ``(seed, e, k)``. Ranks take contiguous slices of each
batch. So the stream depends neither on the number of ranks nor on the threads, and resuming needs only one integer.
"""

import threading
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple, final

import numpy as np
from jaxtyping import Shaped

from tilespec.core.types import UNLABELLED, ClassMap, Roi
from tilespec.training.data.density import Density, even
from tilespec.training.data.training_set import TrainingRegion, TrainingSet
from tilespec.training.settings import Config

TURNS = 8
"""The number of symmetries of the square."""

_drawing = threading.Lock()


class Patch(NamedTuple):
    """The position and the symmetry of a patch."""

    scene: int
    y: int
    x: int
    turn: int


@final
@dataclass(frozen=True, kw_only=True)
class PatchStream:
    """The stream of patches: a function from an index to a patch."""

    seed: int
    """The seed of the run."""
    regions: tuple[Roi, ...]
    """The region of the patches in each scene."""
    side: int
    """The side of a patch in pixels."""
    step: int = 1
    """Patches begin at multiples of it, for there pixels of the truth begin."""
    patches: int
    """The number of patches in an epoch."""
    augment: bool = True
    """Whether patches are turned and mirrored."""
    window: int = 1
    """The number of neighbouring patches in sequence; their order and that of the windows is random."""
    stratify: bool = False
    """Whether an epoch takes one patch from each of ``patches`` equal parts of the density."""
    density: Density | None = None
    """The probability of each pixel; None: all possible positions of a patch are equally likely."""
    shares: tuple[float, ...] | None = None
    """The probability of each scene; None: by its size. A density has its own."""
    chosen: tuple[Patch, ...] = ()
    """The patches from which epochs are drawn with replacement; empty: the whole region."""

    @classmethod
    def of(cls, config: Config, training_set: TrainingSet) -> "PatchStream":
        """Return the stream of a configuration."""
        data = config.data
        stream = cls(
            seed=config.train.seed,
            regions=tuple(region.roi for region in training_set.regions),
            side=data.patch,
            step=training_set.regions[0].geometry.scale.denominator,
            patches=data.patches,
            augment=data.augment,
            window=data.window,
            stratify=data.stratify,
            density=training_set.density,
            shares=data.shares,
        )
        return stream.keeping(training_set.regions) if data.drop_single_class else stream

    @property
    def length(self) -> int:
        """The number of patches in an epoch."""
        return len(self.chosen) or self.patches

    def patch(self, index: int) -> Patch:
        """Return the patch at ``index`` of the stream: number ``index % length`` of epoch ``index // length``."""
        epoch, k = divmod(index, self.length)
        with _drawing:  # an epoch is drawn by one thread
            return _epoch(self, epoch)[k]

    def roi(self, patch: Patch) -> Roi:
        """Return the region of a patch."""
        return Roi(y0=patch.y, y1=patch.y + self.side, x0=patch.x, x1=patch.x + self.side)

    def windows(self, epoch: int) -> list[tuple[int, Roi]]:
        """Return the regions that the patches of an epoch are read from, each with the number of its scene."""
        with _drawing:
            patches = _epoch(self, epoch)
        return [(patch.scene, self.roi(patch)) for patch in patches]

    def keeping(self, regions: tuple[TrainingRegion, ...]) -> "PatchStream":
        """Return the stream that draws from those of ``patches`` fixed patches that hold more than one class.

        As published by Mishra and Herrmann (2021). If no patch does, all are used.
        """
        drawn = _drawn(self, np.random.default_rng([self.seed, 1]))
        patches = tuple(p for p in drawn if _mixed(regions[p.scene].answers(self.roi(p))))
        return replace(self, chosen=patches or tuple(drawn))


@lru_cache(maxsize=8)
def _epoch(stream: PatchStream, epoch: int) -> tuple[Patch, ...]:
    """Return all patches of an epoch in order."""
    rng = np.random.default_rng([stream.seed, 0, epoch])
    drawn = (
        [stream.chosen[i] for i in rng.integers(stream.length, size=stream.length)]
        if stream.chosen
        else _drawn(stream, rng)
    )
    near = sorted(drawn, key=lambda p: (p.scene, p.y // stream.side, p.x)) if stream.window > 1 else drawn
    windows = [near[i : i + stream.window] for i in range(0, len(near), stream.window)]
    shuffled = [windows[i] for i in rng.permutation(len(windows))]
    return tuple(window[i] for window in shuffled for i in rng.permutation(len(window)))


def _drawn(stream: PatchStream, rng: np.random.Generator) -> list[Patch]:
    """Return the random patches of an epoch, each centred on a pixel, or as near to it as the region allows."""
    n, half = stream.patches, stream.side // 2
    quantiles = rng.random(n)
    if stream.stratify:
        quantiles = (np.arange(n) + quantiles) / n
    pixels = (stream.density or _equal(stream)).at(quantiles)
    turns = rng.integers(TURNS, size=n) if stream.augment else np.zeros(n, int)
    drawn = []
    for (scene, y, x), turn in zip(pixels.tolist(), turns.tolist(), strict=True):
        roi = stream.regions[scene]
        top, left = min(max(y - half, roi.y0), roi.y1 - stream.side), min(max(x - half, roi.x0), roi.x1 - stream.side)
        drawn.append(Patch(scene, top - top % stream.step, left - left % stream.step, turn))
    return drawn


@lru_cache(maxsize=8)
def _equal(stream: PatchStream) -> Density:
    """Return the density of centres without weights: of complete patches, or stratified of all pixels of the regions.

    A patch near the border also represents all pixels that are nearer to it, so borders are as frequent as the inside.
    """
    if stream.stratify:
        return even(stream.regions, stream.shares)
    half = stream.side // 2
    rest = stream.side - half - 1
    centres = [Roi(y0=roi.y0 + half, y1=roi.y1 - rest, x0=roi.x0 + half, x1=roi.x1 - rest) for roi in stream.regions]
    return even(centres, stream.shares)


def turned(plane: Shaped[np.ndarray, "y x *_"], turn: int) -> Shaped[np.ndarray, "y x *_"]:
    """Return ``plane``, which is square, turned by ``turn % 4`` quarters, and mirrored from 4 on; a view."""
    rotated = np.rot90(plane, turn % 4)
    return rotated[:, ::-1] if turn >= TURNS // 2 else rotated


def undone(turn: int) -> int:
    """Return the inverse of a turn: a mirrored turn is its own inverse."""
    return turn if turn >= TURNS // 2 else -turn % (TURNS // 2)


def _mixed(labels: ClassMap) -> bool:
    """Return whether a patch has more than one class."""
    return len(np.unique(labels[labels != UNLABELLED])) > 1
