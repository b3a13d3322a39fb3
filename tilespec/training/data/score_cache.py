"""Score cache: scores and targets of a scene, decoded once, in bounded memory.

The recipe is applied to a few lines of raw spectra at a time while they are read, so that only scores are in memory.
Those of a whole scene (3000 x 2796 x 4: 134 MB) fit where its spectra (6.2 GB) never would.
"""

import math
import threading
from collections.abc import Hashable
from contextlib import AbstractContextManager
from functools import partial
from typing import final

import numpy as np
from jaxtyping import Int64

from tilespec.core.buffers import thread_buffers
from tilespec.core.cache import Cache
from tilespec.core.cpu import one_blas_thread
from tilespec.core.types import Reflectance, Roi
from tilespec.spectra.pieces import transform
from tilespec.spectra.recipe import Recipe
from tilespec.storage.blocks import edges
from tilespec.training.data.targets import Answers
from tilespec.training.data.training_set import TrainingRegion
from tilespec.training.ranks.group import Ranks
from tilespec.training.ranks.shared_blocks import Kind, SharedBlocks

Block = tuple[Reflectance, Answers]
Places = Int64[np.ndarray, " pixel"]


@final
class ScoreCache:
    """The scores and targets of stored objects inside the training region.

    Each is decoded once while it is in memory, for any number of threads; ``cache`` counts the bytes. Ranks of one
    machine share all of them if ``budget`` bytes are enough for that; otherwise each has a cache of its own share.
    """

    def __init__(
        self, regions: tuple[TrainingRegion, ...], recipe: Recipe, budget: int, ranks: Ranks | None = None
    ) -> None:
        self._regions, self._recipe = regions, recipe
        ranks = ranks or Ranks()
        self._shared = SharedBlocks.of(ranks, self._kinds(), budget) if ranks.together else None
        self._counting = threading.Lock()
        self.cache: Cache[Block] = Cache(budget // ranks.world)
        """The cache of blocks, in bytes."""
        self.decoded = 0
        """The number of pixels of stored objects that were decoded so far."""
        self.used = 0
        """The number of pixels returned so far; ``decoded / used`` is the read amplification."""

    @property
    def bands(self) -> int:
        """The bands of the scores."""
        return self._recipe.bands_out

    def empty(self, shape: tuple[int, int]) -> Block:
        """Return memory for the scores of a patch, and for what the net should answer there."""
        truth = self._regions[0].truth.empty(self._regions[0].geometry.plane(shape))
        return np.empty((*shape, self.bands), np.float32), truth

    def read(self, scene: int, roi: Roi, into: Block | None = None) -> Block:
        """Return scores ``y, x, band`` (NaN where there is no data) of a patch, and what the net should answer there.

        With ``into`` they are written there, once and directly from the blocks.
        """
        wanted, region = into or self.empty(roi.shape), self._regions[scene]
        for part in parts(region, roi):
            with self._lent(scene, part) as block:
                places = (roi, part), (region.geometry.target(roi), region.geometry.beneath(part))
                for values, stored_values, (whole, piece) in zip(wanted, block, places, strict=True):
                    if whole.overlaps(piece):  # a margin has no truth
                        inner, outer = _shared(whole, piece)
                        _pixels(values)[outer] = _pixels(stored_values)[inner]
        with self._counting:
            self.used += roi.shape[0] * roi.shape[1]
        return wanted

    def pixels(self, scene: int, y: Places, x: Places) -> Block:
        """Return scores (NaN where there is no data) and answers of single pixels, as one line, for plain geometry.

        They are what `read` returns of one after the other, with one step of Python for each block instead of each
        pixel, which is most of the work of a training on spectra.
        """
        region, (height, width) = self._regions[scene], edges(self._regions[scene].scene)
        line = self.empty((1, len(y)))
        blocks, block_of = np.unique(y // height * (1 << 32) + x // width, return_inverse=True)
        for number in range(len(blocks)):
            own = np.flatnonzero(block_of == number)
            first = Roi(y0=int(y[own[0]]), y1=int(y[own[0]]) + 1, x0=int(x[own[0]]), x1=int(x[own[0]]) + 1)
            (part,) = parts(region, first)
            with self._lent(scene, part) as block:
                for values, stored_values in zip(line, block, strict=True):
                    values[0, own] = stored_values[y[own] - part.y0, x[own] - part.x0]
        with self._counting:
            self.used += len(y)
        return line

    def _lent(self, scene: int, part: Roi) -> AbstractContextManager[Block]:
        """Return one block, which stays in memory inside of the ``with`` block."""
        room = 0 if self._shared else size(self._regions[scene], part, self.bands)
        return self.cache.lent((scene, part), room, partial(self._transform, scene, part))

    def _kinds(self) -> dict[Hashable, list[Kind]]:
        """Return the shapes and data types of the arrays of all blocks."""
        kinds: dict[Hashable, list[Kind]] = {}
        for scene, region in enumerate(self._regions):
            for part in parts(region, region.roi):
                kinds[scene, part] = [(values.shape, values.dtype) for values in self._block(region, part)]
        return kinds

    def _block(self, region: TrainingRegion, part: Roi) -> Block:
        """Return memory for one block."""
        truth = region.truth.empty(region.geometry.beneath(part).shape)
        return np.empty((*part.shape, self.bands), np.float32), truth

    def _transform(self, scene: int, part: Roi) -> Block:
        """Return one block: as another rank has decoded it, or decoded now."""
        decode = partial(self._decode, self._regions[scene], part)
        if self._shared is None:
            return decode(self._block(self._regions[scene], part))
        scores, answers = self._shared.take((scene, part), decode)
        return scores, answers

    def _decode(self, region: TrainingRegion, part: Roi, into: Block) -> Block:
        """Read one block through the recipe, a few lines at a time, into the given memory, and return that memory."""
        scores, answers = into
        flat, start = scores.reshape(-1, self.bands), 0
        with one_blas_thread():
            for lines in region.scene.lines(part, thread_buffers()):
                spectra = lines.reshape(-1, lines.shape[2])
                stop = start + len(spectra)
                flat[start:stop] = transform(self._recipe.steps, spectra, self.bands, own=True)
                start = stop
        with self._counting:
            self.decoded += stored(region, part)
        answers[...] = region.truth.read(region.geometry.beneath(part))
        return into


def parts(region: TrainingRegion, roi: Roi) -> list[Roi]:
    """Return the blocks of a part of a training region: stored objects, cut by the training region."""
    sides = edges(region.scene)
    return region.roi.common(roi.aligned(*sides)).cut(*sides)


def size(region: TrainingRegion, part: Roi, bands: int) -> int:
    """Return the size of a block in bytes."""
    pixels, truth = (math.prod(roi.shape) for roi in (part, region.geometry.beneath(part)))
    return pixels * bands * np.dtype(np.float32).itemsize + truth * region.truth.empty((1, 1)).nbytes


def stored(region: TrainingRegion, part: Roi) -> int:
    """Return the number of pixels of the stored objects that a block is decoded from."""
    height, width = region.scene.roi.common(part.aligned(*edges(region.scene))).shape
    return height * width


def _shared(roi: Roi, part: Roi) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the intersection of a block and a region, as slices of the block and of the region."""
    common = roi.common(part)
    inner, outer = (
        (
            slice(common.y0 - origin.y0, common.y1 - origin.y0),
            slice(common.x0 - origin.x0, common.x1 - origin.x0),
        )
        for origin in (part, roi)
    )
    return inner, outer


def _pixels(values: Answers) -> np.ndarray:
    """Return a cube as a plane of pixels: NumPy copies whole pixels, and not band after band of a turned patch."""
    if values.ndim == 2:
        return values
    return values.view(np.dtype((np.void, values.shape[2] * values.itemsize)))[..., 0]
