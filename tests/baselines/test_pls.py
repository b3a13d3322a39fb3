"""PLS from moments equals PLS from spectra: scikit-learn's and ikpls's, on measured spectra and on random ones."""

import ikpls.numpy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from locations import DATA
from scipy.io import loadmat
from scipy.stats import chi2
from sklearn.cross_decomposition import PLSRegression

from tilespec.baselines.pls.cross_validation import cross_validate, errors, one_standard_error
from tilespec.baselines.pls.group_moments import Cross, Group, Grouped, merged
from tilespec.baselines.pls.limits import box_limit, q_limit, residual_variances, t2_limit
from tilespec.baselines.pls.pls import fit
from tilespec.core.errors import UserError


def measured(name):
    """Return spectra and responses that were measured."""
    path = DATA / {"corn": "corn_nir/corn.mat", "tecator": "tecator_meat_nir/tecator.npz"}[name]
    if not path.exists():
        pytest.skip(f"{path.parent.name}: the measured data are not beside the project")
    if name == "tecator":
        found = np.load(path)
        return found["absorbance"].astype(np.float64), found["chemistry"].astype(np.float64)
    found = loadmat(path)
    return found["m5spec"]["data"][0, 0].astype(np.float64), found["propvals"]["data"][0, 0].astype(np.float64)


def made(seed=0, n=90, p=12, m=3):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p)) @ rng.normal(size=(p, p)) + rng.normal(size=p) * 10
    return x, x @ rng.normal(size=(p, m)) + rng.normal(0, 3, (n, m))


def of(x, y):
    """Return the regression's moments as a scene gives them: block by block."""
    return sum((Cross.of(x[i : i + 20], y[i : i + 20]) for i in range(20, len(x), 20)), Cross.of(x[:20], y[:20]))


@pytest.mark.parametrize("targets", [[0], [0, 1, 2]])
@pytest.mark.parametrize("name", ["corn", "tecator"])
def test_measured_spectra_have_scikit_learns_regression_vectors(name, targets):
    x, y = measured(name)
    y = y[:, targets]
    model = fit(of(x, y), 12)
    for components in (1, 5, 12):
        oracle = PLSRegression(components, scale=False, tol=1e-14, max_iter=20_000).fit(x, y)
        b = model.coefficients()[components - 1]
        assert np.abs(b - oracle.coef_.T).max() <= 1e-5 * np.abs(b).max()
        np.testing.assert_allclose((x - model.mean_x) @ b + model.mean_y, oracle.predict(x), atol=1e-5)


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("name", ["corn", "tecator"])
def test_measured_spectra_have_ikpls_regression_vectors(name, scale):
    x, y = measured(name)
    oracle = ikpls.numpy.PLS(algorithm=2, scale_X=scale, scale_Y=False, ddof=1)
    oracle.fit(x, y, 12)
    b = fit(of(x, y), 12, scale=scale).coefficients()
    expected = oracle.predict(x)
    found = np.stack([(x - x.mean(axis=0)) @ each + y.mean(axis=0) for each in b])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_fat_of_meat_is_predicted_as_scikit_learn_predicts_it():
    x, y = measured("tecator")
    train, test = slice(0, 172), slice(172, 215)
    model = fit(of(x[train], y[train, 1:2]), 10)
    guess = (x[test] - model.mean_x) @ model.coefficients()[-1] + model.mean_y
    error = float(np.sqrt(((guess - y[test, 1:2]) ** 2).mean()))
    oracle = PLSRegression(10, scale=False).fit(x[train], y[train, 1]).predict(x[test]).ravel()
    assert error == pytest.approx(np.sqrt(((oracle - y[test, 1]) ** 2).mean()), rel=1e-5)
    assert error < 3.5  # % fat, of a range of 1 to 49


@given(st.integers(0, 2**32 - 1), st.integers(1, 39), st.floats(-1e3, 1e3))
def test_moments_of_two_sets_add_to_those_of_both(seed, cut, far):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(far, 1, (40, 4)), rng.normal(size=(40, 2))
    both, parts = Cross.of(x, y), Cross.of(x[:cut], y[:cut]) + Cross.of(x[cut:], y[cut:])
    for name in ("mean_x", "mean_y", "xx", "xy", "yy"):
        np.testing.assert_allclose(getattr(parts, name), getattr(both, name), rtol=1e-9, atol=1e-9)
    group, halves = Group.of(x), Group.of(x[:cut]) + Group.of(x[cut:])
    assert halves.n == group.n
    np.testing.assert_allclose(halves.mean, group.mean, rtol=1e-12)
    np.testing.assert_allclose(halves.scatter, group.scatter, rtol=1e-9, atol=1e-9)


