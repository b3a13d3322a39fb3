"""PCA: equal to scikit-learn's, invertible at full rank, deterministic in sign."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from tilespec.core.errors import UserError
from tilespec.spectra.bands import Bands
from tilespec.spectra.fit import fit
from tilespec.spectra.pieces import transform
from tilespec.spectra.statistics import Moments
from tilespec.spectra.steps.pca import Pca, decompose


def spectra(n=6000, p=30, seed=0):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n, 6)) * [5, 3, 2, 1, 0.5, 0.2]
    return (0.5 + 0.1 * scores @ rng.normal(size=(6, p)) + 0.01 * rng.normal(size=(n, p))).astype(np.float32)


def fitted(x, components, pieces=5):
    zero = Moments.zero(x[:100].mean(axis=0))
    parts = [zero.of(part) for part in np.array_split(x, pieces)]
    return decompose(sum(parts[1:], parts[0]), components)


def test_variances_and_leading_components_equal_scikit_learns():
    x = spectra()
    ours, theirs = fitted(x, 6), PCA(6, svd_solver="covariance_eigh").fit(x.astype(np.float64))
    np.testing.assert_allclose(ours.variance, theirs.explained_variance_, rtol=1e-5)
    np.testing.assert_allclose(ours.ratio, theirs.explained_variance_ratio_, rtol=1e-5)
    signs = np.sign((ours.loadings * theirs.components_).sum(axis=1))
    np.testing.assert_allclose(ours.loadings, theirs.components_ * signs[:, None], atol=1e-5)
    scores = transform((ours,), x, 6)
    np.testing.assert_allclose(scores, theirs.transform(x.astype(np.float64)) * signs, atol=1e-4)


def test_restoring_the_scores_gives_the_spectra_at_full_rank():
    x = spectra(p=12)
    full = fitted(x, 12)
    np.testing.assert_allclose(full.restore(transform((full,), x, 12)), x, atol=1e-5)


def test_the_largest_loading_of_every_component_is_positive():
    loadings = fitted(spectra(), 8).loadings
    assert (loadings[np.arange(8), np.abs(loadings).argmax(axis=1)] > 0).all()


def test_components_are_orthonormal():
    loadings = fitted(spectra(), 30).loadings.astype(np.float64)
    np.testing.assert_allclose(loadings @ loadings.T, np.eye(30), atol=1e-6)


def test_constant_bands_take_no_part():
    x = spectra()
    x[:, 4] = 0.25
    found = fitted(x, 5)
    assert np.abs(found.loadings[:, 4]).max() < 1e-6


def test_more_components_than_bands_are_refused_with_both_numbers():
    with pytest.raises(UserError, match=r"pca=9.*at most 8 components.*pca=8 or less"):
        Pca(components=9).plan(Bands(count=8, axis=None))


def test_no_component_is_refused():
    with pytest.raises(UserError, match="at least 1"):
        Pca.parse(("0",))


@pytest.mark.parametrize(
    ("x", "match"), [(np.full((1, 3), 1.0), "1 valid pixels"), (np.full((9, 3), 1.0), "all equal")]
)
def test_what_has_no_variance_is_refused(x, match):
    x = x.astype(np.float32)
    with pytest.raises(UserError, match=match):
        decompose(Moments.zero(x[0]).of(x), 1)


def test_more_components_than_spectra_have_is_noted(tmp_path, make_scene):
    scene = make_scene(tmp_path / "s", 3, 4, 20)
    assert any("only 11 components" in note for note in fit(scene, str(tmp_path / "r"), steps="pca=15")["notes"])
    assert fit(scene, str(tmp_path / "r2"), steps="pca=3")["notes"] == []
