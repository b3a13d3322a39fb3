"""Spectra of instruments: a file of a few spectra, or a folder with a file for each; perhaps a folder for each class.

The axis of all files of a folder is that of the first.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Final, final

import numpy as np

from tilespec.core.errors import UserError
from tilespec.core.registry import load
from tilespec.core.types import Cube
from tilespec.ingest.readers.file_spectra import FileSpectra
from tilespec.ingest.readers.opus import MAGIC
from tilespec.ingest.readers.source import Facts, Options, Source, refuse_array_options
from tilespec.ingest.readers.spectra_text import ColumnSpectra, held, layers_beside
from tilespec.ingest.readers.wavelengths import spectral_axis

FORMATS: Final = {
    ".csv": "tilespec.ingest.readers.spectrum_text:read_two_columns",
    ".tsv": "tilespec.ingest.readers.spectrum_text:read_two_columns",
    ".txt": "tilespec.ingest.readers.spectrum_text:read_two_columns",
    ".jdx": "tilespec.ingest.readers.jcamp:read_jcamp",
    ".dx": "tilespec.ingest.readers.jcamp:read_jcamp",
    ".spc": "tilespec.ingest.readers.spc:read_spc",
    ".0": "tilespec.ingest.readers.opus:read_opus",
}
"""The function that returns the spectra of a file, by the ending of its name (`ending`)."""
OPUS: Final = ".0"
"""The ending of OPUS's files, which may be any number."""


@final
@dataclass(frozen=True, kw_only=True)
class FolderSpectra:
    """The spectra of a folder, each read from its file when its turn comes."""

    facts: Facts
    """The facts of the spectra, as a plane one pixel wide."""
    first: FileSpectra
    """The first spectrum, whose axis is that of all."""
    variable: str | None
    """The name of the spectrum in each file, where a file has several."""

    def read_rows(self, y0: int, y1: int) -> Cube:
        """Return some spectra."""
        files = self.facts.files[y0:y1]
        spectra = [_same_axis(read_spectrum(file, self.variable), self.first).values for file in files]
        return np.asarray(spectra, np.float32)


def ending(path: Path) -> str:
    """Return the ending that decides on the reader of a file; OPUS numbers its files: ``soil.0``, ``soil.1``."""
    suffix = path.suffix.lower()
    if not suffix[1:].isdecimal() or not path.is_file():
        return suffix
    with path.open("rb") as file:
        return OPUS if file.read(len(MAGIC)) == MAGIC else suffix


