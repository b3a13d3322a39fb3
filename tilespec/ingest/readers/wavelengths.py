"""Wavelengths: spectral axes from files, with units converted to nanometres, assumptions noted, and lengths checked."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from tilespec.core.errors import UserError
from tilespec.core.spectral_units import CHOICES, quantity, unit_in
from tilespec.core.types import SpectralAxis

CENTRES: Final = re.compile(
    r"(list_?cw|cw|wl|lambda|wavelengths?|wave_?numbers?|raman|(raman_?)?shift|wave"
    r"|(band_?|channel_?)?(center|centre|central)s?(_?wavelengths?|_?wavenumbers?)?"
    r"|(band|channel)_(center|centre|wavelength|wavenumber)s?)(?![a-z])",
    re.IGNORECASE,
)
"""The names of vectors, and titles of columns, of band centres."""
COMMA: Final = re.compile(r"[-+]?\d+,\d+(?:[eE][-+]?\d+)?")
"""A number with a decimal comma."""
INNER: Final = re.compile(r"(?<=\d),(?=\d)")
"""A comma between two digits."""
NO_SENSOR: Final = 100.0
"""Wavelengths in nm below this are those of no optical sensor."""
UNKNOWN: Final = {"", "unknown", "none", "n/a"}


def spectral_axis(
    where: object,
    values: Sequence[float],
    *,
    bands: int,
    unit: str = "",
    fwhm: Sequence[float] | None = None,
    good: Sequence[bool] | None = None,
) -> tuple[SpectralAxis, tuple[str, ...]]:
    """Return the axis of ``bands`` bands, in nm or cm-1, and notes on assumptions.

    Raises:
        UserError: a list differs in length from the bands, or is not finite; or the unit is unknown.
    """
    check_count(f"{where}: wavelength", values, bands)
    check_count(f"{where}: bbl", good, bands)
    centres = np.asarray(values, np.float64)
    name, factor, notes = _unit(where, centres, unit)
    if fwhm is not None and len(fwhm) != bands:
        notes, fwhm = (*notes, f"{where}: fwhm has {len(fwhm)} values for {bands} bands and is left out"), None
    if not np.isfinite(centres * factor).all():
        raise UserError(
            f"{where}: wavelength",
            found=f"a value that is NaN or infinite for band {int(np.argmin(np.isfinite(centres)))}",
            expected="one finite number for each band",
            do="Correct the list, or give --wavelengths FILE.",
        )
    axis = SpectralAxis(
        name=name,  # type: ignore[arg-type]
        unit={"wavelength": "nm", "wavenumber": "cm-1", "channel": "1"}[name],
        values=_scaled(centres, factor),
        fwhm=None if fwhm is None else _scaled(np.asarray(fwhm, np.float64), factor),
        good=None if good is None else tuple(bool(x) for x in good),
    )
    return axis, (*notes, *_small(where, axis), *_order(where, centres))


def checked_unit(unit: str | None) -> str | None:
    """Return the user's ``--wavelength-unit``; refuse what is no unit of a spectral axis."""
    if unit is not None and (quantity(unit) or ("channel",))[0] == "channel":
        raise UserError("--wavelength-unit", found=repr(unit), expected=", ".join(CHOICES), do="Choose one of these.")
    return unit


def check_count(where: object, values: Sequence[object] | None, bands: int) -> None:
    """Refuse a list whose length differs from the number of bands."""
    if values is not None and len(values) != bands:
        raise UserError(
            where,
            found=f"{len(values)} values",
            expected=f"{bands}, one for each band",
            do="Correct the list or the number of bands, or give --wavelengths FILE.",
        )


def decimal(text: str) -> float:
    """Return one number, written with a decimal point or with a decimal comma.

    Raises:
        ValueError: the text has another form.
    """
    word = text.strip()
    return float(word.replace(",", ".") if COMMA.fullmatch(word) else word)


def numbers(where: object, text: str) -> tuple[float, ...]:
    """Return the numbers of a list separated by commas, semicolons or white space, without empty entries.

    Commas are decimal ones where semicolons or white space separate, no number has a point, and every comma stands
    between digits.
    """
    words = rows_of(where, [text])[0] if any(mark in text for mark in "; \t") else text.replace(",", " ").split()
    try:
        return tuple(decimal(word) for word in words)
    except ValueError as error:
        raise UserError(where, found=str(error), expected="numbers", do="Correct that entry.") from error


def rows_of(where: object, lines: Sequence[str]) -> list[list[str]]:
    """Return the words of the lines of a table of numbers, whose separator and decimal mark are those of all lines.

    Semicolons and tabs separate before blanks, and blanks before commas. A comma between two digits is a decimal mark
    where something else separates, if all lines are so and no number has a point.

    Raises:
        UserError: lines such as ``400,52`` can be read in two ways.
    """
    data = [line for line in lines if _first_number(line.replace(",", " ").replace(";", " ").split()) is not None]
    numeric = " ".join(word for line in data for word in re.split(r"[\s;]+", line) if re.match(r"[-+.,\d]", word))
    pointed = "." in numeric
    inner = len(INNER.findall(numeric))
    if not pointed and inner:
        clean = inner == numeric.count(",")
        apart = clean and any(re.search(r"[;\t]|\d\s+[-+]?\d", line.strip()) for line in data)
        mixed = not clean and len(data) > 1
        if mixed or (clean and not apart and all(line.count(",") <= 1 for line in data)):
            raise UserError(
                where,
                found=f"{data[0].strip()!r}: one number with a decimal comma, or two",
                expected="decimal points; or semicolons between numbers with decimal commas",
                do="Write 400.52, or 400,52; 5,2.",
            )
        if apart:
            return [re.split(r"[;\s]+", line.strip()) for line in lines]
    return [line.replace(",", " ").replace(";", " ").split() for line in lines]


