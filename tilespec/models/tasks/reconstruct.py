"""Reconstruct: values of several channels for each pixel, such as a spectrum from RGB."""

from dataclasses import dataclass
from typing import ClassVar, final

from tilespec.models.tasks.values import Values


@final
@dataclass(frozen=True, kw_only=True)
class Reconstruct(Values):
    """Values of any kind at the place of each pixel."""

    metrics: ClassVar[tuple[str, ...]] = ("rmse", "mae", "mrae", "r2", "psnr", "sam", "gfc")
