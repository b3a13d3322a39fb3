"""Binning: means of what a bin holds, after calibration; axis, place, layers and labels of the larger pixels."""

import warnings

import h5py
import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 - gives xarray its .rio
import xarray as xr
from envi_files import write_envi
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from ingest_files import cube, to_geotiff
from locations import DATA, real
from numpy.testing import assert_allclose, assert_array_equal
from rasterio.enums import Resampling
from raw_counts import calibrated, counts
from sensor_files import write_emit

from tilespec.core.errors import UserError
from tilespec.core.types import SpectralAxis
from tilespec.ingest.binning import binned_axis, majority, mean
from tilespec.ingest.ingest import info, ingest
from tilespec.storage.scene import Scene

matmul = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")  # rioxarray's own
sizes = st.tuples(*[st.integers(1, 9)] * 3)
finite = st.floats(-1e3, 1e3, width=32)


def taken(tmp_path, path, **options):
    result = ingest(path, tmp_path / "scene", **options)
    return Scene.open(str(tmp_path / "scene")), result


def block_means(values, steps):
    """Means by another library: xarray's, padded with NaN to whole bins, NaN left out."""
    array = xr.DataArray(values.astype(np.float64), dims=("y", "x", "band"))
    coarse = array.coarsen(dict(zip(("y", "x", "band"), steps, strict=True)), boundary="pad")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice")
        return coarse.mean().values


def axis_of(bands, seed=0):
    rng = np.random.default_rng(seed)
    values = tuple((400 + np.cumsum(rng.uniform(1, 9, bands))).tolist())
    return SpectralAxis(name="wavelength", unit="nm", values=values, fwhm=tuple(rng.uniform(2, 8, bands).tolist()))


@settings(max_examples=50)
@given(values=hnp.arrays(np.float32, sizes, elements=st.one_of(finite, st.just(np.nan))))
def test_binning_by_one_is_the_identity(values):
    assert_array_equal(mean(values, 1, 1), values)


@settings(max_examples=50)
@given(data=st.data(), a=st.integers(1, 3), b=st.integers(1, 3), c=st.integers(1, 3), d=st.integers(1, 3))
def test_bins_of_bins_are_bins_of_the_product(data, a, b, c, d):
    shape = (a * b * 2, a * b * 1, c * d * 2)
    values = data.draw(hnp.arrays(np.float64, shape, elements=finite))
    assert_allclose(mean(mean(values, a, c), b, d), mean(values, a * b, c * d), rtol=1e-9, atol=1e-9)
    assert_allclose(mean(values, a, c).mean(), values.mean(), rtol=1e-9, atol=1e-9)
    axis = axis_of(shape[2])
    twice, once = binned_axis(binned_axis(axis, c), d), binned_axis(axis, c * d)
    assert_allclose(twice.values, once.values)
    assert_allclose(twice.fwhm, once.fwhm)


@settings(max_examples=50)
@given(values=hnp.arrays(np.float32, sizes, elements=finite), pixels=st.integers(1, 4), bands=st.integers(1, 4))
def test_a_bin_is_the_mean_of_what_it_holds_at_the_edge_too(values, pixels, bands):
    found = mean(values, pixels, bands)
    assert_allclose(found, block_means(values, (pixels, pixels, bands)), rtol=1e-5, atol=1e-5)


@settings(max_examples=50)
@given(
    values=hnp.arrays(np.float32, sizes, elements=st.one_of(finite, st.just(np.nan))),
    pixels=st.integers(1, 4),
    bands=st.integers(1, 4),
)
def test_elements_without_data_do_not_count(values, pixels, bands):
    found = mean(values, pixels, bands)
    assert_allclose(found, block_means(values, (pixels, pixels, bands)), rtol=1e-5, atol=1e-5)
    filled = np.where(np.isnan(values), np.float32(7), values)
    same = mean(~np.isnan(values) * 1.0, pixels, bands) == 1
    assert_allclose(found[same], mean(filled, pixels, bands)[same])


@settings(max_examples=60)
@given(
    codes=hnp.arrays(
        np.uint8, st.tuples(st.integers(1, 7), st.integers(1, 7)), elements=st.sampled_from([0, 1, 2, 255])
    ),
    pixels=st.integers(1, 4),
)
def test_labels_of_a_bin_are_its_most_frequent_class_the_lowest_of_several(codes, pixels):
    found = majority(codes, pixels)
    for y, x in np.ndindex(found.shape):
        block = codes[y * pixels : (y + 1) * pixels, x * pixels : (x + 1) * pixels].ravel()
        votes = np.bincount(block[block != 255], minlength=3)
        assert found[y, x] == (255 if not votes.any() else votes.argmax())


