"""Spectral steps and operators: oracles, laws of pieces, and what users are told."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from locations import ROOT
from scipy.signal import savgol_filter

from tilespec.core.errors import UserError
from tilespec.core.types import SpectralAxis
from tilespec.spectra.bands import Bands
from tilespec.spectra.fit import counts_weights, renewed
from tilespec.spectra.operators import OPERATORS as KINDS
from tilespec.spectra.operators import (
    Absorb,
    Affine,
    BandMatrix,
    Light,
    NoiseAdjust,
    Project,
    Resample,
    Take,
    arrays,
)
from tilespec.spectra.pieces import transform
from tilespec.spectra.statistics import Spread
from tilespec.spectra.steps import STEPS, parse, passes, plan
from tilespec.spectra.steps.base import Fitting
from tilespec.spectra.steps.baseline_correction import Als, Arpls
from tilespec.spectra.steps.continuum import ContinuumRemoval
from tilespec.spectra.steps.crop import Crop
from tilespec.spectra.steps.levels import Area, Max, MinOffset
from tilespec.spectra.steps.normalise import normalise
from tilespec.spectra.steps.polynomial import PolynomialRemoval
from tilespec.spectra.steps.raman import Registration, Spikes
from tilespec.spectra.steps.savgol import SavGol, filters
from tilespec.spectra.steps.scaling import MinMax, Scale
from tilespec.spectra.steps.scatter import correction
from tilespec.spectra.tensors import on_torch

P = 40
NM = SpectralAxis(name="wavelength", unit="nm", values=tuple(np.linspace(400, 1000, P).tolist()))
BANDS = Bands(count=P, axis=NM)
RNG = np.random.default_rng(0)


def spectra(n, p=P, seed=0):
    return np.random.default_rng(seed).uniform(0.1, 1, (n, p)).astype(np.float32)


def project(k=4, p=P):
    loadings = np.linalg.qr(RNG.normal(size=(p, k)))[0].T.astype(np.float32)
    return Project(
        mean=spectra(1, p)[0], loadings=np.ascontiguousarray(loadings), variance=np.ones(k), ratio=np.ones(k)
    )


def plain(step):
    def no_pass(zero):
        raise AssertionError(zero)

    return step.fit(Fitting(bands=BANDS, sample=spectra(3), reduce=no_pass, before=(), seed=0)).operator


def fit(step, x, before=()):
    def fold(zero):
        return zero.of(x[:30]) + zero.of(x[30:])

    return step.fit(Fitting(bands=Bands(count=x.shape[1], axis=None), sample=x[:9], reduce=fold, before=before, seed=0))


OPERATORS = {
    "take a span": Take(index=np.arange(3, 30)),
    "take some": Take(index=np.array([0, 5, 6, 39])),
    "normalise": normalise(np.linspace(0, 1, P)),
    "scatter": correction(RNG.random(P), np.full((1, P), P**-0.5), np.ones(P), "msc"),
    "absorbance": Absorb(back=np.array(0)),
    "reflectance": Absorb(back=np.array(1)),
    "light": Light(),
    "als": plain(Als(smoothness=100.0, iterations=5)),
    "arpls": plain(Arpls(smoothness=100.0, iterations=5)),
    "continuum": plain(ContinuumRemoval()),
    "continuum subtracted": plain(ContinuumRemoval(mode="subtract")),
    "polynomial": plain(PolynomialRemoval(order=3)),
    "minimum offset": plain(MinOffset()),
    "maximum": plain(Max()),
    "area": plain(Area()),
    "despike": plain(Spikes(threshold=2.0)),
    "align": fit(Registration(reach=3), spectra(60)).operator,
    "resample": Resample(matrix=spectra(P, 3), centres=np.arange(3.0), fwhm=np.ones(3)),
    "linear": BandMatrix(matrix=spectra(P)),
    "affine": Affine(offset=spectra(1)[0], gain=spectra(1)[0]),
    "project": project(),
    "mnf": NoiseAdjust(mean=spectra(1)[0], loadings=spectra(4), back=spectra(4), snr=np.ones(4)),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_pixels_split_in_any_way_give_the_same_bits(name):
    op, x = OPERATORS[name], spectra(5000)
    width = op.out(BANDS).count
    whole = transform((op,), x, width)
    for cuts in ([1], [17, 2048, 2049], [4999], list(range(0, 5000, 333))):
        parts = [transform((op,), part, width) for part in np.split(x, cuts)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("name", OPERATORS)
def test_torch_goes_through_the_same_lines(name):
    op, x = OPERATORS[name], spectra(200)
    expected = op.apply(x.copy())
    np.testing.assert_allclose(on_torch(op)(torch.from_numpy(x.copy())).numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_pixel_with_one_bad_band_is_nan_throughout_and_touches_no_other(name, bad):
    op, x = OPERATORS[name], spectra(100)
    width = op.out(BANDS).count
    clean = transform((op,), x, width)
    x[40, 6] = bad
    found = transform((op,), x, width)
    hit = 40 if not isinstance(op, Take) or 6 in op.index else None
    for i in range(100):
        if i == hit:
            assert np.isnan(found[i]).all()
        else:
            np.testing.assert_array_equal(found[i], clean[i])


def test_a_bad_band_that_is_dropped_first_does_no_harm():
    x = spectra(10)
    x[:, 2] = np.nan
    ops = (Take(index=np.delete(np.arange(P), 2)), normalise(np.ones(P - 1)))
    assert np.isfinite(transform(ops, x, P - 1)).all()


def test_the_input_is_left_alone():
    x = spectra(3000)
    kept = x.copy()
    transform((Take(index=np.arange(10)), normalise(np.ones(10))), x, 10)
    transform((OPERATORS["affine"],), x, P)
    np.testing.assert_array_equal(x, kept)


def test_no_pixels_give_no_pixels():
    assert transform((OPERATORS["project"],), spectra(0), 4).shape == (0, 4)


# Savitzky-Golay


@settings(deadline=None)
@given(data=st.data(), half=st.integers(1, 8), deriv=st.integers(0, 3), order=st.integers(0, 4))
def test_savgol_equals_scipy_on_even_bands(data, half, deriv, order):
    window = 2 * half + 1
    order = min(max(order, deriv), window - 1)
    if deriv > order:
        return
    step = SavGol(window=window, polyorder=order, deriv=deriv)
    spacing = data.draw(st.sampled_from([0.5, 1.0, 3.19]))
    x = spectra(3).astype(np.float64)
    expected = savgol_filter(x, window, order, deriv=deriv, delta=spacing, axis=1, mode="interp")
    scale = np.abs(expected).max() or 1
    np.testing.assert_allclose(x @ filters(step, 400 + spacing * np.arange(P)) / scale, expected / scale, atol=1e-7)


def test_savgol_differentiates_a_parabola_exactly_on_uneven_bands():
    places = np.sort(RNG.uniform(400, 1000, P))
    x = (3 + 2 * places + 0.01 * places**2)[None]
    found = x @ filters(SavGol(window=7, polyorder=2, deriv=1), places)
    np.testing.assert_allclose(found[0], 2 + 0.02 * places, rtol=1e-6)


@pytest.mark.parametrize("text", ["sg=4:2", "sg=5:5", "sg=5:2:3", "sg=5", "sg=a:b", "sg=5:2:1:1", "sg=41:2"])
def test_a_savgol_that_cannot_be_is_refused_with_the_usage(text):
    with pytest.raises(UserError, match=r"sg=WINDOW:POLYORDER"):
        plan(parse(text), BANDS)


# Crop and drop


def kept(text, bands=BANDS):
    out = plan(parse(text), bands)
    return out.axis.values if out.axis else out.count


def test_crop_and_drop_take_places_in_nm_or_indices():
    nm = np.asarray(NM.values)
    np.testing.assert_array_equal(kept("crop=450:950"), nm[(nm >= 450) & (nm <= 950)])
    np.testing.assert_array_equal(kept("crop=#10:#15"), nm[10:16])
    np.testing.assert_array_equal(kept("drop=600:700"), nm[(nm < 600) | (nm > 700)])
    np.testing.assert_array_equal(kept("drop=#0"), nm[1:])
    np.testing.assert_array_equal(kept("drop=613"), np.delete(nm, NM.nearest(613)))
    np.testing.assert_array_equal(kept("crop=450:950,drop=#0:#1"), nm[(nm >= 450) & (nm <= 950)][2:])


def test_crop_works_on_falling_wavenumbers():
    values = tuple(np.linspace(4000, 400, P).tolist())
    axis = SpectralAxis(name="wavenumber", unit="cm-1", values=values)
    assert all(900 <= v <= 1800 for v in kept("crop=900:1800", Bands(count=P, axis=axis)))


def test_bands_marked_bad_are_dropped():
    good = tuple(i % 3 != 0 for i in range(P))
    axis = SpectralAxis(name="wavelength", unit="nm", values=NM.values, good=good)
    assert len(kept("drop=bad", Bands(count=P, axis=axis))) == sum(good)
    assert len(kept("drop=bad")) == P


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("crop=1200:1300", r"no band in 1200:1300.*#0:#39, 400 to 1000 nm"),
        ("crop=#40:#50", "no band"),
        ("drop=#0:#39", "every band dropped"),
        ("crop=500", "crop=FROM:TO"),
        ("crop=600:500", "crop=FROM:TO"),
        ("crop=#3:500", "crop=FROM:TO"),
        ("drop=x", "drop=FROM:TO"),
        ("pca=4,crop=450:500", r"bands that are components.*crop=#10:#150"),
    ],
)
def test_bands_that_are_not_there_are_refused(text, match):
    with pytest.raises(UserError, match=match):
        plan(parse(text), BANDS)


def test_places_in_nm_need_an_axis():
    with pytest.raises(UserError, match=r"no spectral coordinate.*Count bands"):
        plan(parse("crop=450:950"), Bands(count=P, axis=None))


# Scalings


def test_minmax_maps_the_range_of_each_band_to_one_and_a_constant_band_to_zero():
    x = spectra(100)
    x[:, 3] = 0.5
    fitted = fit(MinMax(), x)
    z = fitted.operator.apply(x.copy())
    np.testing.assert_allclose(z.min(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(np.delete(z.max(axis=0), 3), 1, atol=1e-6)
    assert (z[:, 3] == 0).all()
    assert fitted.facts == {"pixels": 100, "invalid_pixels": 0, "constant_bands": 1}


def test_scale_divides_by_the_deviation_without_centring():
    x = spectra(100)
    z = fit(Scale(), x).operator.apply(x.copy())
    np.testing.assert_allclose(z, x / x.std(axis=0, ddof=1), rtol=1e-5)


def test_scale_after_pca_takes_the_eigenvalues_and_no_pass():
    def no_pass(zero):
        raise AssertionError(zero)

    projection = project()
    on = Fitting(bands=Bands(count=4, axis=None), sample=spectra(5, 4), reduce=no_pass, before=(projection,), seed=0)
    np.testing.assert_allclose(Scale().fit(on).operator.gain, 1 / np.sqrt(projection.variance))
    assert passes(parse("vsn,pca=4,scale")) == 1
    assert passes(parse("minmax,pca=4,minmax")) == 3
    assert passes(parse("crop=#0:#9,sg=5:2,vsn")) == 0


@dataclass(frozen=True)
class Components:
    """A step of a user's own that says what it can."""

    kind: ClassVar[str] = "folded"
    counts_weights: ClassVar[bool] = True
    gives_deviations: ClassVar[bool] = True
    parse = plan = fit = len


