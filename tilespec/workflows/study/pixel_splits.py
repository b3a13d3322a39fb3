"""Pixel splits: the labelled pixels of a scene in two parts, one for training and one for test, by the seed of a run.

Neighbours of a training pixel are nearly equal to it, so a random split flatters every method; halves and blocks do
not. A half of the plane may lack a class; a half of each class does not, nor do blocks of a class that has several.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Bool

from tilespec.core.errors import UserError
from tilespec.core.fingerprint import fingerprint
from tilespec.core.types import UNLABELLED, ClassMap, Roi
from tilespec.storage.inventory import digests
from tilespec.storage.layer import Layer, label_map
from tilespec.storage.layout import class_names, layer_spec
from tilespec.storage.product import Product
from tilespec.workflows.study.splits import Split, StudyScene

Chosen = Bool[np.ndarray, "y x"]


def pixel_split(text: str, items: Sequence[StudyScene], seed: int, folder: Path) -> Split:
    """Return one division of the labelled pixels of all scenes, which are written into ``folder`` as stores of labels.

    Args:
        text: ``random:SHARE`` (this share of each class is for training, at least one pixel), ``halves`` (of the
            plane), ``class-halves`` (the plane is cut for each class by itself, in the middle of its pixels) or
            ``blocks:SIDE`` (squares of so many pixels along each side are dealt to the two).
        items: The scenes with labels, their own or in other stores. The labels of a scene are in memory as a whole.
        seed: Decides which pixels, or which half, are for training.
        folder: The folder of the new stores.

    Raises:
        UserError: there is no such split, a scene has no labels, or a side of the split has none.
    """
    name, _, argument = text.partition(":")
    if name not in PIXEL_SPLITS:
        usages = [one + ARGUMENTS.get(one, "") for one in PIXEL_SPLITS]
        raise _refused(text, repr(name), f"one of {', '.join(usages)}")
    if argument and name not in ARGUMENTS:
        raise _refused(text, repr(argument), f"{name} alone")
    sides: dict[str, list[StudyScene]] = {"train": [], "test": []}
    for item in items:
        if item.truth is not None and item.key != "labels":
            raise _refused(text, f"{item.name} with a target", "scenes with labels")
        layer = label_map(item.truth or item.scene)
        labels = layer.read(Roi(y0=0, y1=layer.shape[0], x0=0, x1=layer.shape[1]))
        mine = PIXEL_SPLITS[name](argument, labels, seed)
        for side, chosen in (("train", mine), ("test", ~mine)):
            part = np.where(chosen, labels, UNLABELLED).astype(np.uint8)
            if (part == UNLABELLED).all():
                raise _refused(text, f"no labelled pixel of {layer.store} to {side} on", "one or more on either side")
            store = write_labels(folder, item, layer, part, {"split": text, "seed": seed, "side": side})
            sides[side].append(replace(item, truth=store, key="labels"))
    return Split(name=text, train=tuple(sides["train"]), test=tuple(sides["test"]))


def write_labels(folder: Path, item: StudyScene, like: Layer, labels: ClassMap, part: Mapping[str, Any]) -> str:
    """Write some labels of a layer into a store of their own, named after their contents; return its path.

    Args:
        folder: The folder of such stores.
        item: The scene that they are of.
        like: The layer that they are a part of.
        labels: The labels, 255 where a pixel is not of this part.
        part: What decides which part it is.
    """
    cube, count = digests(item.scene).cube, int(labels[labels < UNLABELLED].max()) + 1
    names = class_names(like.attrs) or tuple(f"class_{number}" for number in range(count))
    settings = {"verb": "study", "scene": cube, "labels": digests(like.store).store, **part}
    place = str(folder / f"{item.name}-{fingerprint(settings)[:16]}.zarr")
    spec = layer_spec("labels", labels.shape, classes=names)
    attrs = {"title": f"labels of a part of {item.name}", "scene_digest": cube}
    product = Product.open(place, [spec], settings=settings, attrs=attrs, constants={})
    for row in product.missing():
        y0, y1 = product.span(row)
        product.write(row, {"labels": labels[y0:y1]})
    product.finish()
    return place


def _random(share: str, labels: ClassMap, seed: int) -> Chosen:
    """Return this share of each class at random, at least one pixel of it."""
    try:
        part = float(share)
    except ValueError:
        part = math.nan
    if not 0 < part < 1:
        raise _refused(f"random:{share}", repr(share), "a share above 0 and below 1, such as random:0.03")
    rng, chosen = np.random.default_rng([seed, 6]), np.zeros(labels.size, bool)
    for number in np.unique(labels[labels != UNLABELLED]):
        own = np.flatnonzero(labels == number)
        chosen[rng.permutation(own)[: max(1, round(part * len(own)))]] = True
    return chosen.reshape(labels.shape)


def _halves(argument: str, labels: ClassMap, seed: int) -> Chosen:
    """Return the left, the right, the upper or the lower half of the plane, by turns."""
    del argument
    (height, width), chosen = labels.shape, np.zeros(labels.shape, bool)
    parts = (np.s_[:, : width // 2], np.s_[:, width // 2 :], np.s_[: height // 2], np.s_[height // 2 :])
    chosen[parts[seed % len(parts)]] = True
    return chosen


def _class_halves(argument: str, labels: ClassMap, seed: int) -> Chosen:
    """Return the left, the right, the upper or the lower half of the pixels of each class, by turns.

    The line between them has as many pixels of the class on either side as lines can. A class that lies in a single
    line is for training as a whole.
    """
    del argument
    chosen = np.zeros(labels.shape, bool)
    along, late = (1, 0)[seed % 4 // 2], bool(seed % 2)
    for number in np.unique(labels[labels != UNLABELLED]):
        own = labels == number
        places = np.nonzero(own)[along]
        lines, counts = np.unique(places, return_counts=True)
        before = np.cumsum(counts)[:-1]
        cut = lines[np.abs(2 * before - len(places)).argmin()] if len(before) else lines[0]
        chosen[own] = (places > cut) == (late and len(lines) > 1)
    return chosen


def _blocks(text: str, labels: ClassMap, seed: int) -> Chosen:
    """Return the blocks for training: those of each class in turn, the rarest first, are dealt to the sides by turns.

    The order of the blocks of a class is random. The first one is for the side where the class has no block yet.
    """
    side = int(text) if text.isdecimal() else 0
    if side < 1:
        raise _refused(f"blocks:{text}", repr(text), "a number of pixels of at least 1, such as blocks:16")
    rows, cols = (np.arange(size) // side for size in labels.shape)
    block = rows[:, None] * (cols[-1] + 1) + cols
    classes = [np.unique(block[labels == number]) for number in np.unique(labels[labels != UNLABELLED])]
    rng, (taught, judged) = np.random.default_rng([seed, 7]), np.zeros((2, block.max() + 1), bool)
    for own in sorted(classes, key=len):
        order = rng.permutation(own[~(taught | judged)[own]])
        teaches_first = int(taught[own].any())
        taught[order[teaches_first::2]] = True
        judged[order[1 - teaches_first :: 2]] = True
    return taught[block] & (labels != UNLABELLED)


ARGUMENTS: Final = {"random": ":SHARE", "blocks": ":SIDE"}
"""What follows the names of splits; the others stand alone."""
PIXEL_SPLITS: Final[dict[str, Callable[[str, ClassMap, int], Chosen]]] = {
    "random": _random,
    "halves": _halves,
    "class-halves": _class_halves,
    "blocks": _blocks,
}
"""The splits by name: what follows the colon, the labels and the seed to the pixels that are for training."""


def _refused(text: str, found: str, expected: str) -> UserError:
    return UserError(f"--split {text}", found=found, expected=expected, do="For example --split random:0.03.")
