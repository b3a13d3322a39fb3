"""Sample regression: a regression of reference numbers on the mean spectra of samples, for PLS, ridge and linear.

The preprocessing and the size of the regression are chosen by cross-validation that leaves out whole samples. A pixel
has an interval; docs/baselines.md derives it.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, final, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float64
from scipy.stats import norm, t

from tilespec.baselines.base import FitInput, FittedBaseline
from tilespec.baselines.diagnostics import PlsResiduals
from tilespec.baselines.mean_spectra import MeanSpectra, PixelMoments, mean_spectra, pixel_moments
from tilespec.baselines.options import BaselineOptions
from tilespec.baselines.pls.cross_validation import Curves, one_standard_error
from tilespec.baselines.pls.limits import pixel_residual_variances, q_limit, t2_limit
from tilespec.baselines.pls.pls import Pls
from tilespec.baselines.pls.regression import (
    Path,
    Regression,
    conformal_width,
    folds_of,
    leave_out,
    selectivity_ratio,
)
from tilespec.core.cpu import one_blas_thread
from tilespec.core.errors import UserError
from tilespec.core.types import Roi
from tilespec.evaluate.metrics.calibration import calibration_scores
from tilespec.spectra.steps import parse
from tilespec.storage.rasters import inside
from tilespec.storage.references import References
from tilespec.storage.samples import Sample, samples_of
from tilespec.storage.scene import Scene

LEVEL: Final = 0.95
"""The probability of intervals."""
SAMPLE_OPTIONS: Final = ("references", "column", "samples_layer", "mask", "held_out", "folds", "reference_error")
"""The options that decide which samples a regression is fitted on, and how it is judged."""
LOST: Final = 0.01
"""The share of a sample's pixels that a candidate of the preprocessing may make invalid."""
BEST: Final = 5
"""The number of bands that the result names."""

Matrix = Float64[np.ndarray, "_sample _band"]
Numbers = Float64[np.ndarray, " _sample"]