@dataclass(frozen=True)
class Pca:
    """A step of a user's own that says nothing, whatever its name is."""

    kind: ClassVar[str] = "folded"
    parse = plan = fit = len


def test_a_step_of_ones_own_says_what_it_can_and_its_name_says_nothing():
    assert passes([Components(), Scale()]) == 1
    assert passes([Pca(), Scale()]) == passes([Scale(), Components()]) == 2
    assert passes([Components(), Scale(), Scale()]) == 2
    counts_weights([Components()], "plant")
    counts_weights([Pca()], None)
    for steps in ([Pca()], [Components(), *parse("mnf=2")], parse("vsn,scale")):
        with pytest.raises(UserError, match="--weights"):
            counts_weights(steps, "plant")
    assert renewed([Components(), Scale()], {0: {}}, "own") == 0
    for later in (Scale(), *parse("vsn")):
        with pytest.raises(UserError, match="--update"):
            renewed([Pca(), later], {0: {}}, "own")


def test_a_scaling_without_a_valid_pixel_is_refused():
    x = np.full((60, 4), np.nan, np.float32)
    with pytest.raises(UserError, match="no valid pixel"):
        MinMax().fit(
            Fitting(
                bands=Bands(count=4, axis=None),
                sample=spectra(5, 4),
                reduce=lambda zero: zero.of(x),
                before=(),
                seed=0,
            )
        )


