"""Synthesize: spectra of a class from random numbers. The net reads no scene; `tilespec synth` draws from it."""

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from torch.nn.functional import one_hot

from tilespec.core.errors import UserError
from tilespec.core.types import UNLABELLED, ClassMap, Reflectance
from tilespec.models.tasks.base import Geometry, without_gaps


@final
@dataclass(frozen=True, kw_only=True)
class Synthesize:
    """Spectra for classes: the net reads ``latent`` normal numbers and a class, and answers what the recipe gives.

    Classes are one-hot over one more than there are: the last one stands for real pixels without a label, which a
    semi-supervised training learns from too (Audebert, Le Saux and Lefevre 2018).
    """

    truth: ClassVar[Literal["classes", "field"]] = "classes"
    metrics: ClassVar[tuple[str, ...]] = ()
    generates: ClassVar[bool] = True

    classes: int
    """The number of classes."""
    bands: int = 1
    """The number of channels that the recipe gives; the training fills it in."""
    latent: int = 30
    """The number of random numbers behind a spectrum."""
    unlabelled: bool = False
    """Whether pixels without a label are learned from, as a class of their own."""
    head: str = "sigmoid"
    """The net's output: ``sigmoid`` for values between 0 and 1, or ``linear``."""

    def __post_init__(self) -> None:
        wrong = {
            "task.classes": (not 1 <= self.classes < UNLABELLED, self.classes, f"1 to {UNLABELLED - 1}"),
            "task.latent": (not 1 <= self.latent <= 4096, self.latent, "1 to 4096"),
            "task.bands": (self.bands < 1, self.bands, "1 or more"),
            "task.head": (self.head not in ("sigmoid", "linear"), repr(self.head), "sigmoid or linear"),
        }
        for name, (bad, found, expected) in wrong.items():
            if bad:
                raise UserError(name, found=found, expected=expected, do="Give another value, or leave it out.")

    @property
    def channels_out(self) -> int:
        """As many as the recipe gives."""
        return self.bands

    @property
    def geometry(self) -> Geometry:
        """One spectrum for each pixel."""
        return Geometry()

    def channels_in(self, scores: int) -> int:
        """The latent numbers, the classes, and one for unlabelled pixels."""
        del scores
        return self.latent + self.classes + 1

    def inputs(self, scores: Float[Tensor, "batch channel y x"]) -> Float[Tensor, "batch channel y x"]:
        """Return what the recipe gives: it is what critics read."""
        return scores

    def pair(self, scores: Reflectance, truth: ClassMap) -> tuple[Reflectance, ClassMap]:
        """Return scores and classes: 255 where nothing is learned, and the last class for unlabelled pixels."""
        named = np.where(truth == UNLABELLED, np.uint8(self.classes), truth) if self.unlabelled else truth
        return without_gaps(scores, named, self.geometry, UNLABELLED)

    def known(self, target: Shaped[Tensor, "batch y x"]) -> Bool[Tensor, "batch 1 y x"]:
        """Return which pixels are learned from."""
        return (target != UNLABELLED).unsqueeze(1)

    def planes(self, target: Shaped[Tensor, "batch y x"]) -> Float[Tensor, "batch channel y x"]:
        """Return one 0/1 plane for each class and one for unlabelled pixels; all are 0 where nothing is learned."""
        there = target != UNLABELLED
        hot = one_hot(torch.where(there, target, 0).long(), self.classes + 1)
        return (hot * there.unsqueeze(-1)).permute(0, 3, 1, 2).float()

    def answer(self, raw: Float[Tensor, "batch channel y x"]) -> Float[Tensor, "batch channel y x"]:
        """Return the spectra in the units of the recipe's output."""
        return raw

    def magnitude(self, target: Shaped[Tensor, "batch y x"]) -> Float[Tensor, "batch channel y x"]:
        """Return 1: errors of spectra are not compared with classes."""
        return torch.ones_like(self.planes(target))

    def activate(self, raw: Float[Tensor, "batch channel y x"]) -> Float[Tensor, "batch channel y x"]:
        """Return the spectra in the units of the recipe's output."""
        return raw

    def decode(self, blended: Float[np.ndarray, "y x channel"]) -> Float[np.ndarray, "y x channel"]:
        """Return the spectra in the units of the recipe's output."""
        return blended
