"""GeoTIFF: values, scale, nodata, CRS, wavelengths, names and colours of classes, as a Cloud-Optimised GeoTIFF.

Rows of objects are written to a tiled file first. GDAL's driver then lays it out again, coarser copies first, so that a
reader finds what it needs in few requests; both steps hold a few tiles in memory.
"""

import errno
import json
import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np

from tilespec.core.cpu import cores
from tilespec.core.errors import UserError
from tilespec.core.progress import Progress
from tilespec.output.export.export_source import ExportSource
from tilespec.output.export.partial_file import folder_beside, whole_file
from tilespec.output.export.sidecar import write_sidecar
from tilespec.output.pictures import class_colours
from tilespec.storage.source_header import entries

TILES: Final = (512, 256, 128)
"""The sides of tiles in pixels; the last is that of a stored object."""
TILE_BYTES: Final = 1 << 23
"""The largest size of a tile in bytes, unless the smallest side has more."""
STEP: Final = 16
"""The sides of tiles are multiples of this (TIFF 6.0, section 15)."""
PREDICTORS: Final = {"i": 2, "u": 2, "f": 3}
"""The differences that are compressed: of neighbouring pixels, or of the bytes of floats."""
WORDS: Final = {"ns": "NS", "bidx": "BIDX"}
"""Keys that rasterio takes for its own parameters; GDAL's keys do not tell small letters from capitals."""
COLOURED: Final = ("uint8", "uint16")
"""The data types that may have a table of colours."""


def write_geotiff(exported: ExportSource, path: Path, progress: Progress) -> list[Path]:
    """Write a Cloud-Optimised GeoTIFF and its sidecar with names of classes; return their paths."""
    from rasterio.errors import NotGeoreferencedWarning

    progress.start("export", exported.shape[0], "lines")
    with whole_file(path) as partial, folder_beside(path) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # a scene may have no georeference
        _write_rows(exported, folder / "rows.tif", progress)
        _lay_out(exported, folder / "rows.tif", folder / "cloud.tif")
        (folder / "cloud.tif").replace(partial)
    progress.finish()
    return [path, *write_sidecar(path, classes=exported.classes)]


def _write_rows(exported: ExportSource, path: Path, progress: Progress) -> None:
    """Write a tiled file by rows of objects."""
    import rasterio
    from rasterio.windows import Window

    with rasterio.open(path, "w", **_profile(exported)) as raster:
        _describe(raster, exported)
        for y0, block in exported.blocks():
            window = Window(0, y0, exported.shape[1], block.shape[0])
            raster.write(np.ascontiguousarray(np.moveaxis(block, -1, 0)), window=window)
            progress.advance(block.shape[0])
    _check_whole(path)


def _lay_out(exported: ExportSource, rows: Path, path: Path) -> None:
    """Write a tiled file again as a Cloud-Optimised one, with coarser copies.

    They hold the mean of values, and of classes and other whole numbers of a layer the most frequent one.
    """
    import rasterio.shutil
    from rasterio._err import CPLE_BaseError

    numbers = exported.plane and exported.dtype.kind in "iu" and exported.scale == 1.0
    size = exported.shape[2] * exported.dtype.itemsize
    try:
        rasterio.shutil.copy(
            str(rows),
            str(path),
            driver="COG",
            BLOCKSIZE=next((side for side in TILES if side * side * size <= TILE_BYTES), TILES[-1]),
            COMPRESS="DEFLATE",
            PREDICTOR="NO" if exported.classes else "YES",
            OVERVIEW_RESAMPLING="MODE" if numbers else "AVERAGE",
            BIGTIFF="IF_SAFER",
            NUM_THREADS=cores(),
        )
    except CPLE_BaseError as error:
        raise OSError(errno.EIO, f"the file system has not taken the whole file ({error})", str(path)) from error
    _check_whole(path)


