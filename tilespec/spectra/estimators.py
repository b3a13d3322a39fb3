"""Estimators of the spectral steps for scikit-learn, for spectra that fit in memory.

The steps of a recipe with the methods ``fit`` and ``transform``, for pipelines and cross-validation; all arithmetic is
float32. Scenes go through `tilespec.spectra.recipe`.

Parameters are typed ``Any``: scikit-learn requires that a constructor stores its arguments unchanged, and that ``fit``
checks them.
"""

from collections.abc import Callable
from typing import Any, ClassVar, final

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, OneToOneFeatureMixin
from sklearn.utils.validation import check_is_fitted

from tilespec.core.errors import UserError
from tilespec.core.types import PIECE, Spectra
from tilespec.spectra.bands import Bands
from tilespec.spectra.estimator_base import SpectralTransformer, bands_of, spectra_of
from tilespec.spectra.numerics.curve_files import Curves, places
from tilespec.spectra.operators import Project
from tilespec.spectra.pieces import transform
from tilespec.spectra.statistics import Moments, Spread
from tilespec.spectra.steps.absorbance import Absorbance, Reflectance
from tilespec.spectra.steps.base import Fitted, Fitting, Step
from tilespec.spectra.steps.baseline_correction import Als, Arpls
from tilespec.spectra.steps.continuum import ContinuumRemoval
from tilespec.spectra.steps.normalise import Snv, Vsn
from tilespec.spectra.steps.pca import Pca, decompose
from tilespec.spectra.steps.resample import Resampling
from tilespec.spectra.steps.savgol import SavGol
from tilespec.spectra.steps.scaling import Autoscale, MinMax
from tilespec.spectra.steps.scatter import Emsc


@final
class SnvScaler(OneToOneFeatureMixin, SpectralTransformer):
    """Standard normal variate: each spectrum minus its mean, divided by its deviation; NaN for a constant spectrum."""

    def fit(self, X: Any, y: Any = None) -> "SnvScaler":
        """Check the spectra and store the number of bands."""
        del y
        self.operator_ = _fit(Snv(), spectra_of(self, X, reset=True, bands=2)).operator
        return self


