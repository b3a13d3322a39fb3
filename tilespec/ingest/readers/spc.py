"""SPC: spectra of Thermo Galactic's format, with one axis for all of a file, even or listed.

Thermo Galactic, *A brief guide to SPC file format and using GSPCIO* (2001): header, axis, then each spectrum with a
header of its own. Files of several axes, and those of before 1996, are refused.
"""

import struct
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float64

from tilespec.core.errors import UserError
from tilespec.ingest.readers.file_spectra import FileSpectra

HEADER: Final = struct.Struct("<BBBbiddiB")
"""Flags, version, technique, exponent, points, first and last place, spectra, unit of the axis."""
HEADER_BYTES: Final = 512
SPECTRUM: Final = struct.Struct("<Bbxxff12xf")
"""Flags, exponent, the place of a spectrum along the axis Z and that of the next one, its place along W."""
STEPS: Final = struct.Struct("<fi")
"""The distance of spectra along Z, and the number of planes along W."""
STEPS_PLACE: Final = 312
SPECTRUM_BYTES: Final = 32
NEW: Final = 0x4B
"""The version in which numbers are little-endian."""
SHORT, OWN_EXPONENTS, UNEVEN, OWN_AXES, LISTED = 1, 4, 24, 64, 128
"""The flags: 16 bits, an exponent for each spectrum, Z in any or rising steps, an axis for each, a listed axis."""
FLOATS: Final = -128
"""The exponent of values that are floats."""
UNITS: Final = {1: "cm-1", 2: "um", 3: "nm", 13: "cm-1"}
"""The units by their number; 13 is a Raman shift."""


def read_spc(path: Path) -> FileSpectra:
    """Return the spectra of a file.

    Raises:
        UserError: it is of another version, has several axes, or ends early.
    """
    raw = path.read_bytes()
    if len(raw) < HEADER_BYTES or raw[1] != NEW:
        raise _broken(path, f"version {raw[1]:#x}" if len(raw) > 1 else "no header", f"version {NEW:#x}")
    flags, _, _, exponent, points, first, last, count, unit = HEADER.unpack_from(raw)
    if flags & OWN_AXES:
        raise _broken(path, "an axis for each spectrum", "one axis for all")
    kind = np.dtype("<f4" if exponent == FLOATS else "<i2" if flags & SHORT else "<i4")
    listed = 4 * points if flags & LISTED else 0
    size, count = SPECTRUM_BYTES + points * kind.itemsize, max(count, 1)
    if points < 1 or len(raw) < HEADER_BYTES + listed + count * size:
        raise _broken(
            path, f"{len(raw)} bytes", f"{HEADER_BYTES + listed + count * size} for {count} x {points} values"
        )
    axis = np.frombuffer(raw, "<f4", points, HEADER_BYTES) if listed else np.linspace(first, last, points)
    values, places = np.empty((count, points)), np.empty((count, 3))
    for i in range(count):
        at = HEADER_BYTES + listed + i * size
        _, own, *places[i] = SPECTRUM.unpack_from(raw, at)
        own = own if flags & OWN_EXPONENTS else exponent
        scale = 1.0 if kind.kind == "f" else 2.0 ** (own - 8 * kind.itemsize)
        values[i] = np.frombuffer(raw, kind, points, at + SPECTRUM_BYTES) * scale
    names = (path.stem,) if count == 1 else tuple(f"{path.stem}_{i}" for i in range(count))
    lines = {"z": _along_z(places, raw, flags), "w": places[:, 2]}
    return FileSpectra(
        path=path,
        unit=UNITS.get(unit, ""),
        axis=axis.astype(np.float64),
        values=values,
        names=names,
        columns={name: tuple(f"{v:.9g}" for v in line) for name, line in lines.items() if (line != line[0]).any()},
    )


def _along_z(places: Float64[np.ndarray, "spectrum 3"], raw: bytes, flags: int) -> Float64[np.ndarray, " spectrum"]:
    """Return the places along Z; of spectra in even steps the file need only say those of the first and the next."""
    z, (step, planes) = places[:, 0], STEPS.unpack_from(raw, STEPS_PLACE)
    step = step or places[0, 1] - z[0]
    if flags & UNEVEN or z[1:].any() or planes > 1 or not step:
        return z
    return z[0] + step * np.arange(len(z))


def _broken(path: Path, found: str, expected: str) -> UserError:
    return UserError(path, found=found, expected=expected, do="Save it anew with the instrument's program.")
