"""Classify: one class for each spectrum, or for each image of a scene that is made of images."""

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, final

from tilespec.core.errors import UserError
from tilespec.models.tasks.base import Geometry
from tilespec.models.tasks.class_labels import ClassLabels


@final
@dataclass(frozen=True, kw_only=True)
class Classify(ClassLabels):
    """One class for each cell of ``cell`` x ``cell`` pixels, such as an image; a pixel, or a spectrum, by default.

    The class of a cell is that of most of its labelled pixels, if half of its pixels or more have a label.
    """

    metrics: ClassVar[tuple[str, ...]] = ("oa", "aa", "kappa", "miou")

    cell: int = 1
    """The number of pixels along each side of a cell; cells lie side by side from the corner of the scene."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cell < 1:
            raise UserError("task.cell", found=self.cell, expected="1 or more", do="Set it to the side of an image.")

    @property
    def geometry(self) -> Geometry:
        """One output pixel for each cell."""
        return Geometry(scale=Fraction(1, self.cell))
