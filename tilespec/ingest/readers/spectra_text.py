"""Spectra as text: CSV, TSV and tables with semicolons, a spectrum in each row or in each column.

In rows: columns of samples first (``class``, numbers, names), then a column for each band, headed by its centre, such
as ``class,fat,950.5,955``. In columns: the first one is the axis and says so (``wavenumber [cm-1]``), the others are
spectra.
"""

import re
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import pandas as pd

from tilespec.core.errors import UserError
from tilespec.core.spectral_units import unit_in
from tilespec.core.types import UNLABELLED, Cube
from tilespec.ingest.readers.source import Facts, Options, Source, SourceLayer, refuse_array_options
from tilespec.ingest.readers.wavelengths import decimal, spectral_axis
from tilespec.storage.axes import axis_of
from tilespec.storage.layout import class_attrs

CENTRE: Final = re.compile(r"X?([-+]?\d+(?:[.,]\d+)?)\s*(nm|um|µm|cm-1|cm\^-1|1/cm)?", re.IGNORECASE)
"""The header of a band: its centre, perhaps with a unit, or behind the X that R puts before numbers."""
CLASS: Final = ("class", "label", "labels", "target", "species")
"""The names of the column that has the classes."""
DELIMITERS: Final = ("\t", ";", ",")
PIECE: Final = 4096
"""The number of rows that are read at once while columns are surveyed."""
Cells = pd.Series
Read = Callable[[int, int], Cells]
"""A function that returns some rows of a column."""


def read_text(path: Path, options: Options) -> Source:
    """Return the spectra of a table of text.

    Raises:
        UserError: the header names neither centres of bands nor an axis, or a cell of a band holds a text.
    """
    refuse_array_options(path, options)
    dialect, header = _dialect(path)
    centres = [CENTRE.fullmatch(name.strip()) for name in header]
    bands = [i for i, match in enumerate(centres) if match is not None]
    if len(bands) > 1:
        return _in_rows(path, options, dialect, header, bands)
    if axis_of(header[0].split()[0] if header[0].split() else "") == "band" or unit_in(header[0]):
        return _in_columns(path, options, dialect, header)
    raise UserError(
        path,
        found=f"the columns {', '.join(header[:6])}",
        expected="a column for each band, headed by its centre; or an axis in the first column, then spectra",
        do="Write the centres of the bands into the first row, as class,950.5,955,960.",
    )


