"""Tables of spectra at the points of a grid are scenes, whatever the order of their rows."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.core.memory import Peak, resident
from tilespec.storage.layout import class_names

BANDS = ("400", "410", "420")


def written(path, x, y, values, **columns):
    """Write a table with its positions in micrometres."""
    table = pd.DataFrame({"x (um)": x, "y (um)": y, **columns} | dict(zip(BANDS, values.T, strict=True)))
    table.to_csv(path, index=False, float_format="%.17g")  # NumPy may print fewer: colour-science tells it to
    return path


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 99), st.floats(0, 0.5))
def test_each_spectrum_lies_at_its_position_in_any_order_of_rows(tmp_path_factory, rows, cols, seed, lost):
    folder, draw = tmp_path_factory.mktemp("grid"), np.random.default_rng(seed)
    ys, xs = np.sort(draw.normal(size=rows)), np.sort(draw.normal(size=cols))
    cube = draw.normal(size=(rows, cols, 3)).astype(np.float32)
    kept = draw.permutation(rows * cols)[int(lost * rows * cols) :]
    at = np.unravel_index(kept, (rows, cols))
    if len(set(at[0])) < rows or len(set(at[1])) < cols:
        return  # a line without any spectrum is no line of the grid
    species = draw.choice(["oak", "beech"], len(kept))
    file = written(folder / "t.csv", xs[at[1]], ys[at[0]], cube[at], species=species, dose=kept)
    api.ingest(file, folder / "map", grid="x (um),y (um)")
    expected = np.full_like(cube, np.nan)
    expected[at] = cube[at]
    with xr.open_zarr(folder / "map", mask_and_scale=False) as scene:
        assert_array_equal(scene.cube, expected)
        assert_allclose(scene.position_x.to_numpy()[at], xs[at[1]])
        assert_allclose(scene.position_y.to_numpy()[at], ys[at[0]])
        assert scene.position_x.attrs["units"] == "um"
        assert_array_equal(scene.dose.to_numpy()[at], kept)
        names = np.array([*class_names(scene.labels.attrs), *[""] * 256])
        assert_array_equal(names[scene.labels.to_numpy()][at], species)
        assert_array_equal(np.isnan(scene.dose.to_numpy()), np.isnan(expected[..., 0]))


def test_positions_may_differ_by_rounding_and_a_column_of_the_map_is_its_classes(tmp_path):
    y, x = np.divmod(np.arange(12), 4)
    shaken = x + np.random.default_rng(0).uniform(-1e-7, 1e-7, 12)
    values = np.ones((12, 3), np.float32)
    file = written(tmp_path / "t.csv", shaken, y, values, spot=[f"s{k % 2}" for k in range(12)])
    found = api.ingest(file, tmp_path / "map", grid="x,y", labels="spot")
    assert any("3 of y from 0 to 2 down, 4 of x from" in note for note in found["notes"])
    with xr.open_zarr(tmp_path / "map", mask_and_scale=False) as scene:
        assert scene.cube.shape == (3, 4, 3)
        assert_array_equal(scene.labels, [[0, 1, 0, 1]] * 3)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ("x", "two columns of numbers X,Y, among x, y, z"),
        ("x,x", "two columns of numbers"),
        ("x,spot", "two columns of numbers"),
        ("x,y", "two spectra at x 1, y 0"),
        ("x,z", "no number in column z of spectrum 2"),
    ],
)
def test_what_is_no_grid_is_refused(tmp_path, grid, message):
    columns = {"z": [0, 0, None, 1], "spot": list("abab")}
    written(tmp_path / "t.csv", [0, 1, 1, 0], [0, 0, 0, 1], np.ones((4, 3)), **columns)
    with pytest.raises(UserError, match=message):
        api.ingest(tmp_path / "t.csv", tmp_path / "map", grid=grid)
    assert not (tmp_path / "map").exists()


def test_names_of_dimensions_and_of_other_columns_stay_apart(tmp_path):
    y, x = np.divmod(np.arange(6), 3)
    columns = {"z": y * 2.0, "position_x": x * 0.0, "position_x_": x + 7.0}
    written(tmp_path / "t.csv", x, np.arange(6), np.ones((6, 3)), **columns)
    api.ingest(tmp_path / "t.csv", tmp_path / "map", grid="x,z")
    with xr.open_zarr(tmp_path / "map") as scene:
        assert set(scene.coords) <= {"x", "y", "wavelength", "spatial_ref"}
        assert_array_equal(scene.position_x, [[0, 1, 2]] * 2)
        assert_array_equal(scene.y_, [[0, 1, 2], [3, 4, 5]])
        assert_array_equal(scene.position_x_, np.zeros((2, 3)))
        assert_array_equal(scene.position_x__, [[7, 8, 9]] * 2)


def test_a_binned_map_has_the_classes_of_most_pixels_and_columns_of_means(tmp_path):
    y, x = np.divmod(np.arange(16), 4)
    species = ["oak", "oak", "elm", ""] * 3 + ["oak", "elm", "", ""]
    file = written(tmp_path / "t.csv", x, y, np.ones((16, 3)), species=species, site=species, dose=x)
    api.ingest(file, tmp_path / "map", grid="x,y", bin=2)
    with xr.open_zarr(tmp_path / "map", mask_and_scale=False) as scene:
        assert class_names(scene.labels.attrs) == ("elm", "oak")
        for layer in (scene.labels, scene.site):
            assert_array_equal(layer, [[1, 0], [1, 0]])
        assert_array_equal(scene.dose, [[0.5, 2.5]] * 2)


def test_scattered_points_and_scenes_are_refused(tmp_path, make_scene):
    draw = np.random.default_rng(0).normal(size=(2, 9))
    written(tmp_path / "t.csv", *draw, np.ones((9, 3)))
    with pytest.raises(UserError, match="9 spectra at points of 9 x 9 lines"):
        api.ingest(tmp_path / "t.csv", tmp_path / "map", grid="x,y")
    many = np.random.default_rng(0).normal(size=(2, 40_000))
    written(tmp_path / "many.csv", *many, np.ones((40_000, 3)))
    before = resident()
    with Peak() as peak, pytest.raises(UserError, match="positions on a grid"):
        api.ingest(tmp_path / "many.csv", tmp_path / "map", grid="x,y")
    assert peak.bytes < before + 1e9, "and a plane of 40,000 x 40,000 is never made"
    with pytest.raises(UserError, match="places of its own"):
        api.ingest(make_scene(tmp_path / "scene", 4, 4, 3), tmp_path / "map", grid="x,y")
