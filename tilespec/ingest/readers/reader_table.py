"""Table: the readers by name, and the reader for a path. A reader is a callable ``(path, options) -> Source``."""

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from tilespec.core.errors import UserError
from tilespec.core.registry import from_user, load
from tilespec.ingest.readers.envi import header_of
from tilespec.ingest.readers.image_light import ranged
from tilespec.ingest.readers.readable import Guarded, guarded_facts, readable
from tilespec.ingest.readers.source import Options, Relabelled, Source
from tilespec.ingest.readers.spectra_folder import FORMATS, ending, files_in
from tilespec.ingest.readers.wavelengths import even_ends, spectral_axis, unit_in_head, wavelengths_file

READERS: Final = {
    "envi": "tilespec.ingest.readers.envi:read_envi",
    "raster": "tilespec.ingest.readers.raster:read_raster",
    "image": "tilespec.ingest.readers.image:read_image",
    "matlab": "tilespec.ingest.readers.matlab:read_matlab",
    "hdf5": "tilespec.ingest.readers.hdf5:read_hdf5",
    "netcdf": "tilespec.ingest.readers.netcdf:read_netcdf",
    "emit": "tilespec.ingest.readers.emit:read_emit",
    "prisma": "tilespec.ingest.readers.prisma:read_prisma",
    "neon": "tilespec.ingest.readers.neon:read_neon",
    "npy": "tilespec.ingest.readers.arrays:read_npy",
    "npz": "tilespec.ingest.readers.arrays:read_npz",
    "text": "tilespec.ingest.readers.spectra_text:read_text",
    "folder": "tilespec.ingest.readers.spectra_folder:read_folder",
    "instrument": "tilespec.ingest.readers.spectra_folder:read_instrument_file",
    "zarr": "tilespec.ingest.readers.zarr_arrays:read_zarr",
    "icvl": "tilespec.ingest.datasets.icvl:read_icvl",
    "cave": "tilespec.ingest.datasets.cave:read_cave",
    "arad": "tilespec.ingest.datasets.arad:read_arad",
}
"""The names of readers and their dotted paths: a new format is a file and a line here, or a user's dotted path."""
SUFFIXES: Final = {
    ".hdr": "envi",
    ".mat": "matlab",
    ".npy": "npy",
    ".npz": "npz",
    ".csv": "text",
    ".tsv": "text",
    ".txt": "text",
    ".jdx": "instrument",
    ".dx": "instrument",
    ".spc": "instrument",
    ".0": "instrument",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".he5": "hdf5",
    ".nc": "hdf5",
    ".nc4": "hdf5",
    ".tif": "image",
    ".tiff": "image",
    ".png": "image",
    ".jpg": "image",
    ".jpeg": "image",
    ".bmp": "image",
    ".gif": "image",
}
"""The reader by the ending of a name. Other files are ENVI if they have a header, else they are read by GDAL."""
STORES: Final = ("zarr.json", ".zgroup", ".zarray")
"""The names of files at the root of a Zarr store."""


def open_source(text: str, options: Options, reader: str | None = None) -> Source:
    """Return the source at ``PATH`` or ``PATH:VARIABLE``, with wavelengths from a separate file.

    Raises:
        UserError: the path does not exist, no reader fits, or the reader refuses the file.
    """
    path, variable = split(text)
    options = replace(options, variable=variable or options.variable)
    name = from_user(reader) if reader else sniff(path)
    if options.allow_truncated and name != "envi":
        raise UserError(
            "--allow-truncated",
            found=f"{text}, which the reader {name!r} takes",
            expected="an ENVI file: the parts of other files are not in the order of the scene's lines",
            do="Leave it out; a file of this kind that ends early has to be copied again.",
        )
    with readable(path):
        inner: Source = load(READERS, name, "reader")(path, options)
    source: Source = Guarded(path=path, inner=inner, facts=guarded_facts(path, inner.facts))
    if options.kind != "cube":
        return source
    facts = ranged(text, source.facts, options)
    source = source if facts is source.facts else Relabelled(facts=facts, inner=source)
    return (
        source
        if options.wavelengths is None
        else _with_wavelengths(source, path, options.wavelengths, options.wavelength_unit)
    )


def split(text: str) -> tuple[Path, str | None]:
    """Return the path and the variable of ``PATH`` or ``PATH:VARIABLE``."""
    path, colon, variable = text.rpartition(":")
    if colon and not Path(text).exists() and Path(path).exists():
        return Path(path), variable
    place = Path(text)
    if not (place.is_file() or place.is_dir()):
        kind = "a pipe, a socket or a device" if place.exists() else "nothing"
        raise UserError(text, found=kind, expected="a file or a Zarr store", do="Check the path.")
    return place, None


def sniff(path: Path) -> str:
    """Return the name of the reader for a path."""
    if path.is_dir():
        if any((path / name).exists() for name in STORES):
            return "zarr"
        inside = [p for p in files_in(path) if ending(p) in SUFFIXES]
        if inside and all(ending(p) in FORMATS for p in inside):
            return "folder"
        names = sorted(p.name for p in inside if p.parent == path)[:6]
        raise UserError(
            path,
            found=f"a folder with {', '.join(names) or 'nothing to read'}",
            expected="a file or a Zarr store, or a folder with a file for each spectrum",
            do="Give one file of it.",
        )
    reader = SUFFIXES.get(ending(path))
    return reader or ("envi" if header_of(path) is not None else "raster")


def _with_wavelengths(source: Source, path: Path, file: str, unit: str | None) -> Source:
    """Return the source with wavelengths from ``FIRST:LAST`` or a text file, unless its reader found them by name."""
    ends = even_ends(file) if not Path(file).exists() else None
    if ends is None and not Path(file).is_file():
        if source.facts.spectral is not None and sniff(path) not in ("envi", "raster", "image"):
            return source
        raise UserError(
            "--wavelengths",
            found=f"neither a file nor a variable {file!r} in {path.name}",
            expected="a text file, one wavelength a line, the name of a vector, or FIRST:LAST",
            do="Check the path.",
        )
    bands = source.facts.shape[2]
    centres = wavelengths_file(Path(file)) if ends is None else np.linspace(*ends, bands).tolist()
    said = unit or (unit_in_head(Path(file)) if ends is None else "")
    old = source.facts.spectral
    good = None if old is None else old.good  # the owner's marks of bad bands do not depend on their centres
    axis, notes = spectral_axis(file, centres, bands=bands, unit=said, good=good)
    if ends is not None:
        notes += (f"--wavelengths {file}: {bands} evenly spaced bands, from the first to the last centre",)
    before = tuple(note for note in source.facts.notes if "wavelength" not in note)
    facts = replace(
        source.facts,
        spectral=axis,
        notes=(*before, *notes),
        files=(*source.facts.files, *(() if ends else (Path(file),))),
    )
    return Relabelled(facts=facts, inner=source)
