"""MSC, EMSC, absorbance, autoscale: laws, chemotools as the oracle, and measured spectra."""

import numpy as np
import pytest
from chemotools.scatter import ExtendedMultiplicativeScatterCorrection as TheirEmsc
from chemotools.scatter import MultiplicativeScatterCorrection as TheirMsc
from hypothesis import given, settings
from hypothesis import strategies as st
from locations import DATA
from scipy.io import loadmat

from tilespec.core.errors import UserError
from tilespec.core.types import SpectralAxis
from tilespec.spectra.bands import Bands
from tilespec.spectra.fit import fit
from tilespec.spectra.numerics.curve_files import Curves
from tilespec.spectra.pieces import transform as apply
from tilespec.spectra.recipe import Recipe
from tilespec.spectra.steps import parse, passes, plan
from tilespec.spectra.steps.base import Fitting
from tilespec.spectra.steps.scaling import Autoscale
from tilespec.spectra.steps.scatter import Emsc, Msc
from tilespec.spectra.transform import transform
from tilespec.storage.scene import Scene

P = 60
UNEVEN = SpectralAxis(name="wavelength", unit="nm", values=tuple(np.r_[400:700:40j, 900:1000:20j].tolist()))
BANDS = Bands(count=P, axis=UNEVEN)


def shapes(n=50, seed=0):
    """Return spectra with peaks of their own, gains, offsets and slopes."""
    rng, k = np.random.default_rng(seed), np.linspace(-1, 1, P)
    x = 0.5 + 0.2 * np.sin(4 * k) + 0.05 * rng.uniform(size=(n, 1)) * np.exp(-(((k - 0.3) / 0.1) ** 2))
    x = x * rng.uniform(0.5, 2, (n, 1)) + rng.uniform(-0.2, 0.2, (n, 1)) + rng.uniform(-0.1, 0.1, (n, 1)) * k
    return x.astype(np.float32)