def wavelengths_file(path: Path) -> tuple[float, ...]:
    """Return the wavelengths from a text file: a number of each line; other lines are titles or comments.

    Of several columns it is the one whose title names it, else the first that does not count the lines.
    """
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise UserError(
            path, found=str(error), expected="a text file, one wavelength a line", do="Check the path."
        ) from error
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith(("#", ";"))]
    if len(lines) == 1:
        return numbers(path, lines[0])
    rows = rows_of(path, lines)
    table = [values for values in map(_numbers_in, rows) if values]
    if len({len(values) for values in table}) != 1:
        return tuple(values[0] for values in table)
    return tuple(np.transpose(table)[_column(lines, table)].tolist())


def even_ends(text: str) -> tuple[float, float] | None:
    """Return the first and the last centre from ``FIRST:LAST``, or None for other text."""
    first, colon, last = text.partition(":")
    try:
        return (float(first), float(last)) if colon else None
    except ValueError:
        return None


def unit_in_head(path: Path) -> str:
    """Return the unit that the first lines of a text file hold, before its first number; empty without one."""
    for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines():
        if unit := unit_in(line):
            return unit
        if not line.lstrip().startswith(("#", ";")) and _first_number(re.split(r"[,;\s]+", line)) is not None:
            break
    return ""


def _column(lines: Sequence[str], table: Sequence[Sequence[float]]) -> int:
    """Return which column of a table has the wavelengths: by its title, else the first that counts no lines."""
    width = len(table[0])
    titles = re.split(r"\s*[,;\t]\s*" if re.search(r"[,;\t]", lines[0]) else r"\s+", lines[0].strip())
    if len(titles) == width and _first_number(titles) is None:
        named = [i for i, title in enumerate(titles) if CENTRES.match(title.strip("\"' #"))]
        if named:
            return named[0]
    columns = np.transpose(table)
    counting = np.isin(columns[:, 0], (0, 1)) & (np.diff(columns) == 1).all(axis=1)
    return int(np.argmin(counting))


def _numbers_in(words: Sequence[str]) -> list[float]:
    """Return the words that are numbers."""
    return [value for word in words if (value := _first_number([word])) is not None]


def _first_number(words: Sequence[str]) -> float | None:
    """Return the first number of some words, or None."""
    for word in words:
        try:
            return decimal(word)
        except ValueError:
            continue
    return None


def _unit(where: object, values: np.ndarray, unit: str) -> tuple[str, float, tuple[str, ...]]:
    """Return the axis' name, the factor to its unit inside tilespec, and notes."""
    spectral = quantity(unit)
    if spectral is not None:
        numbered = spectral[0] == "channel"
        notes = (f"{where}: the bands are numbered, not placed on a wavelength axis",) if numbered else ()
        return *spectral, notes
    if unit.strip().lower() not in UNKNOWN:
        raise UserError(
            f"{where}: wavelength units",
            found=repr(unit),
            expected="Nanometers, Micrometers, Angstroms, cm-1 or Index",
            do="Name it with --wavelength-unit nm, um or cm-1; or remove it: below 100 is then read as micrometres.",
        )
    counted = np.arange(len(values))
    if len(values) > 1 and (np.array_equal(values, counted) or np.array_equal(values, counted + 1)):
        return "channel", 1.0, (f"{where}: wavelengths are 0, 1, 2, ...: taken as numbers of bands",)
    guess, factor = ("micrometres", 1e3) if np.nanmax(values, initial=-np.inf) < 100 else ("nanometres", 1.0)
    return "wavelength", factor, (f"{where}: wavelength units missing, taken as {guess}",)


def _scaled(values: np.ndarray, factor: float) -> tuple[float, ...]:
    """Return values times a factor, rounded to 1e-6 so that 0.65 um is 650 nm."""
    return tuple(float(x) for x in (values if factor == 1.0 else np.round(values * factor, 6)))


def _small(where: object, axis: SpectralAxis) -> tuple[str, ...]:
    """Return a note on wavelengths below 100 nm, which no spectrometer of scenes measures: their unit is wrong."""
    top = max(axis.values, default=NO_SENSOR)
    small = axis.name == "wavelength" and top < NO_SENSOR
    return (f"{where}: wavelengths up to {top:g} nm; if they are in micrometres: --wavelength-unit um",) * small


def _order(where: object, values: np.ndarray) -> tuple[str, ...]:
    """Return notes on an axis that does not rise or fall, or repeats a value."""
    steps = np.diff(values)
    notes = []
    if not (np.all(steps >= 0) or np.all(steps <= 0)):
        notes.append(f"{where}: wavelengths are not sorted; the order of the file is kept")
    if len(np.unique(values)) < len(values):
        notes.append(f"{where}: some wavelengths occur twice")
    return tuple(notes)