# The language of steps


def test_an_unknown_step_lists_the_known_ones():
    with pytest.raises(UserError, match=f"an unknown name; expected one of {', '.join(sorted(STEPS))}"):
        parse("mcs")


@pytest.mark.parametrize(
    "text",
    ["snv=2", "vsn=5", "vsn=2:-1", "vsn=2:auto:own", "vsn=2:auto:paper:1", "pca", "pca=x", "minmax=3", "scale=1"],
)
def test_parameters_that_a_step_cannot_read_are_refused(text):
    with pytest.raises(UserError, match="Correct --steps"):
        parse(text)


def test_every_step_of_the_table_parses_and_plans(tmp_path):
    sensor = tmp_path / "sensor.csv"
    sensor.write_text("wavelength,fwhm\n500,40\n700,40\n")
    texts = {
        "crop": "crop=#0:#30",
        "drop": "drop=#3",
        "sg": "sg=5:2:1",
        "pca": "pca=3",
        "mnf": "mnf=3",
        "poly": "poly=3",
    }
    texts |= {"span": "span=0:1", "resample": f"resample={sensor}"}
    for name in STEPS:
        (step,) = parse(texts.get(name, name))
        assert plan((step,), BANDS).count <= P


def test_the_documentation_has_a_row_for_every_step():
    page = (ROOT / "docs" / "steps.md").read_text()
    assert {line.split("`")[1] for line in page.splitlines() if line.startswith("| `")} >= set(STEPS)


def test_spaces_and_empty_parts_do_no_harm():
    assert parse(" snv , pca=2 ,") == parse("snv,pca=2")
    assert parse("") == ()


def test_a_user_may_bring_a_step_by_its_dotted_path():
    (step,) = parse("tilespec.spectra.steps.crop:Crop=#1:#2")
    assert isinstance(step, Crop)


def test_the_arrays_of_an_operator_are_all_that_it_is():
    for op in OPERATORS.values():
        again = type(op)(**arrays(op))
        x = spectra(10)
        np.testing.assert_array_equal(again.apply(x.copy()), op.apply(x.copy()))


def test_every_kind_of_operator_is_held_to_these_laws():
    assert {type(op) for op in OPERATORS.values()} >= set(KINDS.values())


def test_a_spread_without_pixels_is_empty():
    zero = Spread.zero(spectra(1)[0])
    assert (zero + zero).n == 0
