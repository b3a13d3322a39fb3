"""Calibration: figures of predicted against measured numbers of samples, as chemometrics names them.

Naes, Isaksson, Fearn and Davies, A user-friendly guide to multivariate calibration and classification (2002), chapter
13. The error is ``rmse``: RMSEC of the samples of the fit, RMSECV of samples left out in turn, RMSEP of others.
"""

import numpy as np
from jaxtyping import Float64

from tilespec.core.errors import UserError


def calibration_scores(
    reference: Float64[np.ndarray, " _sample"], predicted: Float64[np.ndarray, " _sample"]
) -> dict[str, float | int]:
    """Return the figures of samples that have both numbers; NaN for one that is undefined.

    ``samples``; ``rmse``; ``bias``, the mean of predicted minus reference; ``sep``, the standard deviation of that
    difference (ddof 1); ``r2``, 1 minus the squared errors over the squared deviations of the references; ``slope`` of
    the line of predicted over reference; ``rpd``, the standard deviation of the references (ddof 1) over ``sep``. All
    are in the unit of the references, or without one.

    Raises:
        UserError: no sample has both numbers.
    """
    both = np.isfinite(reference) & np.isfinite(predicted)
    if not both.any():
        raise UserError(
            "references",
            found="no sample with a reference and a prediction",
            expected="at least one",
            do="Correct the ids, or the mask.",
        )
    y, error = reference[both], (predicted - reference)[both]
    away = y - y.mean()
    squares, n = float(away @ away), len(y)
    sep = float(error.std(ddof=1)) if n > 1 else np.nan
    return {
        "samples": n,
        "rmse": float(np.sqrt((error**2).mean())),
        "bias": float(error.mean()),
        "sep": sep,
        "r2": 1 - float(error @ error) / squares if squares > 0 else np.nan,
        "slope": 1 + float(away @ error) / squares if squares > 0 else np.nan,
        "rpd": float(np.sqrt(squares / (n - 1))) / sep if n > 1 and sep > 0 else np.nan,
    }