def test_the_width_of_a_bin_is_that_of_the_mean_of_its_bands_responses():
    axis = axis_of(6)
    x = np.linspace(300, 600, 60001)
    sigma = np.array(axis.fwhm) / np.sqrt(8 * np.log(2))
    response = np.exp(-0.5 * ((x - np.array(axis.values)[:, None]) / sigma[:, None]) ** 2) / sigma[:, None]
    for i, pair in enumerate((slice(0, 3), slice(3, 6))):
        both = response[pair].sum(axis=0)
        centre = (x * both).sum() / both.sum()
        width = np.sqrt(((x - centre) ** 2 * both).sum() / both.sum() * 8 * np.log(2))
        assert_allclose(binned_axis(axis, 3).values[i], centre, rtol=1e-6)
        assert_allclose(binned_axis(axis, 3).fwhm[i], width, rtol=1e-6)


def test_a_bin_of_bands_is_good_when_all_of_them_are():
    axis = SpectralAxis(
        name="wavelength", unit="nm", values=(1.0, 2.0, 3.0, 4.0, 5.0), good=(True,) * 3 + (False, True)
    )
    assert binned_axis(axis, 2).good == (True, False, True)


@pytest.mark.parametrize("interleave", ["bil", "bip", "bsq"])
@pytest.mark.parametrize(("pixels", "bands"), [(2, 1), (1, 2), (3, 2)])
def test_counts_are_calibrated_and_then_binned(tmp_path, interleave, pixels, bands):
    raw, white, dark = (
        counts((n, 261, 5), low, high, n) for n, low, high in ((70, 300, 9000), (3, 20000, 60000), (2, 90, 99))
    )
    white[:, 7, 2] = dark[:, 7, 2] = 95  # a dead element, interpolated before it is averaged
    (tmp_path / "whole").mkdir()
    (tmp_path / "binned").mkdir()
    _, whole = calibrated(tmp_path / "whole", raw, white, dark, interleave=interleave)
    result, found = calibrated(
        tmp_path / "binned", raw, white, dark, interleave=interleave, bin=pixels, bin_bands=bands
    )
    assert_allclose(found, block_means(whole, (pixels, pixels, bands)), rtol=1e-5)
    assert result["shape"] == list(found.shape)
    assert result["calibration"]["repaired_elements"] == 1
    assert result["bytes_read"] == raw.nbytes


def test_saturated_counts_are_counted_before_they_are_averaged_away(tmp_path):
    raw, white = counts((300, 140, 3), 300, 9000), counts((3, 140, 3), 20000, 60000)
    raw[[5, 200], [1, 139], :] = 65535
    result, found = calibrated(tmp_path, raw, white, bin=2)
    assert result["saturated"] == 6
    assert "nan_pixels" not in result
    assert np.isfinite(found).all()


def test_integers_with_nodata_become_floats_or_steps_of_reflectance(tmp_path):
    data = cube((6, 6, 4))
    data[0, 0] = 7
    data[2:4, 2:4] = 7
    extra = "data ignore value = 7\nreflectance scale factor = 10000\n"
    path = write_envi(tmp_path, data, extra=extra)
    expected = block_means(np.where(data == 7, np.nan, data / 1e4), (2, 2, 1))
    for dtype in (None, "uint16"):
        ingest(path, tmp_path / f"{dtype}", bin=2, dtype=dtype)
        scene = Scene.open(str(tmp_path / f"{dtype}"))
        assert scene.dtype == np.dtype(dtype or "float32")
        assert_allclose(scene.read(scene.roi), expected, atol=5.1e-5 if dtype else 1e-6)
        assert np.isnan(scene.read(scene.roi)[1, 1]).all()


def test_means_of_counts_are_not_stored_as_integers(tmp_path):
    np.save(tmp_path / "x.npy", cube())
    with pytest.raises(UserError, match="uint16 for binned counts; expected float32"):
        ingest(tmp_path / "x.npy", tmp_path / "scene", bin=2, dtype="uint16")


