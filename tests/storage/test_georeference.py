"""Georeference: what xarray cuts, thins out or turns upside down lies where it lay; rioxarray is the oracle."""

import shutil

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 - gives xarray its .rio
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from pyproj import CRS

from tilespec import api
from tilespec.storage.georeference import (
    agrees,
    centres,
    coordinates,
    metres_in,
    span,
    transform_by,
    transform_of,
    transform_text,
)
from tilespec.storage.scene import Scene

UTM = CRS.from_epsg(32632)
GRID = (500000.0, 2.0, 0.0, 5700000.0, 0.0, -2.0)
steps = st.floats(1e-4, 1e4).flatmap(lambda size: st.sampled_from([size, -size]))
cuts = st.tuples(st.integers(0, 5), st.integers(7, 12), st.sampled_from([1, 2, 3, -1]))


def cut(values, one):
    start, stop, step = one
    return values[start:stop][::step]


@given(x=st.floats(-1e7, 1e7), y=st.floats(-1e7, 1e7), dx=steps, dy=steps, columns=cuts, rows=cuts)
def test_a_part_of_a_grid_keeps_the_place_of_each_pixel(x, y, dx, dy, columns, rows):
    whole = (x, dx, 0.0, y, 0.0, dy)
    parts = {"x": cut(centres(whole, "x", 12), columns), "y": cut(centres(whole, "y", 12), rows)}
    transform, stated = transform_by(whole, parts)
    for axis, part in parts.items():
        step = abs(dx if axis == "x" else dy)
        assert_allclose(centres(transform, axis, len(part)), part, atol=0.02 * step * len(part) + 1e-6)
    same = columns == (0, 12, 1) and rows == (0, 12, 1)
    assert stated or not same


@given(x=st.floats(-1e7, 1e7), y=st.floats(-1e7, 1e7), dx=steps, dy=steps, n=st.integers(1, 3000))
def test_coordinates_of_a_transform_agree_with_it_and_give_it_back(x, y, dx, dy, n):
    transform = (x, dx, 0.0, y, 0.0, dy)
    assert transform_of(transform_text(transform)) == transform
    vectors = {axis: centres(transform, axis, n) for axis in ("x", "y")}
    assert agrees(transform, "x", vectors["x"])
    assert transform_by(transform, vectors) == (transform, True)


@given(values=st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=20, unique=True))
def test_an_uneven_coordinate_has_no_step(values):
    vector = np.array(values)
    even = (vector[-1] - vector[0]) / (len(vector) - 1)
    if np.abs(np.diff(vector) - even).max() > 0.5 * abs(even) + 2:
        assert span(vector) is None


@pytest.mark.parametrize("code", [32632, 2263, 4326, 3857, 3035])
def test_coordinates_have_the_attributes_that_pyproj_gives_to_cf(code):
    crs = CRS.from_epsg(code)
    found = coordinates({"crs_wkt": crs.to_wkt(), "GeoTransform": transform_text(GRID)}, (3, 4))
    for described in crs.cs_to_cf():
        axis = described["axis"].lower()
        dims, values, attrs = found[axis]
        assert dims == (axis,)
        assert attrs["units"] == described["units"]
        assert attrs["standard_name"] == described["standard_name"]
        assert_array_equal(values, centres(GRID, axis, 3 if axis == "y" else 4))


@pytest.mark.parametrize("transform", [None, "0 1 0.5 0 0.5 -1", "words", "0 0 0 0 0 0"])
def test_a_plane_without_a_straight_grid_has_no_coordinates(transform):
    assert coordinates({} if transform is None else {"GeoTransform": transform}, (3, 4)) == {}


