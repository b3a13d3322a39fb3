"""NetCDF and Zarr of any order, packing, unit and place: what xarray decodes is what a scene holds."""

import warnings

import h5py
import numpy as np
import pytest
import rasterio
import rasterio.shutil
import rioxarray  # noqa: F401 - gives xarray its .rio
import scipy.io
import xarray as xr
import zarr
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from pyproj import CRS

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.storage.georeference import transform_of
from tilespec.storage.rasters import ValueRaster
from tilespec.storage.scene import Scene

pytestmark = [
    pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning"),  # rioxarray's own
    pytest.mark.filterwarnings("ignore::xarray.SerializationWarning"),
]
SHAPE = {"y": 6, "x": 5, "band": 4}
UNITS = {"nm": 1.0, "um": 1e-3, "Angstrom": 10.0, "m": 1e-9}
PLACES = {
    32633: ("metre", 366015.0, 30.0),
    2263: ("US survey foot", 980001.5, 3.0),
    4326: ("degrees", 12.5, 0.001),
    3035: ("km", 4321.5, 0.03),
}
PACKINGS = [
    {},
    {"dtype": "i2", "scale_factor": 1e-4, "_FillValue": -32768},
    {"dtype": "u2", "scale_factor": 1e-4, "add_offset": -0.25, "_FillValue": 65535},
    {"dtype": "i2", "scale_factor": 2e-4, "_FillValue": np.int16(-1), "_Unsigned": "true"},
    {"dtype": "f4", "_FillValue": -9999.0},
    {"dtype": "f8", "_FillValue": float("nan")},
]


@st.composite
def files(draw):
    """A dataset, how it is stored, and its format."""
    dims = tuple(draw(st.permutations(list(SHAPE))))
    dims = draw(st.sampled_from([dims, ("time", *dims)]))
    values = np.random.default_rng(draw(st.integers(0, 99))).random([SHAPE.get(d, 1) for d in dims])
    if packing := draw(st.sampled_from(PACKINGS)):
        values.flat[3] = np.nan
    values = values.astype("f4" if packing.get("dtype") != "f8" else "f8")
    unit = draw(st.sampled_from(sorted(UNITS)))
    waves = np.array([400.0, 500, 600, 700]) * UNITS[unit]
    code = draw(st.sampled_from(sorted(PLACES)))
    name, start, step = PLACES[code]
    spectral = {"units": unit, "standard_name": "radiation_wavelength"}
    coords = {
        "x": ("x", start + step * np.arange(5), {"units": name, "axis": "X"}),
        "y": ("y", start - step * np.arange(6), {"units": name, "axis": "Y"}),
        draw(st.sampled_from(["wavelength", "centre"])): ("band", waves, spectral),
    }
    data = xr.Dataset({"refl": (dims, values)}, coords=coords, attrs={"sensor": "of a test"})
    data = data.rio.write_crs(code, grid_mapping_name=draw(st.sampled_from(["spatial_ref", "crs"])))
    encoding = {"refl": dict(packing)}
    if draw(st.booleans()) and code != 4326:
        for axis in ("x", "y"):
            encoding[axis] = {"dtype": "i4", "scale_factor": step / 10, "add_offset": start}
    return data, encoding, draw(st.sampled_from(["nc", "zarr2", "zarr3"])), code


def written(folder, data, encoding, form):
    path = folder / f"x.{form}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if form == "nc":
            data.to_netcdf(path, engine="h5netcdf", encoding=encoding)
        else:
            data.to_zarr(path, zarr_format=int(form[-1]), consolidated=False, encoding=encoding)
    return path


