"""PLS-DA: partial least squares on one-hot classes, from moments; the class with the largest score is predicted."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar, final

import numpy as np
import torch
from jaxtyping import Int64

from tilespec.baselines.base import FitInput, FittedBaseline
from tilespec.baselines.diagnostics import PlsResiduals
from tilespec.baselines.labelled_pixels import (
    NEVER,
    STRIDE,
    Gathered,
    Labelled,
    accuracy,
    accuracy_of,
    by_fold,
    draw,
    gather,
)
from tilespec.baselines.options import AUTO, COMPONENTS
from tilespec.baselines.pls.cross_validation import Curves, cross_validate, one_standard_error
from tilespec.baselines.pls.group_moments import Cross, Grouped
from tilespec.baselines.pls.limits import residual_variances
from tilespec.baselines.pls.pls import Pls, fit
from tilespec.baselines.spatial_folds import SpatialFolds, cells
from tilespec.baselines.synthetic_spectra import joined, synthetic
from tilespec.core.errors import UserError
from tilespec.core.types import Spectra

SAMPLES = 3000
"""The sample of Mishra and Herrmann (2021): 1500 spectra of each of two classes."""


@final
class PlsDa:
    """Barker and Rayens, Journal of Chemometrics 17 (2003); centred, and scaled only if requested.

    It is fitted on a sample with equally many pixels of each class, or on all labelled pixels of the region in one
    pass, with equal weights of the classes. Cross-validation leaves out squares of the region, and selects the fewest
    latent variables within one standard error of the least error. Fitted steps of the recipe used all pixels of the
    region beforehand, but never their labels.
    """

    STEPS: ClassVar[str] = "vsn"
    COMPONENTS: ClassVar[int] = COMPONENTS
    USES: ClassVar[tuple[str, ...]] = ("components", "samples", "folds", "scale", "diagnostics", "synthetic")

    @staticmethod
    def fit(on: FitInput) -> FittedBaseline:
        """Return the affine map of PLS regression."""
        if not (on.options.auto and on.options.components == AUTO):
            _few_enough(on.options.latent, on.recipe.bands_out)
        squares = cells(on) if on.options.auto else None
        everything = on.options.count == 0 and on.options.synthetic is None
        drawn, moments = (None, gather(on, scatter=True, cells=squares)) if everything else _drawn(on, squares)
        whole = Cross.of_classes(moments.training_moments(), len(moments.names), balanced=everything)
        if not on.options.auto:
            _few_enough(on.options.latent, min(whole.n - 1, on.recipe.bands_out))
        curves, chosen = _chosen(on, moments, balanced=everything)
        model = fit(whole, chosen, scale=on.options.scale)
        fitted = _fitted(on, moments, model, whole)
        right = accuracy(on, fitted) if drawn is None else accuracy_of(drawn, fitted)
        scores = {"calibration_accuracy": right} | _validated(curves, squares)
        return replace(fitted, facts=fitted.facts | scores)


def _few_enough(latent: int, most: int) -> None:
    """Refuse more latent variables than possible."""
    if not 1 <= latent <= most:
        raise UserError("--components", found=latent, expected=f"1 to {most}", do="Give fewer latent variables.")


def _drawn(on: FitInput, squares: SpatialFolds | None) -> tuple[Labelled, Gathered]:
    """Return drawn pixels with the synthetic spectra beside them, and the moments of both.

    What a rule makes for a cross-validation is made of the pixels of the other folds alone.
    """
    drawn = draw(on, on.in_memory(SAMPLES), balanced=True)
    made = synthetic(on, drawn, SAMPLES, balanced=True)
    fold = np.zeros(len(drawn.classes), np.int64) if squares is None else squares.of(*drawn.places.T)
    count = 1 if squares is None else int(squares.fold.max()) + 1
    everywhere = made(drawn.spectra, drawn.classes)
    both = joined(drawn, *everywhere)
    others = [made(drawn.spectra[fold != i], drawn.classes[fold != i]) for i in range(count if count > 1 else 0)]
    moments = Gathered(
        folds=by_fold(_grouped(drawn.spectra, drawn.classes + STRIDE * fold), count),
        names=both.names,
        absent=both.absent,
        invalid=both.invalid,
        synthetic=tuple(by_fold(_grouped(*each), 1)[0] for each in (*others, everywhere)),
    )
    return both, moments


def _grouped(spectra: Spectra, number: Int64[np.ndarray, " pixel"]) -> Grouped:
    return Grouped(scatter=True).of((spectra, number))


def _chosen(on: FitInput, moments: Gathered, *, balanced: bool) -> tuple[Curves | None, int]:
    """Return the errors of the cross-validation, if requested, and the number of latent variables."""
    if not on.options.auto:
        return None, on.options.latent
    folds = [i for i, part in enumerate(moments.folds) if part]
    if len(folds) < 2:
        raise UserError(
            on.scene.url,
            found="valid labelled pixels in one fold only",
            expected="at least 2 folds",
            do="Give a larger region, more --samples, or --components as a number.",
        )
    most = min(on.options.latent, on.recipe.bands_out)
    curves = cross_validate(_splits(moments, folds, balanced=balanced), most, scale=on.options.scale)
    return curves, one_standard_error(curves)


def _splits(moments: Gathered, folds: list[int], *, balanced: bool) -> Iterator[tuple[Cross, Cross]]:
    """Yield the moments of all folds except one, weighted by their own classes, and those of that one."""
    for left in folds:
        parts = moments.training_moments(left), moments.folds[left]
        learned, judged = (Cross.of_classes(part, len(moments.names), balanced=balanced) for part in parts)
        yield learned, judged


def _fitted(on: FitInput, moments: Gathered, model: Pls, cross: Cross) -> FittedBaseline:
    """Return the net of a PLS regression, with its facts."""
    coefficients = model.coefficients()
    weight = coefficients[-1].T
    bias = model.mean_y - weight @ model.mean_x
    bias[[name in moments.absent for name in moments.names]] = NEVER
    left = residual_variances(model, cross)
    few = model.components < on.options.latent and not on.options.auto
    note = f"{model.components} latent variables leave nothing that varies with the classes: {on.options.latent} wanted"
    return FittedBaseline(
        net={"name": "linear"},
        weights={"affine.weight": _tensor(weight), "affine.bias": _tensor(bias)},
        classes=moments.names,
        head="tanh",
        facts={
            "components": model.components,
            "samples": model.n,
            "invalid_samples": moments.invalid,
            "absent_classes": list(moments.absent),
            "explained_variance_x": model.explained_x.tolist(),
            "explained_variance_y": model.explained_y.tolist(),
        },
        notes=(note,) if few else (),
        arrays=_arrays(model) | {"residual_variances": left},
        residuals={"": PlsResiduals.of_model(model, left)},
    )


def _arrays(model: Pls) -> dict[str, np.ndarray]:
    """Return the arrays for chemometrics by name."""
    named = ("mean_x", "mean_y", "scale", "weights", "loadings", "rotations", "targets", "explained_x", "explained_y")
    values: dict[str, np.ndarray] = {name: getattr(model, name) for name in named}
    return values | {"coefficients": model.coefficients(), "vip": model.vip()}


def _validated(curves: Curves | None, squares: SpatialFolds | None) -> dict[str, Any]:
    """Return the curve of the cross-validation, by number of latent variables from 0."""
    if curves is None or squares is None:
        return {}
    error = curves.std(axis=0, ddof=1) / np.sqrt(len(curves))
    return {
        "cross_validation": {
            "rule": "fewest within one standard error of the least",
            "folds": len(curves),
            "square": squares.side,
            "mse": curves.mean(axis=0).tolist(),
            "mse_standard_error": error.tolist(),
        }
    }


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
