"""PLS regression and ridge regression of reference numbers on the mean spectra of samples."""

from typing import ClassVar, Final, final

import numpy as np

from tilespec.baselines.base import FitInput, FittedBaseline
from tilespec.baselines.calibrated_quantity import Matrix, Numbers
from tilespec.baselines.options import AUTO, MethodOptions
from tilespec.baselines.pls.group_moments import Cross
from tilespec.baselines.pls.pls import Pls, fit
from tilespec.baselines.pls.regression import Path, PlsPath, RidgePath
from tilespec.baselines.sample_regression import SAMPLE_OPTIONS, calibrate
from tilespec.core.errors import UserError

RECIPES: Final = ("", "snv", "sg=11:2:1", "snv,sg=11:2:1", "absorbance", "absorbance,snv", "absorbance,sg=11:2:1")
"""The preprocessings that cross-validation chooses from: steps that act on one spectrum, and are fitted on none."""
PENALTIES: Final = tuple(np.geomspace(1, 1e-10, 31).tolist())
"""The penalties of a ridge that cross-validation chooses from, in shares of the variance of the spectra."""


@final
class PlsRegression:
    """Partial least squares (Wold, Sjostrom and Eriksson 2001), one model for each quantity.

    The preprocessing has the least cross-validated error; the components are the fewest within one standard error of
    the least. The folds are of samples, never of pixels.
    """

    STEPS: ClassVar[str] = AUTO
    RECIPES: ClassVar[tuple[str, ...]] = RECIPES
    COMPONENTS: ClassVar[str] = AUTO
    REFERENCES: ClassVar[bool] = True
    USES: ClassVar[tuple[str, ...]] = (*SAMPLE_OPTIONS, "components", "scale", "diagnostics")

    @staticmethod
    def fit(on: FitInput) -> FittedBaseline:
        """Return the net of the regression."""
        return calibrate(on, _Pls(on.options))


@final
class RidgeRegression:
    """Ridge regression; the penalty is given, or the largest within one standard error of the least error."""

    STEPS: ClassVar[str] = AUTO
    RECIPES: ClassVar[tuple[str, ...]] = RECIPES
    REFERENCES: ClassVar[bool] = True
    USES: ClassVar[tuple[str, ...]] = (*SAMPLE_OPTIONS, "ridge")

    @staticmethod
    def fit(on: FitInput) -> FittedBaseline:
        """Return the net of the regression."""
        return calibrate(on, Ridges(on.options.ridge))


@final
class _Pls:
    """PLS with the requested numbers of components."""

    def __init__(self, options: MethodOptions) -> None:
        self.options = options

    def path(self, rows: int, bands: int) -> Path:
        """Return the requested number of components, or all up to the largest."""
        most = min(rows - 2, bands)
        auto, wanted = self.options.auto, self.options.latent
        if most < 1 or (wanted > most and not auto):
            raise UserError(
                "--components",
                found=f"{wanted}, where a fold leaves {rows} samples of {bands} bands",
                expected=f"1 to {most}" if most > 0 else "more samples",
                do="Give fewer components, more samples, or more --folds.",
            )
        sizes = range(1, min(wanted, most) + 1) if auto else [wanted]
        return PlsPath(sizes=tuple(sizes), scale=self.options.scale)

    def pls(self, x: Matrix, y: Numbers, size: float) -> Pls:
        """Return the PLS model of ``size`` components."""
        return fit(Cross.of(x, y[:, None]), int(size), scale=self.options.scale)


@final
class Ridges:
    """Ridge with a given penalty, or with those to choose from; without a penalty it is least squares."""

    def __init__(self, penalty: float | None) -> None:
        self.penalty = penalty

    def path(self, rows: int, bands: int) -> Path:
        """Return the ridges."""
        if self.penalty == 0 and rows < bands + 3:
            raise UserError(
                "--ridge",
                found=f"0, where a fold leaves {rows} samples of {bands} bands",
                expected=f"at least {bands + 3} samples, because no band is penalised",
                do="Give --ridge, use plsr or ridge, or fewer bands (--recipe).",
            )
        if self.penalty is not None:
            return RidgePath(penalties=(self.penalty,))
        return RidgePath(penalties=PENALTIES, relative=True)

    def pls(self, x: Matrix, y: Numbers, size: float) -> None:
        """Return None: there is no PLS model."""
        del x, y, size
