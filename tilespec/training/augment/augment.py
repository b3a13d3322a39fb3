"""Augmentation: patches are changed at random on the device, after the recipe, to add variety to the training.

The change of a patch is a pure function of the seed and of the patch's position in the stream: the same on any number
of ranks, after a resume, with any threads. Each kind draws its own numbers, so that a further kind does not change the
others. A pixel without data remains as the task made it: 0 in all bands, and unknown (255, or NaN).

The 8 symmetries of the square are not in this table: they are views, and the sampling applies them (``data.augment``).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import cast, final

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from tilespec.core.errors import UserError
from tilespec.core.registry import load
from tilespec.models.tasks.base import Geometry
from tilespec.spectra.bands import NEAR, Bands
from tilespec.spectra.numerics.curve_files import PHYSICAL
from tilespec.training.augment.draws import Draws
from tilespec.training.augment.geometry import rotate
from tilespec.training.augment.mixing import cutmix, mixup, partners
from tilespec.training.augment.spectral import background, drop, gain, noise, offset, reverse, shift, slope
from tilespec.training.augment.target_planes import first, last, unknown
from tilespec.training.objectives.base import Batch, Items
from tilespec.training.settings import AugmentTable, Kind

Change = Callable[[Batch, Draws, float], Batch]
"""A function that changes the chosen patches with their random draws and a strength."""

ALONG_THE_BANDS = ("shift", "reverse", "slope", "background")
"""The kinds for which the bands must have an order."""
PAIRED = ("cutmix", "mixup")
"""The kinds for which each patch needs a partner."""
ON_ONE_PLANE = ("rotate", *PAIRED)
"""Kinds for which each pixel of a patch needs an answer of its own."""


def _spectral(change: Callable[[Tensor, Draws, float], Tensor], batch: Batch, draws: Draws, strength: float) -> Batch:
    """Return the batch with changed spectra in the chosen patches, at pixels with data."""
    return replace(batch, x=torch.where(_changes(batch, draws), change(batch.x, draws, strength), batch.x))


def _with_targets(
    change: Callable[[Tensor, Draws, float], Tensor], batch: Batch, draws: Draws, strength: float
) -> Batch:
    """Return the batch with spectra and targets changed by the same draws in the chosen patches."""
    planes = [last(plane) for plane in (batch.x, batch.y)]
    pixels = [plane.flatten(1, 2) for plane in planes]
    both = first(torch.cat(pixels, dim=1).unsqueeze(2))
    parts = torch.split(last(change(both, draws, strength)), [part.shape[1] for part in pixels], dim=1)
    x, y = (first(part.reshape(plane.shape)) for part, plane in zip(parts, planes, strict=True))
    chosen = draws.chosen[:, None, None, None]
    return replace(batch, x=torch.where(_changes(batch, draws), x, batch.x), y=torch.where(chosen, y, batch.y))


def _changes(batch: Batch, draws: Draws) -> Bool[Tensor, "batch 1 y x"]:
    """Return which pixels of the spectra change: those with data in the chosen patches."""
    real = (batch.x != 0).any(dim=1)
    if batch.y.shape[-2:] == real.shape[-2:]:
        real |= ~unknown(batch.y)
    return (real & draws.chosen[:, None, None]).unsqueeze(1)


KINDS: dict[str, Change] = {
    "rotate": rotate,
    "shift": partial(_spectral, shift),
    "reverse": partial(_spectral, reverse),
    "gain": partial(_spectral, gain),
    "slope": partial(_spectral, slope),
    "offset": partial(_spectral, offset),
    "background": partial(_spectral, background),
    "noise": partial(_spectral, noise),
    "drop": partial(_spectral, drop),
    "cutmix": cutmix,
    "mixup": mixup,
}
"""The kinds in the order of application: geometry, light, sensor, then mixtures of two patches."""
ON_SAME_BANDS: dict[str, Change] = {
    "shift": partial(_with_targets, shift),
    "reverse": partial(_with_targets, reverse),
}
"""What moves spectra along their bands, where the targets are spectra on the same bands and move with them."""


@final
@dataclass(frozen=True, kw_only=True)
class Augment:
    """The augmentation of the patches of a batch."""

    table: AugmentTable
    """The strengths and probabilities."""
    seed: int
    """The seed of the run."""
    same_bands: bool = False
    """Whether targets are spectra on the bands that the net reads."""

    @classmethod
    def of(cls, table: AugmentTable, seed: int, *, same_bands: bool = False) -> "Augment":
        """Return the augmentation of a configuration; it does not depend on ranks or batches."""
        return cls(table=table, seed=seed, same_bands=same_bands)

    @property
    def kinds(self) -> dict[str, float]:
        """The strengths of the kinds that are on, in the order of application."""
        strengths = {kind: float(getattr(self.table, kind)) for kind in KINDS} | self.table.own
        return {kind: strength for kind, strength in strengths.items() if strength > 0}

    def __call__(self, batch: Items) -> Items:
        """Return the batch after changes in place; the same object when no kind is on, as always for whole samples.

        Raises:
            UserError: patches are to be mixed, and one has no partner on this rank.
        """
        if not self.kinds:
            return batch
        assert isinstance(batch, Batch), "only patches are changed"
        assert batch.mixed is None, "patches are mixed once, at last"
        kinds = KINDS | (ON_SAME_BANDS if self.same_bands else {})
        for kind, strength in self.kinds.items():
            odds = self.table.probability.get(cast("Kind", kind), 1.0)
            draws = Draws.of(self.seed, kind, batch.ids, odds, batch.x.device)
            change = kinds.get(kind) or load({}, kind, "augmentation")
            batch = change(batch, draws, strength)
        return batch


def on_same_bands(read: Bands, answers: Bands) -> bool:
    """Return whether targets are spectra on the bands that the net reads: by their axes, which both must have."""
    one, other = read.axis, answers.axis
    if one is None or other is None or one.name not in PHYSICAL or read.count != answers.count:
        return False
    return (one.name, one.unit) == (other.name, other.unit) and np.allclose(one.values, other.values, rtol=0, atol=NEAR)


def check(table: AugmentTable, *, batch: int, ranks: int, bands: Bands, geometry: Geometry) -> None:
    """Refuse what cannot be done, before anything is computed.

    Args:
        table: Strengths.
        batch: Patches per step, of all ranks together.
        ranks: How many there are.
        bands: What the recipe gives.
        geometry: Where answers lie.

    Raises:
        UserError: a kind along the bands on scores that have no order, or on one band; a shift by more bands than there
            are; patches to be mixed that come without their partners; turned or mixed patches whose answers lie on
            another plane.
    """
    on = Augment.of(table, 0).kinds
    for kind in ALONG_THE_BANDS:
        if kind in on:
            _ordered(kind, bands)
    for kind in ON_ONE_PLANE:
        if kind in on and geometry != Geometry():
            raise UserError(
                f"augment.{kind}",
                found=f"answers with output scale {geometry.scale} and margin {geometry.margin}",
                expected="an answer for each pixel of a patch",
                do=f"Set augment.{kind}=0; spectral kinds suit every task.",
            )
    if table.shift > bands.count - 1:
        raise UserError(
            "augment.shift",
            found=f"{table.shift:g} bands",
            expected=f"at most {bands.count - 1}, one less than reach the net",
            do="Give a fraction of a band for a sensor's smile, a few bands for a misplaced spectrum.",
        )
    if any(kind in on for kind in PAIRED):
        partners(tuple(range(batch // ranks)), batch, ranks)


def _ordered(kind: str, bands: Bands) -> None:
    """Refuse a kind along the bands for scores, or for a single band."""
    scores = bands.axis is not None and bands.axis.name == "component"
    if scores or bands.count < 2:
        raise UserError(
            f"augment.{kind}",
            found=f"{bands.count} scores (pca, mnf), which have no order" if scores else "one band",
            expected="bands along a spectrum",
            do=f"Set augment.{kind}=0, or leave the step out that makes scores; gain, noise and drop suit scores.",
        )
