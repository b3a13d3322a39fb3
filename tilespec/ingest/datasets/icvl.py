"""ICVL (Arad and Ben-Shahar 2016): MATLAB 7.3, one image in each file, 31 bands from 400 to 700 nm in 12 bits.

``rad(band, y, x)``, ``rgb(colour, y, x)`` and ``bands`` as HDF5 stores them; MATLAB shows ``x, y, band``. Rows run from
the bottom to the top in the file. Here images are upright, with 1392 rows of 1300 pixels: MATLAB's display rotated by a
quarter turn to the left.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

import h5py
import numpy as np

from tilespec.core.errors import UserError
from tilespec.core.types import Cube
from tilespec.ingest.datasets.members import VISIBLE, Member, check_bands
from tilespec.ingest.readers.containers import ArraySource, Container, chosen_array
from tilespec.ingest.readers.hdf5 import arrays, dataset, entry, open_hdf5, vector
from tilespec.ingest.readers.source import Facts, Options
from tilespec.ingest.readers.wavelengths import spectral_axis

SPECTRA: Final = "rad"
PICTURE: Final = "rgb"
MICROMETRES: Final = 100.0
"""The limit (in the file's unit) below which wavelengths are in micrometres."""
DIMS: Final = ("band", "y", "x")


@final
@dataclass(frozen=True, kw_only=True)
class Upright:
    """A source with the order of rows reversed."""

    facts: Facts
    """The facts of the source."""
    inner: ArraySource
    """The source in the stored order."""

    def read_rows(self, y0: int, y1: int) -> Cube:
        """Return rows, counted from the last stored one."""
        height = self.facts.shape[0]
        return self.inner.read_rows(height - y1, height - y0)[::-1]


def read_icvl(path: Path, options: Options) -> Upright:
    """Return the spectra of an image, or its picture for the variable ``rgb``, upright, float64 converted to float32.

    Raises:
        UserError: the file is incomplete, or its arrays are not those of the data set.
    """
    name = options.variable or SPECTRA
    with open_hdf5(path) as file:
        nodes = arrays(file)
        if name not in nodes or nodes[name].ndim != len(DIMS):
            raise UserError(
                path,
                found=f"arrays {', '.join(f'{key} {node.shape}' for key, node in sorted(nodes.items())) or 'none'}",
                expected=f"{name}(band, y, x) of ICVL",
                do="Give the .mat files as published.",
            )
        node = nodes[name]
        entries, reader = {name: entry(node, DIMS)}, dataset(path, node)
        bands = vector(nodes["bands"]) if "bands" in nodes else []
    container = Container(path=path, entries=entries, read=lambda _: reader)
    source = chosen_array(container, Options(variable=name)).source
    facts = replace(source.facts, dtype=_single(source.facts.dtype))
    if name == SPECTRA:
        check_bands(f"{path}: {name}", facts.shape[2], "ICVL")
        unit = "nm" if max(bands, default=0.0) > MICROMETRES else "um"
        centres, unit = (bands, unit) if bands else (VISIBLE, "nm")
        axis, notes = spectral_axis(path.name, centres, bands=facts.shape[2], unit=unit)
        facts = replace(facts, spectral=axis, notes=notes)
    return Upright(facts=facts, inner=replace(source, facts=facts))


def members(folder: Path) -> list[Member]:
    """Return the images of a folder of ``.mat`` files."""
    listing = []
    for path in sorted(folder.rglob("*.mat")):
        listing.append(Member(kind="cube", name=path.stem, src=str(path), reader="icvl"))
        if _has_picture(path):
            listing.append(Member(kind="rgb", name=path.stem, src=f"{path}:{PICTURE}", reader="icvl"))
    return listing


def _has_picture(path: Path) -> bool:
    """Return whether a file has a picture too; a damaged file is reported when its spectra are read."""
    try:
        with h5py.File(path, "r") as file:
            return PICTURE in file
    except OSError:
        return False


def _single(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the data type for values of 12 bits."""
    return np.dtype(np.float32) if dtype.kind == "f" else dtype
