"""Raster: GeoTIFF and all other formats of GDAL, read by windows through rasterio."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import psutil
from jaxtyping import Bool, Shaped

from tilespec.core.errors import UserError
from tilespec.core.types import Cube, SpectralAxis
from tilespec.ingest.readers.band_names import axis_in_names
from tilespec.ingest.readers.category_names import category_names
from tilespec.ingest.readers.envi_fields import exact_names
from tilespec.ingest.readers.envi_header import names
from tilespec.ingest.readers.gaps import Gapped, with_gaps
from tilespec.ingest.readers.georeference import crs_of, grid_mapping
from tilespec.ingest.readers.linear import linear
from tilespec.ingest.readers.source import Facts, Options, Source, possible_nodata, refuse_array_options
from tilespec.ingest.readers.wavelengths import decimal, spectral_axis
from tilespec.storage.source_header import listed

GATHER: Final = 1 << 25
"""The bytes of one read, because compressed blocks are decoded completely."""
LINES: Final = 4
"""The lines of a raster that have to fit in memory."""
RGBA: Final = ("red", "green", "blue", "alpha")
PER_DATASET: Final = "per_dataset"
"""The name of GDAL's flag for a mask of the whole raster."""


@final
@dataclass(frozen=True, kw_only=True)
class RasterSource:
    """A raster that GDAL reads."""

    facts: Facts
    """The facts of the raster."""
    path: str
    """The path for rasterio."""
    alpha: int | None = None
    """The number of the alpha band from 1, if there is one."""

    def read_rows(self, y0: int, y1: int) -> Cube:
        """Return rows as ``y, x, band``."""
        block = self.rows(y0, y1, tuple(range(1, self.facts.shape[2] + 1)))
        return np.moveaxis(block, 0, -1)

    def known(self, y0: int, y1: int) -> Bool[np.ndarray, "y x"]:
        """Return which pixels of some rows the file's own mask, or its alpha band, says to have data."""
        from rasterio.windows import Window

        if self.alpha is not None:  # GDAL's own mask knows alpha bands of two or four bands only
            return np.asarray(self.rows(y0, y1, (self.alpha,))[0] != 0)
        with open_raster(self.path) as raster:
            seen: np.ndarray = raster.dataset_mask(window=Window(0, y0, raster.width, y1 - y0))
        return seen != 0

    def rows(self, y0: int, y1: int, bands: tuple[int, ...]) -> Shaped[np.ndarray, "band y x"]:
        """Return rows of some bands, counted from 1."""
        from rasterio.windows import Window

        with open_raster(self.path) as raster:
            block: np.ndarray = raster.read(bands, window=Window(0, y0, raster.width, y1 - y0))
        return block


def read_raster(path: Path, options: Options) -> Source:
    """Return a raster, with wavelengths from its bands' tags if there are any; pixels that it masks have no data.

    Raises:
        UserError: GDAL cannot read it; its bands have several data types or values for no data; it is complex.
    """
    refuse_array_options(path, options)
    with open_raster(str(path)) as raster:
        _refuse(path, raster)
        alpha, masked, mask_notes = _mask(path.name, raster)
        bands = raster.count - alpha
        spectral, notes = _spectral(path.name, raster, bands, options)
        tags = {key: str(value) for key, value in raster.tags().items() if key not in ("AREA_OR_POINT", "class_names")}
        nodata, nodata_notes = possible_nodata(path.name, raster.nodata, np.dtype(raster.dtypes[0]))
        facts = Facts(
            shape=(raster.height, raster.width, bands),
            dtype=np.dtype(raster.dtypes[0]),
            spectral=spectral,
            georef=georef_of(raster),
            nodata=nodata,
            classes=_classes(path, raster),
            header=tags | _band_names(raster, bands),
            notes=(*notes, *place_notes(path.name, raster), *nodata_notes, *mask_notes),
            files=tuple(p for p in (path,) if p.exists()),
            read_bytes=GATHER,
        )
        gains, offsets = tuple(raster.scales[:bands]), tuple(raster.offsets[:bands])
    _check_line(path, facts)
    whole_raster = RasterSource(facts=facts, path=str(path), alpha=bands + 1 if alpha else None)
    source: Source = whole_raster
    if masked:
        source = Gapped(facts=with_gaps(facts), inner=source, known=whole_raster.known)
    plain = set(gains) == {1.0} and not any(offsets)
    return source if plain else linear(path.name, source, gains, offsets)


