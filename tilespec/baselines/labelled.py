"""Labelled pixels: spectra and classes drawn from a region, the same ones for any number of workers."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import numpy as np
from jaxtyping import Int64

from tilespec.baselines import Training
from tilespec.errors import UserError
from tilespec.graph import fold
from tilespec.passes import GROUP, Block, blocks
from tilespec.recipe import Recipe
from tilespec.scene import Scene
from tilespec.types import UNLABELLED, Spectra

Counts = Int64[np.ndarray, " class"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Labelled:
    """Spectra with classes."""

    spectra: Spectra
    """After the recipe; valid pixels only."""
    classes: Int64[np.ndarray, " pixel"]
    """Class of each."""
    names: tuple[str, ...]
    """Names of all classes."""
    absent: tuple[str, ...]
    """Classes without a pixel: they keep their number, and are never predicted."""
    invalid: int
    """Drawn pixels that were left out because they have no valid spectrum."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class _Draw:
    """Which labelled pixels of a block are wanted: by class, their ranks among the block's pixels of that class."""

    block: Block
    ranks: tuple[Int64[np.ndarray, " _"], ...]


def draw(on: Training, count: int, *, balanced: bool) -> Labelled:
    """Return about ``count`` labelled pixels of the region: as many of each class, or in the region's proportions.

    Reads the labels once to count them, then the blocks that hold a drawn pixel once.

    Raises:
        UserError: no labels, or fewer than two classes in the region.
    """
    parts = blocks(on.scene, on.roi)
    groups = [tuple(parts[i : i + GROUP]) for i in range(0, len(parts), GROUP)]
    counts = np.array(fold(groups, _count, client=on.client))
    names = _names(on.scene, counts.sum(axis=0), on)
    counts = counts[:, : len(names)]
    wanted = _wanted(counts.sum(axis=0), count, balanced=balanced)
    draws = _draws(parts, counts, wanted, np.random.default_rng([on.seed, 4]))
    tasks = [tuple(draws[i : i + GROUP]) for i in range(0, len(draws), GROUP)]
    on.progress.start("labelled pixels", len(tasks), "blocks")
    found = fold(tasks, partial(_read, on.recipe), client=on.client, progress=on.progress)
    on.progress.finish()
    spectra, classes = np.concatenate(found[::2]), np.concatenate(found[1::2])
    valid = np.isfinite(spectra[:, 0])
    absent = tuple(name for i, name in enumerate(names) if not (classes[valid] == i).any())
    if len(names) - len(absent) < 2:
        raise _no_pixels(on, absent, "no valid spectrum")
    return Labelled(
        spectra=spectra[valid], classes=classes[valid], names=names, absent=absent, invalid=int((~valid).sum())
    )


def _count(group: tuple[Block, ...]) -> tuple[Counts, ...]:
    """Return how many pixels of each class the blocks have."""
    scene = Scene.open(group[0].url)
    return tuple(np.bincount(scene.labels(b.roi).ravel(), minlength=256)[:UNLABELLED] for b in group)


def _names(scene: Scene, totals: Counts, on: Training) -> tuple[str, ...]:
    """Return the names of the classes, absent ones too; refuse a region with fewer than two."""
    known = scene.classes()
    number = max(len(known), int(np.flatnonzero(totals)[-1]) + 1 if totals.any() else 0)
    names = tuple(known[i] if i < len(known) else f"class_{i}" for i in range(number))
    empty = [name for name, n in zip(names, totals, strict=False) if n == 0]
    if number - len(empty) < 2:
        raise _no_pixels(on, empty or ["a second class"], "no labelled pixel")
    return names


def _no_pixels(on: Training, names: Sequence[str], what: str) -> UserError:
    return UserError(
        on.scene.url,
        found=f"{what} of {', '.join(names)} in {on.roi}",
        expected="labelled pixels of at least two classes",
        do="Choose other --rows and --cols, or correct the labels.",
    )


def _wanted(totals: Counts, count: int, *, balanced: bool) -> list[int]:
    """Return how many pixels to draw of each class; one at least of those that are there."""
    shares = np.full(len(totals), 1 / np.count_nonzero(totals)) if balanced else totals / totals.sum()
    return [min(int(n), max(1, round(count * share))) for n, share in zip(totals, shares, strict=True)]


def _draws(
    parts: Sequence[Block], counts: Int64[np.ndarray, "block class"], wanted: Sequence[int], rng: np.random.Generator
) -> list[_Draw]:
    """Return the pixels to read, block by block; blocks without any are left out."""
    by_class = []
    for number, column in zip(wanted, counts.T, strict=True):
        ends = np.cumsum(column)
        chosen = np.sort(rng.choice(int(ends[-1]), number, replace=False, shuffle=False))
        block = np.searchsorted(ends, chosen, side="right")
        local = chosen - (ends - column)[block]
        by_class.append([local[block == i] for i in range(len(parts))])
    draws = [_Draw(block=part, ranks=tuple(column[i] for column in by_class)) for i, part in enumerate(parts)]
    return [one for one in draws if any(len(ranks) for ranks in one.ranks)]


def _read(recipe: Recipe, group: tuple[_Draw, ...]) -> tuple[Any, ...]:
    """Return spectra, classes, spectra, classes, ... of the draws."""
    scene, out = Scene.open(group[0].block.url), []
    for one in group:
        labels = scene.labels(one.block.roi).ravel()
        at = [np.flatnonzero(labels == c)[ranks] for c, ranks in enumerate(one.ranks)]
        spectra = scene.read(one.block.roi).reshape(-1, scene.shape[2])[np.concatenate(at)]
        out += [recipe.apply(spectra), np.repeat(np.arange(len(at)), [len(a) for a in at])]
    return tuple(out)
