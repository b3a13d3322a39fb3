"""Products of EMIT, PRISMA and NEON, and CF NetCDF: each known by its structure, each with its own truth."""

import h5netcdf
import h5py
import numpy as np
import pytest
import rioxarray  # noqa: F401 - gives xarray its .rio
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal
from sensor_files import write_cf, write_emit, write_neon, write_prisma

from tilespec.core.errors import UserError
from tilespec.core.registry import load
from tilespec.ingest.ingest import info, ingest
from tilespec.ingest.readers.hdf5 import LAYOUTS
from tilespec.ingest.readers.reader_table import open_source
from tilespec.ingest.readers.source import Options, Source
from tilespec.storage.scene import Scene

matmul = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")  # rioxarray's own
PRODUCTS = [
    ("emit", write_emit, {"level": "L1B"}),
    ("emit", write_emit, {"level": "L2A"}),
    ("prisma", write_prisma, {"level": "L1"}),
    ("prisma", write_prisma, {"level": "L2C"}),
    ("prisma", write_prisma, {"level": "L2D"}),
    ("neon", write_neon, {}),
]
names = [" ".join([layout, *options.values()]) for layout, _, options in PRODUCTS]


def taken(tmp_path, truth, **options):
    result = ingest(truth.path, tmp_path / "scene", **options)
    return Scene.open(str(tmp_path / "scene")), result


@pytest.mark.parametrize(("layout", "write", "options"), PRODUCTS, ids=names)
def test_a_product_is_known_by_its_structure_and_read_with_its_values(tmp_path, layout, write, options):
    truth = write(tmp_path / "renamed.h5", **options)
    scene, result = taken(tmp_path, truth)
    found = scene.read(scene.roi)
    assert scene.shape == truth.values.shape
    assert_allclose(found, truth.values, rtol=2e-6)
    assert np.isnan(found).any()
    assert_allclose(scene.spectral.values, truth.wavelengths, rtol=1e-6)
    assert scene.spectral.unit == "nm"
    assert scene.spectral.fwhm is not None
    with h5py.File(truth.path) as file:
        fitting = [name for name in LAYOUTS if load(LAYOUTS, name, "layout").fits(file)]
    assert fitting == [layout]
    assert result["rows_of_objects"] == 1


@pytest.mark.parametrize(("layout", "write", "options"), PRODUCTS, ids=names)
def test_a_product_streams_by_rows(tmp_path, layout, write, options):
    truth = write(tmp_path / "x.h5", **options)
    source = open_source(str(truth.path), Options(), reader=layout)
    assert isinstance(source, Source)
    whole = np.array(source.read_rows(0, source.facts.shape[0]))
    parts = [np.array(source.read_rows(y, min(y + 2, len(whole)))) for y in range(0, len(whole), 2)]
    assert_array_equal(np.concatenate(parts), whole)
    assert whole.dtype == source.facts.dtype


def test_emit_keeps_the_place_of_each_pixel_and_pretends_no_grid(tmp_path):
    scene, result = taken(tmp_path, write_emit(tmp_path / "x.nc"))
    assert scene.georef is None
    assert info(tmp_path / "scene")["crs"] is None
    assert set(scene.layers) == {"lat", "lon", "elev"}
    assert_allclose(scene.layer("lat")[3, 1], -35.0015)
    assert_allclose(scene.layer("lon")[3, 1], 147.0005)
    assert np.isnan(scene.layer("lat")[0, 0])
    assert any("a swath: lat and lon" in note and "no georeference" in note for note in result["notes"])
    dataset = xr.open_zarr(tmp_path / "scene", chunks=None)
    assert {"lat", "lon", "wavelength"} <= set(dataset.cube.coords)
    assert dataset.lat.attrs["units"] == "degrees_north"
    assert dataset.lon.attrs["standard_name"] == "longitude"


def test_a_swath_that_is_ingested_again_keeps_the_place_of_each_pixel(tmp_path):
    first, _ = taken(tmp_path, write_emit(tmp_path / "x.nc"))
    result = ingest(tmp_path / "scene", tmp_path / "again")
    second = Scene.open(str(tmp_path / "again"))
    assert set(first.layers) == set(second.layers)
    assert_array_equal(first.layer("lon"), second.layer("lon"))
    assert result["notes"] == []
    assert xr.open_zarr(tmp_path / "again", chunks=None).lat.attrs["standard_name"] == "latitude"


def test_emit_marks_bands_that_hold_nothing_and_keeps_what_else_it_says(tmp_path):
    scene, _ = taken(tmp_path, write_emit(tmp_path / "x.nc"))
    assert scene.spectral.good == (True, True, False, True, True, True)
    header = scene.attrs["header"]
    assert header["flight_line"] == "emit20230316t045133_o07503_s000"
    assert header["reflectance units"] == "unitless"
    assert header["geotransform"].startswith("147.0, 0.000542")
    assert not [key for key in header if "Netcdf4" in key or "_FillValue" in key]


