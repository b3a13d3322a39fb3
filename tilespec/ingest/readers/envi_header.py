"""ENVI header: the text of a header as keys and values, as ENVI writes it and as people do."""

import re
from pathlib import Path
from typing import Final

from tilespec.core.errors import UserError

LARGEST: Final = 1 << 26
"""The size in bytes of the largest header that is read; a list of 100 000 wavelengths takes 1 MB."""
ESRI: Final = ("BYTEORDER", "LAYOUT", "NROWS", "NCOLS", "NBANDS", "NBITS")
KNOWN: Final = (
    *("samples", "lines", "bands", "data type", "interleave", "byte order", "header offset", "file type"),
    *("wavelength", "wavelength units", "fwhm", "bbl", "data ignore value", "reflectance scale factor"),
    *("data gain values", "data offset values", "map info", "coordinate system string", "class names", "classes"),
    "tilespec class names",
)
"""The keys that become facts of the scene; all others are copied to its header."""
SPELLINGS: Final = {"wavelengths": "wavelength", "wavelength unit": "wavelength units", "class name": "class names"}
"""Known keys in other spellings; ``_`` for a space, as GDAL shows them, is another."""
STRUCTURE: Final = ("samples", "lines", "bands", "data type", "interleave", "byte order", "header offset")


def read_header(path: Path) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the keys (lower case, single spaces) and values (braces kept) of an ENVI header, and notes.

    Text is UTF-8 with or without a mark, else Latin-1; line ends of any system; lines that begin with ``;`` are
    comments; a value in braces may take many lines.

    Raises:
        UserError: the file is no ENVI header, a brace does not close, or a structural key has two different values.
    """
    text = _text(path)
    lines = text.splitlines()
    first = next((i for i, line in enumerate(lines) if line.strip()), len(lines))
    if first == len(lines) or lines[first].strip().upper() != "ENVI":
        raise UserError(
            path,
            found=_kind(lines[first] if first < len(lines) else ""),
            expected="an ENVI header, whose first line is ENVI",
            do="Give the ENVI header, or ingest the data through another format (GeoTIFF, .npy, ...).",
        )
    return _entries(path, lines, first + 1)


def key_of(name: str) -> str:
    """Return a key in small letters with single spaces, a known one as ENVI spells it."""
    key = re.sub(r"\s+", " ", name).strip().lower()
    spaced = key.replace("_", " ")
    return SPELLINGS.get(spaced, spaced if spaced in KNOWN else key)


def unbraced(value: str) -> str:
    """Return a value without its braces, white space collapsed."""
    return " ".join(value.strip().removeprefix("{").removesuffix("}").split())


def names(value: str) -> tuple[str, ...]:
    """Return the entries of a list of names, each at its number: only empty ones at the end are left out."""
    return tuple(entry.strip() for entry in unbraced(value).rstrip(", ").split(","))


def _text(path: Path) -> str:
    """Return the text of a header."""
    try:
        if path.stat().st_size > LARGEST:
            raise UserError(
                path,
                found=f"{path.stat().st_size} bytes",
                expected=f"a header of at most {LARGEST} bytes",
                do="This looks like a data file: give its header.",
            )
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(path, found=str(error), expected="a readable header", do="Check the path.") from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _kind(line: str) -> str:
    """Return a description of a file whose first line is not ENVI."""
    word = (line.split() or [""])[0].upper()
    if word in ESRI:
        return f"an ESRI band header (first key {word})"
    return f"{line.strip()[:40]!r} in its first line"


def _entries(path: Path, lines: list[str], start: int) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the keys and values of the lines after the word ENVI."""
    entries: dict[str, str] = {}
    notes: list[str] = []
    number = start
    while number < len(lines):
        line = lines[number].strip()
        number += 1
        if not line or line.startswith(";"):
            continue
        name, equals, value = line.partition("=")
        key = key_of(name)
        if not equals:
            notes.append(f"{path.name}: line {number} has no '=' and was passed over: {line[:40]!r}")
            continue
        value = value.strip()
        if value.startswith("{"):
            value, number = _braced(path, key, value, lines, number)
        _keep(path, entries, key, value, notes)
    return entries, tuple(notes)


def _braced(path: Path, key: str, value: str, lines: list[str], number: int) -> tuple[str, int]:
    """Return a value up to its closing brace, and the line after it."""
    parts, opened = [value], number
    while "}" not in parts[-1]:
        if number == len(lines):
            raise UserError(
                f"{path}: {key}",
                found=f"a brace that opens in line {opened} and never closes",
                expected="a closing }",
                do="Complete the header.",
            )
        line = lines[number].strip()
        number += 1
        if not line.startswith(";"):
            parts.append(line)
    return "\n".join(parts).partition("}")[0] + "}", number


def _keep(path: Path, entries: dict[str, str], key: str, value: str, notes: list[str]) -> None:
    """Store one entry; a repeated key is an error if it decides the layout, else a note."""
    if key in entries and entries[key] != value:
        if key in STRUCTURE:
            raise UserError(
                f"{path}: {key}",
                found=f"two values, {entries[key]} and {value}",
                expected="one value",
                do="Remove the wrong line.",
            )
        notes.append(f"{path.name}: {key} is given twice, the last one counts")
    entries[key] = value
