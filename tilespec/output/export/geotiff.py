"""GeoTIFF, written by rows of tiles: values, scale, nodata, CRS, wavelengths, colours of classes."""

import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np

from tilespec.core.errors import UserError
from tilespec.core.progress import Progress
from tilespec.output.export.export_source import ExportSource
from tilespec.output.pictures import class_colours

TILE: Final = 128
"""The side of a tile in pixels, that of a stored object, so that each is written once."""


def write_geotiff(exported: ExportSource, path: Path, progress: Progress) -> list[Path]:
    """Write a tiled GeoTIFF and return its path."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning
    from rasterio.windows import Window

    partial = path.with_name(f"{path.name}.partial")
    progress.start("export", exported.shape[0], "lines")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # a scene may have no georeference
        raster = rasterio.open(partial, "w", **_profile(exported))
    with raster:
        _describe(raster, exported)
        for y0, block in exported.blocks():
            window = Window(0, y0, exported.shape[1], block.shape[0])
            raster.write(np.ascontiguousarray(np.moveaxis(block, -1, 0)), window=window)
            progress.advance(block.shape[0])
    partial.replace(path)
    progress.finish()
    return [path]


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
        "blockxsize": TILE,
        "blockysize": TILE,
        "interleave": "pixel",
        "BIGTIFF": "IF_SAFER",
        **({"compress": "deflate"} if exported.plane else {}),
        **place,
    }


def _describe(raster: Any, exported: ExportSource) -> None:
    """Write scale, names of bands, wavelengths in the forms of GDAL and QGIS, and colours of classes."""
    if exported.scale != 1.0:
        raster.scales = (exported.scale,) * exported.shape[2]
    raster.update_tags(**exported.header)
    if exported.classes:
        raster.update_tags(class_names=",".join(exported.classes))
        colours = class_colours(len(exported.classes)).tolist()
        raster.write_colormap(1, {i: (*colour, 255) for i, colour in enumerate(colours)})
    axis = exported.spectral
    if axis is None or axis.name not in ("wavelength", "wavenumber"):
        return
    for band, value in enumerate(axis.values, start=1):
        tags = {"wavelength": repr(value), "wavelength_units": axis.unit}
        if axis.fwhm is not None:
            tags["fwhm"] = repr(axis.fwhm[band - 1])
        if axis.good is not None:
            tags["bbl"] = str(int(axis.good[band - 1]))
        raster.update_tags(band, **tags)
        raster.set_band_description(band, f"{value:g} {axis.unit}")
        if axis.name == "wavelength":
            raster.update_tags(band, ns="IMAGERY", CENTRAL_WAVELENGTH_UM=repr(value / 1e3))
