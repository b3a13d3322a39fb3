"""scikit-learn estimators of the spectral steps, for spectra that fit in memory.

The arithmetic of a recipe's steps behind ``fit`` and ``transform``, so that they stand in pipelines and in
cross-validation; float32 inside. Scenes go through `tilespec.recipe`.

Parameters are typed ``Any``: scikit-learn's contract is that a constructor keeps whatever it is given, and that
``fit`` is what refuses.
"""

from collections.abc import Callable
from typing import Any, final

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from tilespec.errors import UserError
from tilespec.folds import Moments, Spread
from tilespec.pca import Pca, decompose
from tilespec.spectra.normalise import Snv, Vsn
from tilespec.spectra.operators import Bands, Operator, Project
from tilespec.spectra.pieces import PIECE, transform
from tilespec.spectra.savgol import SavGol
from tilespec.spectra.scaling import MinMax
from tilespec.spectra.steps import Fitted, Fitting, Step
from tilespec.types import Spectra, SpectralAxis


class _Spectral(TransformerMixin, BaseEstimator):
    """A transformer that applies one operator."""

    operator_: Operator

    def transform(self, X: Any) -> Any:
        """Return the transformed spectra, float32."""
        check_is_fitted(self)
        spectra = _spectra(self, X, reset=False)
        return transform((self.operator_,), spectra, self.operator_.out(_bands(spectra)).count)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


@final
class SnvScaler(OneToOneFeatureMixin, _Spectral):
    """Standard normal variate: each spectrum minus its mean, over its deviation. A constant spectrum becomes NaN."""

    def fit(self, X: Any, y: Any = None) -> "SnvScaler":
        """Learn the number of bands."""
        del y
        self.operator_ = _fit(Snv(), _spectra(self, X, reset=True, bands=2)).operator
        return self


@final
class VsnScaler(OneToOneFeatureMixin, _Spectral):
    """Weighted SNV, over the bands that scatter alone moves (Rabatel et al. 2020).

    Args:
        n_params: 2 for gain and offset; 3 and 4 with a slope and a curvature (weighted MSC).
        tol: Largest residual of such a band, in units of the data; None estimates it from the noise.
        denominator: ``paper`` or ``weighted``.
        n_pairs: Pairs of spectra to compare.
        n_iter: Draws for each pair.
        seed: Of the draws.

    After fitting, ``facts_`` tells the tolerance, the pairs, and how many were degenerate.
    """

    def __init__(
        self,
        *,
        n_params: Any = 2,
        tol: Any = None,
        denominator: Any = "paper",
        n_pairs: Any = 2000,
        n_iter: Any = 500,
        seed: Any = 0,
    ) -> None:
        self.n_params = n_params
        self.tol = tol
        self.denominator = denominator
        self.n_pairs = n_pairs
        self.n_iter = n_iter
        self.seed = seed

    def fit(self, X: Any, y: Any = None) -> "VsnScaler":
        """Learn the weights of the bands."""
        del y
        options = self.get_params()
        seed = options.pop("seed")
        fitted = _fit(Vsn(**options), _spectra(self, X, reset=True, least=2, bands=self.n_params), seed=seed)
        self.operator_, self.facts_ = fitted.operator, fitted.facts
        return self


@final
class SavGolFilter(OneToOneFeatureMixin, _Spectral):
    """Savitzky-Golay smoothing and derivatives.

    Args:
        window: Bands that a polynomial is fitted to; odd.
        polyorder: Degree of the polynomial.
        deriv: Order of the derivative; 0 smooths.
        wavelengths: Places of the bands, even or not; None takes a step of 1.
    """

    def __init__(self, window: Any = 11, polyorder: Any = 2, *, deriv: Any = 0, wavelengths: Any = None) -> None:
        self.window = window
        self.polyorder = polyorder
        self.deriv = deriv
        self.wavelengths = wavelengths

    def fit(self, X: Any, y: Any = None) -> "SavGolFilter":
        """Learn the filters of these bands."""
        del y
        spectra = _spectra(self, X, reset=True)
        step = SavGol(window=self.window, polyorder=self.polyorder, deriv=self.deriv)
        self.operator_ = _fit(step, spectra, wavelengths=self.wavelengths).operator
        return self