@matmul
def test_larger_pixels_lie_where_the_small_ones_lay(tmp_path):
    path, _ = to_geotiff(tmp_path, cube())
    scene, result = taken(tmp_path, path, bin=2, bin_bands=3)
    dataset = xr.open_zarr(tmp_path / "scene", decode_coords="all", chunks=None)
    assert dataset.rio.transform().to_gdal() == (366015.0, 60.0, 0.0, 5806125.0, 0.0, -60.0)
    assert dataset.rio.crs.to_epsg() == 32633
    assert scene.shape == (3, 3, 2)
    assert_allclose(scene.spectral.values, [550.0, 860.0])
    assert scene.attrs["provenance"]["binning"] == {"pixels": 2, "bands": 3}
    assert "the last bin of the columns and of the bands holds fewer than the others" in result["notes"]


@real
def test_a_real_scene_is_binned_as_gdal_averages_it(tmp_path):
    path = DATA / "enmap_potsdam" / "enmap_potsdam_tile_128_128.tif"
    scene, _ = taken(tmp_path, path, bin=4)
    with rasterio.open(path) as raster:
        shape = (raster.count, raster.height // 4, raster.width // 4)
        theirs = raster.read(out_shape=shape, resampling=Resampling.average, masked=True)
        assert info(tmp_path / "scene")["crs"] == str(raster.crs)
    ours = np.moveaxis(scene.read(scene.roi), -1, 0) / scene.scale
    assert scene.shape == (8, 8, 224)
    assert_allclose(ours[~theirs.mask], theirs.compressed(), atol=0.51)  # GDAL rounds means of integers
    assert_array_equal(np.isnan(ours), theirs.mask)


def test_layers_are_averaged_and_longitudes_across_the_date_line(tmp_path):
    truth = write_emit(tmp_path / "x.nc")
    with h5py.File(truth.path, "a") as file:
        file["location/lon"][2:4, 2:4] = [[179.99, -179.98], [179.99, -179.98]]
    scene, _ = taken(tmp_path, truth.path, bin=2)
    assert scene.shape[:2] == scene.layer("lat").shape == (4, 3)
    assert_allclose(scene.layer("lat")[1, 1], -35.00125)
    assert_allclose(scene.layer("lon")[1, 1], -179.995)
    assert_allclose(scene.layer("lat")[0, 0], np.mean([-35, -35.0005, -35.0005]))


def test_labels_are_binned_with_the_cube_and_counted_anew(tmp_path):
    labels = np.zeros((300, 9), np.uint8)
    labels[:, 3:] = 1
    labels[:, 5:] = 2
    labels[:2, :2] = 9
    np.save(tmp_path / "x.npy", cube((300, 9, 2)))
    np.save(tmp_path / "l.npy", labels)
    scene, result = taken(tmp_path, tmp_path / "x.npy", labels=tmp_path / "l.npy", ignore_label=9, bin=2)
    assert_array_equal(scene.labels()[1], [0, 0, 1, 2, 2])
    assert_array_equal(scene.labels()[0], [255, 0, 1, 2, 2])
    assert result["label_counts"] == np.bincount(scene.labels().ravel())[:3].tolist()
    assert result["unlabelled"] == 1


def test_a_list_for_each_unbinned_band_is_left_out_and_said(tmp_path):
    path = write_envi(tmp_path, cube(), extra="band names = {a, b, c, d}\nmy key = kept\n")
    scene, result = taken(tmp_path, path, bin_bands=2)
    assert scene.attrs["header"] == {"my key": "kept"}
    assert any("band names of the unbinned bands left out" in note for note in result["notes"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bin": 0}, "--bin: found 0; expected a whole number from 1"),
        ({"bin": 6}, "--bin: found 6; expected at most 5"),
        ({"bin_bands": 5}, "--bin-bands: found 5; expected at most 4"),
    ],
)
def test_a_bin_that_cannot_be_is_refused(tmp_path, options, message):
    np.save(tmp_path / "x.npy", cube())
    with pytest.raises(UserError, match=message):
        ingest(tmp_path / "x.npy", tmp_path / "scene", **options)
    assert not (tmp_path / "scene").exists()


def test_other_bins_are_another_scene(tmp_path):
    np.save(tmp_path / "x.npy", cube())
    taken(tmp_path, tmp_path / "x.npy", bin=2)
    with pytest.raises(UserError, match="bin"):
        ingest(tmp_path / "x.npy", tmp_path / "scene", bin=3)
