"""Axes of stores that are opened directly: in the order of scenes, or refused with what they are."""

from itertools import permutations

import numpy as np
import pytest
import rioxarray  # noqa: F401 - gives xarray its .rio
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.storage.axes import DIMS, ORDER, axis_of
from tilespec.storage.georeference import transform_of
from tilespec.storage.layer import Layer
from tilespec.storage.scene import Scene

VALUES = np.random.default_rng(0).random((5, 5, 5)).astype(np.float32)


def store(path, dims, name="cube", values=VALUES, **more):
    data = xr.Dataset(
        {name: (dims, values), **more}, coords={"wavelength": ("band", np.arange(5) + 500.0, {"units": "nm"})}
    )
    data.to_zarr(path, zarr_format=3, consolidated=False)
    return str(path)


def test_no_name_means_two_axes():
    assert not set.intersection(*DIMS.values())
    assert all(axis_of(name.upper()) == axis for axis, names in DIMS.items() for name in names)


@pytest.mark.parametrize("dims", list(permutations(ORDER)))
def test_a_cube_in_another_order_is_refused_and_ingest_turns_it(tmp_path, dims):
    truth = VALUES.transpose([dims.index(axis) for axis in ORDER])
    url = store(tmp_path / "store", dims)
    if dims == ORDER:
        scene = Scene.open(url)
    else:
        with pytest.raises(UserError, match=f"cube: found dimensions {', '.join(dims)}; expected y, x, band"):
            Scene.open(url)
        api.ingest(url, tmp_path / "scene")
        scene = Scene.open(str(tmp_path / "scene"))
    assert_array_equal(scene.read(scene.roi), truth)
    assert scene.spectral.values == (500, 501, 502, 503, 504)


def test_a_layer_in_another_order_is_refused(tmp_path):
    url = store(tmp_path / "store", ORDER, labels=(("x", "y"), np.zeros((5, 5), np.uint8)))
    with pytest.raises(UserError, match=r"labels: found dimensions x, y; expected y, x"):
        Layer.open(url, "labels")


@pytest.mark.filterwarnings("ignore::xarray.SerializationWarning")
@pytest.mark.parametrize("unit", ["metre", "km"])
def test_coordinates_of_a_store_are_unpacked_and_count_in_the_unit_of_its_crs(tmp_path, unit):
    steps = 30.0 * np.arange(5)
    coords = {
        "x": ("x", 366015 + steps, {"units": unit}),
        "y": ("y", 5805985 - steps, {"units": unit}),
        "wavelength": ("band", np.arange(5) + 500.0, {"units": "nm"}),
    }
    data = xr.Dataset({"cube": (ORDER, VALUES)}, coords=coords).rio.write_crs(32633)
    packed = {name: {"dtype": "i4", "scale_factor": 0.5, "add_offset": 100.0} for name in coords}
    packed["cube"] = {"dtype": "u2", "scale_factor": 1e-4, "add_offset": -1.0}
    data.to_zarr(tmp_path / "store", zarr_format=3, consolidated=False, encoding=packed)
    scene = Scene.open(str(tmp_path / "store"))
    assert scene.spectral.values == (500, 501, 502, 503, 504)
    assert_allclose(scene.read(scene.roi), VALUES, atol=1e-4)
    found = transform_of(scene.georef.get("GeoTransform"))
    assert found == ((366000, 30, 0, 5806000, 0, -30) if unit == "metre" else None)


def test_names_that_mean_nothing_are_taken_in_the_order_of_scenes(tmp_path):
    values = xr.Dataset({"cube": (("a", "b", "c"), VALUES)})
    values.to_zarr(tmp_path / "store", zarr_format=3, consolidated=False)
    assert Scene.open(str(tmp_path / "store")).shape == (5, 5, 5)
    notes = api.ingest(tmp_path / "store", tmp_path / "scene")["notes"]
    assert any("a, b, c have no known meaning: taken as y, x, band" in note for note in notes)