def _mask(where: str, raster: Any) -> tuple[bool, bool, tuple[str, ...]]:
    """Return whether the last band is an alpha band, whether pixels are masked, and notes.

    GDAL calls the fourth of four byte bands alpha in many files where nobody meant one: there it is a band.
    """
    colours = tuple(colour.name for colour in raster.colorinterp)
    alpha = raster.count > 1 and colours[-1] == "alpha"
    if alpha and colours == RGBA and raster.dtypes[0] == "uint8":
        return (
            False,
            False,
            (f"{where}: band 4 is marked as alpha, as GDAL marks any fourth byte band: it is data here",),
        )
    flags = {flag.name for flag in raster.mask_flag_enums[0]}
    if alpha or PER_DATASET in flags:
        what = "alpha band" if alpha else "mask"
        return alpha, True, (f"{where}: pixels that its own {what} hides have no data",)
    own = any(not kinds for kinds in raster.mask_flag_enums)
    return False, False, (f"{where}: the masks of its single bands are not used",) if own else ()


def _classes(path: Path, raster: Any) -> tuple[str, ...]:
    """Return the names of classes: from tilespec's tag, a list of JSON or of words, or from GDAL's sidecar."""
    text = str(raster.tags().get("class_names", ""))
    listed = exact_names(text) if text.startswith("[") else names(text) if text else ()
    return listed or category_names(path)


def _check_line(path: Path, facts: Facts) -> None:
    """Refuse a raster of which not even a line of tiles can be in memory: its size is damaged."""
    line, memory = facts.shape[1] * facts.shape[2] * facts.dtype.itemsize, psutil.virtual_memory().total
    if line * LINES > memory:
        raise UserError(
            f"{path}: size",
            found=f"{facts.shape[0]} x {facts.shape[1]} pixels of {facts.shape[2]} bands",
            expected=f"lines that fit in {memory:,} bytes of memory",
            do="The file is damaged, or far too wide: cut it into parts.",
        )


@contextmanager
def open_raster(path: str) -> Iterator[Any]:
    """Open a raster; a missing georeference gives no warning here."""
    with raster_at(path) as raster, whole(path):
        yield raster


def raster_at(path: str) -> Any:
    """Return a raster that is open for reading."""
    import rasterio
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            return rasterio.open(path)
        except (RasterioError, CPLE_BaseError, ValueError, UnicodeDecodeError) as error:
            raise UserError(
                path,
                found=f"something GDAL cannot read ({error})",
                expected="ENVI with its header, GeoTIFF, .mat, .npy, .npz, .nc, .h5, Zarr or a raster of GDAL",
                do="Check the path and the format.",
            ) from error


@contextmanager
def whole(path: str) -> Iterator[None]:
    """Report pixels that cannot be read; libjpeg only warns of a file that ends early, and fills it with grey."""
    from rasterio import Env
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    with warnings.catch_warnings(), Env(GDAL_ERROR_ON_LIBJPEG_WARNING=True):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            yield
        except UserError:
            raise
        except (RasterioError, CPLE_BaseError, ValueError, MemoryError, KeyError) as error:
            raise UserError(
                path,
                found=f"pixels that cannot be read ({error})",
                expected="a whole file",
                do="The file is cut short or damaged: copy it again.",
            ) from error


def _refuse(path: Path, raster: Any) -> None:
    """Refuse rasters without bands, or whose bands differ in data type or in the value for no data."""
    several = len(set(raster.dtypes)) > 1 or any("complex" in kind for kind in raster.dtypes)
    values = {str(value) for value in raster.nodatavals}
    problems = {
        "bands": (raster.count == 0, f"none, but subdatasets {raster.subdatasets[:4]}"),
        "data type": (several, raster.dtypes[:3]),
        "nodata": (len(values) > 1, sorted(values)[:3]),
    }
    for field, (refused, found) in problems.items():
        if refused:
            raise UserError(
                f"{path}: {field}",
                found=found,
                expected="bands of one real data type and one value for no data",
                do="Bring it into one form first, for example with gdal_translate -ot Float32.",
            )


def georef_of(raster: Any) -> dict[str, Any] | None:
    """Return the grid mapping; rotated and south-up transforms do not change."""
    if raster.crs is None and raster.transform.is_identity:
        return None
    return grid_mapping(_crs(raster), raster.transform.to_gdal())


