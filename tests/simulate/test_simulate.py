"""The simulated scene: the same pixels however it is made, frozen truth, honest spectra."""

import hashlib

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from interrupts import After, StoppedError, stop

from tilespec.core.errors import UserError
from tilespec.simulate.block import GREEN, MATERIALS, mix, render
from tilespec.simulate.layout import EDGE
from tilespec.simulate.plant_layout import PlantLayout, plant
from tilespec.simulate.sensor import DEAD, sensor
from tilespec.simulate.simulate import simulate
from tilespec.simulate.texture import cells, smooth
from tilespec.storage.scene import Scene

SMALL = {"rows": 200, "cols": 300, "bands": 9, "plants": 6}
PINNED = "4bfe9b4059e93e72"
MEAN = [0.03420, 0.04054, 0.06236, 0.05715, 0.09247, 0.16005, 0.19097, 0.22157, 0.24345]
STD = [0.04811, 0.05319, 0.06820, 0.05922, 0.07733, 0.13286, 0.12802, 0.12092, 0.11681]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    out = str(tmp_path_factory.mktemp("simulated") / "scene")
    return out, simulate(out, **SMALL, workers=2)


def read(out, name):
    with xr.open_zarr(out) as data:
        return data[name].to_numpy()


def test_the_store_opens_in_plain_xarray_with_its_truth(small):
    out, told = small
    scene = Scene.open(out)
    assert scene.shape == (200, 300, 9)
    assert scene.chunks == (128, 128, 9)
    assert scene.spectral is not None
    assert scene.spectral.values[0] == 407
    assert scene.spectral.values[-1] == 997
    assert scene.classes() == ("background", "plant")
    assert scene.classes("material") == MATERIALS
    labels, ids, material = (read(out, name) for name in ("labels", "plant", "material"))
    assert (labels == (ids > 0)).all()
    assert (labels == np.isin(material, [MATERIALS.index(name) for name in GREEN])).all()
    assert set(np.unique(ids)) == set(range(7))
    assert told["plant_pixels"] == labels.sum()
    assert sum(told[name] for name in MATERIALS) == labels.size


def test_the_labels_are_frozen(small):
    """A change here is another scene for the same seed: raise VERSION, and measure the methods again."""
    labels = np.ascontiguousarray(read(small[0], "labels"))
    assert hashlib.sha256(labels.data).hexdigest()[:16] == PINNED


def test_the_spectra_are_frozen_to_a_tolerance(small):
    cube = read(small[0], "cube")
    np.testing.assert_allclose(cube.mean((0, 1)), MEAN, rtol=1e-3)
    np.testing.assert_allclose(cube.std((0, 1)), STD, rtol=2e-3)


@pytest.mark.parametrize("workers", [1, 3])
def test_the_bytes_do_not_depend_on_the_number_of_workers(small, tmp_path, workers):
    out = str(tmp_path / "scene")
    simulate(out, **SMALL, workers=workers)
    assert Scene.open(out).digest == Scene.open(small[0]).digest


def test_a_block_rendered_alone_is_that_part_of_the_scene(small):
    layout = PlantLayout.of(seed=0, **SMALL)
    block = render(layout, 1, 2)
    alone = sensor(0, 9).calibrated(block.reflectance, (1, 2), 2 * EDGE)
    part = np.s_[EDGE:200, 2 * EDGE : 300]
    np.testing.assert_array_equal(alone[: 200 - EDGE, : 300 - 2 * EDGE], read(small[0], "cube")[part])
    np.testing.assert_array_equal(block.plant[: 200 - EDGE, : 300 - 2 * EDGE], read(small[0], "plant")[part])


def test_a_longer_scene_with_the_same_pots_begins_with_the_shorter_one():
    short = PlantLayout.of(seed=3, rows=256, cols=256, bands=5, plants=4)
    long = PlantLayout.of(seed=3, rows=512, cols=256, bands=5, plants=8)
    assert short.cell == long.cell
    np.testing.assert_array_equal(render(short, 0, 1).reflectance, render(long, 0, 1).reflectance)


def test_an_interrupted_run_resumes_to_the_same_bytes(small, tmp_path):
    out = str(tmp_path / "scene")
    with pytest.raises(StoppedError):
        simulate(out, **SMALL, workers=2, progress=After(0, stop))
    assert Scene.open(out, allow_partial=True).attrs["tilespec_status"] == "writing"
    simulate(out, **SMALL, workers=1)
    assert Scene.open(out).digest == Scene.open(small[0]).digest


def test_another_seed_is_another_scene(small, tmp_path):
    simulate(tmp_path / "other", **SMALL, seed=1)
    assert (read(str(tmp_path / "other"), "labels") != read(small[0], "labels")).mean() > 0.02


