"""Estimators: scikit-learn's own contract, and the same numbers as the recipe's steps."""

import warnings

import numpy as np
import pytest
from scipy.signal import savgol_filter
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from tilespec.core.errors import UserError
from tilespec.spectra.estimators import (
    AbsorbanceTransformer,
    AlsBaseline,
    ArplsBaseline,
    Autoscaler,
    BandResampler,
    BandScaler,
    ContinuumRemover,
    EmscScaler,
    MscScaler,
    SavGolFilter,
    SnvScaler,
    StreamedPca,
    VsnScaler,
)

# A tolerance and a window that suit the two to ten bands of white noise that the checks bring.
CHECKED = [
    SnvScaler(),
    VsnScaler(tol=0.01, n_iter=50),
    SavGolFilter(1, 0),
    BandScaler(),
    StreamedPca(),
    Autoscaler(),
    MscScaler(),
    EmscScaler(0),
    AbsorbanceTransformer(),
    AlsBaseline(),
    ArplsBaseline(),
    ContinuumRemover(),
    ContinuumRemover("subtract"),
    BandResampler(),
]


@pytest.mark.filterwarnings("ignore:.*became NaN")  # scikit-learn's data are negative too
@parametrize_with_checks(CHECKED)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def spectra(n=300, p=40, noise=1e-3):
    rng = np.random.default_rng(0)
    k = np.linspace(0, 1, p)
    shape = 0.4 + 0.2 * np.sin(4 * k) + 0.1 * rng.uniform(0, 1, (n, 1)) * np.exp(-(((k - 0.6) / 0.1) ** 2))
    return (rng.uniform(0.7, 1.3, (n, 1)) * shape + noise * rng.normal(size=(n, p))).astype(np.float32)


def test_snv_is_mean_and_deviation():
    x = spectra().astype(np.float64)
    expected = (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, ddof=1, keepdims=True)
    np.testing.assert_allclose(SnvScaler().fit_transform(x), expected, atol=1e-4)


def test_savgol_is_scipys_and_takes_wavelengths():
    x = spectra()
    expected = savgol_filter(x, 7, 2, deriv=1, delta=2.5, axis=1)
    found = SavGolFilter(7, 2, deriv=1, wavelengths=400 + 2.5 * np.arange(40)).fit_transform(x)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    with pytest.raises(UserError, match="one for each band"):
        SavGolFilter(7, 2, wavelengths=[1, 2, 3]).fit(x)


def test_vsn_tells_what_it_found():
    scaler = VsnScaler().fit(spectra())
    assert 0 <= scaler.facts_["degenerate"] <= 1
    assert scaler.operator_.weights.sum() == pytest.approx(1, rel=1e-5)


def test_the_streamed_pca_is_the_whole_one_and_scikit_learns():
    x = spectra(5000, noise=0.02)
    whole, streamed = StreamedPca(3).fit(x), StreamedPca(3)
    for part in np.array_split(x, 7):
        streamed.partial_fit(part)
    theirs = PCA(3, svd_solver="covariance_eigh").fit(x.astype(np.float64))
    for ours in (whole, streamed):
        np.testing.assert_allclose(ours.explained_variance_, theirs.explained_variance_, rtol=1e-5)
        np.testing.assert_allclose(ours.explained_variance_ratio_, theirs.explained_variance_ratio_, rtol=1e-5)
        np.testing.assert_allclose(np.abs((ours.components_ * theirs.components_).sum(axis=1)), 1, atol=1e-5)
        assert ours.n_samples_seen_ == 5000


def test_scores_at_full_rank_restore_the_spectra():
    x = spectra(p=12)
    pca = StreamedPca(12).fit(x)
    np.testing.assert_allclose(pca.inverse_transform(pca.transform(x)), x, atol=1e-5)
    assert list(pca.get_feature_names_out())[:2] == ["streamedpca0", "streamedpca1"]


def test_steps_stand_in_a_pipeline():
    x = spectra()
    scores = make_pipeline(SavGolFilter(5, 2), SnvScaler(), StreamedPca(2)).fit_transform(x)
    assert scores.shape == (300, 2)
    assert np.isfinite(scores).all()


def test_emsc_takes_spectra_band_by_band_and_wavelengths():
    x = spectra().astype(np.float64)
    at = 400 + np.r_[0:20, 30:50]
    known = np.cos(np.arange(40))
    reference = x[0]
    mixed = 2 * reference + 0.3 * known + 1 + 0.01 * at
    scaler = EmscScaler(1, interferents=known, reference=reference, wavelengths=at).fit(x)
    np.testing.assert_allclose(scaler.transform(mixed[None])[0], reference, atol=1e-5)
    np.testing.assert_allclose(MscScaler(reference).fit(x).transform(3 * reference[None] - 1)[0], reference, atol=1e-5)
    with pytest.raises(UserError, match="40 finite bands"):
        MscScaler(reference[:-1]).fit(x)


def test_absorbance_goes_back():
    x = spectra()
    scaler = AbsorbanceTransformer().fit(x)
    np.testing.assert_allclose(scaler.inverse_transform(scaler.transform(x)), x, rtol=1e-5)


def test_a_resampler_gives_the_other_sensors_bands():
    at = 400 + 5.0 * np.arange(40)
    resampler = BandResampler([450, 500, 550], 20, wavelengths=at).fit(spectra())
    np.testing.assert_allclose(
        resampler.transform((2 * at + 1)[None].astype(np.float32)), [[901, 1001, 1101]], rtol=1e-5
    )
    assert list(resampler.get_feature_names_out()) == ["bandresampler0", "bandresampler1", "bandresampler2"]


def test_spectra_that_become_nan_are_told_of():
    """Absorbance may have hulls below 0; nothing else says so until another estimator fails."""
    x = np.random.default_rng(0).uniform(0.2, 0.8, (5, 30)).astype(np.float32)
    with pytest.warns(UserWarning, match="ContinuumRemover: 5 of 5 spectra became NaN: .*absorbance"):
        ContinuumRemover().fit(x).transform(-x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(ContinuumRemover().fit(x).transform(x)).all()
        x[0] = np.nan
        SnvScaler().fit(x[1:]).transform(x[1:])