def _crs(raster: Any) -> Any:
    """Return the CRS of a raster, or None; a local plane has none."""
    from rasterio.errors import CRSError

    try:
        return crs_of(raster.crs.to_wkt()) if raster.crs else None
    except CRSError:
        return None


def place_notes(where: str, raster: Any) -> tuple[str, ...]:
    """Return notes on a georeference that a scene cannot store completely."""
    points = len(raster.gcps[0])
    if points:
        return (f"{where}: its {points} ground control points are not kept: use gdalwarp first to have a grid",)
    lost = _crs(raster) is None and not raster.transform.is_identity
    what = "no CRS" if raster.crs is None else "its CRS is not understood"
    return (f"{where}: {what}: the transform is kept as it is",) if lost else ()


def _band_names(raster: Any, bands: int) -> dict[str, str]:
    """Return the descriptions of the bands in the form of ENVI, if any band has one that is not its wavelength."""
    given = [str(name or "") for name in raster.descriptions[:bands]]
    if not any(given) or all(name == _written(raster, band) for band, name in enumerate(given, start=1)):
        return {}
    return {"band names": listed([(name or f"Band {i}").replace(",", ";") for i, name in enumerate(given, start=1)])}


def _written(raster: Any, band: int) -> str:
    """Return the description that tilespec writes for a band without a name."""
    tags = raster.tags(band)
    try:
        return f"{float(tags['wavelength']):g} {tags['wavelength_units']}"
    except (KeyError, ValueError):
        return ""


def _spectral(where: str, raster: Any, bands: int, options: Options) -> tuple[SpectralAxis | None, tuple[str, ...]]:
    """Return the axis from the bands' tags, ``wavelength`` or GDAL's IMAGERY domain in micrometres, or their names.

    Bad bands without wavelengths are marked on an axis of band numbers.
    """
    tags = [_band_tags(raster, band) for band in range(1, bands + 1)]
    columns = {key: [tag.get(key) for tag in tags] for key in ("wavelength", "fwhm", "bbl")}
    try:
        lists = {key: [decimal(v) for v in values if v is not None] for key, values in columns.items()}
    except ValueError as error:
        return None, (f"{where}: wavelengths are not kept: {error}",)
    full = {key: values if len(values) == bands else None for key, values in lists.items()}
    some = [
        f"{where}: some bands have no {key}, none is kept" for key, values in lists.items() if 0 < len(values) < bands
    ]
    unit = options.wavelength_unit
    units = {unit} if unit is not None else {tag.get("wavelength_units", "") for tag in tags}
    if len(units) > 1 and full["wavelength"] is not None:
        return None, (f"{where}: wavelengths are not kept: units {', '.join(sorted(units))}",)
    good = None if full["bbl"] is None else [value != 0 for value in full["bbl"]]
    if full["wavelength"] is None:
        if full["fwhm"] is not None:
            some.append(f"{where}: fwhm belongs to no wavelengths and is left out")
        named, said = axis_in_names(where, [name or "" for name in raster.descriptions[:bands]], bands)
        if named is not None:
            return replace(named, good=None if good is None else tuple(good)), (*some, *said)
        if good is None:
            return None, (*some, *(said if bands > 1 and options.kind == "cube" else ()))
        axis, _ = spectral_axis(where, list(map(float, range(bands))), bands=bands, unit="index", good=good)
        return axis, (*some, f"{where}: no wavelengths; bad bands are marked on an axis of band numbers")
    axis, notes = spectral_axis(where, full["wavelength"], bands=bands, unit=units.pop(), fwhm=full["fwhm"], good=good)
    return axis, (*some, *notes)


def _band_tags(raster: Any, band: int) -> dict[str, str]:
    """Return the spectral tags of a band, keys in lower case."""
    tags = {key.lower(): value for key, value in raster.tags(band).items()}
    if "wavelength" in tags:
        return tags
    imagery = raster.tags(band, ns="IMAGERY")
    if "CENTRAL_WAVELENGTH_UM" not in imagery:
        return tags
    wavelength = {"wavelength": imagery["CENTRAL_WAVELENGTH_UM"], "wavelength_units": "um"}
    return wavelength | ({"fwhm": imagery["FWHM_UM"]} if "FWHM_UM" in imagery else {})
