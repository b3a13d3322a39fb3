"""Synthetic spectra: added to the labelled pixels of a classifier, from a generator or by a rule.

The rules are the plain alternatives to a generator: each makes as many spectra of each class as were drawn of it.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import PurePath
from typing import Final

import numpy as np
from jaxtyping import Int64

from tilespec.baselines.base import FitInput
from tilespec.baselines.labelled_pixels import Labelled, draw
from tilespec.core.errors import UserError
from tilespec.core.types import Spectra
from tilespec.spectra.bands import Bands, same_bands
from tilespec.storage.backends.paths import store_path
from tilespec.storage.layout import numbers_among
from tilespec.storage.scene import Scene
from tilespec.storage.spectra_table import SpectraTable, is_spectra_table

COMPONENTS: Final = 10
"""The number of principal components in which the classes are Gaussian."""
NOISE: Final = 0.01
"""The standard deviation of the noise, over the range of all spectra."""

Classes = Int64[np.ndarray, " pixel"]


Made = Callable[[Spectra, Classes], tuple[Spectra, Classes]]
"""The synthetic spectra, and their classes, that are learned from beside measured ones and their classes."""


def draw_augmented(on: FitInput, default: int, *, balanced: bool) -> Labelled:
    """Return labelled pixels as `draw` does, with the synthetic spectra that the options ask for, after the recipe.

    Raises:
        UserError: there are no labels to draw; or the synthetic spectra have other bands than the scene, or are of a
            class that it does not have.
    """
    _check_known(on.options.synthetic)
    labelled = draw(on, on.in_memory(default), balanced=balanced)
    return joined(labelled, *synthetic(on, labelled, default, balanced=balanced)(labelled.spectra, labelled.classes))


def synthetic(on: FitInput, labelled: Labelled, default: int, *, balanced: bool) -> Made:
    """Return what makes the synthetic spectra that the options ask for: a rule of given ones, or always a store's.

    Raises:
        UserError: as for `draw_augmented`.
    """
    wanted = on.options.synthetic
    _check_known(wanted)
    if wanted is None:
        return partial(_always, (labelled.spectra[:0], labelled.classes[:0]))
    if wanted in RULES:
        return partial(_by_rule, wanted, on.seed)
    if is_spectra_table(wanted):
        return partial(_always, _of_table(on, labelled, wanted))
    return partial(_always, _of_scene(on, labelled, wanted, on.in_memory(default), balanced=balanced))


def _always(stored: tuple[Spectra, Classes], *beside: object) -> tuple[Spectra, Classes]:
    """Return what is stored, whatever it is learned from beside."""
    del beside
    return stored


def _by_rule(rule: str, seed: int, spectra: Spectra, classes: Classes) -> tuple[Spectra, Classes]:
    """Return as many synthetic spectra of the same classes."""
    made = RULES[rule](spectra.astype(np.float64), classes, np.random.default_rng([seed, 7]))
    return made.astype(np.float32), classes


def _check_known(wanted: str | None) -> None:
    """Refuse what is neither a rule nor a store, before anything is drawn."""
    if wanted is not None and wanted not in RULES and not (store_path(wanted) / "zarr.json").exists():
        raise UserError(
            "--synthetic",
            found=repr(wanted),
            expected=f"a store that `tilespec synth` wrote, or one of {', '.join(RULES)}",
            do="Check the path, or the spelling.",
        )


def _of_table(on: FitInput, labelled: Labelled, url: str) -> tuple[Spectra, Classes]:
    """Return all spectra of a table, and their classes by the numbers of the scene."""
    table = SpectraTable.open(url)
    same_bands(_bands(on.scene), Bands(count=table.bands, axis=table.axis), url)
    classes = _renumbered(on, labelled, url, table.classes, table.labels)
    return on.recipe.apply(table.read(0, len(classes))), classes


def _of_scene(on: FitInput, labelled: Labelled, url: str, count: int, *, balanced: bool) -> tuple[Spectra, Classes]:
    """Return as many spectra of a synthetic scene as may be drawn of a real one."""
    scene = Scene.open(url).raw()
    same_bands(_bands(on.scene), _bands(scene), url)
    drawn = draw(
        replace(on, scene=scene, roi=scene.roi, options=replace(on.options, labels=None)), count, balanced=balanced
    )
    return drawn.spectra, _renumbered(on, labelled, url, drawn.names, drawn.classes)


def _bands(scene: Scene) -> Bands:
    return Bands(count=scene.shape[2], axis=scene.spectral)


def _renumbered(on: FitInput, labelled: Labelled, url: str, names: tuple[str, ...], classes: Classes) -> Classes:
    """Return classes by the numbers of the scene.

    Raises:
        UserError: the scene does not have one of them.
    """
    own = np.array(numbers_among(names, labelled.names, int(classes.max(initial=-1)) + 1), np.int64)[classes]
    strange = np.unique(classes[(own < 0) | (own >= len(labelled.names))])
    if len(strange):
        raise UserError(
            url,
            found=f"spectra of {', '.join(names[i] if i < len(names) else str(i) for i in strange.tolist())}",
            expected=f"some of {', '.join(labelled.names)}, the classes of {PurePath(on.scene.url).name}",
            do="Draw them with --classes, from a generator that was trained on labels of the same names.",
        )
    return own


def joined(labelled: Labelled, spectra: Spectra, classes: Classes) -> Labelled:
    """Return labelled pixels with further spectra; those without a value are left out.

    A synthetic spectrum has no place in the scene: its row and column are -1.
    """
    valid = np.isfinite(spectra[:, 0])
    numbers = np.concatenate([labelled.classes, classes[valid]])
    return replace(
        labelled,
        spectra=np.concatenate([labelled.spectra, spectra[valid]]),
        classes=numbers,
        places=np.concatenate([labelled.places, np.full((int(valid.sum()), 2), -1)]),
        absent=tuple(name for name in labelled.absent if labelled.names.index(name) not in numbers),
        invalid=labelled.invalid + int((~valid).sum()),
    )


def _gaussians(spectra: np.ndarray, classes: Classes, rng: np.random.Generator) -> np.ndarray:
    """Return draws from the Gaussian of each class in the space of the first principal components."""
    mean = spectra.mean(axis=0)
    _, _, axes = np.linalg.svd(spectra - mean, full_matrices=False)
    scores = (spectra - mean) @ axes[:COMPONENTS].T
    drawn = np.empty_like(scores)
    for number in np.unique(classes):
        own = scores[classes == number]
        spread = np.cov(own.T) if len(own) > 1 else np.zeros((scores.shape[1],) * 2)
        drawn[classes == number] = rng.multivariate_normal(own.mean(axis=0), spread, len(own), method="eigh")
    return mean + drawn @ axes[:COMPONENTS]


def _mixtures(spectra: np.ndarray, classes: Classes, rng: np.random.Generator) -> np.ndarray:
    """Return mixtures of each spectrum with another one of its class, in shares that are uniform from 0 to 1."""
    partner = np.empty(len(classes), np.int64)
    for number in np.unique(classes):
        own = np.flatnonzero(classes == number)
        partner[own] = rng.choice(own, len(own))
    share = rng.uniform(size=(len(spectra), 1))
    return share * spectra + (1 - share) * spectra[partner]


def _gain_noise(spectra: np.ndarray, classes: Classes, rng: np.random.Generator) -> np.ndarray:
    """Return each spectrum times a gain of 0.9 to 1.1, with noise (the radiation noise of DeepHyperX)."""
    del classes
    gain = rng.uniform(0.9, 1.1, (len(spectra), 1))
    return spectra * gain + rng.normal(0, NOISE * np.ptp(spectra), spectra.shape)


RULES: Final[dict[str, Callable[[np.ndarray, Classes, np.random.Generator], np.ndarray]]] = {
    "gaussians": _gaussians,
    "mixtures": _mixtures,
    "gain-noise": _gain_noise,
}
"""The rules by name: spectra ``pixel band`` and their classes to as many synthetic ones of the same classes."""
