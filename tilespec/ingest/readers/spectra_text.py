"""Spectra as text: CSV, TSV and tables with semicolons, a spectrum in each row or in each column.

In rows: columns of samples first (``class``, numbers, names), then a column for each band, headed by its centre, such
as ``class,fat,950.5,955``. In columns: the first one is the axis and says so (``wavenumber [cm-1]``), the others are
spectra.
"""

import csv
import re
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
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
from tilespec.storage.layout import class_attrs, class_names, code_type, unlabelled
from tilespec.storage.references import MISSING
from tilespec.storage.spectral_axis import NAMES

CENTRE: Final = re.compile(r"X?([-+]?\d+(?:[.,]\d+)?)\s*(nm|um|µm|cm-1|cm\^-1|1/cm)?", re.IGNORECASE)
"""The header of a band: its centre, perhaps with a unit, or behind the X that R puts before numbers."""
AXES: Final = ("wavelength", "wavelengths", "wavenumber", "wavenumbers", "lambda", "wl")
"""The words that begin the header of a first column with the axis."""
TAKEN: Final = ("cube", "prediction", "valid", "band", "spectrum", "spatial_ref", "fwhm", "good", *NAMES)
"""The names of arrays that a store has for something else."""
CLASS: Final = ("class", "label", "labels", "target", "species")
"""The names of the column that has the classes."""
DELIMITERS: Final = ("\t", ";", ",")
EMPTY: Final = ("NA", "na", "NaN", "nan")
"""The words for an empty cell."""
PIECE: Final = 4096
"""The number of rows that are read at once while columns are surveyed."""
Cells = pd.Series
Read = Callable[[int, int], Cells]
"""A function that returns some rows of a column."""
Named = tuple[str, str, Cells, Read]
"""A column: the name of its layer, its header, its different cells, and its rows."""


def read_text(path: Path, options: Options) -> Source:
    """Return the spectra of a table of text.

    Raises:
        UserError: the header names neither centres of bands nor an axis, or a cell of a band holds a text.
    """
    refuse_array_options(path, options)
    header, apart, decimal_mark = _head(path)
    _check_widths(path, apart, len(header))
    matches = [CENTRE.fullmatch(name) for name in header]
    bands = [i for i, match in enumerate(matches) if match is not None]
    rows = len(bands) > 1
    texts = {i: str for i in range(len(header)) if rows and i not in set(bands)}
    dialect: dict[str, Any] = {"sep": apart, "decimal": decimal_mark, "encoding": "utf-8-sig", "skipinitialspace": True}
    dialect |= {"header": 0, "names": range(len(header)), "index_col": False, "dtype": texts}
    dialect |= {"keep_default_na": False, "na_values": ["", *EMPTY]}
    if rows:
        return _in_rows(path, options, dialect, header, bands)
    if header[0].split()[:1] and (header[0].split()[0].lower() in AXES or unit_in(header[0])):
        return _in_columns(path, options, dialect, header)
    raise UserError(
        path,
        found=f"the columns {', '.join(header[:6])}",
        expected="a column for each band, headed by its centre; or an axis in the first column, then spectra",
        do="Write the centres of the bands into the first row, as class,950.5,955,960.",
    )


def _head(path: Path) -> tuple[list[str], str, str]:
    """Return the cells of the header, what stands between cells, and the decimal mark."""
    with path.open(encoding="utf-8-sig") as file:
        first, second = file.readline(), file.readline()
    apart = next((each for each in DELIMITERS if each in first), ",")
    names = next(csv.reader([first], delimiter=apart, skipinitialspace=True), None) or [""]
    comma = apart != "," and "," in second and "." not in second
    return [name.strip() for name in names], apart, "," if comma else "."


def _check_widths(path: Path, apart: str, count: int) -> None:
    """Refuse a row with more or fewer cells than the header: pandas fills or shifts them."""
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            cells = line.count(apart) + 1
            if cells != count and line.strip() and '"' not in line:
                raise UserError(
                    path,
                    found=f"row {number} with {cells} cells",
                    expected=f"{count}, as in the header",
                    do="Correct the row; if the file was cut off, copy it again.",
                )


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
        part = self.rows.between(y0, y1)[list(self.bands)]
        return np.ascontiguousarray(part.to_numpy(np.float64), np.float32)[:, None, :]


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
    table, names = _numbers(path, header, pd.read_csv(path, **dialect)), header[1:]
    unit = options.wavelength_unit or unit_in(header[0])
    axis, notes = spectral_axis(path, table[:, 0].tolist(), bands=len(table), unit=unit)
    spectra = np.ascontiguousarray(table[:, 1:].T, np.float32)
    shape = (spectra.shape[0], 1, spectra.shape[1])
    layers, left = layers_beside(path, [held("sample", names)])
    facts = Facts(
        shape=shape,
        dtype=np.dtype(np.float32),
        spectral=axis,
        table=True,
        layers=layers,
        notes=(*notes, *left),
        files=(path,),
    )
    return ColumnSpectra(facts=facts, spectra=spectra)