@given(st.integers(0, 2**32 - 1), st.integers(1, 39))
def test_groups_of_two_blocks_add_and_count_what_is_left_out(seed, cut):
    rng = np.random.default_rng(seed)
    x, number = rng.normal(size=(40, 3)).astype(np.float32), rng.integers(0, 4, 40)
    x[rng.random(40) < 0.2] = np.nan
    zero = Grouped(scatter=True)
    both = zero + zero.of((x, number))
    parts = zero.of((x[:cut], number[:cut])) + zero.of((x[cut:], number[cut:]))
    assert parts.invalid == both.invalid == np.isnan(x[:, 0]).sum()
    assert parts.finish().keys() == both.finish().keys()
    for a, b in zip(parts.finish().values(), both.finish().values(), strict=True):
        assert a.n == b.n
        np.testing.assert_allclose(a.scatter, b.scatter, atol=1e-6)


@pytest.mark.parametrize("balanced", [False, True])
def test_moments_of_classes_are_those_of_weighted_one_hot_responses(balanced):
    x, _ = made(n=80, m=1)
    classes = np.repeat([0, 1, 3], [50, 20, 10])  # class 2 is absent
    groups = Grouped(scatter=True).of((x.astype(np.float32), classes)).finish()
    cross = Cross.of_classes(groups, 4, balanced=balanced)
    weights = 80 / 3 / np.bincount(classes)[classes] if balanced else np.ones(80)
    oracle = ikpls.numpy.PLS(algorithm=2, scale_X=False, scale_Y=False)
    oracle.fit(x.astype(np.float32).astype(np.float64), np.eye(4)[classes], 5, sample_weight=weights)
    np.testing.assert_allclose(fit(cross, 5).coefficients(), oracle.B, atol=1e-9)
    assert cross.weight == pytest.approx(80)


@pytest.mark.parametrize("scale", [False, True])
def test_cross_validation_is_a_model_for_each_fold_that_never_saw_it(scale):
    x, y = made(n=100)
    folds = np.random.default_rng(1).integers(0, 4, 100)
    parts = [Cross.of(x[folds == f], y[folds == f]) for f in range(4)]
    splits = [(_sum([p for g, p in enumerate(parts) if g != f]), parts[f]) for f in range(4)]
    curves = cross_validate(splits, 6, scale=scale)
    for f in range(4):
        seen, left = folds != f, folds == f
        deviation = x[seen].std(axis=0, ddof=1) if scale else 1.0
        assert curves[f, 0] == pytest.approx(((y[left] - y[seen].mean(axis=0)) ** 2).mean())
        for a in range(1, 7):
            oracle = PLSRegression(a, scale=False, tol=1e-14, max_iter=20_000).fit(x[seen] / deviation, y[seen])
            expected = ((oracle.predict(x[left] / deviation) - y[left]) ** 2).mean()
            assert curves[f, a] == pytest.approx(expected, rel=1e-6)


def _sum(parts):
    return sum(parts[1:], parts[0])


def test_cross_validation_is_ikpls_on_measured_spectra():
    x, y = measured("corn")
    folds = np.arange(len(x)) % 5
    parts = [Cross.of(x[folds == f], y[folds == f]) for f in range(5)]
    curves = cross_validate([(_sum(parts[:f] + parts[f + 1 :]), parts[f]) for f in range(5)], 8)

    def mse(truth, guess, *_):
        return ((guess - truth) ** 2).mean(axis=(1, 2))

    oracle = ikpls.numpy.PLS(algorithm=2, scale_X=False, scale_Y=False)
    expected = oracle.cross_validate(x, y, 8, folds, mse, n_jobs=1, verbose=0)
    np.testing.assert_allclose(curves[:, 1:], np.stack([expected[f] for f in range(5)]), rtol=1e-5)


def test_folds_of_classes_merge_to_what_one_pass_gives():
    x, _ = made(n=60, m=1)
    number = np.random.default_rng(2).integers(0, 3, 60)
    first, last = (Grouped(scatter=True).of((x[s].astype(np.float32), number[s])).finish() for s in HALVES)
    whole = Grouped(scatter=True).of((x.astype(np.float32), number)).finish()
    for c, group in merged([first, last]).items():
        np.testing.assert_allclose(group.scatter, whole[c].scatter, rtol=1e-9, atol=1e-6)


HALVES = slice(0, 25), slice(25, 60)


def test_the_rule_takes_the_fewest_within_one_standard_error():
    curves = np.array([[9, 5.0, 3.0, 2.0, 2.6], [9, 7.0, 3.4, 3.0, 3.6]])  # least at 3: 2.5 +- 0.5
    assert one_standard_error(curves) == 3
    assert one_standard_error(curves + np.array([[0, 0, -0.3, 0, 0]])) == 2


