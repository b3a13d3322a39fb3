"""References: measured numbers of samples in a CSV table, such as the fat content of each tray, for verbs that learn.

The first column holds the samples' ids, each further column one quantity with its unit in brackets: ``sample, fat [%],
water [%]``. An empty cell, or NaN, was not measured.
"""

import csv
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import numpy as np
from jaxtyping import Float64

from tilespec.core.errors import UserError
from tilespec.storage.files import read_table

MISSING: Final = frozenset({"", "nan", "na", "n/a", "none", "null", "-"})
"""The spellings of a number that was not measured, in lower case."""
DELIMITERS: Final = ";\t,"
"""What may stand between cells, looked for in the header in this order; only with the last is a comma no decimal."""
LIMITS: Final = {"%": (0.0, 100.0)}
"""The possible values of a quantity, by its unit."""
_HEADER = re.compile(r"(?P<name>.*?)\s*(?:\[(?P<square>[^\]]*)\]|\((?P<round>[^)]*)\))?\s*")


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class References:
    """The numbers of all samples of a table."""

    path: str
    """The file of the table."""
    quantities: tuple[str, ...]
    """The names of the quantities."""
    units: tuple[str, ...]
    """The unit of each quantity; empty where the header gives none."""
    samples: tuple[str, ...]
    """The ids of the samples."""
    values: Float64[np.ndarray, "sample quantity"]
    """The numbers, NaN where there is none."""

    @classmethod
    def read(cls, path: str | Path, quantities: Sequence[str] = ()) -> "References":
        """Return the table of a CSV file, or its columns ``quantities`` in that order.

        Cells are separated by commas, or by semicolons or tabs: then numbers may have decimal commas.

        Raises:
            UserError: there is no such file or column, an id is empty or there twice, a cell is no finite number or
                not possible in its unit, or a quantity has no number at all.
        """
        header, rows = _table(str(path))
        names, units = zip(*map(_quantity, header[1:]), strict=True)
        twice = [name for name, count in Counter(names).items() if count > 1 or not name]
        if twice:
            raise _broken(path, f"columns named {', '.join(map(repr, names))}", "a name for each, all different")
        table = cls(path=str(path), quantities=names, units=units, samples=_ids(path, rows), values=_values(path, rows))
        chosen = table.only(quantities) if quantities else table
        _check(chosen)
        return chosen

    def only(self, quantities: Sequence[str]) -> "References":
        """Return the table with some of its quantities.

        Raises:
            UserError: the table does not have one of them.
        """
        for name in quantities:
            if name not in self.quantities:
                raise UserError(
                    self.path,
                    found=f"no column {name!r}",
                    expected=f"one of {', '.join(self.quantities)}",
                    do="Correct the header, or name another column.",
                )
        places = [self.quantities.index(name) for name in quantities]
        return References(
            path=self.path,
            quantities=tuple(quantities),
            units=tuple(self.units[i] for i in places),
            samples=self.samples,
            values=self.values[:, places],
        )

    @property
    def limits(self) -> tuple[tuple[float, float], ...]:
        """The possible values of each quantity, which its unit gives."""
        return tuple(LIMITS.get(unit, (-math.inf, math.inf)) for unit in self.units)


def _check(table: References) -> None:
    """Refuse numbers that are not possible in their unit, and a quantity without any."""
    for column, name, (low, high) in zip(table.values.T, table.quantities, table.limits, strict=True):
        wrong = np.flatnonzero((column < low) | (column > high))
        if len(wrong):
            found = f"{name} {column[wrong[0]]:g} of sample {table.samples[wrong[0]]}"
            raise _broken(table.path, found, f"{low:g} to {high:g}, which the unit in the header allows")
        if not np.isfinite(column).any():
            raise _broken(table.path, f"no number of {name}", "at least one sample with a number")


def _table(path: str) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of a table, without rows that are empty."""
    try:
        text = read_table(path)
        delimiter = next((each for each in DELIMITERS if each in text.partition("\n")[0]), ",")
        rows = [
            row for row in csv.reader(text.splitlines(), delimiter=delimiter, strict=True) if any(map(str.strip, row))
        ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _broken(path, f"no table ({error})", "a CSV file in UTF-8") from error
    if len(rows) < 2 or len(rows[0]) < 2:
        raise _broken(path, "no row of numbers", "a header, and a row for each sample")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(rows[0]):
            raise _broken(path, f"row {number} with {len(row)} cells", f"{len(rows[0])}, as in the header")
    if delimiter != ",":
        rows[1:] = [[row[0], *(cell.replace(",", ".") for cell in row[1:])] for row in rows[1:]]
    return rows[0], rows[1:]


def _quantity(header: str) -> tuple[str, str]:
    """Return the name and the unit of a quantity from the header of its column."""
    match = _HEADER.fullmatch(header.strip())
    assert match is not None, "every text matches"
    return match["name"], (match["square"] or match["round"] or "").strip()


def _ids(path: str | Path, rows: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return the ids of all samples."""
    ids = tuple(row[0].strip() for row in rows)
    twice = [name for name, count in Counter(ids).items() if count > 1]
    if twice or not all(ids):
        found = f"{twice[0]} twice" if twice else f"row {ids.index('') + 2} without an id"
        raise _broken(path, found, "an id for each sample, all different")
    return ids


def _values(path: str | Path, rows: Sequence[Sequence[str]]) -> Float64[np.ndarray, "sample quantity"]:
    """Return the numbers of all samples."""
    return np.array([[_number(path, row[0], cell.strip()) for cell in row[1:]] for row in rows])


def _number(path: str | Path, sample: str, cell: str) -> float:
    """Return the number in a cell, NaN where none was measured."""
    if cell.lower() in MISSING:
        return math.nan
    try:
        value = float(cell)
    except ValueError:
        value = math.inf
    if not math.isfinite(value):
        raise _broken(path, f"{cell[:40]!r} of sample {sample}", "a number, or an empty cell for none")
    return value


def _broken(path: str | Path, found: str, expected: str) -> UserError:
    do = "Write it as sample,NAME [UNIT],NAME [UNIT],... with a row for each sample."
    return UserError(path, found=found, expected=expected, do=do)
