"""Values of an ingest: nothing is lost but nodata and infinity, and what is lost is counted."""

import numpy as np
import pytest
import rioxarray  # noqa: F401 - gives xarray its .rio
from envi_files import write_envi
from ingest_files import cube, stored
from numpy.testing import assert_allclose, assert_array_equal

from tilespec.core.errors import UserError
from tilespec.ingest.encode import narrow
from tilespec.ingest.ingest import ingest
from tilespec.storage.scene import Scene


def test_floats_lose_nothing_but_nodata_and_infinity(tmp_path):
    data = np.random.default_rng(0).normal(size=(6, 5, 4)).astype(np.float32)
    data[0, 0] = -9999
    data[1, 1, 2] = np.inf
    data[2, 2, 0] = np.nan
    result = ingest(write_envi(tmp_path, data, extra="data ignore value = -9999\n"), tmp_path / "scene")
    expected = np.where(np.isfinite(data) & (data != -9999), data, np.nan)
    assert_array_equal(stored(tmp_path / "scene"), expected)
    assert (result["nan_pixels"], result["empty_pixels"], result["infinities"]) == (3, 1, 1)


def test_bands_marked_bad_do_not_make_every_pixel_one_without_data(tmp_path):
    data = np.random.default_rng(0).normal(size=(6, 5, 4)).astype(np.float32)
    data[..., 1] = np.nan
    data[0, 0] = np.nan
    extra = "wavelength = {400, 500, 600, 700}\nbbl = {1, 0, 1, 1}\n"
    result = ingest(write_envi(tmp_path, data, extra=extra), tmp_path / "scene")
    assert (result["nan_pixels"], result["empty_pixels"], result["empty_bands"]) == (1, 1, 1)


def test_integers_without_data_are_counted_and_stay(tmp_path):
    data = cube()
    data[0, 0], data[1, 1, 0] = 7, 7
    data[data == 7] = 7
    result = ingest(write_envi(tmp_path, data, extra="data ignore value = 7\n"), tmp_path / "scene")
    scene = Scene.open(str(tmp_path / "scene"))
    assert_array_equal(stored(tmp_path / "scene"), data)
    assert (result["nan_pixels"], result["empty_pixels"]) == ((data == 7).any(-1).sum(), (data == 7).all(-1).sum())
    assert np.isnan(scene.read(scene.roi)[0, 0]).all()


def test_constant_and_empty_bands_are_counted(tmp_path):
    data = np.random.default_rng(0).normal(size=(200, 5, 6)).astype(np.float32)
    data[..., 1] = 3.0
    data[..., 2] = np.nan
    data[..., 4] = 0.0
    data[199, 4, 4] = 1e-9
    result = ingest(write_envi(tmp_path, data), tmp_path / "scene")
    assert (result["constant_bands"], result["empty_bands"]) == (1, 1)


def test_narrow_knows_bands_that_are_empty_constant_or_vary():
    block = np.ones((3, 2, 4))
    block[..., 0] = np.nan
    block[0, 0, 2] = np.nan
    block[2, 1, 3] = 2
    assert_array_equal(narrow(np.full(4, np.nan), block, None), [np.nan, 1, 1, np.inf])
    assert_array_equal(narrow(np.array([5.0, 5.0, 1.0, np.inf]), block, None), [5, np.inf, 1, np.inf])


def test_float_reflectance_may_be_stored_in_steps(tmp_path):
    data = np.random.default_rng(0).uniform(0, 1, (6, 5, 4)).astype(np.float32)
    data[0, 0] = np.nan
    result = ingest(write_envi(tmp_path, data), tmp_path / "scene", dtype="uint16")
    scene = Scene.open(str(tmp_path / "scene"))
    assert_allclose(scene.read(scene.roi), data, atol=0.51e-4)
    assert (result["dtype"], result["nan_pixels"]) == ("uint16", 1)


def test_signed_integers_may_be_stored_unsigned_and_what_does_not_fit_is_counted(tmp_path):
    data = np.array([-5, -9, 0, 40000], np.int32).reshape(1, 2, 2)
    result = ingest(write_envi(tmp_path, data, extra="data ignore value = -9\n"), tmp_path / "scene", dtype="uint16")
    assert_array_equal(stored(tmp_path / "scene").ravel(), [0, 65535, 0, 40000])
    assert (result["clipped"], Scene.open(str(tmp_path / "scene")).nodata) == (1, 65535)


def test_another_data_type_is_refused(tmp_path):
    with pytest.raises(UserError, match="--dtype: found int8; expected float32, uint16 or the source's uint16"):
        ingest(write_envi(tmp_path, cube()), tmp_path / "scene", dtype="int8")
