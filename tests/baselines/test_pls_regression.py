"""Regressions of one number for each spectrum: scikit-learn's and ikpls's, left out without leakage."""

import ikpls.numpy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cross_decomposition import PLSRegression
from sklearn.linear_model import LinearRegression, Ridge

from tilespec.baselines.pls.cross_validation import one_standard_error
from tilespec.baselines.pls.group_moments import Group
from tilespec.baselines.pls.limits import pixel_residual_variances
from tilespec.baselines.pls.pls import fit
from tilespec.baselines.pls.regression import (
    Cross,
    PlsPath,
    RidgePath,
    conformal_width,
    folds_of,
    leave_out,
    selectivity_ratio,
)

SEEDS = st.integers(0, 2**32 - 1)


def made(seed, n=40, p=9, noise=0.5):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p)) @ (np.eye(p) + 0.3 * rng.normal(size=(p, p))) + 5
    return x, x @ rng.normal(size=p) + rng.normal(0, noise, n)


@settings(max_examples=25)
@given(seed=SEEDS, components=st.integers(1, 6))
def test_pls_is_scikit_learns_and_ikplss(seed, components):
    x, y = made(seed)
    model = PlsPath(sizes=(components,))(x, y)[0]
    oracle = PLSRegression(components, scale=False, tol=1e-14, max_iter=20_000).fit(x, y)
    np.testing.assert_allclose(model.predict(x), oracle.predict(x).ravel(), atol=1e-8)
    other = ikpls.numpy.PLS(algorithm=1, scale_X=False, scale_Y=False)
    other.fit(x, y[:, None], components)
    np.testing.assert_allclose(model.predict(x), other.predict(x, n_components=components).ravel(), atol=1e-8)
    scores = oracle.x_scores_
    leverage = np.einsum("ia,ab,ib->i", scores, np.linalg.inv(scores.T @ scores), scores)
    np.testing.assert_allclose(model.leverage(x), leverage, atol=1e-8)
    assert model.leverage(x).sum() == pytest.approx(components)


@given(seed=SEEDS, penalty=st.sampled_from([0.0, 1e-6, 1e-2, 1.0]))
def test_ridge_is_scikit_learns_and_without_a_penalty_least_squares(seed, penalty):
    x, y = made(seed)
    model = RidgePath(penalties=(penalty,))(x, y)[0]
    oracle = Ridge(alpha=len(x) * penalty, solver="svd") if penalty else LinearRegression()
    oracle.fit(x, y)
    np.testing.assert_allclose(model.coefficients, oracle.coef_, atol=1e-8)
    np.testing.assert_allclose(model.predict(x), oracle.predict(x), atol=1e-8)
    centred = x - x.mean(axis=0)
    inverse = np.linalg.inv(centred.T @ centred + len(x) * penalty * np.eye(x.shape[1]))
    hat, covariance = centred @ inverse @ centred.T, inverse @ centred.T @ centred @ inverse
    assert model.freedom == pytest.approx(np.trace(hat))
    np.testing.assert_allclose(model.leverage(x), np.einsum("ip,pq,iq->i", centred, covariance, centred), atol=1e-8)


def test_a_ridge_of_more_bands_than_samples_is_scikit_learns():
    x, y = made(0, n=12, p=30)
    for model, penalty in zip(RidgePath(penalties=(1.0, 1e-3))(x, y), (1.0, 1e-3), strict=True):
        oracle = Ridge(alpha=12 * penalty, solver="svd").fit(x, y)
        np.testing.assert_allclose(model.coefficients, oracle.coef_, atol=1e-8)