@final
class VsnScaler(OneToOneFeatureMixin, SpectralTransformer):
    """Weighted SNV over the bands that only scatter changes (Rabatel et al. 2020).

    Args:
        n_params: The number of parameters: 2 for gain and offset; 3 and 4 with a slope and a curvature (weighted MSC).
        tol: The largest residual of such a band, in units of the data; None estimates it from the noise.
        denominator: The divisor: ``paper`` or ``weighted``.
        n_pairs: The number of pairs of spectra to compare.
        n_iter: The number of draws for each pair.
        seed: The seed of the draws.

    After fitting, ``facts_`` has the tolerance, the number of pairs, and the share of degenerate ones.
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
        """Fit the weights of the bands."""
        del y
        options = self.get_params()
        seed = options.pop("seed")
        fitted = _fit(Vsn(**options), spectra_of(self, X, reset=True, least=2, bands=self.n_params), seed=seed)
        self.operator_, self.facts_ = fitted.operator, fitted.facts
        return self


@final
class SavGolFilter(OneToOneFeatureMixin, SpectralTransformer):
    """Savitzky-Golay smoothing and derivatives of spectra.

    Args:
        window: The number of bands that a polynomial is fitted to; odd.
        polyorder: The degree of the polynomial.
        deriv: The order of the derivative; 0 smooths.
        wavelengths: The centres of the bands, evenly spaced or not; None takes a step of 1.
    """

    def __init__(self, window: Any = 11, polyorder: Any = 2, *, deriv: Any = 0, wavelengths: Any = None) -> None:
        self.window = window
        self.polyorder = polyorder
        self.deriv = deriv
        self.wavelengths = wavelengths

    def fit(self, X: Any, y: Any = None) -> "SavGolFilter":
        """Compute the filters for these bands."""
        del y
        spectra = spectra_of(self, X, reset=True)
        step = SavGol(window=self.window, polyorder=self.polyorder, deriv=self.deriv)
        self.operator_ = _fit(step, spectra, wavelengths=self.wavelengths).operator
        return self


@final
class BandScaler(OneToOneFeatureMixin, SpectralTransformer):
    """Min-max scaling: the range of each band becomes 0..1; a constant band becomes 0."""

    def fit(self, X: Any, y: Any = None) -> "BandScaler":
        """Fit the range of each band."""
        del y
        self.operator_ = _fit(MinMax(), spectra_of(self, X, reset=True)).operator
        return self


@final
class Autoscaler(OneToOneFeatureMixin, SpectralTransformer):
    """Each band minus its mean, divided by its standard deviation (ddof 1); a constant band becomes 0."""

    def fit(self, X: Any, y: Any = None) -> "Autoscaler":
        """Fit the mean and the deviation of each band."""
        del y
        self.operator_ = _fit(Autoscale(), spectra_of(self, X, reset=True, least=2)).operator
        return self


@final
class MscScaler(OneToOneFeatureMixin, SpectralTransformer):
    """Multiplicative scatter correction; a spectrum without the reference's shape becomes NaN.

    Args:
        reference: A spectrum with one value for each band; None takes the mean of the fitted spectra.
    """

    def __init__(self, reference: Any = None) -> None:
        self.reference = reference

    def fit(self, X: Any, y: Any = None) -> "MscScaler":
        """Fit the mean spectrum as the reference."""
        del y
        spectra = spectra_of(self, X, reset=True, bands=2)
        step = Emsc(name="msc", degree=0, reference=_curves(self.reference, bands_of(spectra)))
        self.operator_ = _fit(step, spectra).operator
        return self


@final
class EmscScaler(OneToOneFeatureMixin, SpectralTransformer):
    """Extended multiplicative scatter correction (Martens and Stark 1991).

    Args:
        degree: The degree of the polynomial baseline; 0 is MSC.
        interferents: The spectra whose share is removed, ``spectrum band``.
        reference: A spectrum with one value for each band; None takes the mean of the fitted spectra.
        wavelengths: The centres of the bands, evenly spaced or not, for the polynomial; None takes a step of 1.
    """

    def __init__(
        self, degree: Any = 2, *, interferents: Any = None, reference: Any = None, wavelengths: Any = None
    ) -> None:
        self.degree = degree
        self.interferents = interferents
        self.reference = reference
        self.wavelengths = wavelengths

    def fit(self, X: Any, y: Any = None) -> "EmscScaler":
        """Fit the mean spectrum as the reference."""
        del y
        spectra = spectra_of(self, X, reset=True, bands=2)
        bands = bands_of(spectra, self.wavelengths)
        interferents, reference = _curves(self.interferents, bands), _curves(self.reference, bands)
        step = Emsc(degree=self.degree, interferents=interferents, reference=reference)
        self.operator_ = _fit(step, spectra, wavelengths=self.wavelengths).operator
        return self


@final
class AbsorbanceTransformer(OneToOneFeatureMixin, SpectralTransformer):
    """Absorbance ``-log10 R``; a spectrum with a value <= 0 becomes NaN. ``inverse_transform`` returns reflectance."""

    def fit(self, X: Any, y: Any = None) -> "AbsorbanceTransformer":
        """Check the spectra and store the number of bands."""
        del y
        self.operator_ = _fit(Absorbance(), spectra_of(self, X, reset=True)).operator
        return self

    def inverse_transform(self, X: Any) -> Any:
        """Return reflectance ``10**-A``, ``pixel band``."""
        check_is_fitted(self)
        spectra = np.asarray(X, np.float32)
        return transform((_fit(Reflectance(), spectra).operator,), spectra, spectra.shape[1])


@final
class AlsBaseline(OneToOneFeatureMixin, SpectralTransformer):
    """Spectra without their asymmetric least squares baselines (Eilers and Boelens 2005).

    Args:
        lam: The smoothness of the baseline, 1e2 to 1e9.
        p: The weight of bands above the baseline, 0.001 to 0.1 for positive peaks.
        iterations: The largest number of iterations of the weights.
    """

    def __init__(self, lam: Any = 1e5, p: Any = 0.01, *, iterations: Any = 20) -> None:
        self.lam = lam
        self.p = p
        self.iterations = iterations

    def fit(self, X: Any, y: Any = None) -> "AlsBaseline":
        """Check the spectra and store the number of bands."""
        del y
        step = Als(smoothness=float(self.lam), asymmetry=float(self.p), iterations=self.iterations)
        self.operator_ = _fit(step, spectra_of(self, X, reset=True, bands=2)).operator
        return self


@final
class ArplsBaseline(OneToOneFeatureMixin, SpectralTransformer):
    """Spectra without their asymmetrically reweighted baselines (Baek et al. 2015).

    Args:
        lam: The smoothness of the baseline, 1e2 to 1e9.
        iterations: The largest number of iterations of the weights.
    """

    def __init__(self, lam: Any = 1e5, *, iterations: Any = 50) -> None:
        self.lam = lam
        self.iterations = iterations

    def fit(self, X: Any, y: Any = None) -> "ArplsBaseline":
        """Check the spectra and store the number of bands."""
        del y
        step = Arpls(smoothness=float(self.lam), iterations=self.iterations)
        self.operator_ = _fit(step, spectra_of(self, X, reset=True, bands=2)).operator
        return self


@final
class ContinuumRemover(OneToOneFeatureMixin, SpectralTransformer):
    """Spectra divided by, or minus, their upper convex hulls (Clark and Roush 1984).

    Args:
        mode: The operation: ``divide`` (NaN where a hull is not positive) or ``subtract``.
        wavelengths: The centres of the bands, evenly spaced or not; None takes a step of 1.
    """

    UNDEFINED: ClassVar[str] = "their hulls are not positive, as of absorbance; use mode='subtract', or reflectance"

    def __init__(self, mode: Any = "divide", *, wavelengths: Any = None) -> None:
        self.mode = mode
        self.wavelengths = wavelengths

    def fit(self, X: Any, y: Any = None) -> "ContinuumRemover":
        """Check the spectra and store the centres of the bands."""
        del y
        spectra = spectra_of(self, X, reset=True, bands=2)
        self.operator_ = _fit(ContinuumRemoval(mode=self.mode), spectra, wavelengths=self.wavelengths).operator
        return self


@final
class BandResampler(ClassNamePrefixFeaturesOutMixin, SpectralTransformer):
    """Bands of another sensor with Gaussian responses.

    Args:
        centres: The centres of the new bands.
        fwhm: The full width at half maximum of all new bands, or one value for each.
        wavelengths: The centres of the present bands; None numbers them from 0.
    """

    def __init__(self, centres: Any = (0.5,), fwhm: Any = 1.0, *, wavelengths: Any = None) -> None:
        self.centres = centres
        self.fwhm = fwhm
        self.wavelengths = wavelengths

    def fit(self, X: Any, y: Any = None) -> "BandResampler":
        """Compute the weights of the present bands."""
        del y
        spectra = spectra_of(self, X, reset=True, bands=2)
        centres = np.asarray(self.centres, np.float64)
        fwhm = np.broadcast_to(np.asarray(self.fwhm, np.float64), (1, *centres.shape)).copy()
        sensor = Curves(source="fwhm", names=("fwhm",), places=centres, values=fwhm)
        at = range(spectra.shape[1]) if self.wavelengths is None else self.wavelengths
        self.operator_ = _fit(Resampling(sensor=sensor), spectra, wavelengths=at).operator
        return self

    @property
    def _n_features_out(self) -> int:
        return self.operator_.out(Bands(count=self.n_features_in_, axis=None)).count


@final
class StreamedPca(ClassNamePrefixFeaturesOutMixin, SpectralTransformer):
    """Exact PCA from blocks of spectra: ``partial_fit`` block by block gives the same result as ``fit`` on all of them.

    Args:
        n_components: The number of components.

    After fitting: ``components_``, ``mean_``, ``explained_variance_``, ``explained_variance_ratio_`` and
    ``n_samples_seen_``, as in `sklearn.decomposition.PCA`; the largest absolute loading of each is positive.
    """

    def __init__(self, n_components: Any = 1) -> None:
        self.n_components = n_components

    def fit(self, X: Any, y: Any = None) -> "StreamedPca":
        """Fit the components of these spectra alone."""
        del y
        self.__dict__.pop("moments_", None)
        return self._add(spectra_of(self, X, reset=True, least=2))

    def partial_fit(self, X: Any, y: Any = None) -> "StreamedPca":
        """Fit the components of these spectra together with all earlier ones."""
        del y
        return self._add(spectra_of(self, X, reset=not hasattr(self, "moments_")))

    def inverse_transform(self, X: Any) -> Any:
        """Return the spectra ``pixel band`` of scores ``pixel component``."""
        check_is_fitted(self)
        return self.operator_.restore(np.asarray(X, np.float32))

    @property
    def _n_features_out(self) -> int:
        return len(self.components_)

    def _add(self, spectra: Spectra) -> "StreamedPca":
        """Add spectra to the moments; compute the components when there are at least two spectra."""
        Pca(components=self.n_components).plan(bands_of(spectra))
        first = spectra[:PIECE].mean(axis=0, dtype=np.float64).astype(np.float32)
        self.moments_ = _statistic_of(getattr(self, "moments_", Moments.zero(first)), spectra)
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


def _curves(values: Any, bands: Bands) -> Curves | None:
    """Return curves from arrays with one value for each band."""
    if values is None:
        return None
    rows = np.atleast_2d(np.asarray(values, np.float64))
    if rows.shape[1] != bands.count or not np.isfinite(rows).all():
        shape = f"spectra of shape {rows.shape}"
        raise UserError("reference", found=shape, expected=f"{bands.count} finite bands", do="Give all of them.")
    at = places(bands, "estimator")
    order = np.argsort(at)
    return Curves(source="the estimator", names=(), places=at[order], values=rows[:, order])


def _fit(step: Step, spectra: Spectra, *, seed: int = 0, wavelengths: Any = None) -> Fitted:
    """Return the step fitted on these spectra alone."""
    bands = bands_of(spectra, wavelengths)
    step.plan(bands)
    whole: Callable[[Any], Any] = lambda zero: _statistic_of(zero, spectra)  # noqa: E731 - what a pass is here
    return step.fit(Fitting(bands=bands, sample=spectra, reduce=whole, before=(), seed=seed))


def _statistic_of(zero: Moments | Spread, spectra: Spectra) -> Any:
    """Return the statistic of all spectra, added piece by piece."""
    total: Any = zero
    for start in range(0, len(spectra), PIECE):
        total = total + zero.of(spectra[start : start + PIECE])
    return total
