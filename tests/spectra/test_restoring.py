"""Restored scenes: a projection and back, which takes noise away and keeps the units."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import PCA

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.storage.scene import Scene

BANDS = 10


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """Write a scene of two shapes with noise; return its URL, its spectra and the clean ones."""
    at, draw, band = tmp_path_factory.mktemp("restored"), np.random.default_rng(0), np.linspace(0, 1, BANDS)
    weights = np.repeat(np.repeat(draw.uniform(0, 1, (8, 8, 2)), 8, 0), 8, 1)
    clean = 0.3 + weights @ np.stack([np.sin(3 * band), np.cos(5 * band)])
    cube = (clean + draw.normal(0, 0.05, clean.shape)).astype(np.float32)
    cube[3, 5] = np.nan
    np.save(at / "cube.npy", cube)
    api.ingest(str(at / "cube.npy"), str(at / "scene"), wavelengths="500:590", wavelength_unit="nm")
    return at, cube, clean


def restored(noisy, steps, **options):
    """Return the cube of a restored scene."""
    at, name = noisy[0], steps.replace(",", "-").replace("=", "")
    api.fit(str(at / "scene"), str(at / name), steps=steps, overwrite=True)
    api.transform(str(at / name), str(at / "scene"), str(at / f"{name}.zarr"), restore=True, **options)
    return Scene.open(str(at / f"{name}.zarr"))


def test_it_is_what_scikit_learn_makes_of_it_and_has_the_bands_of_the_scene(noisy):
    _, cube, _ = noisy
    scene = restored(noisy, "pca=2")
    flat = cube.reshape(-1, BANDS).astype(np.float64)
    known = np.isfinite(flat).all(axis=1)
    pca = PCA(2).fit(flat[known])
    found = scene.read(scene.roi).reshape(-1, BANDS)
    assert_allclose(found[known], pca.inverse_transform(pca.transform(flat[known])), atol=1e-5)
    assert np.isnan(found[~known]).all()
    assert scene.spectral.values[0] == 500.0


@pytest.mark.parametrize("steps", [f"pca={BANDS}", f"mnf={BANDS}", "autoscale", f"mean,pca={BANDS},scale"])
def test_nothing_is_lost_where_nothing_is_left_out(noisy, steps):
    scene = restored(noisy, steps)
    assert_allclose(scene.read(scene.roi), noisy[1], atol=2e-5)


@pytest.mark.parametrize("steps", ["pca=2", "mnf=2"])
def test_few_components_are_nearer_to_the_clean_spectra(noisy, steps):
    _, cube, clean = noisy
    scene = restored(noisy, steps)
    errors = [np.sqrt(np.nanmean(np.square(one - clean))) for one in (scene.read(scene.roi), cube)]
    assert errors[0] < 0.6 * errors[1]


def test_steps_before_those_that_are_undone_stay(noisy):
    at, _, _ = noisy
    api.fit(str(at / "scene"), str(at / "shorter"), steps="crop=520:580,snv")
    api.transform(str(at / "shorter"), str(at / "scene"), str(at / "shorter.zarr"))
    expected, scene = Scene.open(str(at / "shorter.zarr")), restored(noisy, "crop=520:580,snv,pca=7")
    assert scene.spectral == expected.spectral
    assert_allclose(scene.read(scene.roi), expected.read(expected.roi), atol=1e-5)


def test_workers_write_the_same_bytes_and_a_model_does_not_take_it_for_its_scores(noisy, tmp_path):
    at, _, _ = noisy
    one = restored(noisy, "pca=2")
    api.transform(str(at / "pca2"), str(at / "scene"), str(tmp_path / "two"), restore=True, workers=2)
    two = Scene.open(str(tmp_path / "two"))
    assert_array_equal(two.read(two.roi), one.read(one.roi))
    assert "recipe_digest" not in two.attrs
    assert two.attrs["restored_from"] == "pca=2"


def test_a_lost_object_is_made_again(noisy):
    at, _, _ = noisy
    scene = restored(noisy, "mnf=3")
    before, product = scene.read(scene.roi), at / "mnf3.zarr"
    next(one for one in (product / "cube" / "c").rglob("*") if one.is_file()).unlink()
    api.repair(str(product))
    assert_array_equal(Scene.open(str(product)).read(scene.roi), before)


def test_a_recipe_that_ends_in_a_step_of_no_return_is_refused(noisy):
    with pytest.raises(UserError, match=r"--restore.*snv"):
        restored(noisy, "snv")