@final
class BandScaler(OneToOneFeatureMixin, _Spectral):
    """Min-max: the range of each band mapped to 0..1; a constant band becomes 0."""

    def fit(self, X: Any, y: Any = None) -> "BandScaler":
        """Learn the range of each band."""
        del y
        self.operator_ = _fit(MinMax(), _spectra(self, X, reset=True)).operator
        return self


@final
class StreamedPca(ClassNamePrefixFeaturesOutMixin, _Spectral):
    """Exact PCA from blocks of spectra: ``partial_fit`` block by block gives what ``fit`` on all of them gives.

    Args:
        n_components: How many components.

    After fitting: ``components_``, ``mean_``, ``explained_variance_``, ``explained_variance_ratio_`` and
    ``n_samples_seen_``, as in `sklearn.decomposition.PCA`; the largest absolute loading of each is positive.
    """

    def __init__(self, n_components: Any = 1) -> None:
        self.n_components = n_components

    def fit(self, X: Any, y: Any = None) -> "StreamedPca":
        """Learn the components of these spectra alone."""
        del y
        self.__dict__.pop("moments_", None)
        return self._add(_spectra(self, X, reset=True, least=2))

    def partial_fit(self, X: Any, y: Any = None) -> "StreamedPca":
        """Learn the components of these spectra and all before."""
        del y
        return self._add(_spectra(self, X, reset=not hasattr(self, "moments_")))

    def inverse_transform(self, X: Any) -> Any:
        """Return the spectra that have these scores."""
        check_is_fitted(self)
        return self.operator_.restore(np.asarray(X, np.float32))

    @property
    def _n_features_out(self) -> int:
        return len(self.components_)

    def _add(self, spectra: Spectra) -> "StreamedPca":
        """Add spectra to the moments; decompose as soon as there are two."""
        Pca(components=self.n_components).plan(_bands(spectra))
        first = spectra[:PIECE].mean(axis=0, dtype=np.float64).astype(np.float32)
        self.moments_ = _folded(getattr(self, "moments_", Moments.zero(first)), spectra)
        self.n_samples_seen_ = self.moments_.n
        if self.n_samples_seen_ > 1:
            self._publish(decompose(self.moments_, self.n_components))
        return self

    def _publish(self, projection: Project) -> None:
        self.operator_: Project = projection
        self.components_ = projection.loadings
        self.mean_ = projection.mean
        self.explained_variance_ = projection.variance
        self.explained_variance_ratio_ = projection.ratio


def _spectra(estimator: Any, X: Any, *, reset: bool, least: int = 1, bands: int = 1) -> Spectra:
    """Return checked spectra as float32: at least ``least`` of at least ``bands`` bands."""
    limits = {"ensure_min_samples": least, "ensure_min_features": bands}
    found: Spectra = validate_data(estimator, X, reset=reset, dtype=np.float32, **limits)
    return found


def _bands(spectra: Spectra, wavelengths: Any = None) -> Bands:
    """Return the bands of spectra."""
    p, axis = spectra.shape[1], None
    if wavelengths is not None:
        places = tuple(float(place) for place in wavelengths)
        if len(places) != p:
            raise UserError(
                "wavelengths", found=len(places), expected=f"{p}, one for each band", do="Give all of them."
            )
        axis = SpectralAxis(name="wavelength", unit="nm", values=places)
    return Bands(count=p, axis=axis)


def _fit(step: Step, spectra: Spectra, *, seed: int = 0, wavelengths: Any = None) -> Fitted:
    """Return the step fitted on these spectra alone."""
    bands = _bands(spectra, wavelengths)
    step.plan(bands)
    whole: Callable[[Any], Any] = lambda zero: _folded(zero, spectra)  # noqa: E731 - what a pass is here
    return step.fit(Fitting(bands=bands, sample=spectra, fold=whole, before=(), seed=seed))


def _folded(zero: Moments | Spread, spectra: Spectra) -> Any:
    """Return the fold of all spectra, piece by piece."""
    total: Any = zero
    for start in range(0, len(spectra), PIECE):
        total = total + zero.of(spectra[start : start + PIECE])
    return total
