"""VSN: the identities that its definition promises, on synthetic spectra with planted scatter and chemistry."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilespec.core.errors import UserError
from tilespec.spectra.bands import Bands
from tilespec.spectra.numerics.vsn import draw_pairs, tolerance, weigh
from tilespec.spectra.steps.base import Fitting
from tilespec.spectra.steps.normalise import Vsn, normalise, scatter

P = 120
K = np.linspace(0, 1, P)
BASE = 0.4 + 0.3 * np.sin(2.5 * K) + 0.1 * np.cos(9 * K)
PEAK = np.exp(-(((K - 0.55) / 0.05) ** 2))


def planted(n=120, seed=0, peak=0.2, noise=5e-4, slope=0.0):
    """Return spectra of one material: gain, offset and slope are scatter, the peak's height is chemistry."""
    rng = np.random.default_rng(seed)
    chemistry = BASE + peak * rng.uniform(0, 1, (n, 1)) * PEAK
    x = rng.uniform(0.7, 1.4, (n, 1)) * chemistry + rng.uniform(-0.1, 0.1, (n, 1))
    x = x + slope * rng.uniform(-1, 1, (n, 1)) * K + noise * rng.standard_normal((n, P))
    return x.astype(np.float32)


def snv(x):
    x = x.astype(np.float64)
    return (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, ddof=1, keepdims=True)


def test_v1_weights_of_one_make_vsn_the_standard_normal_variate():
    x = planted()
    np.testing.assert_allclose(normalise(np.ones(P)).apply(x.copy()), snv(x), atol=2e-5)


def test_v1_holds_to_rounding_in_the_papers_own_arithmetic():
    x, raw = planted().astype(np.float64), np.random.default_rng(3).uniform(0, 1, P)
    w, s = raw / raw.sum(), raw.sum()
    c = x - (x * w).sum(axis=1, keepdims=True)
    z = c / (np.std(w * c, axis=1, ddof=1, keepdims=True) * s)
    np.testing.assert_allclose(normalise(raw).apply(planted().copy()), z, atol=5e-5)


@settings(deadline=None)
@given(gain=st.floats(0.1, 10), offset=st.floats(-1, 1))
def test_v2_gain_and_offset_do_not_change_the_result(gain, offset):
    raw = 0.1 + 0.9 * (PEAK < 0.5)
    x = planted(noise=0).astype(np.float64)
    moved = (gain * x + offset * gain).astype(np.float32)
    a, b = (normalise(raw).apply(v.copy()) for v in (x.astype(np.float32), moved))
    np.testing.assert_allclose(a, b, atol=1e-4)


def test_v3_bands_on_a_peak_of_chemistry_get_no_weight_and_the_others_all():
    found = weigh(planted(), tol=3e-3)
    assert found.raw[PEAK > 0.5].mean() < 0.08
    assert found.raw[PEAK < 0.01].mean() > 0.88
    assert found.degenerate < 0.02


def test_v3_beside_the_peak_spectra_agree_better_than_raw_and_after_snv():
    x, off = planted(noise=1e-4), PEAK < 0.01
    vsn = normalise(weigh(x, tol=3e-3).raw).apply(x.copy())

    def spread(z):
        return (z[:, off].std(axis=0) / np.abs(z[:, off]).std()).mean()

    assert spread(vsn) < spread(snv(x)) / 3
    assert spread(vsn) < spread(x) / 10


def test_v4_pure_scatter_gives_every_band_full_weight():
    found = weigh(planted(peak=0), tol=4e-3)
    assert found.raw.min() > 0.97


def test_v5_weights_are_shares_and_the_seed_decides_them():
    x = planted()
    a, b, c = weigh(x, seed=1), weigh(x, seed=1), weigh(x, seed=2)
    np.testing.assert_array_equal(a.raw, b.raw)
    assert not np.array_equal(a.raw, c.raw)
    assert 0 <= a.raw.min() <= a.raw.max() <= 1
    np.testing.assert_allclose(a.raw, c.raw, atol=0.05)


def test_v5_the_order_of_spectra_does_not_matter_beyond_sampling():
    x = planted()
    turned = x[np.random.default_rng(0).permutation(len(x))]
    np.testing.assert_allclose(weigh(x).raw, weigh(turned).raw, atol=0.05)


def test_a_pair_gives_the_same_bands_in_either_order():
    for pair in ([0, 1], [5, 9], [30, 2]):
        x = planted()[pair]
        np.testing.assert_array_equal(weigh(x, tol=3e-3).raw, weigh(x[::-1].copy(), tol=3e-3).raw)


