"""Base of the estimators: spectra are checked, one operator is applied, and spectra that become NaN are reported."""

import warnings
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from tilespec.core.errors import UserError
from tilespec.core.types import Spectra, SpectralAxis
from tilespec.spectra.bands import Bands
from tilespec.spectra.operators import Operator
from tilespec.spectra.pieces import transform


class SpectralTransformer(TransformerMixin, BaseEstimator):
    """A transformer that applies one operator."""

    operator_: Operator
    UNDEFINED: ClassVar[str] = "they have no variation, or values that the step is not defined for"
    """Why finite spectra may have no result."""

    def transform(self, X: Any) -> Any:
        """Return the transformed spectra, float32 ``pixel band``."""
        check_is_fitted(self)
        spectra = spectra_of(self, X, reset=False)
        out = transform((self.operator_,), spectra, self.operator_.out(bands_of(spectra)).count)
        lost = np.isfinite(spectra).all(axis=1) & ~np.isfinite(out).all(axis=1)
        if lost.any():
            name, count = type(self).__name__, int(lost.sum())
            warnings.warn(f"{name}: {count} of {len(out)} spectra became NaN: {self.UNDEFINED}", stacklevel=2)
        return out

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def spectra_of(estimator: Any, X: Any, *, reset: bool, least: int = 1, bands: int = 1) -> Spectra:
    """Return checked spectra as float32: at least ``least`` spectra of at least ``bands`` bands."""
    limits = {"ensure_min_samples": least, "ensure_min_features": bands}
    spectra: Spectra = validate_data(estimator, X, reset=reset, dtype=np.float32, **limits)
    return spectra


def bands_of(spectra: Spectra, wavelengths: Any = None) -> Bands:
    """Return the bands of spectra with their wavelengths."""
    p, axis = spectra.shape[1], None
    if wavelengths is not None:
        places = tuple(float(place) for place in wavelengths)
        if len(places) != p:
            raise UserError(
                "wavelengths", found=len(places), expected=f"{p}, one for each band", do="Give all of them."
            )
        axis = SpectralAxis(name="wavelength", unit="nm", values=places)
    return Bands(count=p, axis=axis)