@settings(max_examples=10, phases=[Phase.generate], report_multiple_bugs=False)  # files are slow to shrink
@given(case=files())
def test_a_scene_holds_what_xarray_decodes(tmp_path_factory, case):
    data, encoding, form, code = case
    folder = tmp_path_factory.mktemp("x")
    path = written(folder, data, encoding, form)
    open_it = xr.open_dataset if form == "nc" else xr.open_zarr
    options = {"engine": "h5netcdf"} if form == "nc" else {"consolidated": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = open_it(path, decode_coords="all", **options).load()
    api.ingest(path, folder / "scene")
    scene = Scene.open(str(folder / "scene"))
    values = theirs.refl.isel(time=0) if "time" in theirs.refl.dims else theirs.refl
    assert_allclose(scene.read(scene.roi), values.transpose("y", "x", "band"), rtol=2e-5, atol=1e-7)
    assert_allclose(scene.spectral.values, [400, 500, 600, 700], rtol=1e-6)
    assert scene.attrs["header"]["sensor"] == "of a test"
    crs, transform = CRS.from_wkt(scene.georef["crs_wkt"]), transform_of(scene.georef["GeoTransform"])
    assert crs.to_epsg() == code
    name, _, _ = PLACES[code]
    assert_allclose(
        transform, np.array(theirs.rio.transform(recalc=True).to_gdal()) * (1000 if name == "km" else 1), rtol=1e-6
    )
    again = xr.open_zarr(folder / "scene", decode_coords="all", consolidated=False)
    assert_allclose(again.x * (0.001 if name == "km" else 1), theirs.x, rtol=1e-9)


def hdf5(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
    return path


def spectral(tmp_path, src, **options):
    result = api.ingest(src, tmp_path / "scene", **options)
    return Scene.open(str(tmp_path / "scene")).spectral, result["notes"]


CUBE = np.random.default_rng(0).random((6, 5, 4)).astype(np.float32)
SHIFT = np.array([200.0, 900, 1600, 3000])


@pytest.mark.parametrize("name", ["shift_cm1", "wavenumber", "raman_shift", "Wavenumber_cm-1"])
def test_wavenumbers_and_raman_shifts_stay_what_they_are(tmp_path, name):
    np.savez(tmp_path / "x.npz", cube=CUBE, **{name: SHIFT})
    axis, notes = spectral(tmp_path, tmp_path / "x.npz")
    assert (axis.name, axis.unit, axis.values) == ("wavenumber", "cm-1", tuple(SHIFT))
    assert notes == []


@pytest.mark.parametrize("unit", ["nm", "um", "cm-1"])
def test_the_user_says_the_unit_of_a_vector_or_of_a_file(tmp_path, unit):
    factor = {"nm": 1.0, "um": 1000.0, "cm-1": 1.0}[unit]
    np.savez(tmp_path / "x.npz", cube=CUBE, wl=SHIFT)
    (tmp_path / "w.txt").write_text("\n".join(map(str, SHIFT)))
    for number, wavelengths in enumerate([None, "wl", str(tmp_path / "w.txt")]):
        folder = tmp_path / str(number)
        folder.mkdir()
        axis, _ = spectral(folder, tmp_path / "x.npz", wavelengths=wavelengths, wavelength_unit=unit)
        assert axis.name == ("wavenumber" if unit == "cm-1" else "wavelength")
        assert_allclose(axis.values, SHIFT * factor)


def test_a_unit_that_is_none_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", CUBE)
    with pytest.raises(UserError, match="--wavelength-unit: found 'furlong'"):
        api.ingest(tmp_path / "x.npy", tmp_path / "scene", wavelength_unit="furlong")


@pytest.mark.parametrize(
    "head", ["wavenumber (cm-1)", "wavenumber,cm-1", "# unit: cm-1", "Raman shift/cm-1", "name\tshift_cm1", "# [cm⁻¹]"]
)
def test_a_text_file_says_its_unit_in_its_head(tmp_path, head):
    np.save(tmp_path / "x.npy", CUBE)
    (tmp_path / "w.txt").write_text(head + "\n" + "\n".join(map(str, SHIFT)))
    axis, notes = spectral(tmp_path, tmp_path / "x.npy", wavelengths=str(tmp_path / "w.txt"))
    assert (axis.name, axis.values) == ("wavenumber", tuple(SHIFT))
    assert notes == []


def test_what_is_beside_the_cube_and_not_taken_is_noted(tmp_path):
    np.savez(tmp_path / "x.npz", cube=CUBE, wavlength=SHIFT, abundances=CUBE[..., :3])
    _, notes = spectral(tmp_path, tmp_path / "x.npz")
    assert any("no wavelengths (wavlength: one number for each band; --wavelengths wavlength?)" in n for n in notes)
    assert any("not taken: abundances (6, 5, 3)" in note for note in notes)


def test_an_array_that_is_not_there_is_named(tmp_path):
    np.savez(tmp_path / "x.npz", cube=CUBE, gt=np.zeros((6, 5), np.uint8))
    with pytest.raises(UserError, match=r"x\.npz: nope: found no such array, but cube .*, gt .* Name one of these"):
        api.ingest(tmp_path / "x.npz", tmp_path / "scene", labels=f"{tmp_path}/x.npz:nope")


def test_widths_in_a_unit_of_their_own_are_converted(tmp_path):
    path = hdf5(tmp_path / "x.h5", cube=CUBE, wavelength=SHIFT / 1000, fwhm=np.full(4, 5.0))
    with h5py.File(path, "a") as file:
        file["wavelength"].attrs["units"], file["fwhm"].attrs["units"] = "um", "nm"
    axis, _ = spectral(tmp_path, path)
    assert_allclose(axis.values, SHIFT)
    assert_allclose(axis.fwhm, 5.0)


@pytest.mark.parametrize("unit", ["furlong", "degrees"])
def test_coordinates_in_a_unit_that_is_not_that_of_the_crs_give_no_place_and_a_note(tmp_path, unit):
    coords = {"x": ("x", 9.0 + np.arange(5), {"units": unit}), "y": ("y", 9.0 - np.arange(6), {"units": unit})}
    data = xr.Dataset({"refl": (("y", "x", "band"), CUBE)}, coords=coords).rio.write_crs(32633)
    notes = api.ingest(written(tmp_path, data, {}, "nc"), tmp_path / "scene")["notes"]
    assert Scene.open(str(tmp_path / "scene")).georef is None
    assert any(f"in '{unit}', no unit of its CRS" in note for note in notes)


def test_coordinates_that_only_count_are_no_place(tmp_path):
    data = xr.Dataset({"refl": (("y", "x", "band"), CUBE)}, coords={"x": np.arange(5), "y": np.arange(6)})
    api.ingest(written(tmp_path, data, {}, "zarr3"), tmp_path / "scene")
    assert Scene.open(str(tmp_path / "scene")).georef is None


def test_a_longer_time_axis_is_refused_and_named(tmp_path):
    data = xr.Dataset({"refl": (("time", "y", "x", "band"), np.stack([CUBE, CUBE]))})
    with pytest.raises(UserError, match=r"refl \(2, 6, 5, 4\)"):
        api.ingest(written(tmp_path, data, {}, "nc"), tmp_path / "scene")


def test_a_mask_of_valid_pixels_counts_in_other_stores_too(tmp_path):
    valid = np.ones((6, 5), np.uint8)
    valid[2, 3] = 0
    data = xr.Dataset({"refl": (("y", "x", "band"), CUBE), "valid": (("y", "x"), valid)})
    api.ingest(written(tmp_path, data, {}, "zarr3"), tmp_path / "scene")
    scene = Scene.open(str(tmp_path / "scene"))
    assert_array_equal(np.isnan(scene.read(scene.roi)).all(axis=-1), valid == 0)


@pytest.mark.parametrize("form", ["nc", "zarr2", "zarr3"])
def test_the_only_grid_mapping_counts_though_no_array_names_it(tmp_path, form):
    coords = {"x": ("x", 366015 + 30.0 * np.arange(5)), "y": ("y", 5805985 - 30.0 * np.arange(6))}
    data = xr.Dataset({"refl": (("y", "x", "band"), CUBE)}, coords=coords)
    data["crs"] = ((), 0, CRS(32633).to_cf())
    api.ingest(written(tmp_path, data, {}, form), tmp_path / "scene")
    georef = Scene.open(str(tmp_path / "scene")).georef
    assert CRS.from_wkt(georef["crs_wkt"]).to_epsg() == 32633
    assert transform_of(georef["GeoTransform"]) == (366000, 30, 0, 5806000, 0, -30)


@pytest.mark.parametrize("bottom", ["YES", "NO"])
def test_the_netcdf_of_gdal_is_what_gdal_reads(tmp_path, bottom):
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(30, 0, 366000, 0, -30, 5806000)}
    profile = {"driver": "GTiff", "height": 6, "width": 5, "count": 12, "dtype": "uint16", "nodata": 65535}
    values = np.random.default_rng(0).integers(0, 9000, (12, 6, 5)).astype(np.uint16)
    with rasterio.open(tmp_path / "x.tif", "w", **profile, **place) as file:
        file.write(values)
    rasterio.shutil.copy(tmp_path / "x.tif", tmp_path / "x.nc", driver="netCDF", FORMAT="NC4", WRITE_BOTTOMUP=bottom)
    api.ingest(tmp_path / "x.nc", tmp_path / "scene")
    scene = Scene.open(str(tmp_path / "scene"))
    rows, y, dy = (slice(None, None, -1), 5805820, 30) if bottom == "YES" else (slice(None), 5806000, -30)
    assert_array_equal(scene.array[...], np.moveaxis(values, 0, -1)[rows])
    assert scene.nodata == 65535
    assert transform_of(scene.georef["GeoTransform"]) == (366000, 30, 0, y, 0, dy)
    assert CRS.from_wkt(scene.georef["crs_wkt"]).to_epsg() == 32633


def test_a_zarr_of_gdal_keeps_its_place(tmp_path):
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(30, 0, 366000, 0, -30, 5806000)}
    with rasterio.open(
        tmp_path / "x.tif", "w", driver="GTiff", height=6, width=5, count=4, dtype="float32", **place
    ) as file:
        file.write(np.moveaxis(CUBE, -1, 0))
    rasterio.shutil.copy(tmp_path / "x.tif", tmp_path / "x.zarr", driver="Zarr", FORMAT="ZARR_V2")
    notes = api.ingest(tmp_path / "x.zarr", tmp_path / "scene")["notes"]
    scene = Scene.open(str(tmp_path / "scene"))
    assert_array_equal(scene.read(scene.roi), CUBE)
    assert transform_of(scene.georef["GeoTransform"]) == (366000, 30, 0, 5806000, 0, -30)
    assert "crs_wkt" in scene.georef or any("without a CRS" in note for note in notes)


