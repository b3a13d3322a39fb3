"""Rows 14 and 15 of the table of faults: NetCDF in another order or packed, GeoTIFF of any shape and place."""

import h5netcdf
import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 - gives xarray its .rio
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from rasterio.control import GroundControlPoint
from sensor_files import write_cf

from tilespec.core.errors import UserError
from tilespec.ingest.ingest import ingest
from tilespec.storage.scene import Scene

matmul = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")  # rioxarray's own
UTM = rasterio.crs.CRS.from_epsg(32633)
PLACES = {
    "north-up": rasterio.Affine(30, 0, 366015, 0, -30, 5806125),
    "south-up": rasterio.Affine(30, 0, 366015, 0, 30, 5806125),
    "rotated": rasterio.Affine(20, 5, 366015, -5, -20, 5806125),
}


@settings(max_examples=12, deadline=None)
@given(order=st.permutations(["wavelength", "lat", "lon"]), packed=st.sampled_from([None, (1e-4, 0.0), (1e-4, -0.1)]))
def test_row_14_dimensions_are_turned_by_name_and_a_scale_is_applied_once(tmp_path_factory, order, packed):
    folder = tmp_path_factory.mktemp("cf")
    truth = write_cf(folder / "x.nc", order=tuple(order), packed=packed)
    ingest(truth.path, folder / "scene")
    scene = Scene.open(str(folder / "scene"))
    assert_allclose(scene.read(scene.roi), truth.values, rtol=1e-5)
    assert_allclose(xr.open_zarr(folder / "scene", chunks=None).cube, truth.values, rtol=1e-5)
    assert_allclose(scene.spectral.values, truth.wavelengths)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_row_14_a_scale_is_applied_once_in_every_data_type_of_the_scene(tmp_path, dtype):
    truth = write_cf(tmp_path / "x.nc", packed=(1e-4, 0.0))
    ingest(truth.path, tmp_path / "scene", dtype=dtype)
    scene = Scene.open(str(tmp_path / "scene"))
    assert_allclose(scene.read(scene.roi), truth.values, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:variable 'refl' has multiple fill values")
def test_row_14_missing_values_are_missing_by_either_name(tmp_path):
    truth = write_cf(tmp_path / "x.nc", dtype="f4", fill=-9999)
    with h5netcdf.File(truth.path, "a") as file:
        file["refl"].attrs["missing_value"] = np.float32(-1)
        file["refl"][3, 0, 0] = -1
    ingest(truth.path, tmp_path / "scene")
    scene = Scene.open(str(tmp_path / "scene"))
    gaps = np.isnan(scene.read(scene.roi))
    assert gaps[1, 1].all()
    theirs = xr.open_dataset(truth.path, engine="h5netcdf").refl.transpose("lat", "lon", "wavelength")
    assert_array_equal(gaps, np.isnan(theirs))
    assert gaps.sum() == 5


def test_row_14_dimensions_without_a_meaning_are_refused(tmp_path):
    with h5netcdf.File(tmp_path / "x.nc", "w") as file:
        file.dimensions = {"time": 3, "depth": 4, "y": 5}
        file.create_variable("v", ("time", "depth", "y"), "f4", data=np.zeros((3, 4, 5), "f4"))
    with pytest.raises(UserError, match=r"found dimensions \('time', 'depth', 'y'\); expected y, x and band.*--axes"):
        ingest(tmp_path / "x.nc", tmp_path / "scene")
    assert not (tmp_path / "scene").exists()


def write_tiff(path, *, crs=UTM, transform=PLACES["north-up"], bands=186, **more):
    data = np.random.default_rng(0).integers(0, 9000, (bands, 6, 5)).astype(np.uint16)
    profile = {"driver": "GTiff", "height": 6, "width": 5, "count": bands, "dtype": "uint16", **more}
    with rasterio.open(path, "w", crs=crs, transform=transform, **profile) as out:
        out.write(data)
        out.set_band_description(1, "first band")
    return np.moveaxis(data, 0, -1)


@matmul
@pytest.mark.parametrize("interleave", ["band", "pixel"])
@pytest.mark.parametrize("place", PLACES)
def test_row_15_a_raster_of_186_bands_keeps_its_place_and_crs(tmp_path, place, interleave):
    data = write_tiff(tmp_path / "x.tif", transform=PLACES[place], interleave=interleave)
    ingest(tmp_path / "x.tif", tmp_path / "scene")
    ours = xr.open_zarr(tmp_path / "scene", decode_coords="all", chunks=None)
    with rasterio.open(tmp_path / "x.tif") as raster:
        assert ours.rio.crs == raster.crs
        assert ours.rio.transform() == raster.transform
    assert_array_equal(ours.cube, data)


@matmul
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_row_15_a_raster_without_a_crs_has_none_afterwards(tmp_path):
    write_tiff(tmp_path / "x.tif", crs=None)
    result = ingest(tmp_path / "x.tif", tmp_path / "scene")
    ours = xr.open_zarr(tmp_path / "scene", decode_coords="all", chunks=None)
    assert ours.rio.crs is None
    assert ours.rio.transform() == PLACES["north-up"]
    assert any("no CRS: the transform is kept" in note for note in result["notes"])
    write_tiff(tmp_path / "y.tif", crs=None, transform=rasterio.Affine.identity())
    ingest(tmp_path / "y.tif", tmp_path / "plain")
    assert Scene.open(str(tmp_path / "plain")).georef is None


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_row_15_ground_control_points_are_no_grid_and_that_is_said(tmp_path):
    write_tiff(tmp_path / "x.tif", crs=None, transform=rasterio.Affine.identity())
    points = [GroundControlPoint(r, c, 366015 + 31 * c, 5806125 - 29 * r) for r, c in ((0, 0), (0, 5), (6, 0), (6, 5))]
    with rasterio.open(tmp_path / "x.tif", "r+") as raster:
        raster.gcps = (points, UTM)
    result = ingest(tmp_path / "x.tif", tmp_path / "scene")
    assert Scene.open(str(tmp_path / "scene")).georef is None
    assert any("4 ground control points" in note and "gdalwarp" in note for note in result["notes"])


def test_row_15_names_of_bands_survive(tmp_path):
    write_tiff(tmp_path / "x.tif", bands=3)
    ingest(tmp_path / "x.tif", tmp_path / "scene")
    assert Scene.open(str(tmp_path / "scene")).attrs["header"]["band names"] == "{first band, Band 2, Band 3}"
