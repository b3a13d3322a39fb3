"""Tables as arrays: what goes out as .mat, .npy and a copied store comes back with its columns."""

import numpy as np
import pytest
import scipy.io
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.storage.scene import Scene

TEXT = "class,fat [%],batch,400.5,410\nquartz,1.5,a,0.1,0.2\ntalc,,b,0.3,\n,2,,0.5,0.6\n"
CUBE = np.array([[0.1, 0.2], [0.3, np.nan], [0.5, 0.6]], np.float32)


@pytest.fixture
def table(tmp_path):
    (tmp_path / "t.csv").write_text(TEXT)
    api.ingest(tmp_path / "t.csv", tmp_path / "table")
    return tmp_path / "table"


@pytest.mark.parametrize("dtype", [None, "uint16"])
def test_a_table_is_copied_with_all_its_columns(table, tmp_path, dtype):
    api.ingest(table, tmp_path / "copy", dtype=dtype)
    with xr.open_zarr(table) as before, xr.open_zarr(tmp_path / "copy") as after:
        assert set(before.variables) == set(after.variables)
        assert_allclose(after.cube, CUBE, atol=1e-6)
        for name in ("class", "batch", "fat", "wavelength"):
            assert_array_equal(after[name], before[name])
            assert after[name].attrs == before[name].attrs
    assert Scene.open(str(tmp_path / "copy")).dtype == np.dtype(dtype or "float32")


def test_labels_of_the_user_take_the_place_of_the_classes_of_a_table(table, tmp_path):
    np.save(tmp_path / "y.npy", np.array([1, 0, 1]))
    for source in (table, tmp_path / "t.csv"):
        out = tmp_path / f"{source.name}.out"
        api.ingest(source, out, labels=str(tmp_path / "y.npy"), class_names="b,a")
        scene = Scene.open(str(out))
        assert (scene.classes(), scene.labels()[:, 0].tolist()) == (("b", "a"), [1, 0, 1])


def test_the_classes_of_one_table_are_labels_of_another(table, tmp_path):
    np.save(tmp_path / "t.npy", CUBE)
    api.ingest(tmp_path / "t.npy", tmp_path / "out", axes="spectrum,band", labels=str(table))
    assert Scene.open(str(tmp_path / "out")).labels()[:, 0].tolist() == [0, 1, 255]


@pytest.mark.parametrize("dtype", [None, "uint16"])
def test_mat_and_npy_and_csv_hold_the_values_of_a_table(table, tmp_path, dtype):
    api.ingest(table, tmp_path / "stored", dtype=dtype)
    for end in ("mat", "npy", "csv"):
        api.export(tmp_path / "stored", tmp_path / f"out.{end}")
    held = scipy.io.loadmat(tmp_path / "out.mat")
    assert_allclose(held["cube"], CUBE, atol=1e-6)
    assert_allclose(held["wavelength"], [[400.5], [410]])
    assert_array_equal(held["class"], [[0], [1], [255]])
    assert_array_equal(held["fat"], [[1.5], [np.nan], [2]])
    assert [str(name[0]) for name in held["class_names"].ravel()] == ["quartz", "talc"]
    assert_allclose(np.load(tmp_path / "out.npy"), CUBE, atol=1e-6)
    api.ingest(tmp_path / "out.csv", tmp_path / "again")
    with xr.open_zarr(tmp_path / "again") as again:
        assert_allclose(again.cube, CUBE, atol=1e-6)


def test_mat_comes_back_as_a_table(table, tmp_path):
    api.export(table, tmp_path / "t.mat")
    labels = {"labels": f"{tmp_path / 't.mat'}:class", "ignore_label": 255}
    api.ingest(tmp_path / "t.mat", tmp_path / "out", axes="spectrum,band", **labels)
    with xr.open_zarr(tmp_path / "out") as out:
        assert_array_equal(out.cube, CUBE)
        assert_allclose(out.wavelength, [400.5, 410])
        assert_array_equal(out["class"], [0, 1, 255])


def test_a_scene_goes_out_as_npy_and_not_as_mat(tmp_path):
    cube = np.random.default_rng(0).random((5, 4, 3))
    np.save(tmp_path / "c.npy", cube)
    api.ingest(tmp_path / "c.npy", tmp_path / "scene")
    done = api.export(tmp_path / "scene", tmp_path / "out.npy")
    assert "out.npy holds the values alone: no wavelengths, columns or place" in done["notes"]
    assert_array_equal(np.load(tmp_path / "out.npy"), cube)
    with pytest.raises(UserError, match="a plane of 5 x 4 pixels; expected a table of spectra"):
        api.export(tmp_path / "scene", tmp_path / "out.mat")