def test_a_dry_run_tells_the_plan_and_writes_nothing(tmp_path):
    plan = simulate(tmp_path / "scene", dry_run=True)
    assert plan["grid"] == [6, 6]
    assert plan["blocks"] == 24 * 22
    assert plan["bytes"] > 3000 * 2796 * 186 * 4
    assert plan["memory"] < 900e6
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"rows": 0}, "--rows: found 0; expected at least 1"),
        ({"bands": 0}, "--bands"),
        ({"seed": -1}, "--seed"),
        ({"rows": 20, "cols": 20, "plants": 36}, "Give fewer plants"),
    ],
)
def test_impossible_sizes_are_refused(tmp_path, wrong, words):
    with pytest.raises(UserError, match=words):
        simulate(tmp_path / "scene", **{**SMALL, **wrong})
    assert not (tmp_path / "scene").exists()


@pytest.mark.parametrize(("rows", "cols", "bands", "plants"), [(64, 48, 1, 1), (64, 48, 3, 36), (33, 130, 2, 0)])
def test_tiny_scenes_work(tmp_path, rows, cols, bands, plants):
    told = simulate(tmp_path / "scene", rows=rows, cols=cols, bands=bands, plants=plants)
    cube = read(str(tmp_path / "scene"), "cube")
    assert cube.shape == (rows, cols, bands)
    assert np.isfinite(cube).all()
    assert (told["plant_pixels"] > 0) == (plants > 0)


def test_the_reference_scene_has_twelve_plants_in_its_first_1024_rows():
    layout = PlantLayout.of(seed=0, rows=3000, cols=2796, bands=1, plants=36)
    tips = [max(leaf.y for leaf in plant(layout, index).leaves) for index in range(36)]
    assert sum(tip < 1000 for tip in tips) == 12


def test_ndvi_has_a_mode_of_soil_near_042_and_one_of_leaves_near_08(tmp_path):
    simulate(tmp_path / "scene", rows=384, cols=384, bands=60, plants=4)
    scene = Scene.open(str(tmp_path / "scene"))
    cube = scene.read(scene.roi)
    red, infrared = (cube[..., scene.spectral.nearest(nm)] for nm in (670, 800))
    ndvi = (infrared - red) / (infrared + red)
    count, edge = np.histogram(ndvi, 60, (0, 1))
    count, middle = np.convolve(count, np.ones(5) / 5, "same"), (edge[1:] + edge[:-1]) / 2
    low, high = (middle < 0.6), (middle > 0.68)
    assert middle[low][count[low].argmax()] == pytest.approx(0.42, abs=0.06)
    assert middle[high][count[high].argmax()] == pytest.approx(0.81, abs=0.06)
    assert count[~low & ~high].min() < 0.75 * min(count[low].max(), count[high].max())


def test_moss_is_a_leaf_to_the_spectrometer_and_soil_is_not():
    layout = PlantLayout.of(seed=0, rows=1024, cols=932, bands=60, plants=16)
    blocks = [render(layout, row, 0) for row in range(8)]
    spectra = np.concatenate([block.reflectance.reshape(-1, 60) for block in blocks])
    material = np.concatenate([block.material.ravel() for block in blocks])
    shape = (spectra - spectra.mean(1, keepdims=True)) / spectra.std(1, keepdims=True)
    leaf, moss, soil = (shape[material == MATERIALS.index(name)].mean(0) for name in ("leaf", "moss", "soil"))
    assert np.abs(leaf - moss).max() < 0.35 < np.abs(leaf - soil).max()


def test_detector_elements_are_dead_along_whole_columns():
    device = sensor(5, 186)
    dead = device.dead(0, 4000)
    assert dead.mean() == pytest.approx(DEAD, rel=0.8)
    assert dead.any()
    col, band = np.argwhere(dead)[0]
    seen = device.calibrated(np.full((4, 8, 186), 0.5, np.float32), (0, 0), int(col))
    assert (seen[:, 0, band] == 0).all()


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**61), st.integers(0, 2000), st.floats(1.5, 40))
def test_textures_are_functions_of_the_absolute_position(seed, first, size):
    whole, part = first + np.arange(0.0, 40.0), first + np.arange(13.0, 31.0)
    np.testing.assert_array_equal(smooth(seed, 1, whole, whole, size)[13:31, 13:31], smooth(seed, 1, part, part, size))
    one, other = cells(seed, 1, whole, whole, size), cells(seed, 1, part, part, size)
    np.testing.assert_array_equal(one.identity[13:31, 13:31], other.identity)
    np.testing.assert_array_equal(one.square[13:31, 13:31], other.square)


def test_mixing_keeps_light_and_spreads_a_spot_over_its_neighbours():
    np.testing.assert_allclose(mix(np.full((10, 12), 0.7, np.float32)), 0.7, rtol=1e-6)
    spot = np.zeros((10, 10), np.float32)
    spot[4, 4] = 64
    np.testing.assert_array_equal(mix(spot), [[0, 0, 0, 0], [0, 9, 3, 0], [0, 3, 1, 0], [0, 0, 0, 0]])
    assert mix(spot).sum() == 16
