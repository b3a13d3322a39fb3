"""ARAD-1K (NTIRE 2022 spectral recovery): MATLAB files of 31 bands from 400 to 700 nm, and JPEG pictures.

``Train_Spec/ARAD_1K_0001.mat`` with ``cube`` and ``bands``, ``Train_RGB/ARAD_1K_0001.jpg``; ``Valid_...`` and
``Test_RGB`` have the same form. HDF5 has ``cube(band, x, y)``, MATLAB ``y, x, band``.
"""

from dataclasses import replace
from pathlib import Path
from typing import Final

import h5py
import numpy as np

from tilespec.ingest.datasets.members import VISIBLE, Member, check_bands
from tilespec.ingest.readers.hdf5 import vector
from tilespec.ingest.readers.matlab import read_matlab
from tilespec.ingest.readers.source import Options, Relabelled
from tilespec.ingest.readers.wavelengths import spectral_axis

VARIABLE: Final = "cube"
PICTURES: Final = ("*.jpg", "*.jpeg", "*.png")


def read_arad(path: Path, options: Options) -> Relabelled:
    """Return the spectra of an image with its wavelengths, float64 converted to float32.

    Raises:
        UserError: the file is incomplete, or has no cube of 31 bands.
    """
    source = read_matlab(path, Options(variable=options.variable or VARIABLE))
    check_bands(f"{path}: {VARIABLE}", source.facts.shape[2], "ARAD-1K")
    listed = _bands(path) or list(VISIBLE)
    axis, notes = spectral_axis(path.name, listed, bands=source.facts.shape[2], unit="nm")
    dtype = np.dtype(np.float32) if source.facts.dtype.kind == "f" else source.facts.dtype
    facts = replace(source.facts, dtype=dtype, spectral=axis, notes=notes)
    return Relabelled(facts=facts, inner=replace(source, facts=facts))  # type: ignore[type-var]


def members(folder: Path) -> list[Member]:
    """Return the images of all folders; a picture of the test set, which has no spectra, is an image too."""
    cubes = [Member(kind="cube", name=p.stem, src=str(p), reader="arad") for p in sorted(folder.rglob("*.mat"))]
    pictures = sorted(path for pattern in PICTURES for path in folder.rglob(pattern))
    return cubes + [Member(kind="rgb", name=p.stem, src=str(p), reader="image") for p in pictures]


def _bands(path: Path) -> list[float]:
    """Return the wavelengths in the file of a cube; MATLAB's older format has none, and the published ones are used.

    The file was opened before, so it is complete.
    """
    if not h5py.is_hdf5(path):
        return []
    with h5py.File(path, "r") as file:
        return vector(file["bands"]) if "bands" in file else []
