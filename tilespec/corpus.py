"""Corpus: the labelled regions that a net learns from, opened and checked before anything is computed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, final

import numpy as np

from tilespec.config import Config, Data
from tilespec.density import Density, Field, weighted
from tilespec.errors import UserError
from tilespec.plane import Plane
from tilespec.scene import Scene, open_group
from tilespec.types import UNLABELLED, ClassMap, Roi

STRIP = 512
"""Rows of labels that are counted at once."""


@final
@dataclass(frozen=True, kw_only=True)
class Ground:
    """The training region of one scene."""

    scene: Scene
    """Where the spectra are."""
    roi: Roi
    """Where patches may lie."""
    store: str
    """The store whose ``labels`` count."""

    @cached_property
    def plane(self) -> Plane:
        """Where the labels lie; the store is opened once.

        Raises:
            UserError: it has no labels.
        """
        return Plane.open(self.store, "labels")

    def labels(self, roi: Roi) -> ClassMap:
        """Return the labels of a region of the scene."""
        return self.plane.read(roi).astype(np.uint8, copy=False)


@final
@dataclass(frozen=True, kw_only=True)
class Corpus:
    """All grounds, which share bands and classes."""

    grounds: tuple[Ground, ...]
    """One for each scene."""
    classes: tuple[str, ...]
    """Their names, in order."""
    counts: tuple[int, ...]
    """Labelled training pixels of each class."""
    density: Density | None = None
    """How likely pixels are to be drawn; None: all patches of a scene are equally likely."""

    @property
    def bands(self) -> int:
        """Bands of every scene."""
        return self.grounds[0].scene.shape[2]

    def fits(self) -> tuple[int, int]:
        """Return height and width that every ground has."""
        shapes = [ground.roi.shape for ground in self.grounds]
        return min(h for h, _ in shapes), min(w for _, w in shapes)

    def provenance(self) -> list[dict[str, Any]]:
        """Return where the net learns: `tilespec evaluate` compares it with where it is judged."""
        return [
            {
                "scene": ground.scene.url.rstrip("/").rpartition("/")[2],
                "digest": ground.scene.digest,
                "labels": open_group(ground.store).attrs.get("tilespec_digest"),
                "shape": list(ground.scene.shape),
                "rows": [ground.roi.y0, ground.roi.y1],
                "cols": [ground.roi.x0, ground.roi.x1],
            }
            for ground in self.grounds
        ]


def open_corpus(config: Config) -> Corpus:
    """Open scenes and labels of a configuration.

    Raises:
        UserError: no scene or labels there, labels of another size or with values that are no classes, a training
            region that overlaps the test region, scenes with different bands or class names, nothing labelled, weights
            that are not there or that leave nothing to draw.
    """
    data = config.data
    stores = data.labels or data.scene
    if len(stores) != len(data.scene):
        raise UserError(
            "data.labels",
            found=f"{len(stores)} stores",
            expected=f"{len(data.scene)}, one for each of data.scene",
            do="Give one for each scene, in the same order.",
        )
    grounds = tuple(_ground(data, url, store) for url, store in zip(data.scene, stores, strict=True))
    _same_bands(grounds)
    names = _names(grounds)
    counts = sum(np.stack([_count(ground) for ground in grounds]))
    found = _classes(config, names, counts)
    return Corpus(grounds=grounds, density=_density(data, grounds, len(found["classes"])), **found)


def adapted(config: Config, corpus: Corpus, align: int) -> Config:
    """Return the configuration with a patch and a recipe that the scenes allow.

    Args:
        config: As the user gave it.
        corpus: The opened scenes.
        align: Sides of patches are multiples of this.

    Raises:
        UserError: without ``data.adapt``: the patch is no multiple of ``align``, or larger than a training region.
    """
    height, width = corpus.fits()
    largest = min(height, width) // align * align
    patch = min(config.data.patch // align * align, largest) if config.data.adapt else config.data.patch
    _check_patch(patch, align, largest, (height, width))
    recipe = config.recipe
    if config.data.adapt and recipe.steps:
        recipe = recipe.model_copy(update={"steps": _fewer(recipe.steps, corpus.bands)})
    data = config.data.model_copy(update={"patch": patch})
    task = config.task.model_copy(update={"classes": len(corpus.classes)})
    return config.model_copy(update={"data": data, "recipe": recipe, "task": task})


def _ground(data: Data, url: str, store: str) -> Ground:
    """Return the ground of one scene, with a region that keeps off the test region."""
    scene = Scene.open(url).raw()
    roi = Roi.of(scene.shape, data.rows, data.cols)
    if data.test_rows or data.test_cols:
        test = Roi.of(scene.shape, data.test_rows, data.test_cols)
        if roi.overlaps(test):
            raise UserError(
                f"data.rows, data.cols of {url}",
                found=f"training on {roi}",
                expected=f"no pixel of the test region ({test})",
                do="Move one of the two regions; a net judged where it learned looks better than it is.",
            )
    ground = Ground(scene=scene, roi=roi, store=store)
    if ground.plane.shape != scene.shape[:2]:
        raise UserError(
            store,
            found=f"labels of {ground.plane.shape[0]} x {ground.plane.shape[1]} pixels",
            expected=f"{scene.shape[0]} x {scene.shape[1]}, the size of {url}",
            do="Labels must lie on the scene pixel by pixel.",
        )
    return ground


def _density(data: Data, grounds: Sequence[Ground], classes: int) -> Density | None:
    """Return how likely pixels are to be drawn, if weights or a balance of classes are asked for."""
    if data.shares is not None and (len(data.shares) != len(grounds) or not any(data.shares)):
        raise UserError(
            "data.shares",
            found=f"{list(data.shares)}",
            expected=f"{len(grounds)} numbers, one for each of data.scene, not all 0",
            do="Give one for each scene, in the same order.",
        )
    if data.weight is None and data.balance == "none":
        return None
    fields = [Field(roi=g.roi, labels=g.plane, weight=_weight(data, g)) for g in grounds]
    return weighted(fields, classes=classes, balance=data.balance, shares=data.shares)


def _weight(data: Data, ground: Ground) -> Plane | None:
    """Return the weights of a scene's pixels: a layer of the scene, or of its label store where the scene has none."""
    if data.weight is None:
        return None
    stores = (ground.scene.url, ground.store)
    found = next(filter(None, (Plane.find(store, data.weight) for store in stores)), None)
    if found is None or found.shape != ground.scene.shape[:2]:
        raise UserError(
            "data.weight",
            found=f"no {data.weight}(y, x) of {ground.scene.shape[0]} x {ground.scene.shape[1]} pixels",
            expected=f"one of {', '.join(ground.scene.layers)}, or a layer of {ground.store}",
            do="Bring it in as a layer of that size, or name another.",
        )
    return found


