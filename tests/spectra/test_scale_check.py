"""Scales: what was fitted on reflectance of 0 to 1 refuses a scene of 0 to 10,000, and the other way round."""

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from tilespec import api
from tilespec.baselines.baseline import baseline
from tilespec.core.errors import UserError
from tilespec.predict.predict import predict
from tilespec.spectra.fit import fit
from tilespec.spectra.recipe import Recipe
from tilespec.spectra.scale_check import brightness, check_scale, quick_sample
from tilespec.spectra.transform import transform
from tilespec.storage.scene import Scene


@pytest.fixture(scope="module")
def urls(tmp_path_factory, make_scene):
    """Scenes that differ by a factor, and one of a third of the light."""
    folder = tmp_path_factory.mktemp("scales")
    found = {}
    for name, factor in (("fraction", 1), ("shade", 1 / 3), ("percent", 100), ("ten-thousand", 10_000)):
        found[name] = make_scene(folder / name, 80, 70, 12)
        cube = zarr.open_group(found[name], mode="r+")["cube"]
        cube[...] = cube[...] * np.float32(factor)
        api.repair(found[name], accept=True)
    return found


@pytest.mark.parametrize("other", ["percent", "ten-thousand"])
@pytest.mark.parametrize("steps", ["snv", "mean,pca=3"])
def test_a_recipe_refuses_another_scale_and_says_both(urls, tmp_path, other, steps):
    for here, there in ((other, "fraction"), ("fraction", other)):
        fit(urls[here], str(tmp_path / here), steps=steps)
        with pytest.raises(UserError, match=r"bright values of about .* expected about .*different scales"):
            transform(str(tmp_path / here), urls[there], str(tmp_path / "out"))
        assert not (tmp_path / "out").exists()


def test_a_third_of_the_light_is_the_same_scale(urls, tmp_path):
    fit(urls["fraction"], str(tmp_path / "r"), steps="snv,pca=3")
    assert transform(str(tmp_path / "r"), urls["shade"], str(tmp_path / "out"))["pixels"] == 80 * 70


def test_a_model_refuses_another_scale_before_it_writes(urls, tmp_path):
    baseline("plsda", urls["fraction"], str(tmp_path / "map"), samples="500")
    with pytest.raises(UserError, match="different scales"):
        predict(str(tmp_path / "map.model"), urls["ten-thousand"], str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_recipe_keeps_its_level_and_an_older_one_has_none(urls, tmp_path):
    fit(urls["fraction"], str(tmp_path / "r"), steps="mean")
    scene = Scene.open(urls["fraction"])
    level = Recipe.load(str(tmp_path / "r")).level
    assert level == pytest.approx(float(np.quantile(scene.read(scene.roi), 0.95)), rel=0.3)
    check_scale(None, Scene.open(urls["percent"]), scene.roi)


def test_damage_and_nodata_are_left_to_who_reads_them(tmp_path, make_scene):
    url = make_scene(tmp_path / "s", 80, 70, 12)
    zarr.open_group(url, mode="r+")["cube"].with_config({"write_empty_chunks": True})[...] = np.nan
    api.repair(url, accept=True)
    scene = Scene.open(url)
    assert len(quick_sample(scene, scene.roi)) == 0
    check_scale(0.3, scene, scene.roi)
    for path in (tmp_path / "s" / "cube" / "c").rglob("0"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-9])
    check_scale(0.3, scene, scene.roi)


@given(st.floats(1e-6, 1e6))
def test_brightness_goes_with_the_scale(factor):
    spectra = np.random.default_rng(0).uniform(0, 1, (50, 4)).astype(np.float32)
    assert brightness(spectra * np.float32(factor)) == pytest.approx(brightness(spectra) * factor, rel=1e-5)
    assert brightness(np.full((3, 4), np.nan, np.float32)) is None
