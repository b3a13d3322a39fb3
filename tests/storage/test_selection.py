"""Masks and weights: which pixels a fit sees, and how much each counts."""

import json
import tracemalloc

import numpy as np
import pytest
import zarr
from command_line import tilespec
from sklearn.decomposition import PCA

from tilespec.core.errors import UserError
from tilespec.spectra.fit import fit
from tilespec.spectra.recipe import Recipe
from tilespec.spectra.statistics import Moments
from tilespec.spectra.steps.pca import decompose
from tilespec.storage.scene import Scene
from tilespec.storage.selection import mask_named


@pytest.fixture(scope="module")
def scene(tmp_path_factory, make_scene):
    """A scene with nodata, unlabelled pixels, and a layer of weights."""
    url = make_scene(tmp_path_factory.mktemp("scene") / "scene", 150, 90, 12, nan=0.02, unlabelled=0.1, noise=0.01)
    add(url, "importance", importance())
    add(url, "wrong", -importance())
    return url


def importance():
    found = np.random.default_rng(5).uniform(0, 3, (150, 90)).astype(np.float32)
    found[found < 0.5] = 0
    found[3, 4] = np.nan
    return found


def add(url, name, values, **attrs):
    group = zarr.open_group(url, mode="r+")
    kind = {"dimension_names": ("y", "x"), "attributes": attrs, "config": {"write_empty_chunks": True}}
    group.create_array(name=name, data=values, chunks=(32, 32), **kind)


def spectra(url):
    opened = Scene.open(url)
    return opened.read(opened.roi).reshape(-1, opened.shape[2]).astype(np.float64)


@pytest.mark.parametrize("mask", ["labels", "importance"])
def test_a_class_map_selects_what_is_labelled_and_another_layer_what_is_not_zero(scene, tmp_path, mask):
    found = fit(scene, str(tmp_path / "r"), steps="pca=2", mask=mask)
    x, labels = spectra(scene), Scene.open(scene).labels().ravel()
    chosen = labels != 255 if mask == "labels" else np.nan_to_num(importance()).ravel() != 0
    kept = x[np.isfinite(x[:, 0]) & chosen]
    theirs = PCA(2, svd_solver="covariance_eigh").fit(kept)
    assert found["pixels"] == len(kept) < len(x)
    assert (labels[chosen] == 0).any()
    assert found["mask"] == mask
    assert found["notes"] == ["labels is a class map: its labelled pixels are taken, of class 0 (background) too"] * (
        mask == "labels"
    )
    np.testing.assert_allclose(found["explained_variance"], theirs.explained_variance_, rtol=1e-5)


def test_a_mask_holds_for_the_sample_and_for_every_folded_step(scene, tmp_path):
    fit(scene, str(tmp_path / "r"), steps="minmax,vsn,pca=2", mask="labels")
    labels = Scene.open(scene).labels().ravel()
    low = np.nanmin(spectra(scene)[labels != 255], axis=0)
    np.testing.assert_array_equal(Recipe.load(str(tmp_path / "r")).steps[0].offset, low.astype(np.float32))


def test_weights_give_the_covariance_of_numpy(scene, tmp_path):
    found = fit(scene, str(tmp_path / "r"), steps="pca=3", weights="importance")
    x, w = spectra(scene), np.nan_to_num(importance().ravel())
    seen = np.isfinite(x[:, 0]) & (w > 0)
    assert found["pixels"] == seen.sum()
    expected = np.cov(x[seen].T, aweights=w[seen])
    values = np.linalg.eigvalsh(expected)[::-1]
    np.testing.assert_allclose(found["explained_variance"], values[:3], rtol=1e-5, atol=3e-8 * values[0])
    mean = np.average(x[seen], axis=0, weights=w[seen])
    np.testing.assert_allclose(Recipe.load(str(tmp_path / "r")).steps[0].mean, mean, rtol=1e-6)
    assert found["self_check"] < 1e-5


