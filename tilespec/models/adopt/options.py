"""Options of `adopt`."""

from dataclasses import dataclass
from typing import final

from tilespec.core.options import DryRun


@final
@dataclass(frozen=True, kw_only=True)
class AdoptOptions(DryRun):
    """The options of `adopt`."""

    like: str
    """This scene has the bands and the classes of the spectra that the estimator was fitted on."""
    task: str | None = None
    """The estimator predicts classes (segment) or values (reconstruct); the default is what suits it."""
    recipe: str | None = None
    """The estimator reads what the fitted recipe in this folder gives."""
