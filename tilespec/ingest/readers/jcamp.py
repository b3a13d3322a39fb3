"""JCAMP-DX: spectra in blocks of labelled text, plain or compressed (PAC, SQZ, DIF, DUP), with their checks.

R. S. McDonald and P. A. Wilks, JCAMP-DX: a standard form for exchange of infrared spectra in computer readable form,
Applied Spectroscopy 42 (1988) 151-162. What the checks of the standard contradict is refused.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float64

from tilespec.core.errors import UserError
from tilespec.core.spectral_units import quantity, unit_in
from tilespec.ingest.readers.file_spectra import FileSpectra
from tilespec.ingest.readers.wavelengths import decimal

SQUEEZED: Final = {letter: str(n - 9) for n, letter in enumerate("ihgfedcba@ABCDEFGHI")}
"""The first digits of a number with their signs, as letters."""
DIFFERENCES: Final = {letter: str(n - 9) for n, letter in enumerate("rqponmlkj%JKLMNOPQR")}
"""The first digits of a difference from the number before."""
REPEATS: Final = {letter: str(n + 1) for n, letter in enumerate("STUVWXYZs")}
"""The first digits of how often a number stands there."""
TOKEN: Final = re.compile(r"(?:([@A-Za-s%+-]?)((?:\d+\.?\d*|\.\d+)(?:[eE][-+]\d+)?))|([@A-Za-s%])|\?|([^\s,;])")
"""A number in any of the forms, a missing one, or what is none."""
FORMS: Final = {"XYDATA": "(X++(Y..Y))", "XYPOINTS": "(XY..XY)"}
"""The forms of data by their labels."""

Values = Float64[np.ndarray, " band"]
Block = dict[str, str]


def read_jcamp(path: Path) -> FileSpectra:
    """Return the spectra of a file, one of each block with data.

    Raises:
        UserError: there are none, they have different axes, or a check fails.
    """
    blocks = [block for block in _blocks(path) if set(FORMS) & set(block)]
    if not blocks:
        raise _broken(path, "no block with ##XYDATA or ##XYPOINTS", "one spectrum at least")
    curves = [_curve(path, block) for block in blocks]
    units = [_unit(block) for block in blocks]
    axis = curves[0][0]
    if len(set(units)) > 1 or any(not np.array_equal(axis, other) for other, _ in curves):
        raise _broken(path, "spectra on several axes", "one axis for all blocks")
    names = tuple(block.get("TITLE", "").strip() or path.stem for block in blocks)
    header = {key: text for key, text in blocks[0].items() if key not in FORMS}
    values = np.stack([values for _, values in curves])
    return FileSpectra(path=path, unit=units[0], axis=axis, values=values, names=names, header=header)


def _blocks(path: Path) -> Iterator[Block]:
    """Yield the labels and texts of each block; a block of blocks ends where the first in it begins."""
    block: Block = {}
    text = re.sub(r"\$\$.*", "", path.read_text(encoding="utf-8-sig", errors="replace"))
    for entry in re.split(r"^\s*##", text, flags=re.MULTILINE)[1:]:
        label, equals, value = entry.partition("=")
        key = re.sub(r"[\s/_-]", "", label).upper()
        if not equals:
            raise _broken(path, f"##{label[:40].strip()} without =", "##LABEL=value")
        if key in ("TITLE", "END"):
            yield block
            block = {}
        block[key] = value.strip()
    if block and "END" not in block:
        raise _broken(path, "no ##END=", "a whole file")


def _unit(block: Block) -> str:
    text = block.get("XUNITS", "")
    return text if quantity(text) else unit_in(text.lower()) or text


def _number(path: Path, block: Block, label: str, default: float | None = None) -> float:
    """Return a number of the header."""
    try:
        return decimal(block[label]) if default is None or label in block else default
    except (KeyError, ValueError):
        raise _broken(path, f"##{label}={block.get(label, '')[:40]}", "a number") from None


def _curve(path: Path, block: Block) -> tuple[Values, Values]:
    """Return the axis and the values of a block."""
    label = next(label for label in FORMS if label in block)
    form, _, text = block[label].partition("\n")
    if form.replace(" ", "").upper() != FORMS[label]:
        raise _broken(path, f"##{label}={form.strip()[:40]}", FORMS[label])
    count = int(_number(path, block, "NPOINTS"))
    factors = [_number(path, block, key, 1.0) for key in ("XFACTOR", "YFACTOR")]
    if label == "XYPOINTS":
        pairs = np.array([decimal(word) for word in re.split(r"[\s;,]+", text.strip())]).reshape(-1, 2)
        axis, values = (pairs * factors).T
    else:
        axis = np.linspace(_number(path, block, "FIRSTX"), _number(path, block, "LASTX"), count)
        values = _ordinates(path, text, axis / factors[0]) * factors[1]
    if len(values) != count:
        raise _broken(path, f"{len(values)} values", f"{count}, as ##NPOINTS says")
    return axis, values


def _ordinates(path: Path, text: str, axis: Values) -> Float64[np.ndarray, " value"]:
    """Return the values of lines that begin with their place; a value after differences repeats the last line's."""
    values: list[float] = []
    checked = False
    step = abs(axis[1] - axis[0]) if len(axis) > 1 else np.inf
    for line in filter(None, map(str.strip, text.splitlines())):
        (place, *row), differs = _decoded(path, line)
        at = len(values) - checked
        if at < len(axis) and abs(place - axis[at]) > step:
            raise _broken(path, f"a line at {place:g}: {line[:40]!r}", f"{axis[at]:g} by ##FIRSTX, ##LASTX, ##NPOINTS")
        if checked and row[:1] != values[-1:]:
            raise _broken(path, f"the check {row[:1]} in {line[:40]!r}", f"{values[-1]:g}, the last value before")
        values += row[checked:]
        checked = differs
    return np.array(values, np.float64)


def _decoded(path: Path, line: str) -> tuple[list[float], bool]:
    """Return the numbers of a line, its place first, and whether the last one was a difference."""
    numbers: list[float] = []
    difference: float | None = None
    for match in TOKEN.finditer(line):
        first, digits, alone, wrong = match.groups(default="")
        letter = first or alone
        if wrong or (letter in {**DIFFERENCES, **REPEATS} and len(numbers) < 2):
            raise _broken(path, f"{match[0]!r} in {line[:40]!r}", "numbers, plain or compressed")
        if letter in REPEATS:
            steps = np.arange(1, int(REPEATS[letter] + digits)) * (difference or 0.0)
            numbers += (numbers[-1] + steps).tolist()
        elif letter in DIFFERENCES:
            difference = float(DIFFERENCES[letter] + digits)
            numbers.append(numbers[-1] + difference)
        else:
            difference = None
            numbers.append(np.nan if match[0] == "?" else float(SQUEEZED.get(letter, letter) + digits))
    return numbers, difference is not None


def _broken(path: Path, found: str, expected: str) -> UserError:
    return UserError(path, found=found, expected=expected, do="Save it anew with the instrument's program.")