def test_prisma_is_sorted_and_says_which_bands_it_leaves_out(tmp_path):
    scene, result = taken(tmp_path, write_prisma(tmp_path / "x.he5"))
    assert np.all(np.diff(scene.spectral.values) > 0)
    assert scene.spectral.fwhm == (15.0, 14.0, 13.0, 13.0, 12.0, 11.0, 10.0)
    assert any("1 VNIR and 1 SWIR bands were not acquired" in note for note in result["notes"])
    assert any("2 VNIR bands, 960.2 to 977.4 nm, are left out" in note for note in result["notes"])
    assert any("stored zeros (failed retrievals, padding) are taken as missing" in note for note in result["notes"])
    assert scene.attrs["header"]["Product_StartTime"] == "2020-08-13T10:30:56.0"


@matmul
def test_prisma_of_level_2d_lies_on_its_grid(tmp_path):
    taken(tmp_path, write_prisma(tmp_path / "x.he5"))
    dataset = xr.open_zarr(tmp_path / "scene", decode_coords="all", chunks=None)
    assert dataset.rio.crs.to_epsg() == 32633
    assert dataset.rio.transform().to_gdal() == (352740.0, 30.0, 0.0, 5987250.0, 0.0, -30.0)  # EnMAP-Box issue 473


def test_prisma_corners_that_fit_no_grid_give_none(tmp_path):
    truth = write_prisma(tmp_path / "x.he5")
    with h5py.File(truth.path, "a") as file:
        file.attrs["Product_LRcorner_easting"] = np.float32(352755 + 300)
    scene, result = taken(tmp_path, truth)
    assert scene.georef is None
    assert any("which are not square: no georeference" in note for note in result["notes"])


@pytest.mark.parametrize("level", ["L1", "L2C"])
def test_prisma_swaths_have_the_place_of_each_pixel(tmp_path, level):
    scene, _ = taken(tmp_path, write_prisma(tmp_path / "x.he5", level=level))
    assert scene.georef is None
    assert set(scene.layers) == {"lat", "lon"}
    assert scene.layer("lat")[2, 1] == 9.0


def test_prisma_of_level_1_keeps_a_zero_that_is_a_measurement(tmp_path):
    scene, _ = taken(tmp_path, write_prisma(tmp_path / "x.he5", level="L1"))
    values = scene.read(scene.roi)
    assert_allclose(values[2, 1, 1], -0.5)
    assert np.isnan(values[0, 0]).all()


def test_prisma_without_its_packing_is_refused(tmp_path):
    truth = write_prisma(tmp_path / "x.he5")
    with h5py.File(truth.path, "a") as file:
        del file.attrs["L2ScaleSwirMax"]
    with pytest.raises(UserError, match="found neither L2ScaleSwirMin and L2ScaleSwirMax nor ScaleFactor_Swir"):
        ingest(truth.path, tmp_path / "scene")


@matmul
def test_neon_stays_integer_with_its_scale_and_place(tmp_path):
    scene, _ = taken(tmp_path, write_neon(tmp_path / "x.h5"))
    assert scene.dtype == np.int16
    assert_allclose(scene.scale, 1e-4)
    assert scene.nodata == -9999
    assert scene.attrs["header"]["site"] == "SERC"
    assert scene.attrs["header"]["Interleave"] == "BSQ"
    dataset = xr.open_zarr(tmp_path / "scene", decode_coords="all", chunks=None)
    assert dataset.rio.crs.to_epsg() == 32618
    assert dataset.rio.transform().to_gdal() == (367167.0, 1.0, 0.0, 4310980.0, 0.0, -1.0)
    waves = np.array(scene.spectral.values)
    inside = ((waves >= 1340) & (waves <= 1445)) | ((waves >= 1790) & (waves <= 1955))
    assert inside.any()
    assert_array_equal(scene.spectral.good, ~inside)


def test_neon_with_widths_of_another_count_says_so(tmp_path):
    scene, result = taken(tmp_path, write_neon(tmp_path / "x.h5", fwhm=False))
    assert scene.spectral.fwhm is None
    assert any("fwhm has 7 values for 8 bands" in note for note in result["notes"])


def test_who_names_an_array_gets_it_whatever_the_layout(tmp_path):
    truth = write_neon(tmp_path / "x.h5")
    scene, _ = taken(tmp_path, truth, variable="SERC/Reflectance/Reflectance_Data")
    assert scene.scale == 1.0
    truth = write_prisma(tmp_path / "x.he5")
    ingest(
        truth.path,
        tmp_path / "raw",
        variable="HDFEOS/SWATHS/PRS_L2D_HCO/Data Fields/SWIR_Cube",
        axes="y,band,x",
    )
    assert Scene.open(str(tmp_path / "raw")).shape == (6, 4, 5)


