"""Limits of Hotelling's T2 and of Q for spectra under a PLS model."""

import numpy as np
from jaxtyping import Float64
from scipy.stats import chi2, f, norm

from tilespec.baselines.pls.group_moments import Cross, Group
from tilespec.baselines.pls.pls import Pls

LEVEL = 0.95


def t2_limit(n: int, components: int, level: float = LEVEL) -> float:
    """Return the limit of T2 of a new spectrum: ``A (n^2 - 1) / (n (n - A)) F(A, n - A)``.

    Nomikos and MacGregor, Technometrics 37 (1995), equation 12; NaN without more pixels than components.
    """
    if n <= components:
        return float("nan")
    return float(components * (n**2 - 1) / (n * (n - components)) * f.ppf(level, components, n - components))


def q_limit(eigenvalues: Float64[np.ndarray, " value"], level: float = LEVEL) -> float:
    """Return the limit of Q, from the eigenvalues of the residuals' covariance.

    Jackson and Mudholkar, Technometrics 21 (1979), equation 3.4: a power h of Q is nearly normal, and its quantile has
    the sign of h. Where h is so far below 0 that no power of a positive Q is that quantile, it is Box' limit. 0
    without residuals.
    """
    one, two, three = (float((eigenvalues**k).sum()) for k in (1, 2, 3))
    if one <= 0:
        return 0.0
    h = 1 - 2 * one * three / (3 * two**2)
    slope = norm.ppf(level) * np.sqrt(2 * two) / one + two * (h - 1) / one**2
    if h * slope <= -1:
        return box_limit(eigenvalues, level)
    return float(one * np.exp(np.log1p(h * slope) / h if h else slope))


def box_limit(eigenvalues: Float64[np.ndarray, " value"], level: float = LEVEL) -> float:
    """Return the limit of Q by a multiple of chi-square with its mean and variance; 0 without residuals.

    Box, Annals of Mathematical Statistics 25 (1954), theorem 3.1.
    """
    one, two = (float((eigenvalues**k).sum()) for k in (1, 2))
    return two / one * float(chi2.ppf(level, one**2 / two)) if one > 0 else 0.0


def residual_variances(model: Pls, cross: Cross) -> Float64[np.ndarray, " band"]:
    """Return the eigenvalues of the covariance (ddof 1) of the residuals of centred, scaled spectra."""
    xx = cross.xx / np.outer(model.scale, model.scale)
    left = xx - (model.loadings * model.squares) @ model.loadings.T
    return np.maximum(np.linalg.eigvalsh(left / max(cross.weight - 1, 1)), 0.0)


def pixel_residual_variances(model: Pls, pixels: Group) -> Float64[np.ndarray, " band"]:
    """Return the eigenvalues of the mean product of residuals of other spectra than those of the fit.

    The model is that of their means: the residual of a centred, scaled spectrum is ``x - x R P'``.
    """
    away = (pixels.mean - model.mean_x) / model.scale
    products = pixels.scatter / np.outer(model.scale, model.scale) / pixels.n + np.outer(away, away)
    left = np.eye(len(away)) - model.rotations @ model.loadings.T
    return np.maximum(np.linalg.eigvalsh(left.T @ products @ left), 0.0)
