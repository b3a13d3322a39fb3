"""PRISMA of the Italian Space Agency: HDF-EOS5 with one cube for each of two spectrometers, levels 1, 2B, 2C and 2D.

``HDFEOS/SWATHS/PRS_<level>_HCO/Data Fields/{VNIR_Cube, SWIR_Cube}(y, band, x)``, uint16; the root's attributes have all
other facts: ``List_Cw_Vnir`` and ``List_Fwhm_Vnir`` in descending order (0 nm: a band that was not acquired), and the
packing, which differs between spectrometers (PRISMA Products Specification Document, ASI; prismaread, Busetto and
Ranghetti 2020):

    level 2: value = L2ScaleMin + stored * (L2ScaleMax - L2ScaleMin) / 65535
    level 1: value = stored / ScaleFactor - Offset

A scene has one scale, so the values are stored as float32. Bands are put in ascending order. Where both spectrometers
measure (about 943 to 978 nm), SWIR's bands are used, as in prismaread, with a note.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import h5py
import numpy as np
from jaxtyping import Int64

from tilespec.core.errors import UserError
from tilespec.core.types import Cube
from tilespec.ingest.readers.cf import LATITUDE, LONGITUDE, text
from tilespec.ingest.readers.containers import ArraySource
from tilespec.ingest.readers.georeference import crs_of, grid_mapping
from tilespec.ingest.readers.hdf5 import Hdf5Layout, attributes, dataset, layer, open_hdf5, vector
from tilespec.ingest.readers.source import Facts, Options, SourceLayer
from tilespec.ingest.readers.wavelengths import check_count, spectral_axis
from tilespec.storage.axes import ORDER

ARMS: Final = ("Vnir", "Swir")
TOP: Final = 65535
"""The stored value of ``L2ScaleMax``."""
MISSING: Final = (
    "pixels whose bands are all stored as 0 are taken as missing; its error matrices are not applied",
    "stored zeros (failed retrievals, padding) are taken as missing; its error matrices are not applied",
)
"""The notes on missing data of level 1 and of level 2."""
READ: Final = 1 << 24
"""The bytes of one read of stored numbers; their values take twice as much."""


@final
@dataclass(frozen=True, kw_only=True)
class Arm:
    """The cube of one spectrometer."""

    source: ArraySource
    """The source of the stored bands."""
    take: Int64[np.ndarray, " taken"]
    """The indices of the used bands in ascending order of wavelength."""
    centres: tuple[float, ...]
    """The centres of the used bands in nm."""
    fwhm: tuple[float, ...]
    """The full widths at half maximum of the used bands in nm."""
    scale: float
    """The difference in value for a stored step of 1."""
    offset: float
    """The value of a stored 0."""


@final
@dataclass(frozen=True, kw_only=True)
class PrismaSource:
    """Both spectrometers' bands as one cube of values."""

    facts: Facts
    """The facts from the file."""
    arms: tuple[Arm, ...]
    """The spectrometers VNIR and SWIR."""
    zero_is_missing: bool
    """Whether a stored 0 is a failed retrieval or padding (level 2); in level 1 it is only when all bands are 0."""

    def read_rows(self, y0: int, y1: int) -> Cube:
        """Return rows of values ``y, x, band``, NaN for no data."""
        out = np.empty((y1 - y0, *self.facts.shape[1:]), np.float32)
        empty, first = np.ones(out.shape[:2], bool), 0
        for arm in self.arms:
            stored = arm.source.read_rows(y0, y1)[..., arm.take]
            values = out[..., first : first + stored.shape[2]]
            np.multiply(stored, np.float64(arm.scale), out=values, casting="same_kind")
            values += np.float32(arm.offset)
            if self.zero_is_missing:
                values[stored == 0] = np.nan
            empty &= (stored == 0).all(axis=-1)
            first += stored.shape[2]
        out[empty] = np.nan
        return out


def fits(file: h5py.File) -> bool:
    """Return whether a file has a hyperspectral swath of PRISMA."""
    return _swath(file) is not None and "List_Cw_Vnir" in file.attrs