@pytest.mark.parametrize(
    ("unit", "metres"),
    [
        ("m", 1),
        ("metres", 1),
        ("km", 1000),
        ("US survey foot", 1200 / 3937),
        ("US_survey_foot", 1200 / 3937),
        ("ft", 0.3048),
        ("feet", 0.3048),
        ("0.304800609601219 metre", 1200 / 3937),
        ("degrees", None),
        ("", None),
    ],
)
def test_units_of_length_are_known_in_their_spellings(unit, metres):
    found = metres_in(unit)
    assert found is None if metres is None else found == pytest.approx(metres)


@pytest.fixture(scope="module")
def placed(tmp_path_factory):
    """A scene of 12 x 12 pixels on a grid of UTM, from a GeoTIFF."""
    folder = tmp_path_factory.mktemp("placed")
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine.from_gdal(*GRID)}
    values = np.arange(12 * 12 * 3, dtype=np.uint16).reshape(3, 12, 12)
    with rasterio.open(
        folder / "x.tif", "w", driver="GTiff", height=12, width=12, count=3, dtype="uint16", **place
    ) as file:
        file.write(values)
    api.ingest(folder / "x.tif", folder / "scene")
    return folder / "scene"


@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")  # rioxarray's own
@settings(max_examples=5)
@given(columns=cuts, rows=cuts)
def test_a_scene_that_xarray_cuts_and_stores_is_placed_by_its_coordinates(placed, tmp_path_factory, columns, rows):
    folder = tmp_path_factory.mktemp("cut")
    part = xr.open_zarr(placed, consolidated=False, decode_coords="all")
    part = part.isel(y=slice(*rows[:2]), x=slice(*columns[:2])).isel(
        y=slice(None, None, rows[2]), x=slice(None, None, columns[2])
    )
    for name in part.variables:
        part[name].encoding.clear()
    part.attrs = {key: value for key, value in part.attrs.items() if not key.startswith("tilespec_")}
    part.drop_encoding().to_zarr(folder / "part", zarr_format=3, consolidated=False)
    if len(part.x) == 1 or len(part.y) == 1:
        return
    wanted = part.rio.transform(recalc=True).to_gdal()
    direct = Scene.open(str(folder / "part"))
    assert_allclose(transform_of(direct.georef["GeoTransform"]), wanted, rtol=1e-12)
    assert CRS.from_wkt(direct.georef["crs_wkt"]) == UTM
    api.ingest(folder / "part", folder / "scene")
    again = Scene.open(str(folder / "scene"))
    assert_allclose(transform_of(again.georef["GeoTransform"]), wanted, rtol=1e-12)
    assert_array_equal(again.read(again.roi), direct.read(direct.roi))
    shutil.rmtree(folder)


def test_products_of_a_scene_have_its_coordinates_and_open_without_a_warning(placed, tmp_path, recwarn):
    api.fit(str(placed), str(tmp_path / "recipe"), steps="mean")
    api.transform(str(tmp_path / "recipe"), str(placed), str(tmp_path / "out"))
    recwarn.clear()
    data = xr.open_zarr(tmp_path / "out")
    assert_array_equal(data.x, centres(GRID, "x", 12))
    assert_array_equal(data.y, centres(GRID, "y", 12))
    assert data.x.attrs["units"] == "metre"
    assert len(recwarn) == 0


@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")  # rioxarray's own
def test_an_array_that_plain_xarray_takes_out_of_a_scene_keeps_its_crs(placed, tmp_path):
    """``xarray.open_zarr`` without options makes a coordinate of the grid mapping, which arrays take along."""
    cube = xr.open_zarr(placed)["cube"].isel(x=slice(2, 9))
    assert cube.rio.crs.to_epsg() == 32632
    api.ingest(cube, tmp_path / "array")
    cube.to_dataset().drop_encoding().to_zarr(tmp_path / "part", zarr_format=3, consolidated=False)
    for name in ("array", "part"):
        georef = Scene.open(str(tmp_path / name)).georef
        assert CRS.from_wkt(georef["crs_wkt"]) == UTM
        assert_allclose(transform_of(georef["GeoTransform"])[0], GRID[0] + 2 * GRID[1])
