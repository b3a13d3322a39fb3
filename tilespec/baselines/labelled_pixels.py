"""Labelled pixels: a sample from a region, or the moments of all by group; the same for any number of workers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Int64

from tilespec.baselines.base import FitInput, FittedBaseline
from tilespec.baselines.pls.group_moments import Group, Grouped, merged
from tilespec.baselines.spatial_folds import SpatialFolds
from tilespec.cluster.reduction import reduce_blocks
from tilespec.core.buffers import Buffers
from tilespec.core.errors import UserError
from tilespec.core.types import UNLABELLED, Spectra
from tilespec.models.nets import build
from tilespec.spectra.recipe import Recipe
from tilespec.storage.blocks import GROUP, Block, blocks
from tilespec.storage.layer import Layer
from tilespec.storage.layout import class_names
from tilespec.storage.scene import Scene

Counts = Int64[np.ndarray, " class"]
STRIDE = UNLABELLED + 1
"""The factor of the fold in the number of a group of pixels: this times its fold, plus its class."""
MATRICES = 1 << 30
"""The largest bytes of moments by group."""
NEVER = -1e3
"""The score of a class without pixels in the region, below every other score."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Labelled:
    """Spectra with their classes."""

    spectra: Spectra
    """The spectra of valid pixels after the recipe, ``pixel band``."""
    classes: Int64[np.ndarray, " pixel"]
    """The class of each pixel."""
    places: Int64[np.ndarray, "pixel 2"]
    """The row and the column of each pixel in the scene."""
    names: tuple[str, ...]
    """The names of all classes."""
    absent: tuple[str, ...]
    """The classes without a pixel; they have a number, and are never predicted."""
    invalid: int
    """The number of drawn pixels that were left out because they have no valid spectrum."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class _LabelledDraw:
    """The drawn labelled pixels of a block, for each class by their ranks among the block's pixels of that class."""

    block: Block
    ranks: tuple[Int64[np.ndarray, " _"], ...]


def draw(on: FitInput, count: int, *, balanced: bool) -> Labelled:
    """Return about ``count`` labelled pixels of the region: equally many of each class, or in the region's proportions.

    The labels are read once for counting, then the blocks with a drawn pixel once.

    Raises:
        UserError: the region has no labels, or fewer than two classes.
    """
    parts = blocks(on.scene, on.roi)
    groups = [tuple(parts[i : i + GROUP]) for i in range(0, len(parts), GROUP)]
    counts = np.array(reduce_blocks(groups, partial(_count, on.labels), client=on.client))
    names = _names(counts.sum(axis=0), on)
    counts = counts[:, : len(names)]
    wanted = _wanted(counts.sum(axis=0), count, balanced=balanced)
    draws = _draws(parts, counts, wanted, np.random.default_rng([on.seed, 4]))
    tasks = [tuple(draws[i : i + GROUP]) for i in range(0, len(draws), GROUP)]
    on.progress.start("labelled pixels", len(tasks), "blocks")
    pieces = reduce_blocks(tasks, partial(_read, on.recipe, on.labels), client=on.client, progress=on.progress)
    on.progress.finish()
    spectra, classes, places = (np.concatenate(pieces[i::3]) for i in range(3))
    valid = np.isfinite(spectra[:, 0])
    absent = tuple(name for i, name in enumerate(names) if not (classes[valid] == i).any())
    if len(names) - len(absent) < 2:
        raise _no_pixels(on, absent, "no valid spectrum")
    return Labelled(
        spectra=spectra[valid],
        classes=classes[valid],
        places=places[valid],
        names=names,
        absent=absent,
        invalid=int((~valid).sum()),
    )


def _count(store: str, group: tuple[Block, ...]) -> tuple[Counts, ...]:
    """Return the number of pixels of each class in the blocks."""
    labels = Layer.open(store, "labels")
    return tuple(np.bincount(labels.classes(b.roi).ravel(), minlength=256)[:UNLABELLED] for b in group)


def _names(totals: Counts, on: FitInput) -> tuple[str, ...]:
    """Return the names of the classes, including absent ones; refuse a region with fewer than two classes."""
    named = class_names(Layer.open(on.labels, "labels").attrs)
    number = max(len(named), int(np.flatnonzero(totals)[-1]) + 1 if totals.any() else 0)
    names = tuple(named[i] if i < len(named) else f"class_{i}" for i in range(number))
    empty = [name for name, n in zip(names, totals, strict=False) if n == 0]
    if number - len(empty) < 2:
        raise _no_pixels(on, empty or ["a second class"], "no labelled pixel")
    return names


