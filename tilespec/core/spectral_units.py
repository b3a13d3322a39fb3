"""Units of spectral axes in all their spellings: wavelengths to nm, wavenumbers and Raman shifts to cm-1."""

import re
from typing import Final

NANOMETRES: Final = {
    "nm": 1.0,
    "nanometer": 1.0,
    "nanometre": 1.0,
    "um": 1e3,
    "µm": 1e3,
    "micron": 1e3,
    "micrometer": 1e3,
    "micrometre": 1e3,
    "mm": 1e6,
    "millimeter": 1e6,
    "millimetre": 1e6,
    "m": 1e9,
    "meter": 1e9,
    "metre": 1e9,
    "angstrom": 0.1,
    "ångström": 0.1,
    "å": 0.1,
}
"""The nanometres in one unit; a final s is ignored."""
WAVENUMBERS: Final = {
    **dict.fromkeys(("cm-1", "cm1", "1/cm", "/cm", "percm", "wavenumber", "percentimeter", "percentimetre"), 1.0),
    **dict.fromkeys(("inversecentimeter", "reciprocalcentimeter", "kayser"), 1.0),
    **dict.fromkeys(("m-1", "1/m", "/m", "permeter", "permetre"), 1e-2),
}
"""The cm-1 in one unit; a final s is ignored."""
CHANNELS: Final = {"index", "channel", "band", "1"}
LENGTHS: Final = {"m", "meter", "metre", "mm", "millimeter", "millimetre"}
"""The units that are more often a distance than a wavelength."""
CHOICES: Final = ("nm", "um", "cm-1")
"""The units that a user can name."""
SHIFTS: Final = {"raman", "shift", "ramanshift", "wavenumber", "wavenumbers"}
"""The words in the name of an axis that say that it is in cm-1."""


def quantity(unit: str) -> tuple[str, float] | None:
    """Return the name of a spectral axis (``wavelength``, ``wavenumber``, ``channel``) and the factor to nm or cm-1.

    None for text that is no unit of a spectral axis.
    """
    key = re.sub(r"[\s^*{}()\[\]\"']", "", unit).lower()
    for old, new in (("μ", "µ"), ("\N{MINUS SIGN}", "-"), ("⁻¹", "-1"), ("\N{EN DASH}", "-")):
        key = key.replace(old, new)
    for name, table in (("wavenumber", WAVENUMBERS), ("wavelength", NANOMETRES)):
        factor = table.get(key, table.get(key.removesuffix("s")))
        if factor is not None:
            return name, factor
    return ("channel", 1.0) if key in CHANNELS else None


def unit_in(text: str) -> str:
    """Return the unit that a name or a title holds, such as ``shift_cm1``, ``Wavelength (nm)`` or ``unit: cm-1``.

    Empty when it holds none. A title that speaks of wavenumbers or of a Raman shift without a unit is in cm-1.
    """
    words = [word for word in re.split(r"[\s,;:=_\t\"'|#()\[\]]+|(?<=[A-Za-z])/", text) if word]
    for word in words:
        spectral = quantity(word)
        plain = word.lower() not in CHANNELS | LENGTHS | SHIFTS
        if spectral is not None and spectral[0] != "channel" and plain:
            return word
    return "cm-1" if SHIFTS & {word.lower() for word in words} else ""
