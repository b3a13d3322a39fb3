"""ICVL, CAVE and ARAD-1K: tiny folders laid out as published; values, orientation and wavelengths come out right."""

import h5py
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from scipy.io import savemat

from tilespec.core.errors import UserError
from tilespec.ingest.ingest import ingest
from tilespec.storage.scene import Scene

VISIBLE = tuple(float(v) for v in range(400, 701, 10))


def cube(rows=9, cols=7, bands=31, seed=0):
    return np.random.default_rng(seed).random((rows, cols, bands))


def read(path):
    scene = Scene.open(str(path))
    return scene.read(scene.roi)


def write_icvl(folder, name, upright, rgb=None, *, bands=VISIBLE, variable="rad"):
    """Store an upright ``y, x, band`` image as published: HDF5 has ``band, y, x``, rows from the bottom."""
    with h5py.File(folder / f"{name}.mat", "w") as file:
        file[variable] = np.moveaxis(upright[::-1], -1, 0)
        if bands is not None:
            file["bands"] = np.asarray(bands)[:, None]
        if rgb is not None:
            file["rgb"] = np.moveaxis(rgb[::-1], -1, 0)


def write_arad(folder, name, upright, kind="Train", *, bands=VISIBLE, jpeg=True):
    """Store a ``y, x, band`` image as published: HDF5 has ``band, x, y``."""
    for part in ("Spec", "RGB"):
        (folder / f"{kind}_{part}").mkdir(exist_ok=True)
    if upright is not None:
        with h5py.File(folder / f"{kind}_Spec" / f"{name}.mat", "w") as file:
            file["cube"] = upright.transpose(2, 1, 0)
            if bands is not None:
                file["bands"] = np.asarray(bands)[:, None]
    if jpeg:
        flat = np.full((9, 7, 3), (200, 100, 50), np.uint8)
        Image.fromarray(flat).save(folder / f"{kind}_RGB" / f"{name}.jpg", quality=95)


def write_cave(folder, name, values, *, rgb=True, twice=True):
    place = folder / f"{name}_ms" / f"{name}_ms" if twice else folder / f"{name}_ms"
    place.mkdir(parents=True)
    for band in range(values.shape[2]):
        Image.fromarray(values[..., band]).save(place / f"{name}_ms_{band + 1:02d}.png")
    if rgb:
        Image.fromarray((values[..., [25, 15, 5]] >> 8).astype(np.uint8)).save(place / f"{name}_RGB.bmp")
    (place / "Thumbs.db").write_bytes(b"x")
    return place


def test_icvl_stands_upright_with_its_wavelengths(tmp_path):
    folder, images = tmp_path / "icvl", {"4cam_0411-1640-1": cube() * 4095, "BGU_0403-1419-1": cube(seed=1) * 4095}
    folder.mkdir()
    for name, image in images.items():
        write_icvl(folder, name, image, rgb=image[..., [25, 15, 5]] / 4095)
    result = ingest(folder, tmp_path / "out", dataset="icvl")
    assert result["status"] == "complete"
    assert set(result["scenes"]) == {f"{kind}/{name}" for kind in ("cube", "rgb") for name in images}
    for name, image in images.items():
        scene = Scene.open(str(tmp_path / "out" / "cube" / name))
        assert scene.spectral.values == VISIBLE
        assert scene.spectral.unit == "nm"
        assert scene.dtype == np.float32
        assert_allclose(read(scene.url), image, rtol=1e-6)
        assert_allclose(read(tmp_path / "out" / "rgb" / name), image[..., [25, 15, 5]] / 4095, rtol=1e-6)
        assert Scene.open(str(tmp_path / "out" / "rgb" / name)).attrs["colour_space"] == "sRGB"


def test_icvl_by_blocks_is_icvl_at_once(tmp_path):
    folder, image = tmp_path / "icvl", cube(300, 5)
    folder.mkdir()
    write_icvl(folder, "a", image)
    ingest(folder, tmp_path / "out", dataset="icvl")
    assert_allclose(read(tmp_path / "out" / "cube" / "a"), image, rtol=1e-6)


def test_icvl_in_micrometres_or_without_bands(tmp_path):
    folder = tmp_path / "icvl"
    folder.mkdir()
    write_icvl(folder, "a", cube(), bands=[v / 1000 for v in VISIBLE])
    write_icvl(folder, "b", cube(), bands=None)
    ingest(folder, tmp_path / "out", dataset="icvl")
    for name in "ab":
        assert Scene.open(str(tmp_path / "out" / "cube" / name)).spectral.values == VISIBLE