def files_in(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder and of the folders in it, without hidden ones."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        inside = [] if path.is_file() else [p for p in path.iterdir() if p.is_file() and not p.name.startswith(".")]
        yield from [path] if path.is_file() else sorted(inside, key=lambda p: (p.stem, p.suffix))


def read_instrument_file(path: Path, options: Options) -> Source:
    """Return the spectra of one file of an instrument."""
    _check_options(path, options, ending(path) == OPUS)
    spectra = _load(path, options.variable)
    facts = _facts(spectra, options, (path,), {"sample": spectra.names, **spectra.columns})
    return ColumnSpectra(facts=facts, spectra=np.ascontiguousarray(spectra.values, np.float32))


def read_folder(path: Path, options: Options) -> Source:
    """Return the spectra of a folder in the order of their names, those of a folder for each class by classes.

    Titles that the files have of their own are a column ``title``.

    Raises:
        UserError: a file is no spectrum, has another axis than the first, or has the name of another.
    """
    files = _ordered(path)
    _check_options(path, options, all(ending(file) == OPUS for file in files))
    first = read_spectrum(files[0], options.variable)
    titles = [_same_axis(read_spectrum(file, options.variable), first).names[0] for file in files]
    columns = {"sample": tuple(map(_label, files))}
    columns |= {"title": tuple(titles)} if tuple(titles) != columns["sample"] else {}
    columns |= {"labels": tuple(file.parent.name for file in files)} if files[0].parent != path else {}
    return FolderSpectra(facts=_facts(first, options, files, columns), first=first, variable=options.variable)


def _check_options(path: Path, options: Options, several: bool) -> None:
    """Refuse options of arrays; files of a format that holds several spectra have names for ``--variable``."""
    refuse_array_options(path, replace(options, variable=None) if several else options)


def _load(file: Path, variable: str | None) -> FileSpectra:
    """Return the spectra of a file."""
    read = load(FORMATS, ending(file), "spectra")
    spectra: FileSpectra = read(file) if variable is None else read(file, variable)
    return spectra


def _label(file: Path) -> str:
    """Return the name of the spectrum of a file; a number at its end tells files of OPUS apart."""
    return file.name if file.suffix[1:].isdecimal() else file.stem


def _facts(
    spectra: FileSpectra, options: Options, files: tuple[Path, ...], columns: dict[str, tuple[str, ...]]
) -> Facts:
    """Return the facts of a table with the axis of some spectra, and columns of texts."""
    bands, unit = len(spectra.axis), options.wavelength_unit or spectra.unit
    axis, notes = spectral_axis(spectra.path, spectra.axis.tolist(), bands=bands, unit=unit)
    layers, left = layers_beside(spectra.path, [held(name, texts) for name, texts in columns.items()])
    return Facts(
        shape=(len(columns["sample"]), 1, bands),
        dtype=np.dtype(np.float32),
        spectral=axis,
        table=True,
        layers=layers,
        header=dict(spectra.header),
        notes=(*spectra.notes, *notes, *left),
        files=files,
    )


def _ordered(folder: Path) -> tuple[Path, ...]:
    """Return the files of spectra by class and name."""
    classes = {file: file.parent.name if file.parent != folder else "" for file in files_in(folder)}
    files = sorted(classes, key=lambda file: (classes[file], _label(file)))
    apart = {file.parent == folder for file in files}
    if len(apart) > 1:
        loose = next(file for file in files if file.parent == folder)
        raise UserError(
            folder,
            found=f"spectra in folders of classes, and {loose.name} beside them",
            expected="all files in folders of classes, or all in one folder",
            do="Move it into the folder of its class.",
        )
    twice = [(a, b) for a, b in pairwise(files) if a.with_name(_label(a)) == b.with_name(_label(b))]
    if twice:
        names = " and ".join(file.name for file in twice[0])
        raise UserError(twice[0][0].parent, found=names, expected="one file for each name", do="Rename one of them.")
    return tuple(files)


def read_spectrum(file: Path, variable: str | None = None) -> FileSpectra:
    """Return the spectrum of a file of a folder.

    Raises:
        UserError: it is of no known format, or has several spectra.
    """
    known, count = ending(file) in FORMATS, 0
    if known:
        spectra = _load(file, variable)
        count = len(spectra.values)
        if count == 1:
            return spectra
    raise UserError(
        file,
        found=f"{count} spectra" if known else "a file of another kind",
        expected=f"a spectrum ({', '.join(FORMATS)})",
        do="Move it out of the folder; ingest a file of several spectra by itself.",
    )


def _same_axis(spectrum: FileSpectra, first: FileSpectra) -> FileSpectra:
    """Return a spectrum; refuse one with another axis than the first."""
    if spectrum.unit != first.unit:
        found, expected = f"an axis in {spectrum.unit or 'no unit'}", f"{first.unit or 'none'} as in {first.path.name}"
        raise UserError(spectrum.path, found=found, expected=expected, do="Convert one of them.")
    if np.array_equal(spectrum.axis, first.axis):
        return spectrum
    places = (spectrum.axis, first.axis)
    both = min(map(len, places))
    band = next((int(i) for i in np.flatnonzero(places[0][:both] != places[1][:both])), both)
    found, expected = (f"{place[band]:.9g}" if band < len(place) else "no band" for place in places)
    raise UserError(
        spectrum.path,
        found=f"{found} at band {band}",
        expected=f"{expected} as in {first.path.name}: one axis for all files of a table",
        do="Resample the spectra to one axis first, or put those of another instrument into another folder.",
    )
