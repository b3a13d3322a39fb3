"""Denoise: the spectrum of each pixel without its noise."""

from dataclasses import dataclass
from typing import ClassVar, final

from tilespec.models.tasks.values import Values


@final
@dataclass(frozen=True, kw_only=True)
class Denoise(Values):
    """Spectra on the bands of the scene, or on those that the recipe leaves, learned from a target with less noise."""

    metrics: ClassVar[tuple[str, ...]] = ("rmse", "snr", "sam", "mae", "r2")
    same_bands: ClassVar[bool] = True