def _no_pixels(on: FitInput, names: Sequence[str], what: str) -> UserError:
    return UserError(
        on.labels,
        found=f"{what} of {', '.join(names)} in {on.roi}",
        expected="labelled pixels of at least two classes",
        do="Choose other --rows and --cols, or correct the labels.",
    )


def _wanted(totals: Counts, count: int, *, balanced: bool) -> list[int]:
    """Return the number of pixels to draw of each class, at least one of each present class."""
    shares = np.full(len(totals), 1 / np.count_nonzero(totals)) if balanced else totals / totals.sum()
    return [min(int(n), max(1, round(count * share))) for n, share in zip(totals, shares, strict=True)]


def _draws(
    parts: Sequence[Block], counts: Int64[np.ndarray, "block class"], wanted: Sequence[int], rng: np.random.Generator
) -> list[_LabelledDraw]:
    """Return the pixels to read, block by block, without blocks that have none."""
    by_class = []
    for number, column in zip(wanted, counts.T, strict=True):
        ends = np.cumsum(column)
        chosen = np.sort(rng.choice(int(ends[-1]), number, replace=False, shuffle=False))
        block = np.searchsorted(ends, chosen, side="right")
        local = chosen - (ends - column)[block]
        by_class.append([local[block == i] for i in range(len(parts))])
    draws = [_LabelledDraw(block=part, ranks=tuple(column[i] for column in by_class)) for i, part in enumerate(parts)]
    return [one for one in draws if any(len(ranks) for ranks in one.ranks)]


def _read(recipe: Recipe, store: str, group: tuple[_LabelledDraw, ...]) -> tuple[Any, ...]:
    """Return spectra, classes and positions of the draws, in turn."""
    scene, labels, room, out = Scene.open(group[0].block.url), Layer.open(store, "labels"), Buffers(), []
    for one in group:
        classes = labels.classes(one.block.roi).ravel()
        at = [np.flatnonzero(classes == c)[ranks] for c, ranks in enumerate(one.ranks)]
        chosen = np.concatenate(at)
        spectra = scene.read(one.block.roi, room).reshape(-1, scene.shape[2])[chosen]
        y, x = np.divmod(chosen, one.block.roi.shape[1])
        places = np.stack([y + one.block.roi.y0, x + one.block.roi.x0], axis=1)
        out += [recipe.apply(spectra), np.repeat(np.arange(len(at)), [len(a) for a in at]), places]
    return tuple(out)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Gathered:
    """The moments of all labelled pixels of a region."""

    folds: tuple[dict[int, Group], ...]
    """The moments of each class for each fold; one fold without cross-validation."""
    names: tuple[str, ...]
    """The names of all classes."""
    absent: tuple[str, ...]
    """The classes without a valid pixel."""
    invalid: int
    """The number of labelled pixels without a valid spectrum."""
    synthetic: tuple[dict[int, Group], ...] = ()
    """The moments of synthetic spectra that are learned from too: for each fold without it, then for all folds."""

    def training_moments(self, without: int | None = None) -> dict[int, Group]:
        """Return the moments of each class that are learned from, with or without one fold."""
        measured = [part for i, part in enumerate(self.folds) if i != without]
        made = self.synthetic[-1 if without is None else without :][:1]
        return merged([*measured, *made])


def gather(on: FitInput, *, scatter: bool, cells: SpatialFolds | None = None) -> Gathered:
    """Return the moments of all labelled pixels, by class and by fold, in one pass over the blocks with labels.

    Raises:
        UserError: the region has no labels, or fewer than two classes with a valid spectrum.
    """
    tasks = _tasks(on)
    totals = np.array(reduce_blocks(tasks, partial(_count, on.labels), client=on.client)).sum(axis=0)
    names, number = _names(totals, on), 1 if cells is None else int(cells.fold.max()) + 1
    if scatter:
        _room_for(on, number * int(np.count_nonzero(totals)))
    on.progress.start("moments", len(tasks), "blocks")
    zero = Grouped(scatter=scatter)
    work = partial(_moments, on.recipe, on.labels, zero, cells)
    moments = reduce_blocks(tasks, work, client=on.client, progress=on.progress)
    on.progress.finish()
    folds = by_fold(moments, number)
    present = {c for part in folds for c in part}
    absent = tuple(name for i, name in enumerate(names) if i not in present)
    if len(present) < 2:
        raise _no_pixels(on, absent, "no valid spectrum")
    return Gathered(folds=folds, names=names, absent=absent, invalid=moments.invalid)


