"""HySpex: the dark frame and the list of bad detector elements, which the camera writes before its counts.

The layout follows the reader that Norsk Elektro Optikk supplies to its customers (`readHyspexHdr.m`, T. Loke):
packed little-endian fields, then spectral calibration and quantum efficiency (one float64 a band), responsivity and
dark frame (float64 for each band and column), and the bad elements as uint32 ``band * columns + column``.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import numpy as np
from jaxtyping import Bool, Float64, Int64

from tilespec.ingest.readers.source import Facts

MAGIC: Final = b"HYSPEX"
FIELDS: Final = np.dtype(
    {
        "names": ["header", "bands", "columns", "backgrounds", "bad"],
        "formats": ["<u4"] * 5,
        "offsets": [8, 1961, 1965, 2009, 2077],
        "itemsize": 2181,
    }
)
"""The fields: bytes of the header, size of the detector, whether there is a dark frame, number of bad elements."""


@final
@dataclass(frozen=True, kw_only=True)
class Detector:
    """The properties of a detector from the preamble of its data."""

    dark: Float64[np.ndarray, "x band"] | None
    """The dark counts; None when they were not measured."""
    bad: Bool[np.ndarray, "x band"]
    """The elements on the camera's list of bad ones."""
    notes: tuple[str, ...] = ()
    """The notes on what was used or ignored."""


def detector(facts: Facts) -> Detector | None:
    """Return the properties of a detector from the preamble of a HySpex file; none for other files.

    A preamble for another size than the scene (windowed or binned data) is ignored with a note.
    """
    data = next((path for path in facts.files if _magic(path)), None)
    if data is None:
        return None
    with data.open("rb") as file:
        head = file.read(FIELDS.itemsize)
        fields = np.frombuffer(head.ljust(FIELDS.itemsize, b"\0"), FIELDS)[0]
        bands, columns = int(fields["bands"]), int(fields["columns"])
        size = FIELDS.itemsize + 8 * (2 * bands + 2 * bands * columns) + 4 * int(fields["bad"])
        if (columns, bands) != facts.shape[1:] or size > int(fields["header"]):
            return _none(facts, f"{data.name}: its preamble is of {columns} columns x {bands} bands and is passed over")
        file.seek(FIELDS.itemsize + 8 * (2 * bands + bands * columns))
        dark = np.frombuffer(file.read(8 * bands * columns), "<f8")
        listed = np.frombuffer(file.read(4 * int(fields["bad"])), "<u4").astype(np.int64)
    if dark.size < bands * columns or len(listed) < int(fields["bad"]):
        return _none(facts, f"{data.name}: its preamble ends early and is passed over")
    usable = bool(fields["backgrounds"]) and np.isfinite(dark).all() and bool((dark > 0).any())
    return Detector(
        dark=dark.reshape(bands, columns).T.copy() if usable else None,
        bad=_mask(listed, bands, columns),
        notes=_notes(data, listed, bands * columns, usable=usable),
    )


def _magic(path: Path) -> bool:
    """Return whether a file begins like HySpex data."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def _mask(listed: Int64[np.ndarray, " n"], bands: int, columns: int) -> Bool[np.ndarray, "x band"]:
    """Return which elements are on the list, as bool ``x band``."""
    mask = np.zeros(bands * columns, bool)
    mask[listed[listed < mask.size]] = True
    return mask.reshape(bands, columns).T.copy()


def _none(facts: Facts, note: str) -> Detector:
    """Return a detector without known properties."""
    return Detector(dark=None, bad=np.zeros(facts.shape[1:], bool), notes=(note,))


def _notes(data: Path, listed: Int64[np.ndarray, " n"], size: int, *, usable: bool) -> tuple[str, ...]:
    """Return notes about the detector for the user."""
    outside = int((listed >= size).sum())
    notes = [f"{data.name}: {outside} bad elements lie outside the detector and are passed over"] if outside else []
    if usable:
        notes.append(f"{data.name}: the camera's own dark frame is used where no dark reference is given")
    return tuple(notes)