@pytest.mark.parametrize("form", [2, 3])
def test_a_bare_array_of_zarr_is_a_cube(tmp_path, form):
    zarr.create_array(tmp_path / "x.zarr", data=CUBE, zarr_format=form)
    api.ingest(tmp_path / "x.zarr", tmp_path / "scene")
    scene = Scene.open(str(tmp_path / "scene"))
    assert_array_equal(scene.read(scene.roi), CUBE)


def test_a_header_of_envi_is_overruled_by_the_user(tmp_path):
    CUBE.tofile(tmp_path / "x.raw")
    text = (
        "ENVI\nsamples = 5\nlines = 6\nbands = 4\nheader offset = 0\ndata type = 4\ninterleave = bip\nbyte order = 0\n"
    )
    (tmp_path / "x.hdr").write_text(text + "wavelength units = Nanometers\nwavelength = {200, 900, 1600, 3000}\n")
    axis, _ = spectral(tmp_path, tmp_path / "x.hdr", wavelength_unit="cm-1")
    assert (axis.name, axis.values) == ("wavenumber", tuple(SHIFT))


def test_wavelengths_are_evenly_spaced_between_two_ends(tmp_path):
    np.save(tmp_path / "x.npy", CUBE)
    axis, notes = spectral(tmp_path, tmp_path / "x.npy", wavelengths="400:700")
    assert axis.values == (400, 500, 600, 700)
    assert any("4 evenly spaced bands" in note for note in notes)


