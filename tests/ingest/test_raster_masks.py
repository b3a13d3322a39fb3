"""Pixels of a raster that its own mask or alpha band hides have no data; alpha bands are no bands."""

import numpy as np
import pytest
import rasterio

from tilespec.ingest.ingest import ingest
from tilespec.ingest.readers.raster import read_raster
from tilespec.ingest.readers.source import Options
from tilespec.output.export.export import export
from tilespec.storage.scene import Scene

GRID = {"crs": rasterio.crs.CRS.from_epsg(32633), "transform": rasterio.Affine(2, 0, 1000, 0, -2, 2000)}
HIDDEN = np.zeros((6, 5), bool)
HIDDEN[:2, 1:] = True


def write(path, bands, dtype, **more):
    values = np.random.default_rng(0).integers(1, 200, (bands, 6, 5)).astype(dtype)
    with rasterio.open(
        path, "w", driver="GTiff", width=5, height=6, count=bands, dtype=values.dtype.name, **GRID, **more
    ) as file:
        file.write(values)
    return values


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "f4"])
@pytest.mark.parametrize("inside", [True, False])
def test_pixels_that_a_mask_hides_have_no_data(tmp_path, dtype, inside):
    values = write(tmp_path / "x.tif", 3, dtype, photometric="MINISBLACK")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=inside), rasterio.open(tmp_path / "x.tif", "r+") as file:
        file.write_mask(~HIDDEN)
    result = ingest(tmp_path / "x.tif", tmp_path / "scene")
    scene = Scene.open(str(tmp_path / "scene"))
    found = scene.read(scene.roi)
    assert np.isnan(found[HIDDEN]).all()
    np.testing.assert_array_equal(found[~HIDDEN], values.transpose(1, 2, 0)[~HIDDEN])
    assert result["empty_pixels"] == HIDDEN.sum()
    assert any("mask" in note for note in result["notes"])


def test_an_alpha_band_is_no_band_but_says_what_has_data(tmp_path):
    values = write(tmp_path / "x.tif", 6, "u2", photometric="MINISBLACK")
    with rasterio.open(tmp_path / "x.tif", "r+") as file:
        file.write(np.where(HIDDEN, 0, 65535).astype(np.uint16), 6)
        file.colorinterp = (*file.colorinterp[:5], rasterio.enums.ColorInterp.alpha)
    source = read_raster(tmp_path / "x.tif", Options())
    rows = source.read_rows(0, 6)
    assert rows.shape == (6, 5, 5)
    assert np.isnan(rows[HIDDEN]).all()
    np.testing.assert_array_equal(rows[~HIDDEN], values[:5].transpose(1, 2, 0)[~HIDDEN])


def test_the_fourth_of_four_byte_bands_stays_a_band_and_that_is_said(tmp_path):
    write(tmp_path / "x.tif", 4, "u1")
    facts = read_raster(tmp_path / "x.tif", Options()).facts
    assert facts.shape == (6, 5, 4)
    assert any("alpha" in note for note in facts.notes)


def test_bad_bands_in_tags_without_wavelengths_are_bad_bands(tmp_path):
    write(tmp_path / "x.tif", 3, "u2", photometric="MINISBLACK")
    with rasterio.open(tmp_path / "x.tif", "r+") as file:
        for band, good in enumerate("101", start=1):
            file.update_tags(band, bbl=good, fwhm="5")
    facts = read_raster(tmp_path / "x.tif", Options()).facts
    assert facts.spectral.good == (True, False, True)
    assert any("fwhm" in note for note in facts.notes)


def test_a_value_that_the_type_cannot_hold_hides_nothing(tmp_path):
    path = tmp_path / "x.tif"
    write(path, 3, "u2", photometric="MINISBLACK")
    text = (
        '<VRTDataset rasterXSize="5" rasterYSize="6"><VRTRasterBand dataType="UInt16" band="1"><NoDataValue>-9999'
        f"</NoDataValue><SimpleSource><SourceFilename>{path}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>"
        "</VRTRasterBand></VRTDataset>"
    )
    (tmp_path / "y.vrt").write_text(text)
    ingest(tmp_path / "y.vrt", tmp_path / "scene")
    for end in (".tif", ".nc", ".hdr"):
        export(tmp_path / "scene", tmp_path / f"out{end}")
