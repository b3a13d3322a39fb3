"""Pieces: steps fused over fixed pieces give what the steps give one after another, and no value to what has none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilespec.spectra.operators import Affine, Take
from tilespec.spectra.pieces import transform
from tilespec.spectra.statistics import Moments
from tilespec.spectra.steps.normalise import normalise
from tilespec.spectra.steps.pca import decompose

BANDS = 24


def spectra(n, seed):
    rng = np.random.default_rng(seed)
    shape = np.sin(np.linspace(0, 5, BANDS)) * rng.uniform(0.1, 0.5, (n, 1))
    return (0.6 + shape + rng.normal(0, 0.05, (n, BANDS))).astype(np.float32)


def recipe(zeros=0):
    """Return vsn,pca=3,scale as operators; the first bands without weight."""
    raw = np.linspace(0.2, 1, BANDS)
    raw[:zeros] = 0
    vsn = normalise(raw)
    x = vsn.apply(spectra(2000, 1))
    pca = decompose(Moments.zero(x.mean(axis=0)).of(x), 3)
    gain = (1 / np.sqrt(pca.variance)).astype(np.float32)
    return vsn, pca, Affine(offset=np.zeros(3, np.float32), gain=gain)


@given(n=st.integers(0, 4200), seed=st.integers(0, 9))
def test_fused_steps_are_the_steps_one_after_another(n, seed):
    x, operators = spectra(n, seed), recipe()
    exact = x.astype(np.float64)
    for operator in operators:
        exact = operator.apply(exact)
    np.testing.assert_allclose(transform(operators, x, 3), exact, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(
    "operators", [recipe(), recipe(2), recipe()[:1], (Take(index=np.arange(3, 24)),), recipe()[2:]]
)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_pixel_with_a_band_that_is_not_finite_is_nan_throughout(operators, value):
    x = spectra(2100, 0)
    x = x[:, :3].copy() if isinstance(operators[0], Affine) else x
    x[[0, 5, 2099], [x.shape[1] - 1, 0, 1]] = value
    seen = [0, 5, 2099] if not isinstance(operators[0], Take) else [0]
    width = {1: x.shape[1], 3: 3}[len(operators)] if not isinstance(operators[0], Take) else 21
    found = transform(operators, x, width)
    assert np.isnan(found[seen]).all()
    assert np.isnan(found[:, 0]).sum() == len(seen)


@pytest.mark.parametrize("x", [1e25, 0.3, 0.0])
def test_values_beyond_float32_and_flat_spectra_become_nan_not_numbers(x):
    flat = np.full((4, BANDS), x, np.float32)
    if x > 1:
        flat[:, ::2] = 0
    for operators, width in ((recipe()[:1], BANDS), (recipe(), 3)):
        assert np.isnan(transform(operators, flat, width)).all()