def test_a_vector_that_is_not_there_is_refused_though_another_is(tmp_path):
    np.savez(tmp_path / "x.npz", cube=CUBE, wavelength=SHIFT)
    with pytest.raises(UserError, match="--wavelengths: found neither a file nor a variable 'wavlength'"):
        api.ingest(tmp_path / "x.npz", tmp_path / "scene", wavelengths="wavlength")


def test_arrays_of_groups_are_named_by_their_last_part(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["a/refl"], file["b/other"], file["a/centres_of_bands"] = CUBE, CUBE + 1, SHIFT
    axis, _ = spectral(tmp_path, path, variable="refl", wavelengths="centres_of_bands", wavelength_unit="nm")
    scene = Scene.open(str(tmp_path / "scene"))
    assert_array_equal(scene.read(scene.roi), CUBE)
    assert axis.values == tuple(SHIFT)


def test_a_scene_that_xarray_turned_comes_back(tmp_path):
    np.save(tmp_path / "x.npy", CUBE)
    api.ingest(tmp_path / "x.npy", tmp_path / "scene", wavelengths="400:700")
    data = xr.open_zarr(tmp_path / "scene", consolidated=False).load().drop_encoding()
    data.transpose("band", "x", "y").to_zarr(tmp_path / "turned", zarr_format=3, consolidated=False)
    api.ingest(tmp_path / "turned", tmp_path / "again")
    again = Scene.open(str(tmp_path / "again"))
    assert_array_equal(again.read(again.roi), CUBE)
    assert again.spectral.values == (400, 500, 600, 700)


def test_a_layer_of_another_store_is_unpacked_before_it_is_scored(tmp_path):
    values = np.where(np.eye(6, 5) == 1, np.nan, CUBE[..., 0])
    data = xr.Dataset({"cube": (("y", "x", "band"), CUBE), "height": (("y", "x"), values)})
    packing = {"dtype": "i2", "scale_factor": 1e-4, "add_offset": 0.5, "_FillValue": -9999}
    for encoding in (packing, {"_FillValue": -9999.0}):
        url = str(tmp_path / f"x{len(encoding)}")
        data.to_zarr(url, zarr_format=3, consolidated=False, encoding={"height": encoding})
        layer = ValueRaster.open(url, "height")
        assert_allclose(layer.read(layer.roi)[..., 0], values, atol=1e-4)


@pytest.mark.parametrize(("centres", "widths"), [("wavelength_um", "fwhm_nm"), ("wavelength_nm", "fwhm_um")])
def test_names_say_the_units_of_centres_and_widths_each_for_itself(tmp_path, centres, widths):
    in_nm = {"um": 1e-3, "nm": 1.0}
    arrays = {
        centres: np.array([400.0, 500, 600, 700]) * in_nm[centres[-2:]],
        widths: np.full(4, 5.0) * in_nm[widths[-2:]],
    }
    np.savez(tmp_path / "x.npz", cube=CUBE, **arrays)
    axis, _ = spectral(tmp_path, tmp_path / "x.npz")
    assert_allclose(axis.values, [400, 500, 600, 700])
    assert_allclose(axis.fwhm, 5.0)


def test_scanning_angles_of_a_geostationary_satellite_become_metres(tmp_path):
    height, step = 35786023.0, 56e-6
    coords = {
        "x": ("x", -0.1 + step * np.arange(5), {"units": "rad", "standard_name": "projection_x_coordinate"}),
        "y": ("y", 0.12 - step * np.arange(6), {"units": "rad", "standard_name": "projection_y_coordinate"}),
    }
    data = xr.Dataset({"rad": (("y", "x", "band"), CUBE, {"grid_mapping": "goes"})}, coords=coords)
    data["goes"] = ((), 0, CRS.from_proj4(f"+proj=geos +h={height} +lon_0=-75 +sweep=x +units=m").to_cf())
    packed = {axis: {"dtype": "i2", "scale_factor": step, "add_offset": float(data[axis][0])} for axis in ("x", "y")}
    api.ingest(written(tmp_path, data, packed, "nc"), tmp_path / "scene")
    found = transform_of(Scene.open(str(tmp_path / "scene")).georef["GeoTransform"])
    wanted = (height * (-0.1 - step / 2), height * step, 0, height * (0.12 + step / 2), 0, -height * step)
    assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize("form", ["nc", "zarr2", "zarr3"])
def test_centres_of_bands_and_places_of_a_swath_are_unpacked(tmp_path, form):
    lat = 50 + np.arange(30.0).reshape(6, 5) / 100
    names = {"nc": ("lat", "lon"), "zarr2": ("latitude", "longitude"), "zarr3": ("lat", "lon")}[form]
    places = {names[0]: (("y", "x"), lat, {"units": "degrees"}), names[1]: (("y", "x"), lat - 40, {"units": "degrees"})}
    waves = {"wavelength": ("band", [400.0, 500, 600, 700], {"units": "nm"})}
    data = xr.Dataset({"refl": (("y", "x", "band"), CUBE), **places}, coords=waves)
    packed = {name: {"dtype": "i4", "scale_factor": 1e-5, "add_offset": 9.0} for name in names}
    packed["wavelength"] = {"dtype": "i2", "scale_factor": 0.5, "add_offset": 300.0}
    api.ingest(written(tmp_path, data, packed, form), tmp_path / "scene")
    scene = Scene.open(str(tmp_path / "scene"))
    assert_allclose(scene.spectral.values, [400, 500, 600, 700])
    assert_allclose(scene.layer("lat"), lat)
    assert_allclose(scene.layer("lon"), lat - 40)


@pytest.mark.parametrize("place", ["array", "file"])
def test_a_list_among_attributes_is_the_axis_of_the_bands(tmp_path, place):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        node = file.create_dataset("cube", data=CUBE)
        node = node if place == "array" else file
        node.attrs["wavelengths"], node.attrs["wavelength_units"] = SHIFT / 1000, "micrometers"
        node.attrs["fwhm"], node.attrs["good_bands"] = [0.005] * 4, [1, 0, 1, 1]
    axis, _ = spectral(tmp_path, tmp_path / "x.h5")
    assert_allclose(axis.values, SHIFT)
    assert_allclose(axis.fwhm, 5.0)
    assert axis.good == (True, False, True, True)


def test_centres_and_widths_of_a_group_belong_to_its_cube(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["reflectance/cube"], file["reflectance/wavelength"] = CUBE, SHIFT
        file["other/fwhm"], file["reflectance/fwhm"] = np.full(4, 9.0), np.full(4, 5.0)
    axis, _ = spectral(tmp_path, tmp_path / "x.h5", wavelength_unit="nm")
    assert axis.values == tuple(SHIFT)
    assert axis.fwhm == (5.0,) * 4


CONVENTIONS = {
    "text and affine": {"proj:wkt2": CRS(32633).to_wkt(), "spatial:transform": [30, 0, 366000, 0, -30, 5806000]},
    "code": {"proj:code": "EPSG:32633", "GeoTransform": "366000 30 0 5806000 0 -30"},
    "json": {"proj:projjson": CRS(32633).to_json_dict(), "GeoTransform": "366000 30 0 5806000 0 -30"},
    "of GDAL": {"_CRS": {"wkt": CRS(32633).to_wkt()}, "GeoTransform": "366000 30 0 5806000 0 -30"},
    "of GDAL, a link": {
        "_CRS": {"url": "http://www.opengis.net/def/crs/EPSG/0/32633"},
        "GeoTransform": "366000 30 0 5806000 0 -30",
    },
}


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_an_array_says_its_place_by_the_conventions_of_zarr_and_of_gdal(tmp_path, convention):
    group = zarr.create_group(tmp_path / "x.zarr")
    group.create_array("refl", data=CUBE, dimension_names=("y", "x", "band")).attrs.update(CONVENTIONS[convention])
    api.ingest(tmp_path / "x.zarr", tmp_path / "scene")
    georef = Scene.open(str(tmp_path / "scene")).georef
    assert CRS.from_wkt(georef["crs_wkt"]).to_epsg() == 32633
    assert transform_of(georef["GeoTransform"]) == (366000, 30, 0, 5806000, 0, -30)


def test_micrometres_that_are_called_nanometres_are_noted(tmp_path):
    np.savez(tmp_path / "x.npz", cube=CUBE, wavelength_nm=[0.4, 0.5, 0.6, 0.7])
    _, notes = spectral(tmp_path, tmp_path / "x.npz")
    assert any("wavelengths up to 0.7 nm; if they are in micrometres: --wavelength-unit um" in note for note in notes)


def test_axes_without_names_are_told_unless_the_wavelengths_confirm_them(tmp_path):
    """An array ``band, y, x`` has the shape of one that is ``y, x, band``: only the user sees which it is."""
    np.save(tmp_path / "x.npy", CUBE)
    told = f"taken as y, x, band, {' x '.join(map(str, CUBE.shape))} (--axes)"
    assert any(told in note for note in spectral(tmp_path, tmp_path / "x.npy")[1])
    for number, options in enumerate([{"axes": "y,x,band"}, {"wavelengths": "400:700"}]):
        (tmp_path / str(number)).mkdir()
        notes = spectral(tmp_path / str(number), tmp_path / "x.npy", **options)[1]
        assert not any("taken as y, x, band" in note for note in notes)


@pytest.mark.parametrize("place", ["array", "file"])
def test_a_list_of_wavelengths_that_fits_another_axis_is_refused(tmp_path, place):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        cube = file.create_dataset("cube", data=CUBE.transpose(2, 0, 1))
        (cube if place == "array" else file).attrs["wavelengths"] = SHIFT
    with pytest.raises(UserError, match=r"along y.*--axes band,y,x"):
        api.ingest(tmp_path / "x.h5", tmp_path / "scene")
    assert api.ingest(tmp_path / "x.h5", tmp_path / "scene", axes="band,y,x").shape == list(CUBE.shape)


def test_an_array_of_more_axes_and_a_struct_are_explained(tmp_path):
    np.save(tmp_path / "x.npy", np.stack([CUBE, CUBE]))
    with pytest.raises(UserError, match=r"x has more axes than y, x and band: store one part"):
        api.ingest(tmp_path / "x.npy", tmp_path / "scene")
    scipy.io.savemat(tmp_path / "x.mat", {"S": {"cube": CUBE}})
    with pytest.raises(UserError, match=r"S \(1, 1\).*save FILE -struct"):
        api.ingest(tmp_path / "x.mat", tmp_path / "scene")
