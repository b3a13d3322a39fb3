"""Regression on one number for each spectrum: PLS and ridge as affine maps, ordered from the simplest to the freest.

Spectra are few here, one for each sample, so they are in memory; a scene of any size gives few of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float64, Int64

from tilespec.baselines.pls.cross_validation import Curves
from tilespec.baselines.pls.group_moments import Cross
from tilespec.baselines.pls.pls import fit

ROUNDING = 64 * float(np.finfo(np.float64).eps)
"""The share of a band's variance below which what a model leaves of it is a rounding error."""

Matrix = Float64[np.ndarray, "_sample _band"]
Numbers = Float64[np.ndarray, " _sample"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Regression:
    """An affine map from spectra to numbers, with what its variance follows from."""

    size: float
    """The number of components, or the penalty of a ridge."""
    freedom: float
    """The degrees of freedom besides the mean: the number of components, or the trace of the ridge's hat matrix."""
    n: int
    """The number of samples."""
    mean_x: Float64[np.ndarray, " band"]
    """The mean spectrum of the samples."""
    mean_y: float
    """The mean of their numbers."""
    coefficients: Float64[np.ndarray, " band"]
    """The regression vector."""
    factors: Float64[np.ndarray, "band factor"]
    """The matrix F by which the leverage of a spectrum is ``|(x - mean) F|^2``."""

    def predict(self, x: Matrix) -> Numbers:
        """Return the numbers of spectra ``sample band``."""
        return (x - self.mean_x) @ self.coefficients + self.mean_y

    def leverage(self, x: Matrix) -> Numbers:
        """Return the leverages of spectra, without the ``1/n`` of the mean.

        The variance of the prediction from the sampling of the calibration is ``s^2 (1/n + leverage)``. For PLS it is
        ``t (T'T)^-1 t'`` of the scores (Faber and Kowalski, Journal of Chemometrics 11, 1997); for a ridge that of its
        linear estimator.
        """
        return np.square((x - self.mean_x) @ self.factors).sum(axis=1)


Path = Callable[[Matrix, Numbers], list[Regression]]
"""A function from spectra and numbers to regressions, the simplest first; there are always equally many."""


@final
@dataclass(frozen=True, kw_only=True)
class PlsPath:
    """PLS with some numbers of components; where a set has fewer, its last model is repeated."""

    sizes: tuple[int, ...]
    """The numbers of components, the smallest first."""
    scale: bool = False
    """Whether each band is divided by its deviation."""

    def __call__(self, x: Matrix, y: Numbers) -> list[Regression]:
        """Return the regressions of some spectra."""
        model = fit(Cross.of(x, y[:, None]), self.sizes[-1], scale=self.scale)
        coefficients = model.coefficients()[:, :, 0]
        factors = model.rotations / np.sqrt(model.squares) / model.scale[:, None]
        return [
            Regression(
                size=a,
                freedom=a,
                n=len(x),
                mean_x=model.mean_x,
                mean_y=float(model.mean_y[0]),
                coefficients=coefficients[a - 1],
                factors=factors[:, :a],
            )
            for a in np.minimum(self.sizes, model.components).tolist()
        ]


@final
@dataclass(frozen=True, kw_only=True)
class RidgePath:
    """Ridge regression (Hoerl and Kennard, Technometrics 12, 1970): ``mean |y - a - x b|^2 + penalty |b|^2``."""

    penalties: tuple[float, ...]
    """The penalties, the largest first."""
    relative: bool = False
    """Whether penalties are multiples of the total variance of the spectra."""

    def __call__(self, x: Matrix, y: Numbers) -> list[Regression]:
        """Return the regressions of some spectra."""
        mean_x, mean_y = x.mean(axis=0), float(y.mean())
        u, d, v = np.linalg.svd(x - mean_x, full_matrices=False)
        there = d > np.finfo(np.float64).eps * max(x.shape) * d[0]
        u, d, v = u[:, there], d[there], v[there]
        total = float(d @ d) / len(x) if self.relative else 1.0
        each = []
        for penalty in self.penalties:
            kept = d**2 / (d**2 + len(x) * penalty * total)
            each.append(
                Regression(
                    size=penalty * total,
                    freedom=float(kept.sum()),
                    n=len(x),
                    mean_x=mean_x,
                    mean_y=mean_y,
                    coefficients=v.T @ (kept / d * (u.T @ (y - mean_y))),
                    factors=v.T * (kept / d),
                )
            )
        return each


def folds_of(n: int, folds: int, seed: int) -> Int64[np.ndarray, " sample"]:
    """Return the fold of each of ``n`` samples: equally many in each, at random."""
    return np.random.default_rng([seed, 11]).permutation(n).astype(np.int64) % folds


def leave_out(
    path: Path, x: Matrix, y: Numbers, fold: Int64[np.ndarray, " _sample"]
) -> tuple[Float64[np.ndarray, "_sample _size"], Curves]:
    """Return the predictions of samples by regressions that never saw their fold, and the errors of the folds.

    Everything that is fitted, means and deviations too, is fitted on the other folds alone.

    Returns:
        The predictions of each size, and the mean squared errors ``fold, 1 + size``: those of the mean come first.
    """
    columns, curves = {}, []
    for f in np.unique(fold):
        seen, left = fold != f, fold == f
        each = [model.predict(x[left]) for model in path(x[seen], y[seen])]
        columns[f] = np.stack(each, axis=1)
        mean = np.full((left.sum(), 1), y[seen].mean())
        curves.append(np.square(np.concatenate([mean, columns[f]], axis=1) - y[left, None]).mean(axis=0))
    predictions = np.empty((len(x), columns[fold[0]].shape[1]))
    for f, values in columns.items():
        predictions[fold == f] = values
    return predictions, np.stack(curves)


def selectivity_ratio(x: Matrix, model: Regression) -> Float64[np.ndarray, " band"]:
    """Return for each band the explained over the residual variance in the projection on the regression vector.

    Target projection: Kvalheim, Journal of Chemometrics 24 (2010) 496-504. Infinite where nothing but rounding errors
    is left.
    """
    centred = x - model.mean_x
    scores = centred @ model.coefficients
    explained = np.square(scores @ centred) / max(float(scores @ scores), np.finfo(np.float64).tiny)
    total = np.square(centred).sum(axis=0)
    left = total - explained
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(left > ROUNDING * total, explained / left, np.where(explained > 0, np.inf, 0.0))


def conformal_width(errors: Numbers, level: float) -> float:
    """Return half the width of an interval that holds a new sample with a probability of at least ``level``.

    It is the ``ceil((n + 1) level)``-th smallest absolute error of ``n`` samples that the regression was not fitted
    on: split-conformal prediction (Lei et al., Journal of the American Statistical Association 113, 2018). Infinite if
    the samples are too few for the level: 19 are needed for 95 %.
    """
    rank = int(np.ceil((len(errors) + 1) * level - 1e-9))
    return float(np.sort(np.abs(errors))[rank - 1]) if rank <= len(errors) else float("inf")