def _check_whole(path: Path) -> None:
    """Raise an OSError for a file without one of its tiles: GDAL closes it without an error when a disk is full."""
    import rasterio

    length = path.stat().st_size
    with rasterio.open(path) as raster:
        for (row, column), _ in raster.block_windows(1):
            at, size = (
                raster.get_tag_item(f"BLOCK_{key}_{column}_{row}", "TIFF", bidx=1) for key in ("OFFSET", "SIZE")
            )
            if at is None or int(at) + int(size) > length:
                raise OSError(errno.EIO, "the file system has not taken the whole file", str(path))


def _profile(exported: ExportSource) -> dict[str, Any]:
    """Return the properties of the file for rasterio."""
    if exported.dtype.name == "float16" or exported.dtype.kind not in "iuf":
        raise UserError(
            exported.name,
            found=f"data type {exported.dtype.name}",
            expected="integers or floats that GeoTIFF can hold",
            do="Store it with another data type first.",
        )
    place: dict[str, Any] = {}
    if exported.georef.get("GeoTransform"):
        from rasterio import Affine

        place["transform"] = Affine.from_gdal(*map(float, exported.georef["GeoTransform"].split()))
    if exported.georef.get("crs_wkt"):
        place["crs"] = exported.georef["crs_wkt"]
    return {
        "driver": "GTiff",
        "height": exported.shape[0],
        "width": exported.shape[1],
        "count": exported.shape[2],
        "dtype": exported.dtype.name,
        "nodata": exported.nodata,
        "tiled": True,
        "blockxsize": _side(exported.shape[1]),
        "blockysize": _side(exported.shape[0]),
        "interleave": "pixel",
        "photometric": "MINISBLACK",  # GDAL takes the fourth of four bands for an alpha otherwise
        "BIGTIFF": "IF_SAFER",
        "compress": "deflate",
        "predictor": 1 if exported.classes else PREDICTORS[exported.dtype.kind],
        "NUM_THREADS": cores(),
        **place,
    }


def _side(length: int) -> int:
    """Return the side of a tile along an axis: small files are not padded to a whole one."""
    return min(TILES[-1], -(-length // STEP) * STEP)


def _describe(raster: Any, exported: ExportSource) -> None:
    """Write scale, names of bands, wavelengths in the forms of GDAL and QGIS, and colours of classes."""
    if exported.scale != 1.0:
        raster.scales = (exported.scale,) * exported.shape[2]
    keys = {WORDS.get(key, key).replace("=", "_"): value for key, value in exported.header.items()}
    raster.update_tags(**{key: value for key, value in keys.items() if value})
    if exported.classes:
        raster.update_tags(class_names=json.dumps(list(exported.classes), ensure_ascii=False))
        if exported.dtype.name in COLOURED:
            colours = class_colours(len(exported.classes)).tolist()
            raster.write_colormap(1, {i: (*colour, 255) for i, colour in enumerate(colours)})
    for band, name in enumerate(_names(exported), start=1):
        raster.set_band_description(band, name)
    _spectral(raster, exported)


def _names(exported: ExportSource) -> tuple[str, ...]:
    """Return the names of the bands: the source's, else their places on the spectral axis."""
    named = exported.header.get("band names")
    if named and not exported.plane:
        return entries(named)
    axis = exported.spectral
    return () if axis is None else tuple(f"{value:g} {axis.unit}" for value in axis.values if axis.unit != "1")


def _spectral(raster: Any, exported: ExportSource) -> None:
    """Write the spectral axis into the bands' tags."""
    axis = exported.spectral
    if axis is None:
        return
    for band, value in enumerate(axis.values, start=1):
        tags = {"wavelength": repr(value), "wavelength_units": axis.unit} if axis.unit != "1" else {}
        if axis.fwhm is not None:
            tags["fwhm"] = repr(axis.fwhm[band - 1])
        if axis.good is not None:
            tags["bbl"] = str(int(axis.good[band - 1]))
        raster.update_tags(band, **tags)
        if axis.name == "wavelength":
            width = {} if axis.fwhm is None else {"FWHM_UM": repr(axis.fwhm[band - 1] / 1e3)}
            raster.update_tags(band, ns="IMAGERY", CENTRAL_WAVELENGTH_UM=repr(value / 1e3), **width)