def test_variances_scores_and_importance_are_those_of_the_spectra():
    x, y = made()
    model, oracle = fit(of(x, y), 6), PLSRegression(6, scale=False, tol=1e-14, max_iter=20_000).fit(x, y)
    np.testing.assert_allclose(model.squares, (oracle.x_scores_**2).sum(axis=0), rtol=1e-6)
    residual = (x - x.mean(axis=0)) - oracle.x_scores_ @ oracle.x_loadings_.T
    assert 1 - model.explained_x.sum() == pytest.approx((residual**2).sum() / ((x - x.mean(axis=0)) ** 2).sum())
    left = y - oracle.predict(x)
    assert 1 - model.explained_y.sum() == pytest.approx((left**2).sum() / ((y - y.mean(axis=0)) ** 2).sum(), abs=1e-9)
    t, w, q = oracle.x_scores_, oracle.x_weights_, oracle.y_loadings_
    share = np.diag(t.T @ t @ q.T @ q)
    expected = np.sqrt(x.shape[1] * ((w / np.linalg.norm(w, axis=0)) ** 2 @ share) / share.sum())
    np.testing.assert_allclose(model.vip(), expected, rtol=1e-6)
    assert (model.vip() ** 2).mean() == pytest.approx(1)
    eigenvalues = np.linalg.eigvalsh(residual.T @ residual / (len(x) - 1))
    np.testing.assert_allclose(residual_variances(model, of(x, y)), np.maximum(eigenvalues, 0), atol=1e-9)


def test_one_in_twenty_normal_spectra_lies_beyond_each_limit():
    rng = np.random.default_rng(3)
    variances = np.geomspace(1, 0.01, 30)
    q = ((rng.normal(size=(50_000, 30)) * np.sqrt(variances)) ** 2).sum(axis=1)
    assert (q > q_limit(variances)).mean() == pytest.approx(0.05, abs=0.004)
    beyond = []
    for _ in range(3000):  # few pixels, so that the estimated deviations matter
        t = rng.normal(size=(24, 2))
        new = rng.normal(size=2) - t.mean(axis=0)
        beyond.append(new @ np.linalg.solve(np.cov(t.T), new) > t2_limit(24, 2))
    assert np.mean(beyond) == pytest.approx(0.05, abs=0.012)


def test_the_limit_of_equal_variances_is_that_of_chi_square():
    for p in (10, 30, 100):  # equal variances make it Wilson and Hilferty's approximation
        assert q_limit(np.full(p, 0.25)) == pytest.approx(0.25 * chi2.ppf(0.95, p), rel=2e-3)


@pytest.mark.parametrize("decay", [0.3, 0.5, 0.8, 0.95])
@pytest.mark.parametrize("tail", [0.0, 1e-3, 1e-2, 5e-2])
def test_the_limit_of_q_is_that_of_box_and_of_the_quantile_whatever_the_sign_of_h0(decay, tail):
    """Many small variances behind a few large ones make h0 negative: bands with noise, after a few components."""
    variances = np.r_[decay ** np.arange(40), np.full(100, tail)]
    q = (np.random.default_rng(11).standard_normal((20_000, 140)) ** 2) @ variances
    assert q_limit(variances) == pytest.approx(box_limit(variances), rel=0.15)
    assert q_limit(variances) == pytest.approx(np.quantile(q, 0.95), rel=0.15)
    assert 0.025 < (q > q_limit(variances)).mean() < 0.06


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=60), st.floats(0.5, 0.999))
def test_limits_of_q_are_finite_grow_with_the_level_and_scale_with_the_variances(values, level):
    variances = np.array(values)
    limit = q_limit(variances, level)
    assert 0 < limit < np.inf
    assert q_limit(variances, level + 0.0005) >= limit * (1 - 1e-9)
    assert q_limit(7 * variances, level) == pytest.approx(7 * limit, rel=1e-6)


def test_limits_of_nothing():
    assert q_limit(np.zeros(4)) == 0
    assert np.isnan(t2_limit(3, 3))


def test_no_more_components_come_than_there_are():
    x, y = made(n=50, p=12, m=1)
    flat = x[:, :3] @ np.random.default_rng(0).normal(size=(3, 12))
    model = fit(of(flat, y), 10)
    assert model.components == 3
    assert errors(model, of(flat, y), 10)[3:].std() == 0


def test_spectra_that_say_nothing_are_refused():
    x, y = made()
    with pytest.raises(UserError, match="do not vary with the classes"):
        fit(of(x, np.ones_like(y)), 2)
