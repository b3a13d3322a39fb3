"""scikit-learn estimators of the spectral steps, for spectra that fit in memory.

The same arithmetic as a recipe's steps, behind `fit` and `transform`, so that they stand in pipelines and in
cross-validation. Scenes go through `tilespec.recipe`.
"""

from typing import Any, Self, final

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from tilespec.errors import UserError
from tilespec.folds import Moments, Spread
from tilespec.pca import decompose
from tilespec.spectra.normalise import Denominator
from tilespec.spectra.normalise import Vsn as VsnStep
from tilespec.spectra.normalise import normalise
from tilespec.spectra.operators import Bands, Operator, Project
from tilespec.spectra.pieces import PIECE, transform
from tilespec.spectra.savgol import SavGol
from tilespec.spectra.steps import Fitting
from tilespec.types import Spectra, SpectralAxis


class _Spectral(TransformerMixin, BaseEstimator):
    """A transformer that applies one operator; float32 inside."""

    operator_: Operator

    def transform(self, X: Any) -> Any:
        """Return the transformed spectra, float32 ``pixel band``."""
        check_is_fitted(self)
        spectra = _spectra(self, X, reset=False)
        width = self.operator_.out(Bands(count=spectra.shape[1], axis=None)).count
        return transform((self.operator_,), spectra, width)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def _spectra(estimator: Any, X: Any, *, reset: bool, least: int = 1) -> Spectra:
    """Return checked spectra as float32."""
    found: Spectra = validate_data(estimator, X, reset=reset, dtype=np.float32, ensure_min_samples=least)
    return found


@final
class Snv(OneToOneFeatureMixin, _Spectral):
    """Standard normal variate. A constant spectrum, which has none, becomes NaN."""

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the number of bands."""
        del y
        spectra = _spectra(self, X, reset=True)
        self.operator_ = normalise(np.ones(_bands(self, spectra, 2)))
        return self