def fitted(step, x, bands=None):
    def fold(zero):
        return zero.of(x[: len(x) // 2]) + zero.of(x[len(x) // 2 :])

    bands = bands or Bands(count=x.shape[1], axis=None)
    step.plan(bands)
    return step.fit(Fitting(bands=bands, sample=x[:9], reduce=fold, before=(), seed=0))


def through(step, x, bands=None):
    return apply((fitted(step, x, bands).operator,), x, x.shape[1])


def curves(values, at=None):
    values = np.atleast_2d(np.asarray(values, np.float64))
    return Curves(source="test", names=(), places=np.arange(values.shape[1]) * 1.0 if at is None else at, values=values)


# MSC


@settings(deadline=None)
@given(gain=st.floats(0.01, 100), offset=st.floats(-10, 10), negative=st.booleans())
def test_msc_recovers_the_shape_of_any_gain_and_offset(gain, offset, negative):
    reference = shapes(1)[0].astype(np.float64)
    gain = -gain if negative else gain
    x = (gain * reference + offset).astype(np.float32)[None]
    rounding = np.abs(x).max() * 2e-6 / abs(gain)
    np.testing.assert_allclose(
        through(Emsc(degree=0, reference=curves(reference)), x)[0], reference, atol=1e-6 + rounding
    )


def test_msc_is_chemotools():
    x = shapes()
    np.testing.assert_allclose(through(Msc.parse(()), x), TheirMsc(method="mean").fit_transform(x), atol=3e-6)
    reference = x[3] + x[4]
    theirs = TheirMsc(reference=reference).fit(x).transform(x)
    np.testing.assert_allclose(through(Emsc(degree=0, reference=curves(reference)), x), theirs, atol=3e-6)


@pytest.mark.parametrize("degree", [0, 1, 2, 5])
@pytest.mark.parametrize("interferents", [0, 2])
def test_emsc_is_chemotools_on_even_bands(degree, interferents):
    x, given = shapes(), np.random.default_rng(1).random((interferents, P))
    step = Emsc(degree=degree, interferents=curves(given) if interferents else None)
    theirs = TheirEmsc(order=degree, interferences=given if interferents else None).fit_transform(x)
    np.testing.assert_allclose(through(step, x), theirs, atol=2e-5)


def test_emsc_of_degree_0_is_msc():
    x = shapes()
    np.testing.assert_array_equal(through(Emsc(degree=0), x), through(Msc.parse(()), x))


@settings(deadline=None)
@given(weights=st.lists(st.floats(-1, 1), min_size=5, max_size=5), gain=st.floats(0.1, 10))
def test_emsc_removes_a_polynomial_in_the_true_places_and_its_interferents(weights, gain):
    at = np.asarray(UNEVEN.values)
    k = (at - 700) / 300
    known = np.stack([np.exp(-(((k + 0.3) / 0.1) ** 2)), np.exp(-(((k - 0.8) / 0.2) ** 2))])
    reference = shapes(1)[0].astype(np.float64)
    x = gain * reference + weights[:3] @ k ** np.arange(3)[:, None] + weights[3:] @ known
    step = Emsc(degree=2, interferents=curves(known, at), reference=curves(reference, at))
    found = through(step, x.astype(np.float32)[None], BANDS)[0]
    np.testing.assert_allclose(found, reference, atol=1e-5 * (1 + np.abs(x).max() / gain))


def test_a_spectrum_without_the_references_shape_is_nan_and_never_noise():
    x = shapes(8)
    x[2], x[5] = 0.7, 0
    x[6] = np.linspace(0, 1, P)
    found = through(Emsc(degree=1, reference=curves(shapes(1)[0])), x)
    assert np.isnan(found[[2, 5, 6]]).all()
    assert np.isfinite(np.delete(found, [2, 5, 6], axis=0)).all()


def test_the_mean_of_a_scene_is_a_fold_over_all_its_pixels(make_scene, tmp_path):
    scene = make_scene(tmp_path / "scene", 150, 90, 24, nan=0.02)
    found = fit(scene, str(tmp_path / "recipe"), steps="msc")
    x = Scene.open(scene).read(Scene.open(scene).roi).reshape(-1, 24)
    valid = x[np.isfinite(x).all(axis=1)]
    assert (found["passes"], found["pixels"], found["invalid_pixels"]) == (1, len(valid), len(x) - len(valid))
    theirs = TheirMsc(method="mean").fit_transform(valid.astype(np.float64))
    recipe = Recipe.load(str(tmp_path / "recipe"))
    np.testing.assert_allclose(recipe.apply(valid), theirs, atol=2e-5)
    written = transform(str(tmp_path / "recipe"), scene, str(tmp_path / "out"))
    assert written["invalid_pixels"] == len(x) - len(valid)


def test_a_reference_from_a_file_needs_no_pass_and_is_taken_at_the_bands_places(tmp_path):
    at = np.linspace(390, 1010, 800)
    file = tmp_path / "reference.csv"
    file.write_text("wavelength,soil\n" + "\n".join(f"{a},{np.sin(a / 100)}" for a in at))
    (step,) = parse(f"msc={file}")
    assert passes((step,)) == 0 < passes(parse("msc,emsc=1"))
    expected = np.sin(np.asarray(UNEVEN.values) / 100)
    x = (3 * expected + 1).astype(np.float32)[None]
    np.testing.assert_allclose(through(step, x, BANDS)[0], expected, atol=1e-4)
    (both,) = parse(f"emsc=1:{file}:{file}")
    with pytest.raises(UserError, match=r"the reference spectrum, which the other curves explain"):
        both.plan(BANDS)
    assert parse(f"emsc=1::{file}")[0].interferents is None


@pytest.mark.parametrize(
    ("steps", "match"),
    [
        ("emsc=-1", r"emsc\[=DEGREE"),
        ("emsc=x", r"emsc\[=DEGREE"),
        ("emsc=2:a:b:c", r"emsc\[=DEGREE"),
        ("emsc=60", "61 curves to remove on 60 bands"),
        ("msc=a:b", "msc=REFERENCE"),
        ("msc=nowhere.csv", r"nowhere.csv: found no such file"),
        ("pca=4,msc", "bands that are components"),
    ],
)
def test_what_cannot_be_is_refused_with_the_usage(steps, match):
    with pytest.raises(UserError, match=match):
        plan(parse(steps), BANDS)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "no row of numbers"),
        ("400,1\n400,2\n", "400 twice"),
        ("400,1\n500,nan\n", r"row 2 of numbers '500,nan'"),
        ("400,1\n500,2,3\n", r"row 2 of numbers '500,2,3'"),
        ("400\n500\n", "0 spectra"),
        ("400,1,2\n1000,1,2\n", "2 spectra"),
        ("410,1\n1000,2\n", r"from 410 to 1000.*values up to 2 more bands, from 400 to 1000"),
        ("0.4,1\n1.0,2\n", "check the unit"),
        ("400,1\n1000,1\n", "the reference spectrum, which the other curves explain"),
    ],
)
def test_a_file_that_is_no_reference_is_refused(tmp_path, text, match):
    file = tmp_path / "reference.txt"
    file.write_text(text)
    with pytest.raises(UserError, match=match):
        plan(parse(f"msc={file}"), BANDS)