def _dialect(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Return how pandas reads a table, and the cells of its header."""
    with path.open(encoding="utf-8-sig") as file:
        first, second = file.readline(), file.readline()
    apart = next((each for each in DELIMITERS if each in first), ",")
    comma = apart != "," and "," in second and "." not in second
    names = [name.strip().strip('"').strip() for name in first.rstrip("\r\n").split(apart)]
    return {"sep": apart, "decimal": "," if comma else ".", "encoding": "utf-8-sig", "skipinitialspace": True}, names


@final
@dataclass(kw_only=True)
class _Rows:
    """The rows of a table, read forward in pieces; the last piece is held, for those who read its columns."""

    path: Path
    dialect: dict[str, Any]
    after: int = 0
    held: tuple[int, int] = (0, 0)
    frame: Any = field(default=None)
    reader: Any = field(default=None)

    def between(self, y0: int, y1: int) -> pd.DataFrame:
        """Return rows as a data frame."""
        if self.held == (y0, y1):
            return self.frame
        if self.reader is None or y0 < self.after:
            self.reader, self.after = pd.read_csv(self.path, iterator=True, **self.dialect), 0
            weakref.finalize(self, self.reader.close)
        if y0 > self.after:
            self.reader.get_chunk(y0 - self.after)
        self.frame, self.held, self.after = self.reader.get_chunk(y1 - y0), (y0, y1), y1
        return self.frame


@final
@dataclass(frozen=True, kw_only=True)
class RowSpectra:
    """A table with a spectrum in each row."""

    facts: Facts
    """The facts of the spectra, as a plane one pixel wide."""
    rows: _Rows
    """The rows of the file."""
    bands: tuple[int, ...]
    """The places of the columns of bands."""

    def read_rows(self, y0: int, y1: int) -> Cube:
        """Return some spectra."""
        part = self.rows.between(y0, y1).iloc[:, list(self.bands)]
        return np.ascontiguousarray(_numbers(self.rows.path, part), np.float32)[:, None, :]


@final
@dataclass(frozen=True, kw_only=True)
class ColumnSpectra:
    """A table with a spectrum in each column, which is in memory."""

    facts: Facts
    """The facts of the spectra, as a plane one pixel wide."""
    spectra: np.ndarray
    """The spectra, float32 ``spectrum, band``."""

    def read_rows(self, y0: int, y1: int) -> Cube:
        """Return some spectra."""
        return self.spectra[y0:y1, None, :]


def _in_columns(path: Path, options: Options, dialect: dict[str, Any], header: list[str]) -> Source:
    """Return the spectra in the columns of a table."""
    table, names = _numbers(path, pd.read_csv(path, **dialect)), pd.Series(header[1:])
    unit = options.wavelength_unit or unit_in(header[0])
    axis, notes = spectral_axis(path, table[:, 0].tolist(), bands=len(table), unit=unit)
    spectra = np.ascontiguousarray(table[:, 1:].T, np.float32)
    shape = (spectra.shape[0], 1, spectra.shape[1])
    facts = Facts(
        shape=shape,
        dtype=np.dtype(np.float32),
        spectral=axis,
        table=True,
        layers=tuple(_layer("sample", names, lambda y0, y1: names[y0:y1])),
        notes=notes,
        files=(path,),
    )
    return ColumnSpectra(facts=facts, spectra=spectra)


def _in_rows(path: Path, options: Options, dialect: dict[str, Any], header: list[str], bands: list[int]) -> Source:
    """Return the spectra in the rows of a table."""
    matches = [CENTRE.fullmatch(header[i]) for i in bands]
    units = {match[2].lower() for match in matches if match is not None and match[2]}
    unit = units.pop() if len(units) == 1 else ""
    centres = [decimal(match[1]) for match in matches if match is not None]
    axis, notes = spectral_axis(path, centres, bands=len(centres), unit=options.wavelength_unit or unit)
    rows = _Rows(path=path, dialect=dialect)
    others = [i for i in range(len(header)) if i not in set(bands)]
    count, beside = _survey(path, dialect, bands, others)
    layers: list[SourceLayer] = []
    for place, series in zip(others, beside, strict=True):
        layers += _layer(header[place], series, partial(_column, rows, place))
    left = [header[i] for i in others if not any(layer.name == _name(header[i]) for layer in layers)]
    texts = (f"{path}: columns left out, of more than {UNLABELLED} texts: {', '.join(left)}",) if left else ()
    facts = Facts(
        shape=(count, 1, len(bands)),
        dtype=np.dtype(np.float32),
        spectral=axis,
        table=True,
        layers=tuple(layers),
        notes=(*notes, *texts),
        files=(path,),
    )
    return RowSpectra(facts=facts, rows=rows, bands=tuple(bands))


def _survey(path: Path, dialect: dict[str, Any], bands: list[int], others: list[int]) -> tuple[int, list[Cells]]:
    """Return the number of rows, and the different values of each column beside the bands; check those of bands."""
    count, seen = 0, [pd.Series(dtype=object)] * len(others)
    with pd.read_csv(path, chunksize=PIECE, **dialect) as pieces:
        for piece in pieces:
            _numbers(path, piece.iloc[:, bands])
            count += len(piece)
            seen = [pd.concat([old, piece.iloc[:, k]]).drop_duplicates() for k, old in zip(others, seen, strict=True)]
    if not count:
        raise UserError(
            path, found="a header and no spectrum", expected="a row for each spectrum", do="Check the file."
        )
    return count, seen


def _column(rows: _Rows, place: int, y0: int, y1: int) -> Cells:
    return rows.between(y0, y1).iloc[:, place]


def _name(header: str) -> str:
    """Return the name of the layer of a column."""
    bare = re.sub(r"[\[(].*", "", header).strip()
    return "labels" if bare.lower() in CLASS else re.sub(r"[^\w-]+", "_", bare) or "column"


def _layer(header: str, values: Cells, read: Read) -> list[SourceLayer]:
    """Return the layer of a column: numbers, or a map of its texts; none of a column of too many texts."""
    unit = re.search(r"[\[(](.*?)[\])]", header)
    numbers = pd.to_numeric(values, errors="coerce")
    name = _name(header)
    if name != "labels" and (numbers.notna() | values.isna()).all():
        attrs = {"units": unit[1]} if unit else {}
        return [SourceLayer(name=name, dtype=np.dtype(np.float64), read=partial(_as_numbers, read), attrs=attrs)]
    texts = tuple(sorted(values.dropna().astype(str).str.strip().unique()))
    if len(texts) > UNLABELLED:
        return []
    read_classes = partial(_as_classes, read, texts)
    return [SourceLayer(name=name, dtype=np.dtype(np.uint8), read=read_classes, attrs=class_attrs(texts))]


def _as_numbers(read: Read, y0: int, y1: int) -> np.ndarray:
    return np.asarray(pd.to_numeric(read(y0, y1), errors="coerce"), np.float64)[:, None]


def _as_classes(read: Read, texts: tuple[str, ...], y0: int, y1: int) -> np.ndarray:
    """Return the numbers of texts, 255 for an empty cell."""
    cells = read(y0, y1)
    codes = pd.Categorical(cells.astype(str).str.strip().where(cells.notna()), categories=list(texts)).codes
    return np.where(codes < 0, UNLABELLED, codes).astype(np.uint8)[:, None]


def _numbers(path: Path, frame: pd.DataFrame) -> np.ndarray:
    """Return the cells of bands as numbers, NaN for empty ones; refuse a text."""
    for name, dtype in frame.dtypes.items():
        if dtype.kind not in "biuf" and len(frame):
            wrong = frame[name][pd.to_numeric(frame[name], errors="coerce").isna() & frame[name].notna()]
            raise UserError(
                path,
                found=f"{str(wrong.iloc[0])[:40]!r} in row {int(wrong.index[0]) + 2}, column {name}",
                expected="a number, or an empty cell",
                do="Correct the cell, or the decimal mark of the table.",
            )
    values: np.ndarray = frame.to_numpy(np.float64)
    return values
