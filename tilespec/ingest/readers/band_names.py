"""Band names: wavelengths that a file only has in the names of its bands, such as ``Band 1 (450.2 nm)``."""

import re
from collections.abc import Sequence
from typing import Final

from tilespec.core.spectral_units import LENGTHS, quantity
from tilespec.core.types import SpectralAxis
from tilespec.ingest.readers.wavelengths import spectral_axis

MEASURE: Final = re.compile(r"(\d+(?:\.\d+)?)[ _]*\(?([^\W\d_]+(?:-1)?)")
"""A number and the word behind it, which may be its unit."""


def axis_in_names(where: object, names: Sequence[str], bands: int) -> tuple[SpectralAxis | None, tuple[str, ...]]:
    """Return the axis from the names of all bands, and a note that says so; else None, and a note that there is none.

    Every name has to have one number with a unit of wavelength or wavenumber, all in one unit, and no number twice.
    """
    found = [[(n, unit) for n, unit in MEASURE.findall(name) if _is_spectral(unit)] for name in names]
    single = [entry[0] for entry in found if len(entry) == 1]
    values, units = [float(n) for n, _ in single], {unit for _, unit in single}
    if not bands or not len(single) == len(names) == len(set(values)) == bands or len(units) != 1:
        return None, (f"{where}: no wavelengths",)
    axis, notes = spectral_axis(where, values, bands=bands, unit=units.pop())
    return axis, (f"{where}: wavelengths are those in the names of the bands", *notes)


def _is_spectral(unit: str) -> bool:
    """Return whether a word is a unit of a spectral axis, and none of distance."""
    spectral = None if unit.lower() in LENGTHS else quantity(unit)
    return spectral is not None and spectral[0] != "channel"
