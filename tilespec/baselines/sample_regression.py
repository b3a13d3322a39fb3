"""Sample regression: a regression of reference numbers on the mean spectra of samples, for PLS, ridge and linear.

The preprocessing and the size of the regression are chosen by cross-validation that leaves out whole samples. A pixel
has an interval; docs/baselines.md derives it.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Bool, Float64
from scipy.stats import norm, t

from tilespec.baselines.base import FitInput, FittedBaseline
from tilespec.baselines.calibrated_quantity import (
    LEVEL,
    Calibrated,
    Matrix,
    Method,
    Numbers,
    Quantity,
    arrays_of,
    important_bands,
    residuals_of,
    table_of,
)
from tilespec.baselines.mean_spectra import MeanSpectra, PixelMoments, mean_spectra, pixel_moments
from tilespec.baselines.options import BaselineOptions
from tilespec.baselines.pls.regression import folds_of, leave_out
from tilespec.core.cpu import one_blas_thread
from tilespec.core.errors import UserError
from tilespec.core.types import Roi
from tilespec.spectra.steps import parse
from tilespec.storage.rasters import inside
from tilespec.storage.references import References
from tilespec.storage.samples import Sample, samples_of
from tilespec.storage.scene import Scene

SAMPLE_OPTIONS: Final = ("references", "column", "samples_layer", "mask", "held_out", "folds", "reference_error")
"""The options that decide which samples a regression is fitted on, and how it is judged."""
LOST: Final = 0.01
"""The share of a sample's pixels that a candidate of the preprocessing may make invalid."""


def task_of(references: References) -> dict[str, Any]:
    """Return the task of a model that predicts the numbers of samples, pixel by pixel, with intervals."""
    named = {"quantities": list(references.quantities), "units": list(references.units)}
    return {"name": "chemmap", **named, "interval": True}


def samples_from(scenes: Sequence[Scene], options: BaselineOptions) -> tuple[References, tuple[Sample, ...]]:
    """Return the table of the options, and its samples in some scenes: those whose pixels all lie in the region.

    Raises:
        UserError: the options exclude each other, or the table does not fit the scenes.
    """
    assert options.references is not None
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
        each = [Calibrated.of(quantity, method, spectra.values) for quantity in quantities]
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
            "important_bands": {one.quantity.name: important_bands(one, spectra) for one in each},
        },
        notes=_notes(spectra, each, pixels),
        arrays=arrays_of(each),
        tables={"samples.csv": table_of(on.references, each, [sample.id for sample in on.samples])},
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


def _weights(
    on: FitInput, each: Sequence[Calibrated], noise: Float64[np.ndarray, "quantity 2"]
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


def _notes(spectra: MeanSpectra, each: Sequence[Calibrated], pixels: PixelMoments) -> tuple[str, ...]:
    """Return what the user should know about the fit."""
    steps, few = spectra.recipe.text, [one.quantity.name for one in each if one.conformal is None]
    notes = {
        f"steps of {steps} were fitted on the spectra of all samples, those that were left out too; their numbers were "
        "not used": any(step.kind != "plain" for step in parse(steps)),
        "no sample has 3 x 3 pixels: the noise of pixels is unknown and not in the intervals": pixels.windows == 0,
        f"fewer than 19 errors of new samples of {', '.join(few)}: no conformal interval": bool(few),
    }
    return tuple(note for note, true in notes.items() if true)
