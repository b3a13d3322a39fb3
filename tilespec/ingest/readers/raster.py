"""Raster: GeoTIFF and all other formats of GDAL, read by windows through rasterio."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from tilespec.core.errors import UserError
from tilespec.core.types import Cube, SpectralAxis
from tilespec.ingest.readers.envi_header import names
from tilespec.ingest.readers.georeference import crs_of, grid_mapping
from tilespec.ingest.readers.source import Facts, Options, refuse_array_options
from tilespec.ingest.readers.wavelengths import spectral_axis

GATHER: Final = 1 << 25
"""The bytes of one read, because compressed blocks are decoded completely."""


@final
@dataclass(frozen=True, kw_only=True)
class RasterSource:
    """A raster that GDAL reads."""

    facts: Facts
    """The facts of the raster."""
    path: str
    """The path for rasterio."""

    def read_rows(self, y0: int, y1: int) -> Cube:
        """Return rows as ``y, x, band``."""
        from rasterio.windows import Window

        with open_raster(self.path) as raster:
            block = raster.read(window=Window(0, y0, raster.width, y1 - y0))
        return np.moveaxis(block, 0, -1)


def read_raster(path: Path, options: Options) -> RasterSource:
    """Return a raster, with wavelengths from its bands' tags if there are any.

    Raises:
        UserError: GDAL cannot read it; its bands have several scales or an offset; it is complex.
    """
    refuse_array_options(path, options)
    with open_raster(str(path)) as raster:
        _refuse(path, raster)
        spectral, notes = _spectral(path.name, raster)
        tags = {key: str(value) for key, value in raster.tags().items() if key != "AREA_OR_POINT"}
        class_names = tags.pop("class_names", "")
        facts = Facts(
            shape=(raster.height, raster.width, raster.count),
            dtype=np.dtype(raster.dtypes[0]),
            spectral=spectral,
            georef=georef_of(raster),
            nodata=raster.nodata,
            scale=float(raster.scales[0]),
            classes=names(class_names) if class_names else (),
            header=tags | _band_names(raster),
            notes=(*notes, *place_notes(path.name, raster)),
            files=tuple(p for p in (path,) if p.exists()),
            read_bytes=GATHER,
        )
    return RasterSource(facts=facts, path=str(path))


@contextmanager
def open_raster(path: str) -> Iterator[Any]:
    """Open a raster; a missing georeference gives no warning here."""
    with raster_at(path) as raster, whole(path):
        yield raster


def raster_at(path: str) -> Any:
    """Return a raster that is open for reading."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioIOError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            return rasterio.open(path)
        except RasterioIOError as error:
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
    from rasterio.errors import NotGeoreferencedWarning, RasterioIOError

    with warnings.catch_warnings(), Env(GDAL_ERROR_ON_LIBJPEG_WARNING=True):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            yield
        except RasterioIOError as error:
            raise UserError(
                path,
                found=f"pixels that cannot be read ({error})",
                expected="a whole file",
                do="The file is cut short or damaged: copy it again.",
            ) from error


def _refuse(path: Path, raster: Any) -> None:
    """Refuse rasters whose bands differ in scale or have an offset."""
    problems = (
        {
            "data type": (len(set(raster.dtypes)) > 1 or "complex" in raster.dtypes[0], raster.dtypes[:3]),
            "bands": (raster.count == 0, f"none, but subdatasets {raster.subdatasets[:4]}"),
            "scales": (len(set(raster.scales)) > 1, sorted(set(raster.scales))[:3]),
            "offsets": (any(raster.offsets), sorted(set(raster.offsets))[:3]),
        }
        if raster.count
        else {"bands": (True, f"none, but subdatasets {raster.subdatasets[:4]}")}
    )
    for field, (refused, found) in problems.items():
        if refused:
            raise UserError(
                f"{path}: {field}",
                found=found,
                expected="bands of one real data type, one scale and no offset",
                do="Bring it into one form first, for example with gdal_translate -unscale -ot Float32.",
            )


def georef_of(raster: Any) -> dict[str, Any] | None:
    """Return the grid mapping; rotated and south-up transforms do not change."""
    if raster.crs is None and raster.transform.is_identity:
        return None
    crs = crs_of(raster.crs.to_wkt()) if raster.crs else None
    return grid_mapping(crs, raster.transform.to_gdal())


def place_notes(where: str, raster: Any) -> tuple[str, ...]:
    """Return notes on a georeference that a scene cannot store completely."""
    points = len(raster.gcps[0])
    if points:
        return (f"{where}: its {points} ground control points are not kept: use gdalwarp first to have a grid",)
    lost = raster.crs is None and not raster.transform.is_identity
    return (f"{where}: no CRS: the transform is kept as it is",) if lost else ()


def _band_names(raster: Any) -> dict[str, str]:
    """Return the descriptions of the bands in the form of ENVI, if any band has one."""
    if not any(raster.descriptions):
        return {}
    listed = (str(name or f"Band {i}").replace(",", " ") for i, name in enumerate(raster.descriptions, start=1))
    return {"band names": "{" + ", ".join(listed) + "}"}


def _spectral(where: str, raster: Any) -> tuple[SpectralAxis | None, tuple[str, ...]]:
    """Return the axis from the bands' tags: ``wavelength``, or GDAL's IMAGERY domain in micrometres."""
    tags = [_band_tags(raster, band) for band in range(1, raster.count + 1)]
    columns = {key: [tag.get(key) for tag in tags] for key in ("wavelength", "fwhm", "bbl")}
    if any(value is None for value in columns["wavelength"]):
        some = any(value is not None for value in columns["wavelength"])
        return None, (f"{where}: some bands have no wavelength, none is kept",) if some else ()
    try:
        lists = {key: [float(v) for v in values if v is not None] for key, values in columns.items()}
    except ValueError as error:
        return None, (f"{where}: wavelengths are not kept: {error}",)
    full = {key: values if len(values) == raster.count else None for key, values in lists.items()}
    return spectral_axis(
        where,
        lists["wavelength"],
        bands=raster.count,
        unit=tags[0].get("wavelength_units", ""),
        fwhm=full["fwhm"],
        good=None if full["bbl"] is None else [value != 0 for value in full["bbl"]],
    )


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
