"""Mean spectra: the mean of all pixels of each sample after a recipe, and what single pixels add, out of core.

The recipe is applied to pixels and not to means, so that of an affine map the prediction of the mean is the mean of
the predictions, for every recipe.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, final

import numpy as np
from jaxtyping import Float64, Int64
from numpy.lib.stride_tricks import sliding_window_view

from tilespec.baselines.pls.group_moments import Grouped
from tilespec.cluster.reduction import reduce_blocks
from tilespec.core.buffers import Buffers
from tilespec.core.errors import UserError
from tilespec.core.progress import Progress
from tilespec.spectra.recipe import Recipe
from tilespec.storage.blocks import GROUP, Block, blocks
from tilespec.storage.samples import Sample, SampleIndex, indices_of
from tilespec.storage.scene import Scene

Indices = Mapping[str, SampleIndex]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class MeanSpectra:
    """The mean spectra of samples after one recipe."""

    recipe: Recipe
    """The recipe before the mean."""
    values: Float64[np.ndarray, "sample band"]
    """The mean spectra; NaN of a sample without a valid pixel."""
    pixels: Int64[np.ndarray, " sample"]
    """The number of valid pixels of each sample."""


def mean_spectra(
    samples: Sequence[Sample], recipes: Sequence[Recipe], *, client: Any, progress: Progress
) -> tuple[MeanSpectra, ...]:
    """Return the mean spectra of samples after each of some recipes, in one pass over their pixels.

    Raises:
        UserError: a sample has no valid pixel after any recipe.
    """
    indices, count = indices_of(samples), len(samples)
    tasks = _tasks(indices)
    progress.start("mean spectra", len(tasks), "blocks")
    sums = reduce_blocks(tasks, partial(_sums, recipes, indices, count), client=client, progress=progress).finish()
    progress.finish()
    found = []
    for number, recipe in enumerate(recipes):
        values, pixels = np.full((count, recipe.bands_out), np.nan), np.zeros(count, np.int64)
        for place in range(count):
            group = sums.get(number * count + place)
            if group is not None:
                values[place], pixels[place] = group.mean, group.n
        found.append(MeanSpectra(recipe=recipe, values=values, pixels=pixels))
    empty = np.flatnonzero(np.max([each.pixels for each in found], axis=0) == 0)
    if len(empty):
        sample = samples[empty[0]]
        raise UserError(
            sample.scene.url,
            found=f"no valid spectrum in the pixels of sample {sample.id}",
            expected="pixels with data in all bands",
            do="Correct the mask or the recipe, or leave the sample's row of the table out.",
        )
    return tuple(found)


def _tasks(indices: Indices) -> list[tuple[Block, ...]]:
    """Return the blocks with a pixel of a sample in groups of one task; of blocks of one scene each."""
    tasks = []
    for url, index in indices.items():
        scene = Scene.open(url)
        parts = [block for block in blocks(scene, scene.roi) if any(map(block.roi.overlaps, index.rois))]
        tasks += [tuple(parts[i : i + GROUP]) for i in range(0, len(parts), GROUP)]
    return tasks


def _read(indices: Indices, group: tuple[Block, ...]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the sample of each pixel ``y, x``, and the spectra ``pixel band`` of pixels of samples, of each block."""
    scene, room = Scene.open(group[0].url), Buffers()
    for block in group:
        place = indices[block.url].of(block.roi)
        if (place >= 0).any():
            yield place, scene.read(block.roi, room)[place >= 0]


def _sums(recipes: Sequence[Recipe], indices: Indices, count: int, group: tuple[Block, ...]) -> Grouped:
    """Return the moments of each sample after each recipe, by the recipe's number times ``count`` plus its place."""
    zero = total = Grouped(scatter=False)
    for place, spectra in _read(indices, group):
        for number, recipe in enumerate(recipes):
            total = total + zero.of((recipe.apply(spectra), place[place >= 0] + number * count))
    return total


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class PixelMoments:
    """What single pixels add to the means of their samples, a statistic of blocks."""

    squares: Float64[np.ndarray, " quantity"] | float = 0.0
    """The sums of squares of predictions of 3 x 3 pixels under the mask of `_roughness`."""
    windows: int = 0
    """The number of such squares of pixels in one sample."""
    moments: Grouped = field(default_factory=lambda: Grouped(scatter=True))
    """The moments of all spectra, as one group; none if they are not needed."""

    def __add__(self, other: "PixelMoments") -> "PixelMoments":
        return PixelMoments(
            squares=self.squares + other.squares,
            windows=self.windows + other.windows,
            moments=self.moments + other.moments,
        )

    @property
    def noise(self) -> Float64[np.ndarray, " quantity"] | float:
        """The variance of the noise in the predictions of pixels; 0 where no sample has 3 x 3 pixels.

        Immerkaer, Computer Vision and Image Understanding 64 (1996) 300-302: the mask has 36 times the variance of
        independent noise, and nothing of a smooth map.
        """
        return self.squares / (36 * max(self.windows, 1))


def pixel_moments(
    samples: Sequence[Sample],
    recipe: Recipe,
    coefficients: Float64[np.ndarray, "band quantity"],
    *,
    scatter: bool,
    client: Any,
    progress: Progress,
) -> PixelMoments:
    """Return the moments of pixels of samples, in one pass.

    Args:
        samples: The samples.
        recipe: The recipe before the regression.
        coefficients: The regression vectors, whose predictions of neighbouring pixels are compared.
        scatter: Whether the moments of all spectra are needed.
        client: The ``distributed.Client``, or None for this process.
        progress: The progress that counts the blocks.
    """
    indices = indices_of(samples)
    tasks = _tasks(indices)
    progress.start("pixels of samples", len(tasks), "blocks")
    of = partial(_pixels, recipe, indices, coefficients, scatter)
    found = reduce_blocks(tasks, of, client=client, progress=progress)
    progress.finish()
    return found


def _pixels(
    recipe: Recipe, indices: Indices, coefficients: np.ndarray, scatter: bool, group: tuple[Block, ...]
) -> PixelMoments:
    """Return the moments of pixels of some blocks."""
    total = PixelMoments()
    for place, spectra in _read(indices, group):
        x = recipe.apply(spectra)
        plane = np.full((*place.shape, coefficients.shape[1]), np.nan)
        plane[place >= 0] = x.astype(np.float64) @ coefficients
        total = total + _roughness(plane, place)
        if scatter:
            total = total + PixelMoments(moments=Grouped(scatter=True).of((x, np.zeros(len(x), np.int64))))
    return total


def _roughness(plane: Float64[np.ndarray, "y x quantity"], place: Int64[np.ndarray, "y x"]) -> PixelMoments:
    """Return the sums of squares of second differences along y of those along x, of 3 x 3 pixels of one sample."""
    if min(place.shape) < 3:
        return PixelMoments()
    squares = sliding_window_view(place, (3, 3))
    inside = (squares == squares[..., 1:2, 1:2]).all(axis=(2, 3)) & (squares[..., 1, 1] >= 0)
    rough = np.diff(np.diff(plane, 2, axis=1), 2, axis=0)[inside]
    valid = rough[np.isfinite(rough).all(axis=1)]
    return PixelMoments(squares=np.square(valid).sum(axis=0), windows=len(valid))