def test_tables_are_read_with_any_separator_and_header(tmp_path):
    for mark in (",", ";", "\t", "  "):
        file = tmp_path / "table.txt"
        file.write_text(
            f"\ufeff# a comment\nChannel{mark}A\nNM{mark}B\n500{mark}2{mark if mark == ',' else ''}\n400{mark}1\n"
        )
        (step,) = parse(f"msc={file}")
        assert (step.reference.names, step.reference.places.tolist()) == (("B",), [400, 500])
        assert step.reference.values.tolist() == [[1, 2]]
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="no UTF-8 text"):
        parse(f"msc={file}")


# Absorbance


@settings(deadline=None)
@given(st.lists(st.floats(2**-20, 1024, width=32), min_size=3, max_size=3))
def test_absorbance_then_reflectance_is_the_identity(values):
    x = np.array([values], np.float32)
    there = apply(tuple(fitted(step, x).operator for step in parse("absorbance")), x, 3)
    np.testing.assert_allclose(there, -np.log10(x.astype(np.float64)), rtol=1e-6, atol=1e-7)
    back = apply(tuple(fitted(step, x).operator for step in parse("absorbance,reflectance")), x, 3)
    np.testing.assert_allclose(back, x, rtol=3e-6)


def test_a_pixel_that_has_no_absorbance_is_nan_throughout_and_counted(make_scene, tmp_path):
    x = shapes(10)
    x[3, 7], x[8, 0] = 0, -0.1
    found = through(parse("absorbance")[0], np.abs(x) * np.sign(x))
    lost = (x <= 0).any(axis=1)
    assert lost[[3, 8]].all()
    assert np.isnan(found[lost]).all()
    assert np.isfinite(found[~lost]).all()
    assert np.isnan(through(parse("reflectance")[0], np.full((1, 4), -40, np.float32))).all()
    scene = make_scene(tmp_path / "scene", 40, 30, 24, noise=0, classes=1, nan=0.1)
    fit(scene, str(tmp_path / "recipe"), steps="mean,absorbance")
    cube = Scene.open(scene).read(Scene.open(scene).roi).reshape(-1, 24)
    lit = (cube - np.nanmean(cube, axis=0) > 1e-5).all(axis=1)
    assert 100 < lit.sum() < 1000
    counted = transform(str(tmp_path / "recipe"), scene, str(tmp_path / "out"))["invalid_pixels"]
    assert counted == pytest.approx(40 * 30 - lit.sum(), abs=3)


# Autoscale


def test_autoscale_is_mean_0_and_deviation_1_and_a_constant_band_0():
    x = shapes()
    x[:, 5] = 0.3
    z = through(Autoscale(), x)
    expected = (x - x.mean(axis=0, dtype=np.float64)) / np.where(
        np.ptp(x, axis=0), x.std(axis=0, ddof=1, dtype=np.float64), 1
    )
    np.testing.assert_allclose(z, expected, atol=1e-4)
    assert np.abs(z[:, 5]).max() < 1e-6


# Measured spectra


def measured(name, file, read):
    path = DATA / name / file
    if not path.exists():
        pytest.skip(f"{path} is not here")
    return read(loadmat(path)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "file", "read"),
    [
        ("wheat_kernel_nit", "NITSingleSeed.mat", lambda m: m["Calibration_X"]),
        ("corn_nir", "corn.mat", lambda m: m["m5spec"]["data"][0, 0]),
    ],
)
def test_measured_spectra_come_out_as_chemotools_makes_them(name, file, read):
    x = measured(name, file, read)
    before = (x - x.mean(axis=0)).std()
    for step, theirs in ((Msc.parse(()), TheirMsc(method="mean")), (Emsc(degree=2), TheirEmsc(order=2))):
        found = through(step, x)
        expected = theirs.fit_transform(x.astype(np.float64))
        np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())
        assert (found - found.mean(axis=0)).std() < before / 2
