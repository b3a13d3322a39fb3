"""Cross-validation of PLS from moments: no spectrum is read again, and no value of a fold enters its own model.

Engstrøm and Jensen, Journal of Chemometrics 39 (2025): a training set's moments are those of all folds without one,
centred and scaled by the training set alone. The error of the fold that was left out follows from its moments too.
"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float64

from tilespec.baselines.pls.group_moments import Cross
from tilespec.baselines.pls.pls import Pls, fit

Curves = Float64[np.ndarray, "fold size"]
"""The mean squared errors of every fold with 0, 1, 2, ... components."""


def cross_validate(splits: Iterable[tuple[Cross, Cross]], components: int, *, scale: bool = False) -> Curves:
    """Return the errors of models of 0 to ``components`` components on folds that they were not fitted on.

    Args:
        splits: The moments of the other folds and its own, for each fold.
        components: The largest number of components. If a training set has fewer, its last model is used for larger
            numbers.
        scale: Whether to divide bands by their deviations in the training set.
    """
    return np.stack([errors(fit(train, components, scale=scale), test, components) for train, test in splits])


def errors(model: Pls, test: Cross, components: int) -> Float64[np.ndarray, " size"]:
    """Return the mean squared error of 0, 1, ... ``components`` components, by weight and target, from moments alone.

    ``|Y - XB|^2 = tr(Y'Y) - 2 tr(B'X'Y) + tr(B'X'XB)`` relative to the means of the model's own pixels.
    """
    about = test.about(model.mean_x, model.mean_y)
    curve = [float(np.trace(about.yy))]
    for b in model.coefficients():
        curve.append(curve[0] - 2 * float((b * about.xy).sum()) + float((b * (about.xx @ b)).sum()))
    curve += [curve[-1]] * (components + 1 - len(curve))
    return np.maximum(curve, 0) / (about.weight * len(model.mean_y))


def one_standard_error(curves: Curves) -> int:
    """Return the fewest components, at least 1, whose mean error is within one standard error of the least.

    Breiman, Friedman, Olshen and Stone, Classification and Regression Trees (1984), section 3.4.3.
    """
    mean = curves.mean(axis=0)
    error = curves.std(axis=0, ddof=1) / np.sqrt(len(curves))
    best = 1 + int(mean[1:].argmin())
    return 1 + int(np.flatnonzero(mean[1:] <= mean[best] + error[best])[0])
