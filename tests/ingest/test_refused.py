"""What ingest refuses: one message each, and nothing is left that looks whole."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 - gives xarray its .rio
from ingest_files import WAVELENGTHS, cube, stored, to_geotiff, to_netcdf, to_npy
from numpy.testing import assert_allclose, assert_array_equal

from tilespec.core.errors import UserError
from tilespec.ingest.ingest import ingest
from tilespec.storage.scene import Scene


def test_two_arrays_that_fit_are_refused_by_name(tmp_path):
    np.savez(tmp_path / "x.npz", a=cube(), b=cube(), c=np.zeros(3))
    with pytest.raises(
        UserError, match=r"found a \(6, 5, 4\) uint16, b \(6, 5, 4\) uint16, c .*Name it with --variable"
    ):
        ingest(tmp_path / "x.npz", tmp_path / "scene")
    with pytest.raises(UserError, match=r"x\.npz: d: found no such array, but a"):
        ingest(tmp_path / "x.npz", tmp_path / "scene", variable="d")


def test_a_cube_on_its_side_is_refused_when_its_wavelengths_tell(tmp_path):
    np.savez(tmp_path / "x.npz", cube=cube((4, 6, 5)), wavelength_nm=WAVELENGTHS)
    with pytest.raises(UserError, match=r"found 4 wavelengths for 5 bands, but 4 along y; .*--axes band,y,x"):
        ingest(tmp_path / "x.npz", tmp_path / "scene")
    ingest(tmp_path / "x.npz", tmp_path / "scene", axes="band,y,x")
    assert Scene.open(str(tmp_path / "scene")).shape == (6, 5, 4)


def test_wavelengths_of_another_count_are_refused(tmp_path):
    path, options = to_npy(tmp_path, cube())
    options["wavelengths"].write_text("400\n500\n")
    with pytest.raises(UserError, match=r"w\.txt: wavelength: found 2 values; expected 4"):
        ingest(path, tmp_path / "scene", **options)
    with pytest.raises(UserError, match=r"neither a file nor a variable 'nothing'"):
        ingest(path, tmp_path / "scene", wavelengths="nothing")


def test_pickled_objects_are_refused_and_not_executed(tmp_path):
    canary = tmp_path / "canary"

    class Bomb:
        def __reduce__(self):
            return (Path.touch, (canary,))

    np.save(tmp_path / "x.npy", np.array([[[Bomb()]]], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "x.npz", cube=np.array([[[Bomb()]]], dtype=object))
    for name in ("x.npy", "x.npz"):
        with pytest.raises(UserError):
            ingest(tmp_path / name, tmp_path / "scene")
    assert not canary.exists()


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.mat", "x.nc", "x.tif", "x.zarr/zarr.json", "x.bin"])
def test_rubbish_under_any_name_is_one_clear_message(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"rubbish" * 99)
    with pytest.raises(UserError, match=r"found .*; expected "):
        ingest(tmp_path / name.split("/")[0], tmp_path / "scene")
    assert not (tmp_path / "scene").exists()


def test_nothing_and_a_folder_are_refused(tmp_path):
    with pytest.raises(UserError, match="found nothing; expected a file or a Zarr store"):
        ingest(tmp_path / "nothing", tmp_path / "scene")
    (tmp_path / "raw.hdr").touch()
    with pytest.raises(UserError, match=r"a folder with raw\.hdr"):
        ingest(tmp_path, tmp_path / "scene")


def test_scales_and_offsets_of_single_bands_are_applied(tmp_path):
    path, _ = to_geotiff(tmp_path, cube())
    with rasterio.open(path, "r+") as raster:
        raster.scales, raster.offsets = (1, 1, 1, 2), (0, 0, 3, 0)
    ingest(path, tmp_path / "scene")
    scene = Scene.open(str(tmp_path / "scene"))
    assert_allclose(scene.read(scene.roi), cube() * [1, 1, 1, 2] + [0, 0, 3, 0], rtol=1e-6)


def test_a_scale_factor_is_applied_once(tmp_path):
    path, _ = to_netcdf(tmp_path, cube())
    with h5py.File(path, "a") as file:
        file["refl"].attrs["scale_factor"] = 1e-4
    ingest(path, tmp_path / "scene")
    scene = Scene.open(str(tmp_path / "scene"))
    assert_allclose(scene.read(scene.roi), cube() * 1e-4, rtol=1e-6)
    assert_array_equal(stored(tmp_path / "scene"), cube())
