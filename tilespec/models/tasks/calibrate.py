"""Calibrate: the spectrum that another instrument would have measured."""

from dataclasses import dataclass
from typing import ClassVar, final

from tilespec.models.tasks.values import Values


@final
@dataclass(frozen=True, kw_only=True)
class Calibrate(Values):
    """Spectra of one instrument from those of another, which may have other bands (calibration transfer)."""

    metrics: ClassVar[tuple[str, ...]] = ("rmse", "mae", "r2", "sam")