def _same_bands(grounds: tuple[Ground, ...]) -> None:
    """Refuse scenes whose bands differ."""
    from tilespec.recipe import Recipe

    first = grounds[0].scene
    recipe = Recipe.empty(first.shape[2], first.spectral)
    for ground in grounds[1:]:
        recipe.check(ground.scene.shape[2], ground.scene.spectral, ground.scene.url)


def _names(grounds: tuple[Ground, ...]) -> tuple[str, ...]:
    """Return the class names that all label planes share."""
    names = [tuple(str(g.plane.attrs.get("flag_meanings", "")).split()) for g in grounds]
    for ground, other in zip(grounds, names, strict=True):
        if other != names[0]:
            raise UserError(
                ground.store,
                found=f"classes {', '.join(other) or 'without names'}",
                expected=f"{', '.join(names[0]) or 'classes without names'}, as in {grounds[0].store}",
                do="Scenes of one training share their classes, in the same order.",
            )
    return names[0]


def _count(ground: Ground) -> np.ndarray:
    """Return how many training pixels have each label 0 to 255."""
    roi, counts = ground.roi, np.zeros(256, np.int64)
    for y0 in range(roi.y0, roi.y1, STRIP):
        values = ground.plane.read(replace(roi, y0=y0, y1=min(y0 + STRIP, roi.y1))).ravel()
        if values.min() < 0 or values.max() > UNLABELLED or values.dtype.kind not in "iub":
            raise UserError(
                ground.store,
                found=f"labels of type {values.dtype} from {values.min()} to {values.max()}",
                expected="whole numbers 0 to 254, and 255 for unlabelled",
                do="Number the classes 0, 1, ...",
            )
        counts += np.bincount(values.astype(np.uint8), minlength=256)
    return counts


def _classes(config: Config, names: tuple[str, ...], counts: np.ndarray) -> dict[str, Any]:
    """Return the names and the counts of the classes: those asked for, else those named, else those seen."""
    seen = np.flatnonzero(counts[:UNLABELLED])
    if not len(seen):
        raise UserError(
            "data.rows, data.cols",
            found="a training region without a labelled pixel",
            expected="labels other than 255",
            do="Choose another region, or label some of it.",
        )
    options = config.task.model_extra or {}
    classes = int(options.get("classes") or max(len(names), int(seen[-1]) + 1, 2))
    if seen[-1] >= classes:
        raise UserError(
            "task.classes",
            found=f"label {seen[-1]} in the training region",
            expected=f"labels below {classes}, or 255 for unlabelled",
            do="Raise task.classes, or leave it out to take it from the labels.",
        )
    named = tuple(names[i] if i < len(names) else f"class_{i}" for i in range(classes))
    return {"classes": named, "counts": tuple(int(n) for n in counts[:classes])}


def _check_patch(patch: int, align: int, largest: int, fits: tuple[int, int]) -> None:
    """Refuse a patch that is larger than a region or not aligned."""
    if largest == 0 or patch > largest:
        raise UserError(
            "data.patch",
            found=f"{patch} pixels, in a training region of {fits[0]} x {fits[1]}",
            expected=f"at most {largest}" if largest else f"a region of at least {align} x {align}",
            do=f"Set data.patch={largest}." if largest else "Choose a larger region, or a net with a smaller n_down.",
        )
    if patch % align:
        raise UserError(
            "data.patch",
            found=f"{patch} pixels",
            expected=f"a multiple of {align}, which the net halves to whole numbers",
            do=f"Set data.patch={min(-(-patch // align) * align, largest)}.",
        )


def _fewer(steps: str, bands: int) -> str:
    """Return the steps with no more principal components than there are bands."""
    parts = [part.strip() for part in steps.split(",")]
    name, count = "pca=", str(bands)
    return ",".join(
        name + count
        if p.startswith(name) and p.removeprefix(name).isdigit() and int(p.removeprefix(name)) > bands
        else p
        for p in parts
    )
