"""Superres: spectra on a finer grid of pixels."""

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, final

from tilespec.core.errors import UserError
from tilespec.models.tasks.base import Geometry
from tilespec.models.tasks.values import Values

FINEST = 16
"""The largest number of output pixels along the side of an input pixel."""


@final
@dataclass(frozen=True, kw_only=True)
class Superres(Values):
    """Values of ``scale`` x ``scale`` pixels for each pixel of the scene; the target has as many."""

    metrics: ClassVar[tuple[str, ...]] = ("psnr", "ergas", "sam", "rmse", "mae")

    scale: int = 2
    """The number of output pixels along the side of an input pixel."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.scale <= FINEST:
            raise UserError("task.scale", found=self.scale, expected=f"1 to {FINEST}", do="Set it as the net's.")

    @property
    def geometry(self) -> Geometry:
        """As many output pixels along each side of an input pixel as the scale says."""
        return Geometry(scale=Fraction(self.scale))