def read_prisma(path: Path, options: Options) -> PrismaSource:
    """Return the cube of a PRISMA product; a level 2D product lies on a UTM grid, the others on a swath."""
    del options  # the layout decides everything
    with open_hdf5(path) as file:
        swath = _swath(file)
        assert swath is not None, "the layout fits, or the user names it"
        level = swath.partition("PRS_")[2].partition("_")[0]
        vnir, swir = (_arm(path, file, swath, arm) for arm in ARMS)
        arms, notes = _parted(path.name, vnir, swir)
        shape = _shape(path, arms)
        axis, axis_notes = spectral_axis(
            path.name,
            [centre for arm in arms for centre in arm.centres],
            bands=shape[2],
            unit="nm",
            fwhm=[width for arm in arms for width in arm.fwhm],
        )
        georef, layers, place_notes = _place(path, file, swath, shape)
        header = attributes(file)
    facts = Facts(
        shape=shape,
        dtype=np.dtype(np.float32),
        spectral=axis,
        georef=georef,
        layers=layers,
        header=header,
        notes=(*notes, *axis_notes, *place_notes, f"{path.name}: {MISSING[level.startswith('L2')]}"),
        files=(path,),
        read_bytes=2 * READ,
    )
    return PrismaSource(facts=facts, arms=arms, zero_is_missing=level.startswith("L2"))


def _swath(file: h5py.File) -> str | None:
    """Return the path of the coregistered hyperspectral swath."""
    swaths = file.get("HDFEOS/SWATHS")
    if not isinstance(swaths, h5py.Group):
        return None
    names = sorted(name for name in swaths if name.startswith("PRS_L") and name.endswith("_HCO"))
    whole = [name for name in names if all(f"{name}/Data Fields/{arm.upper()}_Cube" in swaths for arm in ARMS)]
    return f"HDFEOS/SWATHS/{whole[0]}" if whole else None


def _arm(path: Path, file: h5py.File, swath: str, arm: str) -> Arm:
    """Return one spectrometer with its acquired bands in ascending order."""
    node = file[f"{swath}/Data Fields/{arm.upper()}_Cube"]
    rows, bands, columns = node.shape
    lists = {key: vector(file.attrs[f"List_{key}_{arm}"]) for key in ("Cw", "Fwhm")}
    flags = vector(file.attrs[f"List_Cw_{arm}_Flags"]) if f"List_Cw_{arm}_Flags" in file.attrs else [1.0] * bands
    for key, values in (*lists.items(), ("Cw_Flags", flags)):
        check_count(f"{path}: List_{key}_{arm}", values, bands)
    used = np.array([band for band in range(bands) if flags[band] != 0 and lists["Cw"][band] > 0], np.int64)
    take = used[np.argsort(np.asarray(lists["Cw"])[used], kind="stable")]
    scale, offset = _packing(path, file, arm)
    facts = Facts(shape=(rows, columns, bands), dtype=node.dtype, files=(path,))
    return Arm(
        source=ArraySource(facts=facts, array=dataset(path, node), axes=(ORDER[0], ORDER[2], ORDER[1])),
        take=take,
        centres=tuple(lists["Cw"][band] for band in take),
        fwhm=tuple(lists["Fwhm"][band] for band in take),
        scale=scale,
        offset=offset,
    )


def _packing(path: Path, file: h5py.File, arm: str) -> tuple[float, float]:
    """Return the step and the value of 0 from the attributes of the product's level."""

    def number(key: str) -> float | None:
        return vector(file.attrs[key])[0] if key in file.attrs else None

    low, high = number(f"L2Scale{arm}Min"), number(f"L2Scale{arm}Max")
    if low is not None and high is not None:
        return (high - low) / TOP, low
    factor = number(f"ScaleFactor_{arm}")
    if not factor:
        raise UserError(
            path,
            found=f"neither L2Scale{arm}Min and L2Scale{arm}Max nor ScaleFactor_{arm}",
            expected="how stored numbers become radiance or reflectance",
            do="Download the product again; or name a cube with --variable to take its numbers as they are.",
        )
    return 1.0 / factor, -(number(f"Offset_{arm}") or 0.0)