def _room_for(on: FitInput, groups: int) -> None:
    """Refuse too many groups, because each has a matrix ``band band`` in memory."""
    one = on.recipe.bands_out**2 * 8
    if groups * one > MATRICES:
        raise UserError(
            "--components",
            found=f"{groups} groups (classes times folds) of {on.recipe.bands_out} bands: {groups * one / 1e9:.1f} GB",
            expected=f"at most {MATRICES // one} groups",
            do="Give fewer --folds, --components as a number, fewer bands (--recipe), or --samples.",
        )


def by_fold(moments: Grouped, folds: int) -> tuple[dict[int, Group], ...]:
    """Return the moments of each class, fold by fold."""
    numbered = [(*divmod(number, STRIDE), group) for number, group in moments.finish().items()]
    return tuple({c: group for f, c, group in numbered if f == fold} for fold in range(folds))


def accuracy(on: FitInput, fitted: FittedBaseline) -> float:
    """Return the share of all valid labelled pixels that the net classifies correctly, in one more pass."""
    net = (fitted.net, fitted.weights, (on.recipe.bands_out, len(fitted.classes)))
    tasks = _tasks(on)
    on.progress.start("calibration accuracy", len(tasks), "blocks")
    work = partial(_right, on.recipe, on.labels, net)
    right, total = reduce_blocks(tasks, work, client=on.client, progress=on.progress)
    on.progress.finish()
    return float(right / total)


def accuracy_of(labelled: Labelled, fitted: FittedBaseline) -> float:
    """Return the share of the drawn pixels that the net classifies correctly."""
    net = (fitted.net, fitted.weights, (labelled.spectra.shape[1], len(fitted.classes)))
    return float((_answer(net, labelled.spectra) == labelled.classes).mean())


Built = tuple[dict[str, Any], dict[str, torch.Tensor], tuple[int, int]]
"""A net's name and parameters, its state, and its numbers of channels."""


def _answer(net: Built, spectra: Spectra) -> Int64[np.ndarray, " pixel"]:
    """Return the class of each spectrum by the net."""
    config, weights, channels = net
    module = build(config["name"], *channels, **{key: value for key, value in config.items() if key != "name"}).eval()
    module.load_state_dict(weights)
    with torch.inference_mode():
        return module(torch.from_numpy(spectra)[None].permute(0, 2, 1)[..., None]).argmax(dim=1).numpy().ravel()


def _tasks(on: FitInput) -> list[tuple[Block, ...]]:
    """Return the region's blocks in groups of one task."""
    parts = blocks(on.scene, on.roi)
    return [tuple(parts[i : i + GROUP]) for i in range(0, len(parts), GROUP)]


def _moments(
    recipe: Recipe, store: str, zero: Grouped, cells: SpatialFolds | None, group: tuple[Block, ...]
) -> Grouped:
    """Return the moments of the labelled pixels of some blocks."""
    total = zero
    for spectra, classes, y, x in _labelled(recipe, store, group):
        number = classes if cells is None else classes + STRIDE * cells.of(y, x)
        total = total + zero.of((spectra, number), (int(y[0]), int(x[0])))
    return total


def _right(recipe: Recipe, store: str, net: Built, group: tuple[Block, ...]) -> Int64[np.ndarray, " 2"]:
    """Return the number of correctly classified labelled pixels of some blocks, and the number of all."""
    total = np.zeros(2, np.int64)
    for spectra, classes, _, _ in _labelled(recipe, store, group):
        valid = np.isfinite(spectra[:, 0])
        total += [(_answer(net, spectra[valid]) == classes[valid]).sum(), valid.sum()]
    return total


def _labelled(recipe: Recipe, store: str, group: tuple[Block, ...]) -> Iterator[tuple[Spectra, Counts, Counts, Counts]]:
    """Yield spectra after the recipe, classes, rows and columns of the labelled pixels of each block with labels."""
    scene, labels, room = Scene.open(group[0].url), Layer.open(store, "labels"), Buffers()
    for block in group:
        classes = labels.classes(block.roi)
        y, x = np.nonzero(classes != UNLABELLED)
        if len(y):
            spectra = recipe.apply(scene.read(block.roi, room)[y, x])
            yield spectra, classes[y, x].astype(np.int64), y + block.roi.y0, x + block.roi.x0
