"""Options of `report`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from tilespec.core.options import DryRun, Overwrite


@final
@dataclass(frozen=True, kw_only=True)
class ReportOptions(DryRun, Overwrite):
    """The options of `report`."""

    title: str | None = None
    """The page has this title."""
    pixel: Sequence[str] = ()
    """The true and reconstructed spectra of the pixel Y,X are drawn; the option may be repeated."""
    samples: str = "sample"
    """Chemical maps are shown inside of the samples of this layer of their scene, if it has one."""
