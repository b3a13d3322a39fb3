"""A spectrum as text: a file of two columns, axis and value; titles and comments may stand before the numbers."""

import re
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from tilespec.core.errors import UserError
from tilespec.core.spectral_units import unit_in
from tilespec.ingest.readers.file_spectra import FileSpectra
from tilespec.ingest.readers.spectra_text import EMPTY

NUMBER: Final = re.compile(r"\s*[-+]?[\d.,]*\d[\d.,]*(?:[eE][-+]?\d+)?(?:[\s;,]|$)")
"""The begin of a line of numbers."""
BLANKS: Final = re.compile(r"\d\s+[-+.\d]")
"""Numbers with nothing but blanks between them."""
TITLE: Final = re.compile(r"\s*[\t;,]\s*")
"""What stands between the titles of columns."""


def read_two_columns(file: Path) -> FileSpectra:
    """Return the spectrum of a text file of two columns.

    Raises:
        UserError: there are no two columns of numbers.
    """
    title, skipped, line = _head(file)
    apart = next((mark for mark in "\t;" if mark in line), r"\s+" if BLANKS.search(line) else ",")
    mark = "," if apart != "," and "," in line and "." not in line else "."
    form: dict[str, Any] = {"sep": apart, "decimal": mark, "skiprows": skipped, "header": None, "index_col": False}
    form["names"] = range(max(3, len(re.split(apart, line.strip()))))
    empty: dict[str, Any] = {"keep_default_na": False, "na_values": ["", *EMPTY], "skipinitialspace": True}
    try:
        table = pd.read_csv(file, encoding="utf-8-sig", encoding_errors="replace", **form, **empty)
    except pd.errors.ParserError as error:
        raise _broken(file, str(error).strip()) from error
    cells = table.melt().value.dropna()
    texts = cells[pd.to_numeric(cells, errors="coerce").isna()].tolist()
    count = int(table.notna().any().sum())
    if texts or count != 2:
        raise _broken(file, f"the text {str(texts[0])[:40]!r}" if texts else f"{count} columns of numbers")
    columns = table[[0, 1]].to_numpy(np.float64)
    unit = unit_in(TITLE.split(title)[0])
    return FileSpectra(path=file, unit=unit, axis=columns[:, 0], values=columns[None, :, 1], names=(file.stem,))


def _head(file: Path) -> tuple[str, int, str]:
    """Return the last line before the numbers, how many lines these are, and the first line of numbers."""
    title = ""
    with file.open(encoding="utf-8-sig", errors="replace") as lines:
        for number, line in enumerate(lines):
            if NUMBER.match(line):
                return title, number, line
            title = line.strip() or title
    raise _broken(file, "no line of numbers")


def _broken(file: Path, found: str) -> UserError:
    return UserError(
        file,
        found=found,
        expected="two columns, axis and value, perhaps below titles",
        do="Correct the file; move what is no spectrum out of the folder.",
    )