@matmul
@pytest.mark.parametrize("packed", [None, (1e-4, 0.0), (1e-4, -0.1), (np.float32(2e-4), np.float32(0.5))])
def test_cf_is_what_xarray_decodes(tmp_path, packed):
    truth = write_cf(tmp_path / "x.nc", packed=packed)
    scene, _ = taken(tmp_path, truth)
    theirs = xr.open_dataset(truth.path, engine="h5netcdf").refl.transpose("lat", "lon", "wavelength")
    assert_allclose(scene.read(scene.roi), theirs, rtol=1e-5)
    assert_allclose(scene.read(scene.roi), truth.values, rtol=1e-5)
    assert_allclose(scene.spectral.values, truth.wavelengths)
    ours = xr.open_zarr(tmp_path / "scene", decode_coords="all", chunks=None)
    assert_allclose(ours.cube, theirs, rtol=1e-5)
    assert ours.rio.crs.to_epsg() == 32633
    assert ours.rio.transform().to_gdal() == (366015.0, 30.0, 0.0, 5806125.0, 0.0, -30.0)
    assert scene.attrs["header"]["campaign"] == "June 2026"
    assert scene.attrs["header"]["refl long_name"] == "surface reflectance"


@pytest.mark.parametrize(
    ("name", "attrs", "axis"),
    [
        ("bands", {"units": "nm", "standard_name": "radiation_wavelength"}, "wavelength"),
        ("centre", {"units": "nm", "standard_name": "radiation_wavelength"}, "wavelength"),
        ("bands", {"units": "cm-1"}, "wavenumber"),
        ("bands", {"units": "m"}, None),
    ],
)
def test_the_spectral_coordinate_is_what_cf_calls_one(tmp_path, name, attrs, axis):
    with h5netcdf.File(tmp_path / "x.nc", "w") as file:
        file.dimensions = {"bands": 3, "y": 4, "x": 5}
        file.create_variable("v", ("bands", "y", "x"), "f4", data=np.ones((3, 4, 5), "f4"))
        vector = file.create_variable(name, ("bands",), "f4", data=np.float32([500, 600, 700]))
        for key, value in attrs.items():
            vector.attrs[key] = value
    ingest(tmp_path / "x.nc", tmp_path / "scene")
    found = Scene.open(str(tmp_path / "scene")).spectral
    assert (None if found is None else found.name) == axis
    assert found is None or found.values == (500.0, 600.0, 700.0)


def test_info_tells_what_a_file_holds_before_it_is_ingested(tmp_path):
    facts = info(write_emit(tmp_path / "x.nc").path)
    assert facts["layers"] == ["lat", "lon", "elev"]
    assert facts["spectral"]["bad"] == 1
    assert facts["crs"] is None


def test_cf_without_a_grid_mapping_keeps_its_transform_and_says_so(tmp_path):
    scene, result = taken(tmp_path, write_cf(tmp_path / "x.nc", place="plain"))
    assert "crs_wkt" not in scene.georef
    assert scene.georef["GeoTransform"].startswith("366015.0 30.0")
    assert any("no grid mapping: the transform is kept, without a CRS" in note for note in result["notes"])


def test_cf_coordinates_that_are_not_even_give_no_grid(tmp_path):
    truth = write_cf(tmp_path / "x.nc")
    with h5netcdf.File(truth.path, "a") as file:
        file["lat"][3] += 10.0
    scene, result = taken(tmp_path, truth)
    assert scene.georef is None
    assert any("not even: no georeference" in note for note in result["notes"])


@pytest.mark.parametrize("order", [("wavelength", "lat", "lon"), ("lon", "lat", "wavelength")])
@pytest.mark.parametrize("place", ["swath", "turned swath"])
def test_a_cf_swath_keeps_its_coordinates_as_layers(tmp_path, order, place):
    scene, _ = taken(tmp_path, write_cf(tmp_path / "x.nc", place=place, order=order))
    assert scene.georef is None
    assert_allclose(scene.layer("lat"), np.arange(30.0).reshape(6, 5) / 10)
    assert_allclose(scene.layer("lon"), np.arange(30.0).reshape(6, 5) / 10)


def test_a_scene_that_is_exported_to_netcdf_comes_back(tmp_path):
    from tilespec.output.export.export import export

    first, _ = taken(tmp_path, write_neon(tmp_path / "x.h5"))
    export(tmp_path / "scene", tmp_path / "x.nc")
    ingest(tmp_path / "x.nc", tmp_path / "again")
    second = Scene.open(str(tmp_path / "again"))
    for key in ("shape", "dtype", "spectral", "nodata"):
        assert getattr(first, key) == getattr(second, key), key
    assert_allclose(first.scale, second.scale)
    assert second.georef["GeoTransform"] == first.georef["GeoTransform"]
    assert second.attrs["header"]["site"] == "SERC"
    assert_array_equal(first.array[...], second.array[...])


def test_a_damaged_or_foreign_file_is_refused(tmp_path):
    truth = write_emit(tmp_path / "x.nc")
    data = truth.path.read_bytes()
    (tmp_path / "cut.nc").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="expected a whole HDF5 file"):
        ingest(tmp_path / "cut.nc", tmp_path / "scene")
    (tmp_path / "old.nc").write_bytes(b"CDF\x01" + bytes(100))
    with pytest.raises(UserError, match="nccopy -k nc4"):
        ingest(tmp_path / "old.nc", tmp_path / "scene")
