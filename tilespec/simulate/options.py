"""Options of `simulate`."""

from dataclasses import dataclass, field
from typing import final

from tilespec.core.options import PYTHON, DryRun, Overwrite, Seeded


@final
@dataclass(frozen=True, kw_only=True)
class SimulateOptions(Seeded, DryRun, Overwrite):
    """The options of `simulate`."""

    kind: str = "plants"
    """The scene is of this kind: ``plants`` in pots, or ``samples`` of meat on a tray."""
    rows: int = 3000
    """The scene has this many rows of pixels."""
    cols: int = 2796
    """The scene has this many columns of pixels."""
    bands: int = 186
    """The scene has this many bands, evenly from 407 to 997 nm for plants, from 850 to 1700 nm for samples."""
    plants: int = 36
    """This many plants grow, one in a pot, on a grid of pots as near to square as the size allows."""
    samples: int = 24
    """This many samples lie on the tray, one in a cell of a grid; their mean contents come in OUT.references.csv."""
    raw: bool = False
    """Write uint16 sensor counts with white and dark references as ENVI files, instead of reflectance."""
    workers: int | None = field(default=None, metadata=PYTHON)
    """This many threads share the work; the default is as many as this process may use."""