def _in_rows(path: Path, options: Options, dialect: dict[str, Any], header: list[str], bands: list[int]) -> Source:
    """Return the spectra in the rows of a table."""
    matches = [CENTRE.fullmatch(header[i]) for i in bands]
    units = {match[2].lower() for match in matches if match is not None and match[2]}
    if len(units) > 1:
        raise UserError(path, found=f"bands in {', '.join(sorted(units))}", expected="one unit", do="Convert them.")
    unit = "".join(units)
    centres = [decimal(match[1]) for match in matches if match is not None]
    axis, notes = spectral_axis(path, centres, bands=len(centres), unit=options.wavelength_unit or unit)
    rows = _Rows(path=path, dialect=dialect)
    count, beside = _survey(path, header, dialect, bands)
    names = _names([header[i] for i in beside])
    columns = zip(names, beside, strict=True)
    layers, left = layers_beside(path, [(name, header[i], beside[i], partial(_column, rows, i)) for name, i in columns])
    facts = Facts(
        shape=(count, 1, len(bands)),
        dtype=np.dtype(np.float32),
        spectral=axis,
        table=True,
        layers=layers,
        notes=(*notes, *left),
        files=(path,),
    )
    return RowSpectra(facts=facts, rows=rows, bands=tuple(bands))


def _survey(path: Path, header: list[str], dialect: dict[str, Any], bands: list[int]) -> tuple[int, dict[int, Cells]]:
    """Return the number of rows, and the different cells of each column beside the bands; check those of bands."""
    count, seen = 0, {i: pd.Series(dtype=str) for i in range(len(header)) if i not in set(bands)}
    with pd.read_csv(path, chunksize=PIECE, **dialect) as pieces:
        for piece in pieces:
            _numbers(path, header, piece[bands])
            count += len(piece)
            seen = {i: pd.concat([old, piece[i]]).drop_duplicates() for i, old in seen.items()}
    if not count:
        raise UserError(
            path, found="a header and no spectrum", expected="a row for each spectrum", do="Check the file."
        )
    return count, seen


def _column(rows: _Rows, place: int, y0: int, y1: int) -> Cells:
    return rows.between(y0, y1)[place]


def _names(headers: list[str]) -> list[str]:
    """Return the name of the layer of each column, all different, and none that a store has for something else."""
    names: list[str] = []
    for name in map(layer_name, headers):
        names.append(name if name not in names else f"{name}_{len(names)}")
    return names


def layer_name(header: str) -> str:
    """Return the name of the layer of a column, without its unit."""
    bare = re.sub(r"[\[(].*", "", header).strip()
    name = "labels" if bare.lower() in CLASS else re.sub(r"[^\w-]+", "_", bare) or "column"
    return name if name not in TAKEN else f"{name}_"


def layers_beside(path: Path, columns: Sequence[Named]) -> tuple[tuple[SourceLayer, ...], tuple[str, ...]]:
    """Return the layers of columns, and a note on classes that are too many to be learned: they keep their texts."""
    layers = [layer_of_texts(*column) for column in columns]
    many = [layer for layer in layers if layer.name == "labels" and layer.dtype != np.uint8]
    if not many:
        return tuple(layers), ()
    beside = beside_name(layer.name for layer in layers)
    note = f"{path}: {len(class_names(many[0].attrs))} classes are more than {UNLABELLED}: kept as column {beside}"
    return tuple(replace(layer, name=beside) if layer in many else layer for layer in layers), (note,)


def beside_name(names: Iterable[str]) -> str:
    """Return the name of a column of classes that are not those of the table, none of the names of the others."""
    others, name = set(names), "class_"
    while name in others:
        name = f"{name}_"
    return name


def held(name: str, texts: Sequence[str | None]) -> Named:
    """Return a column whose texts are in memory; None for an empty cell."""
    cells = pd.Series(list(texts), dtype=str)
    return name, "", cells, lambda y0, y1: cells[y0:y1]


def layer_of_texts(name: str, header: str, values: Cells, read: Read) -> SourceLayer:
    """Return the layer of a column: numbers, or a map of its texts."""
    unit, present = re.search(r"[\[(](.*?)[\])]", header), values.dropna().str.strip()
    numeric = _as_number(present[~present.str.lower().isin(MISSING)]).notna().all()
    if name != "labels" and numeric:
        attrs = {"units": unit[1]} if unit else {}
        return SourceLayer(name=name, dtype=np.dtype(np.float64), read=partial(_as_numbers, read), attrs=attrs)
    texts = sorted(present.unique(), key=decimal if _as_number(present).notna().all() else None)
    dtype = code_type(len(texts))
    codes = partial(_as_classes, read, pd.Index(texts, dtype=str), dtype)
    return SourceLayer(name=name, dtype=dtype, read=codes, attrs=class_attrs(tuple(texts)))


def _as_number(cells: Cells) -> Cells:
    """Return cells as numbers, with a decimal point or a decimal comma; NaN for others."""
    return pd.to_numeric(cells.str.replace(",", "."), errors="coerce")


def _as_numbers(read: Read, y0: int, y1: int) -> np.ndarray:
    return np.asarray(_as_number(read(y0, y1)), np.float64)[:, None]


def _as_classes(read: Read, texts: "pd.Index[Any]", dtype: np.dtype[Any], y0: int, y1: int) -> np.ndarray:
    """Return the numbers of texts; the one for no class for an empty cell."""
    codes = texts.get_indexer(pd.Index(read(y0, y1).str.strip()))
    return np.where(codes < 0, unlabelled(dtype), codes).astype(dtype)[:, None]


def _numbers(path: Path, header: list[str], frame: pd.DataFrame) -> np.ndarray:
    """Return the cells of bands as numbers, NaN for empty ones; refuse a text."""
    for i, cells in frame.items():
        if cells.dtype.kind not in "biuf" and len(cells):
            wrong = cells[pd.to_numeric(cells, errors="coerce").isna() & cells.notna()]
            raise UserError(
                path,
                found=f"{str(wrong.iloc[0])[:40]!r} in row {int(wrong.index[0]) + 2}, column {header[int(str(i))]}",
                expected="a number, or an empty cell",
                do="Correct the cell, or the decimal mark of the table.",
            )
    values: np.ndarray = frame.to_numpy(np.float64)
    return values
