"""Curve files: spectra or responses from a small text file with wavelengths of its own."""

from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Float64

from tilespec.core.errors import UserError
from tilespec.spectra.bands import Bands

LARGEST = 1 << 26
"""The size in bytes of the largest file that is read: 64 MiB."""
PHYSICAL = ("wavelength", "wavenumber")
"""The names of the axes along which a spectrum is a curve."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Curves:
    """The columns of a table; the first column holds the positions on the spectral axis."""

    source: str
    """The path of the file, for messages."""
    names: tuple[str, ...]
    """The header of each column after the first; empty without a header."""
    places: Float64[np.ndarray, " place"]
    """The first column, ascending, in the unit of the scene's axis, or band numbers for a scene without one."""
    values: Float64[np.ndarray, "curve place"]
    """The columns after the first, one curve for each."""

    def at(self, bands: Bands, step: str) -> Float64[np.ndarray, "curve band"]:
        """Return the curves at the band centres, by linear interpolation without extrapolation.

        Raises:
            UserError: a band lies outside the positions of the file.
        """
        wanted = places(bands, step)
        slack = 1e-9 * max(abs(self.places[0]), abs(self.places[-1]))
        outside = (wanted < self.places[0] - slack) | (wanted > self.places[-1] + slack)
        if outside.any():
            raise UserError(
                f"step {step!r}",
                found=f"{self.source} from {self.places[0]:g} to {self.places[-1]:g}",
                expected=f"values up to {int(outside.sum())} more bands, from {wanted.min():g} to {wanted.max():g}",
                do="Crop the scene to the file's range before this step, or check the unit of the first column.",
            )
        return np.stack([np.interp(wanted, self.places, curve) for curve in self.values])


def places(bands: Bands, step: str) -> Float64[np.ndarray, " band"]:
    """Return the positions of bands along the spectrum: their coordinate, or their numbers from 0 without one.

    Raises:
        UserError: the bands are components or channels, which have no position in a spectrum.
    """
    if bands.axis is None:
        return np.arange(bands.count, dtype=np.float64)
    if bands.axis.name not in PHYSICAL:
        raise UserError(
            f"step {step!r}",
            found=f"bands that are {bands.axis.name}s",
            expected="a spectrum, by wavelength or wavenumber",
            do="Put the step before the one that made them.",
        )
    return np.asarray(bands.axis.values, np.float64)


def read_curves(path: str, step: str) -> Curves:
    """Return the table in a text file: numbers split at commas, semicolons, tabs or spaces; ``#`` starts a comment.

    Lines above the first number are headers; the last of them with a name for every column gives the names.

    Raises:
        UserError: the file does not exist, is too large or is no text; a cell is not a finite number; rows differ in
            length; or a position occurs twice.
    """
    rows = [cells for cells in map(_cells, _text(path, step).splitlines()) if cells]
    above = next((i for i, cells in enumerate(rows) if _number(cells[0]) is not None), len(rows))
    headers, body = rows[:above], rows[above:]
    if not body:
        raise _unreadable(path, step, "no row of numbers")
    width = len(body[0])
    for number, cells in enumerate(body, 1):
        if len(cells) != width or any(_number(cell) is None for cell in cells):
            raise _unreadable(path, step, f"row {number} of numbers {','.join(cells)[:60]!r}, the first has {width}")
    table = np.array([[float(cell) for cell in cells] for cells in body])
    table = table[np.argsort(table[:, 0], kind="stable")]
    twice = np.flatnonzero(np.diff(table[:, 0]) == 0)
    if len(twice):
        raise _unreadable(path, step, f"{table[twice[0], 0]:g} twice in the first column")
    names = next((tuple(cells[1:]) for cells in reversed(headers) if len(cells) == width), ())
    return Curves(source=path, names=names, places=table[:, 0].copy(), values=table[:, 1:].T.copy())


def _text(path: str, step: str) -> str:
    """Return the contents of a text file."""
    file = Path(path)
    if not file.is_file():
        raise _unreadable(path, step, "no such file")
    if file.stat().st_size > LARGEST:
        raise _unreadable(path, step, f"{file.stat().st_size} bytes, more than {LARGEST}")
    try:
        return file.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise _unreadable(path, step, "no UTF-8 text") from None


def _cells(line: str) -> list[str]:
    """Return the cells of a line; an empty line or a comment has none."""
    text = line.partition("#")[0].strip()
    mark = next((mark for mark in (";", ",", "\t") if mark in text), None)
    cells = [cell.strip().strip('"') for cell in text.split(mark)]
    while cells and not cells[-1]:
        cells.pop()
    return cells


def _number(cell: str) -> float | None:
    """Return a finite number, or None for other text."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _unreadable(path: str, step: str, found: str) -> UserError:
    return UserError(
        f"step {step!r}, {path}",
        found=found,
        expected="a text table of finite numbers: places in the first column, one curve in each other",
        do="Correct the file, or the path (one without commas and colons).",
    )