@runtime_checkable
class Method(Protocol):
    """A kind of regression."""

    def path(self, rows: int, bands: int) -> Path:
        """Return the regressions to choose from, where the smallest training set has ``rows`` samples."""

    def pls(self, x: Matrix, y: Numbers, size: float) -> Pls | None:
        """Return the PLS model of spectra and numbers, None for another kind."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Quantity:
    """The samples of one quantity, and its cross-validation after one recipe."""

    name: str
    """The name of the quantity."""
    y: Numbers
    """The reference numbers of all samples, NaN where there is none."""
    fitted: Bool[np.ndarray, " _sample"]
    """Whether each sample is fitted."""
    held: Bool[np.ndarray, " _sample"]
    """Whether each sample is held out."""
    path: Path
    """The regressions to choose from."""
    predictions: Float64[np.ndarray, "_fitted _size"]
    """The cross-validated predictions of the fitted samples by every size."""
    curves: Curves
    """The errors of the folds."""

    @property
    def least(self) -> float:
        """The least cross-validated mean squared error, as a share of the variance of the numbers."""
        return float(self.curves.mean(axis=0)[1:].min() / self.y[self.fitted].var())


def task_of(references: References) -> dict[str, Any]:
    """Return the task of a model that predicts the numbers of samples, pixel by pixel, with intervals."""
    return {"name": "reconstruct", "channels": len(references.quantities), "interval": True}


def samples_from(scenes: Sequence[Scene], options: BaselineOptions) -> tuple[References, tuple[Sample, ...]]:
    """Return the table of the options, and its samples in some scenes: those whose pixels all lie in the region.

    Raises:
        UserError: the options exclude each other, or the table does not fit the scenes.
    """
    assert options.references is not None
    if options.mask is not None and options.samples_layer is not None:
        raise UserError(
            "--mask",
            found=f"{options.mask} together with --samples-layer",
            expected="one of them: the numbers of a layer of samples say which pixels belong to them",
            do="Leave --mask out.",
        )
    names = [name.strip() for name in (options.column or "").split(",") if name.strip()]
    table = References.read(options.references, names)
    samples = samples_of(scenes, table, layer=options.samples_layer, mask=options.mask)
    span = options.rows, options.cols
    whole = tuple(each for each in samples if inside(each.roi, Roi.of(each.scene.shape, *span)))
    if not whole:
        raise UserError(
            "--rows, --cols",
            found=f"a region with no whole sample of {len(samples)}",
            expected="a region with some",
            do="Give a larger region.",
        )
    return table, whole


def calibrate(on: FitInput, method: Method) -> FittedBaseline:
    """Return the net of a regression of all quantities on the mean spectra of the samples.

    Raises:
        UserError: a quantity is constant, or it has fewer samples than folds or than the regression needs.
    """
    assert on.references is not None, "`baseline` refuses a regression without numbers"
    y = np.stack([sample.values for sample in on.samples])
    _reference_errors(on, y.shape[1])
    held = _held_out(len(y), on)
    for name, column in zip(on.references.quantities, y.T, strict=True):
        _check(on, name, column[np.isfinite(column) & ~held])
    means = mean_spectra(on.samples, on.recipes, client=on.client, progress=on.progress)
    with one_blas_thread():
        spectra, quantities, candidates = _best_recipe(on, method, means, y, held)
        each = [_Calibrated.of(quantity, method, spectra.values) for quantity in quantities]
    maps = [one.model.coefficients[:, None] for one in each] + [one.model.factors for one in each]
    pixels = pixel_moments(
        on.samples,
        spectra.recipe,
        np.concatenate(maps, axis=1),
        scatter=on.options.diagnostics,
        client=on.client,
        progress=on.progress,
    )
    edges = np.cumsum([columns.shape[1] for columns in maps])
    noise = [float(part.sum()) for part in np.split(np.broadcast_to(pixels.noise, edges[-1]), edges[:-1])]
    noises = list(zip(noise[: len(each)], noise[len(each) :], strict=True))
    figures = {one.quantity.name: one.facts(sd) for one, (sd, _) in zip(each, noises, strict=True)}
    return FittedBaseline(
        net={"name": "interval", "factors": sum(one.model.factors.shape[1] for one in each)},
        weights=_weights(on, each, np.array(noises)),
        classes=(),
        head="linear",
        recipe=spectra.recipe,
        facts={
            "quantities": list(on.references.quantities),
            "units": list(on.references.units),
            "interval_level": LEVEL,
            "conformal_half_width": [one.conformal for one in each],
            "samples": len(y),
            "held_out_samples": int(held.sum()),
            "folds": on.options.folds,
            "recipe": spectra.recipe.text,
            "candidates": candidates,
            "regressions": figures,
            "pixels": int(spectra.pixels.sum()),
            "important_bands": {one.quantity.name: _important(one, spectra) for one in each},
        },
        notes=_notes(spectra, each, pixels),
        arrays=_arrays(each),
        tables={"samples.csv": _table(on.references, each, [sample.id for sample in on.samples])},
        residuals={one.quantity.name: residuals_of(one.pls, pixels) for one in each if one.pls is not None}
        if on.options.diagnostics
        else {},
    )


def _held_out(n: int, on: FitInput) -> Bool[np.ndarray, " sample"]:
    """Return which samples are held out: a share of all, at random."""
    order = np.random.default_rng([on.seed, 12]).permutation(n)
    return order < round(on.options.held_out * n)


def _check(on: FitInput, name: str, values: Numbers) -> None:
    """Refuse a quantity that cannot be cross-validated."""
    assert on.references is not None
    if len(values) < max(on.options.folds, 3):
        raise UserError(
            "--folds",
            found=f"{len(values)} samples with a number of {name} to fit, and {on.options.folds} folds",
            expected="at least as many samples as folds, and 3",
            do="Give fewer --folds, a smaller --held-out, or more samples.",
        )
    if np.ptp(values) == 0:
        raise UserError(
            on.references.path,
            found=f"the number {values[0]:g} of {name} for all samples",
            expected="numbers that differ",
            do="Leave this quantity out: --column names the others.",
        )


def _best_recipe(
    on: FitInput, method: Method, means: Sequence[MeanSpectra], y: Float64[np.ndarray, "sample quantity"], held: Any
) -> tuple[MeanSpectra, list[Quantity], list[dict[str, Any]]]:
    """Return the spectra after the recipe with the least cross-validated error, the first of equals, and all errors.

    The error is the mean over quantities, each in shares of its variance.
    """
    most, table = np.max([each.pixels for each in means], axis=0), []
    best: tuple[float, MeanSpectra, list[Quantity]] | None = None
    for spectra in means:
        if (spectra.pixels < (1 - LOST) * most).any():
            table.append({"recipe": spectra.recipe.text, "invalid_pixels": int((most - spectra.pixels).sum())})
            continue
        quantities = [_quantity(on, method, spectra.values, number, y, held) for number in range(y.shape[1])]
        error = float(np.mean([quantity.least for quantity in quantities]))
        table.append({"recipe": spectra.recipe.text, "relative_rmsecv": float(np.sqrt(error))})
        if best is None or error < best[0]:
            best = error, spectra, quantities
    assert best is not None, "one recipe has most pixels of each sample"
    return best[1], best[2], table


def _quantity(on: FitInput, method: Method, x: Matrix, number: int, y: np.ndarray, held: Any) -> Quantity:
    """Return a quantity with its cross-validation."""
    assert on.references is not None
    values = y[:, number]
    fitted = np.isfinite(values) & ~held
    fold = folds_of(int(fitted.sum()), on.options.folds, on.seed)
    rows = len(fold) - int(np.bincount(fold).max())
    path = method.path(rows, x.shape[1])
    predictions, curves = leave_out(path, x[fitted], values[fitted], fold)
    return Quantity(
        name=on.references.quantities[number],
        y=values,
        fitted=fitted,
        held=np.isfinite(values) & held,
        path=path,
        predictions=predictions,
        curves=curves,
    )


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class _Calibrated:
    """The chosen regression of a quantity."""

    quantity: Quantity
    model: Regression
    predicted: Numbers
    """The predictions of all samples."""
    left_out: Numbers
    """The cross-validated predictions of all samples, NaN for those that were not fitted."""
    ratio: Float64[np.ndarray, " band"]
    """The selectivity ratio of each band."""
    pls: Pls | None

    @classmethod
    def of(cls, quantity: Quantity, method: Method, x: Matrix) -> "_Calibrated":
        """Return the regression on all fitted samples, the simplest within one standard error of the best."""
        size = one_standard_error(quantity.curves) - 1
        own, y = x[quantity.fitted], quantity.y[quantity.fitted]
        model = quantity.path(own, y)[size]
        left_out = np.full(len(x), np.nan)
        left_out[quantity.fitted] = quantity.predictions[:, size]
        return cls(
            quantity=quantity,
            model=model,
            predicted=model.predict(x),
            left_out=left_out,
            ratio=selectivity_ratio(own, model),
            pls=method.pls(own, y, model.size),
        )

    @property
    def degrees(self) -> float:
        """The degrees of freedom of the residuals."""
        return max(self.model.n - self.model.freedom - 1, 1.0)

    @property
    def variance(self) -> float:
        """The variance s^2 of a new sample about the regression, besides that of the regression itself.

        The mean of ``s^2 (1 + 1/n + leverage)`` over the fitted samples is the cross-validated mean squared error.
        """
        errors = (self.left_out - self.quantity.y)[self.quantity.fitted]
        return float((errors**2).mean() / (1 + (1 + self.model.freedom) / self.model.n))

    @property
    def conformal(self) -> float | None:
        """Half the width of the interval of a sample's mean; None where the samples are too few."""
        others = self.quantity.held if self.quantity.held.any() else self.quantity.fitted
        guess = self.predicted if self.quantity.held.any() else self.left_out
        width = conformal_width((guess - self.quantity.y)[others], LEVEL)
        return width if np.isfinite(width) else None

    def facts(self, pixel_noise: float) -> dict[str, Any]:
        """Return the figures of the quantity as plain data."""
        q = self.quantity
        truth = np.where(q.fitted, q.y, np.nan)
        stages = {
            "calibration": calibration_scores(truth, self.predicted),
            "cross_validation": calibration_scores(truth, self.left_out),
        }
        if q.held.any():
            stages["held_out"] = calibration_scores(np.where(q.held, q.y, np.nan), self.predicted)
        names = {"calibration": "rmsec", "cross_validation": "rmsecv", "held_out": "rmsep"}
        return {
            ("components" if self.pls is not None else "penalty"): self.model.size,
            **{names[stage]: scores["rmse"] for stage, scores in stages.items()},
            **{stage: {key: _plain(value) for key, value in scores.items()} for stage, scores in stages.items()},
            "mse_by_size": q.curves.mean(axis=0).tolist(),
            "residual_sd": float(np.sqrt(self.variance)),
            "pixel_noise_sd": float(np.sqrt(pixel_noise)),
        }


