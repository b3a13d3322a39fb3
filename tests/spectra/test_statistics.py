"""Folds: of(a) + of(b) == of(a and b), and the statistics equal NumPy's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilespec.spectra.statistics import Histogram, Moments, Spread


def spectra(n, p, seed, invalid=0):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(n, p)) @ rng.normal(size=(p, p)) + 3).astype(np.float32)
    x[:invalid] = np.nan
    return x


zeros = st.sampled_from([Moments.zero, Spread.zero])
SHIFT = np.full(5, 3, np.float32)


@settings(deadline=None)
@given(zero=zeros, n=st.integers(0, 60), cut=st.integers(0, 60), seed=st.integers(0, 99), invalid=st.integers(0, 9))
def test_the_parts_of_a_block_add_up_to_the_block(zero, n, cut, seed, invalid):
    x = spectra(n, 5, seed, invalid)
    cut = min(cut, n)
    whole, parts = zero(SHIFT).of(x), zero(SHIFT).of(x[:cut]) + zero(SHIFT).of(x[cut:])
    assert whole.n == parts.n == max(n - invalid, 0)
    assert whole.invalid == parts.invalid == min(n, invalid)
    for name in ("sums", "products", "squares", "low", "high"):
        if hasattr(whole, name):
            np.testing.assert_allclose(getattr(whole, name), getattr(parts, name), rtol=1e-5, atol=1e-4)


@settings(deadline=None)
@given(values=st.lists(st.floats(-2, 2, width=32), max_size=50), cut=st.integers(0, 50))
def test_the_parts_of_a_histogram_add_up_exactly(values, cut):
    x = np.array(values, np.float32)
    zero = Histogram.zero(-1, 1, 16)
    whole, parts = zero.of(x), zero.of(x[:cut]) + zero.of(x[cut:])
    np.testing.assert_array_equal(whole.counts, parts.counts)
    assert whole.counts.sum() == len(values)


def test_blocked_moments_are_the_covariance_of_numpy():
    x = spectra(5000, 7, 1, invalid=11)
    parts = [Moments.zero(x[20]).of(part) for part in np.array_split(x, 9)]
    total = sum(parts[1:], parts[0])
    valid = x[11:].astype(np.float64)
    np.testing.assert_allclose(total.finish(), np.cov(valid.T), rtol=2e-6, atol=2e-6 * np.cov(valid.T).max())
    np.testing.assert_allclose(total.mean, valid.mean(axis=0), rtol=1e-6)


def test_moments_of_values_far_from_zero_do_not_cancel():
    x = (spectra(4000, 4, 2) + 20000).astype(np.float32)
    found = Moments.zero(x.mean(axis=0)).of(x).finish()
    np.testing.assert_allclose(found, np.cov(x.astype(np.float64).T), rtol=1e-4)


def test_spread_is_the_deviation_and_the_range_of_numpy():
    x = spectra(3000, 6, 3, invalid=5)
    total = Spread.zero(x[9]).of(x[:1000]) + Spread.zero(x[9]).of(x[1000:])
    valid = x[5:].astype(np.float64)
    np.testing.assert_allclose(total.finish(), valid.std(axis=0, ddof=1), rtol=1e-6)
    np.testing.assert_allclose(total.mean, valid.mean(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(total.low, x[5:].min(axis=0))
    np.testing.assert_array_equal(total.high, x[5:].max(axis=0))


def test_a_histogram_counts_what_numpy_counts():
    x = np.random.default_rng(0).uniform(-1, 1, 999)
    np.testing.assert_array_equal(Histogram.zero(-1, 1, 20).of(x).counts, np.histogram(x, 20, (-1, 1))[0])


def test_otsu_separates_two_modes_and_nan_is_counted():
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.normal(-0.4, 0.05, 3000), rng.normal(0.5, 0.05, 900), [np.nan] * 7])
    found = Histogram.zero(-1, 1, 2000).of(values)
    assert found.invalid == 7
    assert -0.2 < found.finish() < 0.3


def test_otsu_is_the_brute_force_optimum():
    values = np.random.default_rng(2).beta(2, 5, 4000)
    found = Histogram.zero(0, 1, 64).of(values)
    edges = np.linspace(0, 1, 65)
    centres = (edges[1:] + edges[:-1]) / 2

    def within(k):
        parts = (found.counts[:k], centres[:k]), (found.counts[k:], centres[k:])
        return sum(np.sum(n * (c - np.average(c, weights=n)) ** 2) for n, c in parts if n.sum())

    best = min(range(1, 64), key=within)
    assert found.finish() == pytest.approx(edges[best])
