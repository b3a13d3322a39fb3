"""Paired pixels: a sample of a region in a scene and a target; the same for any number of workers."""

from dataclasses import dataclass
from functools import partial
from typing import Any, final

import numpy as np
from jaxtyping import Float32, Int64

from tilespec.baselines.base import FitInput
from tilespec.cluster.reduction import reduce_blocks
from tilespec.core.buffers import Buffers
from tilespec.core.errors import UserError
from tilespec.core.types import Spectra
from tilespec.spectra.recipe import Recipe
from tilespec.storage.blocks import GROUP, Block, blocks
from tilespec.storage.scene import Scene


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """The same pixels of two scenes."""

    spectra: Spectra
    """The spectra of the scene after the recipe, ``pixel band``."""
    answers: Float32[np.ndarray, "pixel answer"]
    """The spectra of the target."""
    invalid: int
    """The number of drawn pixels that were left out because a band of either scene has no data there."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class _PairDraw:
    """The drawn pixels of a block by their number in it."""

    block: Block
    index: Int64[np.ndarray, " pixel"]


def draw(on: FitInput, count: int) -> Pairs:
    """Return up to ``count`` pixels of the region, all equally likely; each block with a drawn pixel is read once.

    Raises:
        UserError: no pixel has data in both scenes.
    """
    assert on.target is not None, "`baseline` refuses a regression without a target"
    drawn = _draws(on, count)
    tasks = [tuple(drawn[i : i + GROUP]) for i in range(0, len(drawn), GROUP)]
    on.progress.start("pixels of both scenes", len(tasks), "blocks")
    parts = reduce_blocks(tasks, partial(_read, on.recipe, on.target.url), client=on.client, progress=on.progress)
    on.progress.finish()
    spectra, answers = (np.concatenate(parts[i::2]) for i in range(2))
    valid = np.isfinite(spectra).all(axis=1) & np.isfinite(answers).all(axis=1)
    if not valid.any():
        raise UserError(
            on.target.url,
            found=f"no pixel with data in all bands of both scenes among {len(valid)} drawn from {on.roi}",
            expected="a region where both have data",
            do="Choose other --rows and --cols, give more --samples, or check the nodata values.",
        )
    return Pairs(spectra=spectra[valid], answers=answers[valid], invalid=int((~valid).sum()))


def _draws(on: FitInput, count: int) -> list[_PairDraw]:
    """Return the pixels to read, block by block, without blocks that have none."""
    parts = blocks(on.scene, on.roi)
    ends = np.cumsum([part.roi.shape[0] * part.roi.shape[1] for part in parts])
    rng = np.random.default_rng([on.seed, 7])
    chosen = np.sort(rng.choice(int(ends[-1]), min(count, int(ends[-1])), replace=False, shuffle=False))
    cuts = np.split(chosen, np.searchsorted(chosen, ends[:-1]))
    starts = [0, *ends[:-1].tolist()]
    draws = [_PairDraw(block=part, index=cut - start) for part, cut, start in zip(parts, cuts, starts, strict=True)]
    return [one for one in draws if len(one.index)]


def _read(recipe: Recipe, target: str, group: tuple[_PairDraw, ...]) -> tuple[Any, ...]:
    """Return spectra and target spectra of the draws, in turn."""
    scene, other, out = Scene.open(group[0].block.url), Scene.open(target), []
    rooms = Buffers(), Buffers()
    for one in group:
        own, theirs = (
            part.read(one.block.roi, room).reshape(-1, part.shape[2])[one.index]
            for part, room in zip((scene, other), rooms, strict=True)
        )
        out += [recipe.apply(own), theirs]
    return tuple(out)
