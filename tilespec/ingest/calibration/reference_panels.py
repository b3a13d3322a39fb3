"""Targets: rectangles of a scene with a known reflectance, one value or a measured spectrum."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import numpy as np
from jaxtyping import Float64

from tilespec.core.errors import UserError
from tilespec.core.types import Roi, SpectralAxis
from tilespec.ingest.readers.source import Facts
from tilespec.ingest.readers.wavelengths import decimal, rows_of

BRIGHTEST: Final = 1.2
"""The highest valid reflectance; larger values are percent."""
COLUMNS: Final = ("name", "rows", "cols", "reflectance")
"""The names of the columns of a file of targets."""
MICROMETRES: Final = 100.0
"""The limit below which all wavelengths of a spectrum are in micrometres."""


@final
@dataclass(frozen=True, kw_only=True)
class KnownReflectance:
    """A known reflectance at the bands of a scene."""

    values: Float64[np.ndarray, " band"]
    """The reflectance of each band; NaN for bands outside the measured range."""
    files: tuple[Path, ...] = ()
    """The files that it was read from."""
    notes: tuple[str, ...] = ()
    """The assumptions that were made."""


@final
@dataclass(frozen=True, kw_only=True)
class ReferencePanel:
    """A rectangle of known reflectance."""

    name: str
    """The name for messages and provenance."""
    roi: Roi
    """The rectangle in pixels of the scene."""
    known: KnownReflectance
    """The known reflectance."""


def rectangle(where: str, text: str, shape: tuple[int, int, int]) -> Roi:
    """Return the region ``A:B,C:D`` (rows, columns) of a scene."""
    rows, comma, cols = text.partition(",")
    if not comma:
        raise UserError(
            where,
            found=repr(text),
            expected="A:B,C:D, rows and columns",
            do=f"The scene has {shape[0]} rows and {shape[1]} columns; give for example {where} 10:40,100:160.",
        )
    try:
        return Roi.of(shape, rows.strip(), cols.strip())
    except UserError as error:
        raise UserError(
            where,
            found=repr(text),
            expected=f"A:B,C:D with rows up to {shape[0]} and columns up to {shape[1]}, A below B and C below D",
            do="Give a rectangle inside the scene.",
        ) from error


def known(where: str, text: str, facts: Facts, folder: Path | None = None) -> KnownReflectance:
    """Return a reflectance given as a number, or as a text file of wavelength and reflectance, at a scene's bands.

    Between measured wavelengths it is interpolated linearly; outside of them it is NaN.

    Args:
        where: The name for messages.
        text: The number, or the path of the file.
        facts: The facts of the scene.
        folder: The folder that the path is relative to and inside of; None permits any path.

    Raises:
        UserError: the text is neither a number nor such a file; the values are percent; or the scene of a spectrum has
            no wavelengths.
    """
    bands = facts.shape[2]
    try:
        value = decimal(text)
    except ValueError:
        path = Path(text) if folder is None else _inside(where, folder, text)
        return _at_bands(where, path, facts)
    _check(where, np.array([value]))
    return KnownReflectance(values=np.full(bands, value))


def read_targets(path: Path, facts: Facts) -> tuple[ReferencePanel, ...]:
    """Return the targets of a CSV file with the columns name, rows, cols, reflectance.

    Raises:
        UserError: the file has other columns or no target, a rectangle is outside the scene, or a reflectance is
            invalid.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        apart = ";" if lines and ";" in lines[0] else ","
        rows = list(csv.DictReader(lines, skipinitialspace=True, delimiter=apart))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(path, found=str(error), expected="a CSV file of targets", do="Check the path.") from error
    if not rows or not set(COLUMNS) <= {str(key).strip() for key in rows[0]}:
        raise UserError(
            path,
            found=f"the columns {', '.join(str(key) for key in rows[0])}" if rows else "no target",
            expected=f"the columns {', '.join(COLUMNS)}, and a target a line",
            do="For example: white,10:40,100:160,0.95 or grey,10:40,200:260,grey.txt",
        )
    targets = []
    for number, raw in enumerate(rows, 2):
        row = {str(key).strip(): str(value or "").strip() for key, value in raw.items()}
        where = f"{path}: line {number}"
        roi = rectangle(where, f"{row['rows']},{row['cols']}", facts.shape)
        reflectance = known(f"{where}: reflectance", row["reflectance"], facts, path.parent)
        targets.append(ReferencePanel(name=row["name"] or f"target {number - 1}", roi=roi, known=reflectance))
    return tuple(targets)