def _parted(where: str, vnir: Arm, swir: Arm) -> tuple[tuple[Arm, ...], tuple[str, ...]]:
    """Return both spectrometers without VNIR's bands in the range of SWIR, and the number of bands left out."""
    unused = [arm.source.facts.shape[2] - len(arm.take) for arm in (vnir, swir)]
    notes = (f"{where}: {unused[0]} VNIR and {unused[1]} SWIR bands were not acquired",) if any(unused) else ()
    keep = [i for i, centre in enumerate(vnir.centres) if not swir.centres or centre < swir.centres[0]]
    left = len(vnir.centres) - len(keep)
    if left:
        span = f"{vnir.centres[len(keep)]:g} to {vnir.centres[-1]:g} nm"
        notes = (*notes, f"{where}: {left} VNIR bands, {span}, are left out: SWIR measures there too")
    parted = Arm(
        source=vnir.source,
        take=vnir.take[keep],
        centres=tuple(vnir.centres[i] for i in keep),
        fwhm=tuple(vnir.fwhm[i] for i in keep),
        scale=vnir.scale,
        offset=vnir.offset,
    )
    return tuple(arm for arm in (parted, swir) if arm.centres), notes


def _shape(path: Path, arms: tuple[Arm, ...]) -> tuple[int, int, int]:
    """Return the shape of both together; refuse spectrometers that differ in size."""
    sizes = {arm.source.facts.shape[:2] for arm in arms}
    if len(sizes) != 1:
        raise UserError(
            path,
            found=f"cubes of {sorted(sizes)} pixels" if sizes else "no band that was acquired",
            expected="VNIR and SWIR of the same rows and columns",
            do="Download the product again.",
        )
    return *sizes.pop(), sum(len(arm.take) for arm in arms)


def _place(
    path: Path, file: h5py.File, swath: str, shape: tuple[int, int, int]
) -> tuple[dict[str, Any] | None, tuple[SourceLayer, ...], tuple[str, ...]]:
    """Return the grid of level 2D, or for other levels the latitude and longitude of each pixel."""
    if "Epsg_Code" in file.attrs and "Product_ULcorner_easting" in file.attrs:
        georef, notes = _grid(path.name, file, shape)
        return georef, (), notes
    fields = file.get(f"{swath}/Geolocation Fields", {})
    layers = []
    for name, key, attrs in (("lat", "Latitude", LATITUDE), ("lon", "Longitude", LONGITUDE)):
        nodes = [fields[k] for k in (key, f"{key}_VNIR", f"{key}_SWIR") if k in fields]
        layers += [layer(path, name, node, attrs) for node in nodes[:1] if node.shape == shape[:2]]
    note = f"{path.name}: a swath: lat and lon of each pixel are kept as layers; there is no georeference"
    return None, tuple(layers), (note,)


def _grid(where: str, file: h5py.File, shape: tuple[int, int, int]) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """Return the grid from the corner attributes, which are the centres of corner pixels (EnMAP-Box, `spatialInfo`)."""
    keys = ("ULcorner_easting", "LRcorner_easting", "ULcorner_northing", "LRcorner_northing")
    left, right, top, bottom = (vector(file.attrs[f"Product_{key}"])[0] for key in keys)
    dx, dy = (right - left) / max(shape[1] - 1, 1), (bottom - top) / max(shape[0] - 1, 1)
    if not (dx > 0 > dy and abs(dx + dy) < 0.01 * dx):
        return None, (f"{where}: its corners give pixels of {dx:g} x {-dy:g} m, which are not square: no georeference",)
    crs = crs_of(int(float(text(file.attrs["Epsg_Code"]))))
    georef = grid_mapping(crs, (left - dx / 2, dx, 0.0, top - dy / 2, 0.0, dy))
    return georef, (f"{where}: its corners are taken as centres of pixels of {dx:g} m",)


LAYOUT: Final = Hdf5Layout(fits=fits, read=read_prisma)