def _reference_errors(on: FitInput, quantities: int) -> list[float]:
    """Return the standard deviation of the error of the reference numbers of each quantity."""
    parts = str(on.options.reference_error).split(",")
    try:
        errors = [float(part) for part in parts] * (quantities if len(parts) == 1 else 1)
    except ValueError:
        errors = []
    if len(errors) != quantities or not all(0 <= error < np.inf for error in errors):
        raise UserError(
            "--reference-error",
            found=repr(on.options.reference_error),
            expected=f"a number, or one for each of the {quantities} quantities, separated by commas",
            do="Give standard deviations in the unit of the numbers; 0 where they are unknown.",
        )
    return errors


def _plain(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _weights(
    on: FitInput, each: Sequence[_Calibrated], noise: Float64[np.ndarray, "quantity 2"]
) -> dict[str, torch.Tensor]:
    """Return the state of the net: everything is relative to the mean of the mean spectra, so no digits cancel.

    Args:
        on: The input of the fit.
        each: The regressions.
        noise: The variance of the noise of pixels in each number, and its leverage.
    """
    models = [one.model for one in each]
    mean = np.mean([model.mean_x for model in models], axis=0).astype(np.float32).astype(np.float64)
    middle = [model.predict(mean[None])[0] for model in models]
    away = [(mean - model.mean_x) @ model.factors for model in models]
    quantile = np.array([t.ppf((1 + LEVEL) / 2, one.degrees) ** 2 * one.variance for one in each])
    measured = _reference_errors(on, len(each))
    own = np.array([max(1 - e**2 / one.variance, 0) + 1 / one.model.n for one, e in zip(each, measured, strict=True)])
    owner = np.repeat(np.arange(len(each)), [model.factors.shape[1] for model in models])
    values = {
        "mean": mean,
        "affine.weight": np.stack([model.coefficients for model in models]),
        "affine.bias": np.array(middle),
        "factors.weight": np.concatenate([model.factors for model in models], axis=1).T,
        "factors.bias": np.concatenate(away),
        "groups": owner == np.arange(len(each))[:, None],
        "base": quantile * own + norm.ppf((1 + LEVEL) / 2) ** 2 * noise[:, 0],
        "slope": quantile,
        "noise": noise[:, 1],
    }
    return {name: torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)) for name, array in values.items()}


