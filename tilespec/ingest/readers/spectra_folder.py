"""Spectra of instruments: a file of a few spectra, or a folder with a file for each; perhaps a folder for each class.

The axis of all files of a folder is that of the first.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from tilespec.core.errors import UserError
from tilespec.core.registry import load
from tilespec.core.types import Cube
from tilespec.ingest.readers.file_spectra import FileSpectra
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
}
"""The function that returns the spectra of a file, by the ending of its name."""


@final
@dataclass(frozen=True, kw_only=True)
class FolderSpectra:
    """The spectra of a folder, each read from its file when its turn comes."""

    facts: Facts
    """The facts of the spectra, as a plane one pixel wide."""
    first: FileSpectra
    """The first spectrum, whose axis is that of all."""

    def read_rows(self, y0: int, y1: int) -> Cube:
        """Return some spectra."""
        spectra = [_same_axis(read_spectrum(file), self.first).values for file in self.facts.files[y0:y1]]
        return np.asarray(spectra, np.float32)


def files_in(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder and of the folders in it, without hidden ones."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        inside = [] if path.is_file() else [p for p in path.iterdir() if p.is_file() and not p.name.startswith(".")]
        yield from [path] if path.is_file() else sorted(inside, key=lambda p: (p.stem, p.suffix))


def read_instrument_file(path: Path, options: Options) -> Source:
    """Return the spectra of one file of an instrument."""
    refuse_array_options(path, options)
    spectra: FileSpectra = load(FORMATS, path.suffix.lower(), "spectra")(path)
    facts = _facts(spectra, options, (path,), {"sample": spectra.names})
    return ColumnSpectra(facts=facts, spectra=np.ascontiguousarray(spectra.values, np.float32))


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
    columns = {"sample": tuple(file.stem for file in files)}
    columns |= {"labels": tuple(file.parent.name for file in files)} if files[0].parent != path else {}
    return FolderSpectra(facts=_facts(first, options, files, columns), first=first)


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
        notes=(*notes, *left),
        files=files,
    )


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
    twice = [pair for pair in pairwise(files) if pair[0].with_suffix("") == pair[1].with_suffix("")]
    if twice:
        names = " and ".join(file.name for file in twice[0])
        raise UserError(twice[0][0].parent, found=names, expected="one file for each name", do="Rename one of them.")
    return tuple(files)


def read_spectrum(file: Path) -> FileSpectra:
    """Return the spectrum of a file of a folder.

    Raises:
        UserError: it is of no known format, or has several spectra.
    """
    read: Any = FORMATS.get(file.suffix.lower())
    count = 0
    if read is not None:
        spectra: FileSpectra = load(FORMATS, file.suffix.lower(), "spectra")(file)
        count = len(spectra.values)
        if count == 1:
            return spectra
    raise UserError(
        file,
        found=f"{count} spectra" if read else "a file of another kind",
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
