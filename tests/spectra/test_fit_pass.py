"""Kept moments: a scene that joins later, and the check of a fit's arithmetic against float64."""

import numpy as np
import pytest
from scipy.linalg import subspace_angles

from tilespec.cluster.connect import connect
from tilespec.core.errors import UserError
from tilespec.spectra import pieces
from tilespec.spectra.fit import fit, fit_steps
from tilespec.spectra.recipe import Recipe
from tilespec.storage.scene import Scene


@pytest.fixture(scope="module")
def scenes(tmp_path_factory, make_scene):
    """Two scenes of different materials."""
    folder = tmp_path_factory.mktemp("scenes")
    return [make_scene(folder / name, 100, 70, 16, seed=seed, nan=0.01) for seed, name in enumerate("ab")]


def angle(a, b):
    return float(subspace_angles(a.loadings.T.astype(np.float64), b.loadings.T.astype(np.float64)).max())


@pytest.mark.parametrize("steps", ["snv,pca=3", "snv,pca=3,scale", "pca=2", "snv,mnf=3", "sg=5:2:1,mnf=2:right"])
def test_a_scene_that_joins_later_counts_like_one_that_was_there(scenes, tmp_path, monkeypatch, steps):
    both = fit(scenes, str(tmp_path / "both"), steps=steps)
    fit(scenes[0], str(tmp_path / "first"), steps=steps)
    right, read = Scene._values, set()

    def seen(self, stored, roi, room):
        read.add(self.url)
        return right(self, stored, roi, room)

    monkeypatch.setattr(Scene, "_values", seen)
    found = fit(scenes[1], str(tmp_path / "later"), update=str(tmp_path / "first"))
    assert read == {scenes[1]}
    one, two = (Recipe.load(str(tmp_path / name)) for name in ("both", "later"))
    number = next(i for i, step in enumerate(one.steps) if hasattr(step, "loadings"))
    assert found["pixels"] == both["pixels"]
    assert found["steps"] == steps
    assert any("the steps before stay" in note for note in found["notes"])
    assert angle(one.steps[number], two.steps[number]) < (1e-5 if "pca" in steps else 1e-4)
    np.testing.assert_allclose(one.steps[number].mean, two.steps[number].mean, rtol=1e-5, atol=1e-6)
    x = Scene.open(scenes[1]).read(Scene.open(scenes[1]).roi).reshape(-1, 16)
    np.testing.assert_allclose(two.apply(x), one.apply(x), atol=2e-3)


def test_what_was_fitted_before_the_pca_stays_bit_for_bit(scenes, tmp_path):
    fit(scenes[0], str(tmp_path / "first"), steps="minmax,vsn,pca=3")
    fit(scenes[1], str(tmp_path / "later"), update=str(tmp_path / "first"), steps="minmax,vsn,pca=3")
    one, two = (Recipe.load(str(tmp_path / name)) for name in ("first", "later"))
    for a, b in zip(one.steps[:2], two.steps[:2], strict=True):
        for name, values in vars(a).items():
            np.testing.assert_array_equal(values, getattr(b, name))
    assert one.digest != two.digest


def test_updates_follow_one_another(scenes, tmp_path):
    fit(scenes[0], str(tmp_path / "0"), steps="pca=2", rows="0:40")
    fit(scenes[0], str(tmp_path / "1"), update=str(tmp_path / "0"), rows="40:100")
    found = fit(scenes[1], str(tmp_path / "2"), update=str(tmp_path / "1"))
    whole = fit(scenes, str(tmp_path / "whole"), steps="pca=2")
    np.testing.assert_allclose(found["explained_variance"], whole["explained_variance"], rtol=1e-6)


def test_kept_moments_are_no_part_of_the_digest(scenes, tmp_path):
    found = fit(scenes[0], str(tmp_path / "r"), steps="snv,pca=2")
    folder = tmp_path / "r"
    with np.load(folder / "arrays.npz") as stored:
        arrays = {name: stored[name] for name in stored.files if not name.startswith("kept.")}
    np.savez(folder / "arrays.npz", **arrays)
    recipe = Recipe.load(str(folder))
    assert recipe.digest == found["digest"]
    assert recipe.moments == {}
    with pytest.raises(UserError, match=r"--update: found .* without stored moments"):
        fit(scenes[1], str(tmp_path / "later"), update=str(folder))