@pytest.mark.parametrize("scale", [False, True])
def test_what_is_left_out_was_never_seen(scale):
    x, y = made(3, n=50)
    fold = folds_of(50, 5, seed=1)
    predictions, curves = leave_out(PlsPath(sizes=(1, 2, 3, 4), scale=scale), x, y, fold)
    for f in range(5):
        seen, left = fold != f, fold == f
        gain = x[seen].std(axis=0, ddof=1) if scale else 1.0
        assert curves[f, 0] == pytest.approx(((y[left] - y[seen].mean()) ** 2).mean())
        for a in range(1, 5):
            oracle = PLSRegression(a, scale=False, tol=1e-14, max_iter=20_000).fit(x[seen] / gain, y[seen])
            expected = oracle.predict(x[left] / gain).ravel()
            np.testing.assert_allclose(predictions[left, a - 1], expected, atol=1e-8)
            assert curves[f, a] == pytest.approx(((expected - y[left]) ** 2).mean())
    assert 1 <= one_standard_error(curves) <= 4


def test_a_number_of_one_fold_moves_no_prediction_of_that_fold():
    x, y = made(4)
    fold, path = folds_of(40, 4, seed=0), PlsPath(sizes=(3,))
    before, _ = leave_out(path, x, y, fold)
    changed = np.where(fold == 2, y + np.random.default_rng(0).normal(0, 50, 40), y)
    after, _ = leave_out(path, x, changed, fold)
    np.testing.assert_array_equal(before[fold == 2], after[fold == 2])
    assert (before[fold != 2] != after[fold != 2]).all()


@given(n=st.integers(4, 60), folds=st.integers(2, 4), seed=st.integers(0, 99))
def test_folds_are_of_one_size_and_of_the_seed(n, folds, seed):
    fold = folds_of(n, folds, seed)
    assert np.ptp(np.bincount(fold, minlength=folds)) <= 1
    np.testing.assert_array_equal(fold, folds_of(n, folds, seed))


def test_components_that_do_not_exist_repeat_the_last_model():
    x, y = made(0)
    x[:, 3:] = x[:, :3] @ np.ones((3, 6))
    models = PlsPath(sizes=tuple(range(1, 8)))(x, y)
    assert [model.size for model in models] == [1, 2, 3, 3, 3, 3, 3]


@given(seed=SEEDS)
def test_the_selectivity_ratio_is_that_of_the_target_projection(seed):
    x, y = made(seed)
    model = PlsPath(sizes=(3,))(x, y)[0]
    centred = x - x.mean(axis=0)
    target = centred @ (model.coefficients / np.linalg.norm(model.coefficients))
    loadings = centred.T @ target / (target @ target)
    shown = np.outer(target, loadings)
    expected = shown.var(axis=0) / (centred - shown).var(axis=0)
    np.testing.assert_allclose(selectivity_ratio(x, model), expected, rtol=1e-6)


def test_a_band_that_the_target_explains_has_an_infinite_ratio():
    x = np.arange(12.0).reshape(6, 2)
    model = RidgePath(penalties=(1.0,))(x[:, :1], x[:, 1])[0]
    assert selectivity_ratio(x[:, :1], model).tolist() == [np.inf]


@pytest.mark.parametrize(("n", "rank"), [(18, None), (19, 19), (39, 38), (100, 96)])
def test_the_conformal_width_is_the_error_of_a_rank(n, rank):
    errors = np.random.default_rng(0).permutation(n) + 1.0
    errors[::2] *= -1
    assert conformal_width(errors, 0.95) == (np.inf if rank is None else rank)


def test_a_conformal_interval_holds_95_of_100_new_samples():
    rng = np.random.default_rng(0)
    errors = rng.standard_cauchy(size=(4000, 40))  # of any distribution
    inside = [abs(row[0]) <= conformal_width(row[1:], 0.95) for row in errors]
    assert 0.945 <= np.mean(inside) <= 0.985  # 1 - 0.05 to that plus 1 / (n + 1)


def test_residual_variances_of_other_spectra_are_those_of_their_residuals():
    x, y = made(1, n=60)
    model, others = fit(Cross.of(x, y[:, None]), 3), made(2, n=200)[0]
    centred = others - model.mean_x
    left = centred - centred @ model.rotations @ model.loadings.T
    expected = np.linalg.eigvalsh(left.T @ left / len(others))
    np.testing.assert_allclose(pixel_residual_variances(model, Group.of(others)), np.maximum(expected, 0), atol=1e-9)
