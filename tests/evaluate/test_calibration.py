"""Figures of a calibration: equal to scikit-learn's and to their definitions, and undefined where they are."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import linregress
from sklearn.metrics import r2_score, root_mean_squared_error

from tilespec.core.errors import UserError
from tilespec.evaluate.metrics.calibration import calibration_scores


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(3, 40))
def test_the_figures_are_those_of_scikit_learn_and_scipy(seed, n):
    rng = np.random.default_rng(seed)
    y = rng.normal(30, 5, n)
    guess = y * rng.uniform(0.5, 1.5) + rng.normal(0, 2, n)
    scores = calibration_scores(y, guess)
    assert scores["samples"] == n
    assert scores["rmse"] == pytest.approx(root_mean_squared_error(y, guess))
    assert scores["r2"] == pytest.approx(r2_score(y, guess))
    assert scores["slope"] == pytest.approx(linregress(y, guess).slope)
    assert scores["bias"] == pytest.approx((guess - y).mean())
    assert scores["rpd"] == pytest.approx(y.std(ddof=1) / (guess - y).std(ddof=1))
    assert scores["rmse"] ** 2 == pytest.approx(scores["bias"] ** 2 + scores["sep"] ** 2 * (n - 1) / n)


def test_samples_without_one_of_the_numbers_do_not_count():
    y, guess = np.array([1.0, np.nan, 3.0, 4.0]), np.array([1.5, 2.0, np.nan, 4.5])
    assert calibration_scores(y, guess) == calibration_scores(y[[0, 3]], guess[[0, 3]])
    with pytest.raises(UserError, match="no sample with a reference and a prediction"):
        calibration_scores(y[1:3], guess[1:3])


def test_what_is_undefined_is_not_a_number():
    scores = calibration_scores(np.array([2.0]), np.array([2.5]))
    assert (scores["rmse"], scores["bias"]) == (0.5, 0.5)
    assert all(math.isnan(scores[key]) for key in ("sep", "r2", "slope", "rpd"))