def _inside(where: str, folder: Path, text: str) -> Path:
    """Return the path that a file names; refuse one outside of that file's folder."""
    path = folder / text
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(where, found=repr(text), expected=f"a file in {folder}", do="Put it beside the targets.")
    return path


def _at_bands(where: str, path: Path, facts: Facts) -> KnownReflectance:
    """Return the reflectance from a text file, interpolated at the bands of a scene."""
    centres, values, notes = _table(where, path)
    _check(where, values)
    if facts.spectral is None or facts.spectral.name != "wavelength":
        raise UserError(
            where,
            found=f"a spectrum ({path.name}) for a scene without wavelengths",
            expected="wavelengths in the scene, or one reflectance for all bands",
            do="Give --wavelengths FILE, or a number.",
        )
    at = np.interp(_nanometres(facts.spectral), centres, values, left=np.nan, right=np.nan)
    outside = int(np.isnan(at).sum())
    if outside == len(at):
        raise UserError(
            path,
            found=f"{centres[0]:g} to {centres[-1]:g} nm",
            expected=f"wavelengths of the scene, {min(facts.spectral.values):g} to {max(facts.spectral.values):g} nm",
            do="Give wavelengths in nm (or all of them in um).",
        )
    if outside:
        span = f"{centres[0]:g} to {centres[-1]:g} nm"
        notes = (*notes, f"{path.name}: {outside} bands lie outside {span}: no data there")
    return KnownReflectance(values=at, files=(path,), notes=notes)


def _nanometres(axis: SpectralAxis) -> Float64[np.ndarray, " band"]:
    """Return the centres of the bands in nm; refuse a scene without wavelengths."""
    return np.asarray(axis.values, np.float64)


def _table(where: str, path: Path) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return sorted wavelengths in nm and their values from a text file of two columns; other lines are titles."""
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError as error:
        raise UserError(
            where,
            found=f"{path}: {error.strerror}",
            expected="a number, or a text file of wavelength and reflectance",
            do="Check the path.",
        ) from error
    pairs = [pair for words in rows_of(path, lines) if (pair := _pair(words)) is not None]
    table = np.array(sorted(pairs), np.float64).reshape(-1, 2)
    if len(table) < 2 or not np.isfinite(table).all() or (np.diff(table[:, 0]) <= 0).any():
        raise UserError(
            path,
            found=f"{len(table)} lines of two numbers",
            expected="wavelength and reflectance a line, at least two, no wavelength twice",
            do="Separate the two with a comma or a blank.",
        )
    if table[-1, 0] >= MICROMETRES:
        return table[:, 0], table[:, 1], ()
    return table[:, 0] * 1e3, table[:, 1], (f"{path.name}: wavelengths below {MICROMETRES:g}, taken as micrometres",)


def _pair(words: list[str]) -> tuple[float, float] | None:
    """Return the first two numbers of a line, or None for titles and comments."""
    try:
        return (decimal(words[0]), decimal(words[1])) if len(words) >= 2 else None
    except ValueError:
        return None


def _check(where: str, values: np.ndarray) -> None:
    """Refuse values that are not a reflectance."""
    if not ((values > 0) & (values <= BRIGHTEST)).all():
        raise UserError(
            where,
            found=f"{values.min():g}" if values.size == 1 else f"{values.min():g} to {values.max():g}",
            expected="reflectance between 0 and 1",
            do="Divide percent by 100.",
        )
