"""Labels: what all tasks share that predict one class at each place."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped, UInt8
from torch import Tensor
from torch.nn.functional import one_hot

from tilespec.core.errors import UserError
from tilespec.core.types import UNLABELLED, ClassMap, Reflectance
from tilespec.models.tasks.base import ReadsScores, without_gaps


@dataclass(frozen=True, kw_only=True)
class ClassLabels(ReadsScores):
    """Any number of classes below 255; 255 is unlabelled and does not enter the training."""

    truth: ClassVar[Literal["classes", "field"]] = "classes"
    metrics: ClassVar[tuple[str, ...]]
    """What a prediction is judged by, the leading metric first."""

    classes: int
    """The number of classes."""
    head: str = "logits"
    """The net's output: ``logits``, or ``tanh`` for planes near 0 and 1 as in pix2pix (Mishra and Herrmann 2021)."""

    least: float | None = None
    """The value below which a pixel's largest value gives no class but 255. None: every pixel with data has a class."""

    def __post_init__(self) -> None:
        if not 2 <= self.classes < UNLABELLED:
            raise UserError(
                "task.classes",
                found=self.classes,
                expected=f"2 to {UNLABELLED - 1} classes",
                do="Classes are numbered 0, 1, ...; 255 means unlabelled.",
            )
        if self.head not in ("logits", "tanh"):
            raise UserError(
                "task.head", found=repr(self.head), expected="logits or tanh", do="Use what the net ends in."
            )

    @property
    def channels_out(self) -> int:
        """The number of channels, one for each class."""
        return self.classes

    def pair(
        self, scores: Reflectance, truth: UInt8[np.ndarray, "y2 x2"]
    ) -> tuple[Reflectance, UInt8[np.ndarray, "y2 x2"]]:
        """Return scores and labels: 0 and 255 where a pixel has no data."""
        return without_gaps(scores, truth, self.geometry, UNLABELLED)

    def known(self, target: Shaped[Tensor, "batch y x"]) -> Bool[Tensor, "batch 1 y x"]:
        """Return where there is a label."""
        return (target != UNLABELLED).unsqueeze(1)

    def planes(self, target: Shaped[Tensor, "batch y x"]) -> Float[Tensor, "batch channel y x"]:
        """Return one 0/1 plane for each class; all planes are 0 where the target is unlabelled."""
        labelled = target != UNLABELLED
        hot = one_hot(torch.where(labelled, target, 0).long(), self.classes)
        return (hot * labelled.unsqueeze(-1)).permute(0, 3, 1, 2).float()

    def answer(self, raw: Float[Tensor, "batch channel y x"]) -> Float[Tensor, "batch channel y x"]:
        """Return the activated values, which have the units of planes."""
        return self.activate(raw)

    def magnitude(self, target: Shaped[Tensor, "batch y x"]) -> Float[Tensor, "batch channel y x"]:
        """Return 1, because probabilities have no larger scale."""
        return torch.ones_like(self.planes(target))

    def activate(self, raw: Float[Tensor, "batch channel y x"]) -> Float[Tensor, "batch channel y x"]:
        """Return the probabilities of logits, or the planes of tanh unchanged."""
        return torch.softmax(raw, dim=1) if self.head == "logits" else raw

    def decode(self, blended: Float[np.ndarray, "y x channel"]) -> ClassMap:
        """Return the class with the largest value, the first of equals; 255 if the value is too small."""
        classes: ClassMap = np.argmax(blended, axis=2).astype(np.uint8)
        if self.least is not None:
            classes[blended.max(axis=2) < np.float32(self.least)] = UNLABELLED
        return classes
