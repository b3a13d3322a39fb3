"""File spectra: the spectra of one file of an instrument, which are in memory."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Float, Float64


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class FileSpectra:
    """One or several spectra on one axis."""

    path: Path
    """The path of the file."""
    unit: str
    """The unit of the axis by the file, empty if it says none."""
    axis: Float64[np.ndarray, " band"]
    """The places of the bands."""
    values: Float[np.ndarray, "spectrum band"]
    """The values of the spectra; NaN for no data."""
    names: tuple[str, ...]
    """The names of the spectra."""
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What the file says of each spectrum, as texts by the name of a column."""
    header: Mapping[str, str] = field(default_factory=dict)
    """The other facts of the file as text."""
    notes: tuple[str, ...] = ()
    """The assumptions that were made."""