@pytest.mark.parametrize(
    ("first", "asked", "match"),
    [
        ("snv", None, r"without stored moments"),
        ("pca=3,minmax", None, r"no step after it that is fitted on pixels"),
        ("pca=3", "pca=2", r"'pca=2' with --update; expected the steps of the recipe to update, 'pca=3'"),
    ],
)
def test_what_cannot_be_updated_is_refused_before_any_read(scenes, tmp_path, monkeypatch, first, asked, match):
    fit(scenes[0], str(tmp_path / "first"), steps=first)
    monkeypatch.setattr(Scene, "_values", lambda *_: pytest.fail("a read"))
    with pytest.raises(UserError, match=match):
        fit(scenes[1], str(tmp_path / "later"), update=str(tmp_path / "first"), steps=asked)


def test_a_scene_of_other_bands_cannot_join(scenes, tmp_path, make_scene):
    fit(scenes[0], str(tmp_path / "first"), steps="pca=2")
    other = make_scene(tmp_path / "other", 40, 40, 9)
    with pytest.raises(UserError, match="9 bands"):
        fit(other, str(tmp_path / "later"), update=str(tmp_path / "first"))


# Self-check, and the PCA against float64


def test_the_self_check_is_small_and_told(scenes, tmp_path):
    found = fit(scenes[0], str(tmp_path / "r"), steps="vsn,pca=3,scale")
    assert 0 < found["self_check"] < 1e-5
    assert Recipe.load(str(tmp_path / "r")).facts[1]["self_check"] == found["self_check"]


def test_arithmetic_that_went_wrong_is_an_error(scenes, tmp_path, monkeypatch):
    from tilespec.spectra import fit_pass

    def coarse(operators, x, width, **options):
        return pieces.transform(operators, x, width, **options).astype(np.float16).astype(np.float32)

    monkeypatch.setattr(fit_pass, "transform", coarse)
    monkeypatch.setattr(fit_pass, "LIMIT", 1e-5)
    with pytest.raises(UserError, match=r"moments in float32 that are .*relative.* from those in float64"):
        fit(scenes[0], str(tmp_path / "r"), steps="snv,pca=2")
    assert not (tmp_path / "r").exists()


def test_the_largest_principal_angle_to_float64_is_below_one_in_ten_thousand(tmp_path, make_scene):
    opened = Scene.open(make_scene(tmp_path / "s", 150, 120, 16, classes=5, noise=0.005))
    recipe = fit_steps("vsn,pca=3", [(opened, opened.roi)])
    exact = opened.read(opened.roi).reshape(-1, 16).astype(np.float64)
    exact = recipe.steps[0].apply(exact[np.isfinite(exact).all(axis=1)])
    vectors = np.linalg.eigh(np.cov(exact.T))[1][:, ::-1][:, :3]
    assert subspace_angles(vectors, recipe.steps[1].loadings.T.astype(np.float64)).max() < 1e-4


@pytest.mark.parametrize("steps", ["snv,pca=3", "snv,mnf=3"])
def test_workers_change_no_bit(scenes, steps):
    opened = Scene.open(scenes[0])
    where = [(opened, opened.roi)]
    alone = fit_steps(steps, where)
    with connect(2, None) as client:
        assert fit_steps(steps, where, client=client).digest == alone.digest


def test_pieces_in_place_have_the_bits_of_copies(scenes):
    opened = Scene.open(scenes[0])
    x = opened.read(opened.roi).reshape(-1, 16)
    operators = fit_steps("vsn,pca=3", [(opened, opened.roi)]).steps
    before = x.copy()
    copies = [piece.copy() for piece in pieces.pieces(operators, x)]
    np.testing.assert_array_equal(x, before)
    mine = [piece.copy() for piece in pieces.pieces(operators, x, own=True)]
    np.testing.assert_array_equal(np.concatenate(mine), np.concatenate(copies))
    assert not np.array_equal(x, before, equal_nan=True)