def _arrays(each: Sequence[_Calibrated]) -> dict[str, np.ndarray]:
    """Return the arrays for chemometrics by name, each with one row for each quantity."""
    rows: dict[str, list[Any]] = {
        "coefficients": [one.model.coefficients for one in each],
        "mean_x": [one.model.mean_x for one in each],
        "mean_y": [one.model.mean_y for one in each],
        "selectivity_ratio": [one.ratio for one in each],
        "vip": [one.pls.vip() for one in each if one.pls is not None],
    }
    arrays = {name: np.stack(values) for name, values in rows.items() if values}
    for number, one in enumerate(each):
        if one.pls is not None:
            named = ("weights", "loadings", "rotations", "explained_x", "explained_y")
            arrays |= {f"{name}_{number}": getattr(one.pls, name) for name in named}
    return arrays


def _important(one: _Calibrated, spectra: MeanSpectra) -> list[float]:
    """Return the centres of the bands with the largest VIP, or selectivity ratio where there is no VIP."""
    values = one.ratio if one.pls is None else one.pls.vip()
    axis = spectra.recipe.axis_out
    best = np.argsort(-values, kind="stable")[:BEST]
    return [float(band if axis is None else axis.values[band]) for band in best]


def _table(references: References, each: Sequence[_Calibrated], ids: Sequence[str]) -> str:
    """Return the table of all samples: their numbers, fitted and cross-validated predictions, conformal intervals."""
    columns: dict[str, Sequence[Any]] = {"sample": ids}
    for one, unit in zip(each, references.units, strict=True):
        q, half = one.quantity, one.conformal if one.conformal is not None else np.nan
        new = np.where(q.fitted, one.left_out, one.predicted)
        values: Mapping[str, Any] = {
            "reference": q.y,
            "predicted": one.predicted,
            "cross_validated": one.left_out,
            "lower": new - half,
            "upper": new + half,
        }
        named = {f"{q.name}_{key} [{unit}]" if unit else f"{q.name}_{key}": each for key, each in values.items()}
        columns |= {key: ["" if v != v else repr(float(v)) for v in column] for key, column in named.items()}  # noqa: PLR0124 - NaN
        columns[f"{q.name}_set"] = np.select([q.fitted, q.held], ["fitted", "held out"], "no number").tolist()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue()


def residuals_of(model: Pls, pixels: PixelMoments) -> PlsResiduals:
    """Return the map from a spectrum to its Q, T2 and DModX.

    The limit of T2 is that of a new sample. That of Q holds for pixels of the samples: single pixels have noise that
    mean spectra have not.
    """
    variances = pixel_residual_variances(model, pixels.moments.finish()[0])
    return PlsResiduals(
        mean=model.mean_x,
        gain=1 / model.scale,
        rotations=model.rotations,
        loadings=model.loadings,
        variances=model.squares / max(model.n - 1, 1),
        q_mean=float(variances.sum()),
        q_limit=q_limit(variances),
        t2_limit=t2_limit(model.n, model.components),
    )


def _notes(spectra: MeanSpectra, each: Sequence[_Calibrated], pixels: PixelMoments) -> tuple[str, ...]:
    """Return what the user should know about the fit."""
    steps, few = spectra.recipe.text, [one.quantity.name for one in each if one.conformal is None]
    notes = {
        f"steps of {steps} were fitted on the spectra of all samples, those that were left out too; their numbers were "
        "not used": any(step.kind != "plain" for step in parse(steps)),
        "no sample has 3 x 3 pixels: the noise of pixels is unknown and not in the intervals": pixels.windows == 0,
        f"fewer than 19 errors of new samples of {', '.join(few)}: no conformal interval": bool(few),
    }
    return tuple(note for note, true in notes.items() if true)
