"""CAVE (Yasuma et al. 2008): each scene is a folder of 31 grey PNGs of 16 bits, one for each band from 400 to 700 nm.

``balloons_ms/balloons_ms/balloons_ms_01.png`` to ``_31.png``, and ``balloons_RGB.bmp`` beside them. The stored value
65535 is reflectance 1.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import numpy as np

from tilespec.core.errors import UserError
from tilespec.core.types import Cube
from tilespec.ingest.datasets.members import VISIBLE, Member, visible_axis
from tilespec.ingest.readers.image import Scan
from tilespec.ingest.readers.raster import GATHER, open_raster
from tilespec.ingest.readers.source import Facts, Options, refuse_array_options

BAND: Final = re.compile(r"(?P<scene>[^.].*)_ms_(?P<band>\d\d)\.png", re.IGNORECASE)
WHITE: Final = 65535.0


@final
@dataclass(frozen=True, kw_only=True)
class PictureStack:
    """A stack of pictures with one band each, as one cube."""

    facts: Facts
    """The facts of the cube."""
    bands: tuple[Scan, ...]
    """The pictures in the order of wavelength."""

    def read_rows(self, y0: int, y1: int) -> Cube:
        """Return rows as ``y, x, band``."""
        return np.concatenate([band.rows(y0, y1) for band in self.bands], axis=2)


def read_cave(path: Path, options: Options) -> PictureStack:
    """Return the scene of a folder.

    Raises:
        UserError: a band is missing, is not a grey PNG of 16 bits, or differs in size from the others.
    """
    refuse_array_options(path, options)
    files = _files(path)
    shapes = {file: _shape(file) for file in files}
    first = shapes[files[0]]
    other = next((file for file, shape in shapes.items() if shape != first), None)
    if other is not None:
        raise UserError(
            other,
            found=f"{shapes[other][0]} x {shapes[other][1]} pixels",
            expected=f"{first[0]} x {first[1]}, as {files[0].name} has",
            do="Unpack the scene again.",
        )
    facts = Facts(
        shape=(*first, len(files)),
        dtype=np.dtype(np.uint16),
        spectral=visible_axis(),
        scale=1.0 / WHITE,
        files=files,
        read_bytes=GATHER,
    )
    return PictureStack(facts=facts, bands=tuple(Scan(str(file)) for file in files))


def members(folder: Path) -> list[Member]:
    """Return the scenes of all folders, and the picture beside each."""
    scenes: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.png")):
        match = BAND.fullmatch(path.name)
        if match is not None:
            scenes.setdefault(str(path.parent), path.with_name(match["scene"]))
    listing = []
    for place, named in scenes.items():
        listing.append(Member(kind="cube", name=named.name, src=place, reader="cave"))
        pictures = sorted(path for path in Path(place).iterdir() if path.name.lower().endswith("_rgb.bmp"))
        listing += [Member(kind="rgb", name=named.name, src=str(path), reader="image") for path in pictures[:1]]
    return listing


def _files(path: Path) -> tuple[Path, ...]:
    """Return the files of all bands in order; refuse a folder with missing or additional bands."""
    matches = {file: BAND.fullmatch(file.name) for file in sorted(path.iterdir())} if path.is_dir() else {}
    by_band = {int(match["band"]): file for file, match in matches.items() if match is not None}
    wanted = range(1, len(VISIBLE) + 1)
    missing, extra = sorted(set(wanted) - set(by_band)), sorted(set(by_band) - set(wanted))
    if missing or extra:
        problem = f"no band {', '.join(f'{band:02d}' for band in missing)}" if missing else f"a band {extra[0]:02d}"
        raise UserError(
            path,
            found=problem if by_band else "no NAME_ms_01.png",
            expected=f"{len(VISIBLE)} files NAME_ms_01.png to NAME_ms_{len(VISIBLE)}.png",
            do="Unpack the scene again.",
        )
    return tuple(by_band[band] for band in wanted)


def _shape(file: Path) -> tuple[int, int]:
    """Return the size of a band in pixels; refuse anything except 16 bits of grey."""
    with open_raster(str(file)) as raster:
        if raster.count != 1 or raster.dtypes[0] != "uint16":
            raise UserError(
                file,
                found=f"{raster.count} bands of {raster.dtypes[0]}",
                expected="one band of 16 bits",
                do="Convert it, or leave this scene out: of the published ones, watercolors is like that.",
            )
        return raster.height, raster.width