def test_arad_is_turned_as_matlab_shows_it(tmp_path):
    folder, image = tmp_path / "arad", cube()
    folder.mkdir()
    write_arad(folder, "ARAD_1K_0001", image)
    write_arad(folder, "ARAD_1K_0902", cube(seed=3), kind="Valid", bands=None)
    write_arad(folder, "ARAD_1K_0951", None, kind="Test")
    result = ingest(folder, tmp_path / "out", dataset="arad")
    assert set(result["scenes"]) == {
        *("cube/ARAD_1K_0001", "cube/ARAD_1K_0902"),
        *("rgb/ARAD_1K_0001", "rgb/ARAD_1K_0902", "rgb/ARAD_1K_0951"),
    }
    assert_allclose(read(tmp_path / "out" / "cube" / "ARAD_1K_0001"), image, rtol=1e-6)
    assert Scene.open(str(tmp_path / "out" / "cube" / "ARAD_1K_0902")).spectral.values == VISIBLE
    picture = read(tmp_path / "out" / "rgb" / "ARAD_1K_0001")
    assert_allclose(picture, np.broadcast_to(np.array([200, 100, 50]) / 255, picture.shape), atol=0.02)


@pytest.mark.parametrize("twice", [True, False])
def test_cave_bands_are_in_order_and_from_0_to_1(tmp_path, twice):
    values = (cube() * 65535).astype(np.uint16)
    write_cave(tmp_path / "cave", "balloons", values, twice=twice)
    write_cave(tmp_path / "cave", "beads", values // 2, twice=twice)
    result = ingest(tmp_path / "cave", tmp_path / "out", dataset="cave")
    assert set(result["scenes"]) == {f"{kind}/{name}" for kind in ("cube", "rgb") for name in ("balloons", "beads")}
    scene = Scene.open(str(tmp_path / "out" / "cube" / "balloons"))
    assert scene.dtype == np.uint16
    assert scene.spectral.values == VISIBLE
    assert_array_equal(np.asarray(scene.array[...]), values)
    assert_allclose(read(scene.url), values / 65535, atol=1e-7)
    assert_allclose(read(tmp_path / "out" / "rgb" / "balloons"), (values[..., [25, 15, 5]] >> 8) / 255, atol=1e-7)


def test_a_missing_band_is_named_and_the_other_scenes_are_taken(tmp_path):
    values = (cube() * 65535).astype(np.uint16)
    write_cave(tmp_path / "cave", "beads", values)
    (write_cave(tmp_path / "cave", "balloons", values) / "balloons_ms_07.png").unlink()
    (write_cave(tmp_path / "cave", "first", values) / "first_ms_01.png").unlink()
    small = write_cave(tmp_path / "cave", "small", values)
    Image.fromarray(values[:4, :4, 0]).save(small / "small_ms_31.png")
    grey = write_cave(tmp_path / "cave", "watercolors", values)
    Image.fromarray(np.zeros((9, 7, 4), np.uint8)).save(grey / "watercolors_ms_03.png")
    extra = write_cave(tmp_path / "cave", "extra", values)
    Image.fromarray(values[..., 0]).save(extra / "extra_ms_32.png")
    result = ingest(tmp_path / "cave", tmp_path / "out", dataset="cave")
    assert result["status"] == "incomplete"
    assert "found no band 07; expected 31 files" in result["failed"]["cube/balloons"]
    assert "found no band 01" in result["failed"]["cube/first"]
    assert "found 4 x 4 pixels; expected 9 x 7" in result["failed"]["cube/small"]
    assert "found 4 bands of uint8; expected one band of 16 bits" in result["failed"]["cube/watercolors"]
    assert "found a band 32" in result["failed"]["cube/extra"]
    assert set(result["failed"]) == {f"cube/{n}" for n in ("balloons", "first", "small", "watercolors", "extra")}
    assert_array_equal(np.asarray(Scene.open(str(tmp_path / "out" / "cube" / "beads")).array[...]), values)


def test_a_truncated_file_and_other_bands_are_said(tmp_path):
    folder = tmp_path / "icvl"
    folder.mkdir()
    write_icvl(folder, "whole", cube())
    write_icvl(folder, "few", cube(bands=30), bands=VISIBLE[:30])
    write_icvl(folder, "unequal", cube(), bands=VISIBLE[:30])
    write_icvl(folder, "other", cube(), variable="ref")
    write_icvl(folder, "cut", cube(60, 50))
    raw = (folder / "cut.mat").read_bytes()
    (folder / "cut.mat").write_bytes(raw[: len(raw) // 2])
    result = ingest(folder, tmp_path / "out", dataset="icvl")
    failed = result["failed"]
    assert set(failed) == {f"cube/{name}" for name in ("few", "unequal", "other", "cut")}
    assert "found 30 bands; expected 31, from 400 to 700 nm, as ICVL has" in failed["cube/few"]
    assert "found 30 values; expected 31" in failed["cube/unequal"]
    assert "expected rad(band, y, x) of ICVL" in failed["cube/other"]
    assert "expected a whole HDF5 file" in failed["cube/cut"]
    arad = tmp_path / "arad"
    arad.mkdir()
    write_arad(arad, "a", cube(bands=33), bands=None, jpeg=False)
    with pytest.raises(UserError, match=r"1 images of arad: found none that can be taken; .*found 33 bands"):
        ingest(arad, tmp_path / "other", dataset="arad")


def test_pairs_are_binned_alike_and_resume(tmp_path):
    values = (cube(8, 8) * 65535).astype(np.uint16)
    write_cave(tmp_path / "cave", "beads", values)
    result = ingest(tmp_path / "cave", tmp_path / "out", dataset="cave", bin=2)
    shapes = {name: scene["shape"] for name, scene in result["scenes"].items()}
    assert shapes == {"cube/beads": [4, 4, 31], "rgb/beads": [4, 4, 3]}
    again = ingest(tmp_path / "cave", tmp_path / "out", dataset="cave", bin=2)
    assert [scene["resumed"] for scene in again["scenes"].values()] == [1, 1]
    plan = ingest(tmp_path / "cave", tmp_path / "plan", dataset="cave", dry_run=True)
    assert set(plan["scenes"]) == {"cube/beads", "rgb/beads"}
    assert not (tmp_path / "plan").exists()


def test_what_is_no_data_set_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="found no image of icvl"):
        ingest(tmp_path / "empty", tmp_path / "out", dataset="icvl")
    with pytest.raises(
        UserError, match="data set 'kaust': found an unknown name; expected one of arad, cave, gic, icvl"
    ):
        ingest(tmp_path / "empty", tmp_path / "out", dataset="kaust")
    with pytest.raises(UserError, match=r"--dataset: found .*expected one folder"):
        ingest(tmp_path / "gone", tmp_path / "out", dataset="cave")
    values = (cube() * 65535).astype(np.uint16)
    write_cave(tmp_path / "cave", "beads", values)
    with pytest.raises(UserError, match="--axes: found it with --dataset"):
        ingest(tmp_path / "cave", tmp_path / "out", dataset="cave", axes="y,x,band")
    write_cave(tmp_path / "cave" / "copy", "beads", values)
    with pytest.raises(UserError, match="found two images named beads"):
        ingest(tmp_path / "cave", tmp_path / "out", dataset="cave")


def write_gic(folder, name, truth, cube, gt, **options):
    savemat(folder / f"{name}.mat", {name.lower(): cube}, **options)
    savemat(folder / f"{truth}_gt.mat", {f"{truth.lower()}_gt": gt}, **options)


def test_gic_scenes_have_the_classes_of_their_files_and_published_names(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "published"
    folder.mkdir()
    cubes = {"PaviaU": rng.random((9, 7, 11)), "KSC": rng.integers(0, 900, (8, 6, 5)).astype(np.int16)}
    truths = {
        "PaviaU": rng.integers(0, 10, (9, 7)).astype(np.uint8),
        "KSC": rng.integers(0, 4, (8, 6)).astype(np.uint8),
    }
    truths["PaviaU"][0, 0] = 9
    for name, cube in cubes.items():
        write_gic(folder, name, name, cube, truths[name])
    write_gic(folder, "Houston13_corrected", "Houston13", cubes["PaviaU"], truths["PaviaU"] % 3, do_compression=True)
    savemat(folder / "alone.mat", {"alone": cubes["KSC"]})
    result = ingest(folder, tmp_path / "out", dataset="gic")
    assert sorted(result["scenes"]) == ["cube/Houston13_corrected", "cube/KSC", "cube/PaviaU"]
    for name, cube in cubes.items():
        scene = Scene.open(str(tmp_path / "out" / "cube" / name))
        assert_allclose(scene.read(scene.roi), cube, rtol=1e-6)
        assert_array_equal(scene.labels(), np.where(truths[name] == 0, 255, truths[name].astype(int) - 1))
    assert scene.classes()[:3] == ("Scrub", "Willow swamp", "Cabbage palm hammock")
    pavia = Scene.open(str(tmp_path / "out" / "cube" / "PaviaU"))
    assert (len(pavia.classes()), pavia.classes()[8]) == (9, "Shadows")
    houston = Scene.open(str(tmp_path / "out" / "cube" / "Houston13_corrected"))
    assert houston.shape == (9, 7, 11)
    assert len(houston.classes()) == 2


def test_a_gic_truth_of_another_size_is_told_and_the_others_are_read(tmp_path):
    folder = tmp_path / "published"
    folder.mkdir()
    write_gic(folder, "PaviaU", "PaviaU", np.ones((9, 7, 11)), np.ones((9, 6), np.uint8))
    write_gic(folder, "Botswana", "Botswana", np.ones((5, 4, 3)), np.ones((5, 4), np.uint8))
    result = ingest(folder, tmp_path / "out", dataset="gic")
    assert list(result["scenes"]) == ["cube/Botswana"]
    assert "9 x 6 labels" in result["failed"]["cube/PaviaU"]
