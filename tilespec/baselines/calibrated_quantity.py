"""Calibrated quantity: the regression of one quantity on mean spectra, its figures, arrays and table of samples."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float64

from tilespec.baselines.diagnostics import PlsResiduals
from tilespec.baselines.mean_spectra import MeanSpectra, PixelMoments
from tilespec.baselines.pls.cross_validation import Curves, one_standard_error
from tilespec.baselines.pls.limits import pixel_residual_variances
from tilespec.baselines.pls.pls import Pls
from tilespec.baselines.pls.regression import Path, Regression, conformal_width, selectivity_ratio
from tilespec.evaluate.metrics.calibration import calibration_scores
from tilespec.storage.references import References

LEVEL: Final = 0.95
"""The probability of intervals."""
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


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Calibrated:
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
    def of(cls, quantity: Quantity, method: Method, x: Matrix) -> "Calibrated":
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


def _plain(value: float) -> float | None:
    return value if np.isfinite(value) else None


def arrays_of(each: Sequence[Calibrated]) -> dict[str, np.ndarray]:
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


def important_bands(one: Calibrated, spectra: MeanSpectra) -> list[float]:
    """Return the centres of the bands with the largest VIP, or selectivity ratio where there is no VIP."""
    values = one.ratio if one.pls is None else one.pls.vip()
    axis = spectra.recipe.axis_out
    best = np.argsort(-values, kind="stable")[:BEST]
    return [float(band if axis is None else axis.values[band]) for band in best]


def table_of(references: References, each: Sequence[Calibrated], ids: Sequence[str]) -> str:
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
    return PlsResiduals.of_model(model, pixel_residual_variances(model, pixels.moments.finish()[0]))