def test_v7_a_constant_or_nan_spectrum_becomes_nan_and_nothing_else():
    x = planted()
    x[3] = 0.7
    x[5] = np.nan
    with np.errstate(invalid="ignore"):
        z = normalise(np.ones(P)).apply(x.copy())
    bad = np.isnan(z)
    assert bad[[3, 5]].all()
    assert not bad[np.delete(np.arange(len(x)), [3, 5])].any()
    assert not np.isinf(z).any()


def test_v7_weights_that_are_all_zero_are_refused():
    with pytest.raises(UserError, match="weights that are all 0"):
        normalise(np.zeros(P))


def test_the_automatic_tolerance_is_three_deviations_of_a_difference():
    noise = 2e-3
    smooth = np.repeat(BASE[None], 400, axis=0)
    x = smooth + noise * np.random.default_rng(0).standard_normal(smooth.shape)
    assert tolerance(x.astype(np.float32)) == pytest.approx(3 * np.sqrt(2) * noise, rel=0.05)


def test_pairs_of_two_materials_are_degenerate_counted_and_left_out():
    soil = (0.05 + 0.02 * K).astype(np.float64)
    rng = np.random.default_rng(5)
    dark = soil * rng.uniform(0.8, 1.2, (60, 1)) + 5e-4 * rng.standard_normal((60, P))
    mixed = np.concatenate([planted(60), dark.astype(np.float32)])
    found = weigh(mixed, tol=1.5e-3)
    assert found.degenerate > 0.3
    assert "degenerate" in found.facts["notes"][0]
    # pairs of soils, half of what is left, have no chemistry anywhere
    assert found.raw[PEAK > 0.5].mean() < 0.6
    assert found.raw[PEAK < 0.01].mean() > 0.85


def test_flat_spectra_are_dropped_and_counted():
    x = planted()
    x[:10] = 0.3
    assert weigh(x, tol=3e-3).flat == 10


def test_constant_spectra_are_refused():
    with pytest.raises(UserError, match="0 of 4 sampled spectra with any shape"):
        weigh(np.full((4, P), 0.5, np.float32), tol=0.01)


def test_in_much_noise_vsn_becomes_snv_and_says_so():
    found = weigh(planted(noise=0.1))
    assert found.raw.min() > 0.9
    assert "nearly SNV" in " ".join(found.facts["notes"])
    assert not weigh(planted()).noisy


def test_spectra_without_noise_have_a_tolerance_of_rounding():
    found = weigh(planted(peak=0, noise=0))
    assert 0 < found.tol < 1e-3
    assert found.raw.min() > 0.9


@pytest.mark.parametrize("n_params", [3, 4])
def test_three_and_four_parameters_see_through_a_slope(n_params):
    x = planted(slope=0.2)
    two, more = weigh(x, tol=3e-3), weigh(x, tol=3e-3, n_params=n_params)
    assert more.raw[PEAK < 0.01].mean() > 0.75 > two.raw[PEAK < 0.01].mean()
    assert more.raw[PEAK > 0.5].mean() < 0.3


def test_weighted_msc_removes_gain_offset_and_slope_exactly():
    x = planted(peak=0, noise=0, slope=0.3)
    z = scatter(x, np.ones(P), degree=1).apply(x.copy())
    assert z.std(axis=0).max() < 1e-4 < x.std(axis=0).min()


def test_weighted_msc_is_weighted_least_squares():
    x, raw = planted(slope=0.1), np.random.default_rng(1).uniform(0.1, 1, P)
    design = np.stack([x.mean(axis=0, dtype=np.float64), np.ones(P), np.linspace(-1, 1, P)], axis=1)
    root = np.sqrt(raw)[:, None]
    found = np.linalg.lstsq(design * root, x.T.astype(np.float64) * root, rcond=None)[0]
    expected = ((x.T - design[:, 1:] @ found[1:]) / found[0]).T
    np.testing.assert_allclose(scatter(x, raw, degree=1).apply(x.copy()), expected, atol=2e-4)


@settings(deadline=None)
@given(n=st.integers(0, 40), wanted=st.integers(1, 900))
def test_pairs_are_different_and_ordered(n, wanted):
    pairs = draw_pairs(n, wanted, np.random.default_rng(0))
    assert len(pairs) == min(wanted, n * (n - 1) // 2) == len({tuple(p) for p in pairs.tolist()})
    assert (pairs[:, 0] < pairs[:, 1]).all()


def test_the_step_gives_what_its_parts_give():
    x = planted()
    on = Fitting(bands=Bands(count=P, axis=None), sample=x, reduce=print, before=(), seed=4)
    fitted = Vsn(tol=3e-3, denominator="weighted").fit(on)
    raw = weigh(x, tol=3e-3, seed=4).raw
    w = raw / raw.sum()
    c = x - (x @ w)[:, None]
    np.testing.assert_allclose(fitted.operator.apply(x.copy()), c / np.sqrt((c**2) @ w)[:, None], atol=1e-4)
    assert fitted.facts["tol"] == 3e-3
