"""Spectra in a folder: a text file of two columns, axis and value, for each spectrum; perhaps a folder for each class.

Titles and comments may stand before the numbers. The axis of all files is that of the first.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final, final

import numpy as np
import pandas as pd
from jaxtyping import Float64

from tilespec.core.errors import UserError
from tilespec.core.spectral_units import unit_in
from tilespec.core.types import Cube
from tilespec.ingest.readers.source import Facts, Options, Source, refuse_array_options
from tilespec.ingest.readers.spectra_text import EMPTY, held, layers_beside
from tilespec.ingest.readers.wavelengths import spectral_axis

NUMBER: Final = re.compile(r"\s*[-+]?[\d.,]*\d[\d.,]*(?:[eE][-+]?\d+)?(?:[\s;,]|$)")
"""The begin of a line of numbers."""
BLANKS: Final = re.compile(r"\d\s+[-+.\d]")
"""Numbers with nothing but blanks between them."""
TITLE: Final = re.compile(r"\s*[\t;,]\s*")
"""What stands between the titles of columns."""

Columns = Float64[np.ndarray, "band 2"]


@final
@dataclass(frozen=True, kw_only=True)
class FolderSpectra:
    """The spectra of a folder, each read from its file when its turn comes."""

    facts: Facts
    """The facts of the spectra, as a plane one pixel wide."""
    first: "TextSpectrum"
    """The first spectrum, whose axis is that of all."""

    def read_rows(self, y0: int, y1: int) -> Cube:
        """Return some spectra."""
        files = self.facts.files[y0:y1]
        spectra = [_same_axis(read_spectrum(file), self.first).columns[:, 1] for file in files]
        return np.asarray(spectra, np.float32)[:, None, :]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class TextSpectrum:
    """One spectrum as text."""

    path: Path
    """The file."""
    unit: str
    """The unit of the axis by the last line before the numbers, empty if it says none."""
    columns: Columns
    """The axis and the values."""


def files_in(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder and of the folders in it, without hidden ones."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        inside = [] if path.is_file() else [p for p in path.iterdir() if p.is_file() and not p.name.startswith(".")]
        yield from [path] if path.is_file() else sorted(inside, key=lambda p: (p.stem, p.suffix))


def read_folder(path: Path, options: Options) -> Source:
    """Return the spectra of a folder in the order of their names, those of a folder for each class by classes.

    Raises:
        UserError: a file is no spectrum, has another axis than the first, or has the name of another.
    """
    refuse_array_options(path, options)
    files = _ordered(path)
    first = read_spectrum(files[0])
    for file in files[1:]:
        _same_axis(read_spectrum(file), first)
    bands, unit = len(first.columns), options.wavelength_unit or first.unit
    axis, notes = spectral_axis(files[0], first.columns[:, 0].tolist(), bands=bands, unit=unit)
    columns = [held("sample", [file.stem for file in files])]
    columns += [held("labels", [file.parent.name for file in files])] if files[0].parent != path else []
    layers, left = layers_beside(path, columns)
    facts = Facts(
        shape=(len(files), 1, bands),
        dtype=np.dtype(np.float32),
        spectral=axis,
        table=True,
        layers=layers,
        notes=(*notes, *left),
        files=files,
    )
    return FolderSpectra(facts=facts, first=first)


def _ordered(folder: Path) -> tuple[Path, ...]:
    """Return the files of spectra by class and name."""
    files = sorted(files_in(folder), key=lambda file: (file.parent.name if file.parent != folder else "", file.stem))
    apart = {file.parent == folder for file in files}
    if len(apart) > 1:
        loose = next(file for file in files if file.parent == folder)
        raise UserError(
            folder,
            found=f"spectra in folders of classes, and {loose.name} beside them",
            expected="all files in folders of classes, or all in one folder",
            do="Move it into the folder of its class.",
        )
    twice = [pair for pair in pairwise(files) if _place(pair[0]) == _place(pair[1])]
    if twice:
        names = " and ".join(file.name for file in twice[0])
        raise UserError(twice[0][0].parent, found=names, expected="one file for each name", do="Rename one of them.")
    return tuple(files)


def _place(file: Path) -> Path:
    return file.with_suffix("")


def read_spectrum(file: Path) -> TextSpectrum:
    """Return the spectrum of a text file of two columns.

    Raises:
        UserError: there are no two columns of numbers.
    """
    title, skipped, line = _head(file)
    apart = next((mark for mark in "\t;" if mark in line), r"\s+" if BLANKS.search(line) else ",")
    mark = "," if apart != "," and "," in line and "." not in line else "."
    form = {"sep": apart, "decimal": mark, "skiprows": skipped, "header": None, "index_col": False}
    form["names"] = range(max(3, len(re.split(apart, line.strip()))))
    empty = {"keep_default_na": False, "na_values": ["", *EMPTY], "skipinitialspace": True}
    try:
        table = pd.read_csv(file, encoding="utf-8-sig", encoding_errors="replace", **form, **empty)
    except pd.errors.ParserError as error:
        raise _broken(file, str(error).strip()) from error
    cells = table.melt().value.dropna()
    texts = cells[pd.to_numeric(cells, errors="coerce").isna()].tolist()
    count = int(table.notna().any().sum())
    if texts or count != 2:
        raise _broken(file, f"the text {str(texts[0])[:40]!r}" if texts else f"{count} columns of numbers")
    return TextSpectrum(
        path=file, unit=unit_in(TITLE.split(title)[0]), columns=table[[0, 1]].to_numpy(np.float64, copy=True)
    )


def _head(file: Path) -> tuple[str, int, str]:
    """Return the last line before the numbers, how many lines these are, and the first line of numbers."""
    title = ""
    with file.open(encoding="utf-8-sig", errors="replace") as lines:
        for number, line in enumerate(lines):
            if NUMBER.match(line):
                return title, number, line
            title = line.strip() or title
    raise _broken(file, "no line of numbers")


def _same_axis(spectrum: TextSpectrum, first: TextSpectrum) -> TextSpectrum:
    """Return a spectrum; refuse one with another axis than the first."""
    if spectrum.unit != first.unit:
        found, expected = f"an axis in {spectrum.unit or 'no unit'}", f"{first.unit or 'none'} as in {first.path.name}"
        raise UserError(spectrum.path, found=found, expected=expected, do="Convert one of them.")
    if np.array_equal(spectrum.columns[:, 0], first.columns[:, 0]):
        return spectrum
    places = (spectrum.columns[:, 0], first.columns[:, 0])
    both = min(map(len, places))
    band = next((int(i) for i in np.flatnonzero(places[0][:both] != places[1][:both])), both)
    found, expected = (f"{place[band]:.9g}" if band < len(place) else "no band" for place in places)
    raise UserError(
        spectrum.path,
        found=f"{found} at band {band}",
        expected=f"{expected} as in {first.path.name}: one axis for all files of a table",
        do="Resample the spectra to one axis first, or put those of another instrument into another folder.",
    )


def _broken(file: Path, found: str) -> UserError:
    return UserError(
        file,
        found=found,
        expected="two columns, axis and value, perhaps below titles",
        do="Correct the file; move what is no spectrum out of the folder.",
    )