def test_weighted_moments_add_up_and_equal_weights_are_none():
    rng = np.random.default_rng(0)
    x, w = rng.normal(2, 1, (5000, 6)).astype(np.float32), rng.uniform(0, 2, 5000).astype(np.float32)
    zero = Moments.zero(x.mean(axis=0))
    parts = [zero.of(x[i : i + 999], weights=w[i : i + 999]) for i in range(0, 5000, 999)]
    np.testing.assert_allclose(sum(parts[1:], parts[0]).finish(), np.cov(x.T, aweights=w), rtol=2e-5, atol=1e-6)
    same = zero.of(x, weights=np.full(5000, 2.5, np.float32))
    np.testing.assert_allclose(same.finish(), zero.of(x).finish(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(decompose(same, 2).mean, decompose(zero.of(x), 2).mean, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"mask": "nowhere"}, r"expected a layer 'nowhere'"),
        ({"weights": "wrong"}, r"layer 'wrong'.*weights from -.*finite weights, 0 or more"),
        ({"weights": "importance", "steps": "minmax"}, r"--weights: found steps minmax; expected pca"),
    ],
)
def test_what_cannot_choose_or_weigh_is_refused(scene, tmp_path, options, match):
    with pytest.raises(UserError, match=match):
        fit(scene, str(tmp_path / "r"), **({"steps": "pca=2"} | options))
    assert not (tmp_path / "r").exists()


def test_a_mask_that_leaves_nothing_is_refused_by_name(tmp_path, make_scene):
    url = make_scene(tmp_path / "s", 40, 40, 6)
    add(url, "nothing", np.zeros((40, 40), np.uint8))
    with pytest.raises(UserError, match="left out by --mask nothing"):
        fit(url, str(tmp_path / "r"), steps="pca=2", mask="nothing")


def test_the_command_line_has_mask_weights_and_update(scene, tmp_path):
    def run(*words):
        done = tilespec("fit", scene, *words, "--quiet", "--json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    first = run("r", "--steps", "pca=2", "--mask", "labels", "--rows", "0:70")
    later = run("r2", "--update", "r", "--mask", "labels", "--weights", "importance", "--rows", "70:150")
    assert later["steps"] == "pca=2"
    assert later["pixels"] > first["pixels"]
    assert {"mask", "weights", "update", "self_check", "notes"} <= later.keys()


@pytest.fixture(scope="module")
def leaves(tmp_path_factory, make_scene):
    """A scene with bands near those of the NDVI, its pixels above and below a threshold as layers; the threshold."""
    url = make_scene(tmp_path_factory.mktemp("leaves") / "scene", 60, 50, 40, nan=0.02, noise=0.01)
    x, nm = spectra(url), np.array(Scene.open(url).spectral.values)
    red, infrared = (x[:, np.abs(nm - at).argmin()] for at in (670, 800))
    with np.errstate(invalid="ignore"):
        ndvi = ((infrared - red) / (infrared + red)).reshape(60, 50)
    middle = round(float(np.nanmedian(ndvi)), 3)
    add(url, "leaf", (ndvi > middle).astype(np.uint8))
    add(url, "bare", (ndvi < middle).astype(np.uint8))
    return url, middle


@pytest.mark.parametrize(("threshold", "layer"), [("NDVI>{}", "leaf"), (" ndvi < {} ", "bare")])
def test_a_threshold_on_an_index_selects_the_pixels_of_a_layer_with_its_values(leaves, tmp_path, threshold, layer):
    leaves, middle = leaves
    scene, threshold = Scene.open(leaves), threshold.format(middle)
    inside = mask_named(scene, threshold).read(scene.roi)
    np.testing.assert_array_equal(inside, scene.layer(layer) != 0)
    assert 0 < inside.sum() < np.isfinite(spectra(leaves)[:, 0]).sum()
    for name, mask in (("index", threshold), ("layer", layer)):
        fit(leaves, str(tmp_path / name), steps="pca=2", mask=mask)
    by_index, by_layer = (Recipe.load(str(tmp_path / name)) for name in ("index", "layer"))
    assert by_index.digest == by_layer.digest


def test_a_layer_named_like_a_threshold_is_the_layer(leaves):
    leaves, _ = leaves
    add(leaves, "PRI>9", np.ones((60, 50), np.uint8))
    assert mask_named(Scene.open(leaves), "PRI>9").read(Scene.open(leaves).roi).all()


@pytest.mark.parametrize(
    ("mask", "words"),
    [("leafiness>0.3", "one of NDVI"), ("NDWI>0", "no bands near 860, 1240 nm"), ("NDVI>x", "layers")],
)
def test_an_unknown_index_or_one_without_bands_is_refused(leaves, tmp_path, mask, words):
    result = tilespec("fit", leaves[0], str(tmp_path / "r"), "--steps", "pca=2", "--mask", mask)
    assert result.returncode == 2
    assert words in result.stderr
    assert not (tmp_path / "r").exists()


def test_an_index_takes_the_memory_of_a_piece_and_not_of_the_region(tmp_path, make_scene):
    url = make_scene(tmp_path / "wide", 256, 1024, 60)  # 63 MB
    scene = Scene.open(url)
    mask = mask_named(scene, "NDVI>0.3")
    tracemalloc.start()
    mask.read(scene.roi)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000
