"""Resampling to another sensor: SPy and quadrature as oracles, laws, and what users are told."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from locations import DATA
from scipy.integrate import quad
from spectral import BandResampler

from tilespec.core.errors import UserError
from tilespec.core.types import SpectralAxis
from tilespec.spectra.bands import Bands
from tilespec.spectra.fit import fit
from tilespec.spectra.numerics.curve_files import read_curves
from tilespec.spectra.recipe import Recipe
from tilespec.spectra.steps import parse, plan
from tilespec.spectra.steps.base import Fitting
from tilespec.spectra.steps.resample import gaussian_matrix, response_matrix
from tilespec.spectra.transform import transform
from tilespec.storage.scene import Scene

CAMERAS = DATA / "camera_response"
AT = np.linspace(400, 1000, 121)


def axis(values=AT, fwhm=None, **kind):
    fwhm = None if fwhm is None else tuple(float(f) for f in np.broadcast_to(fwhm, len(values)))
    kind = {"name": "wavelength", "unit": "nm"} | kind
    return SpectralAxis(values=tuple(map(float, values)), fwhm=fwhm, **kind)


def table(path, header, *columns):
    rows = [",".join(f"{cell:.12g}" for cell in row) for row in zip(*columns, strict=True)]
    path.write_text("\n".join([header, *rows]) + "\n")
    return str(path)


def fitted(steps, on):
    (step,) = parse(steps)
    bands = Bands(count=len(on.values), axis=on)
    assert step.plan(bands) == step.fit(fitting(bands)).operator.out(bands)
    return step.fit(fitting(bands))


def fitting(bands):
    nothing = np.empty((0, bands.count), np.float32)
    return Fitting(bands=bands, sample=nothing, reduce=lambda zero: zero, before=(), seed=0)


# Gaussian responses


@settings(deadline=None)
@given(
    seed=st.integers(0, 999),
    width=st.sampled_from([None, 5.0, 8.0, 12.0]),
    target=st.floats(6, 80),
    count=st.integers(1, 20),
)
def test_gaussian_responses_weigh_as_spys_band_resampler(seed, width, target, count):
    rng = np.random.default_rng(seed)
    at = np.sort(400 + 5 * np.arange(121) + rng.uniform(-1, 1, 121))
    source = axis(at, width)
    centres, fwhm = np.sort(rng.uniform(460, 940, count)), np.full(count, target)
    theirs = BandResampler(list(at), list(centres), None if width is None else [width] * 121, list(fwhm)).matrix
    np.testing.assert_allclose(gaussian_matrix(source, centres, fwhm), theirs.T, atol=1e-12)


def test_bands_that_fall_are_weighed_as_those_that_rise():
    centres, fwhm = np.array([500.0, 700.0]), np.array([20.0, 60.0])
    rising = gaussian_matrix(axis(), centres, fwhm)
    np.testing.assert_allclose(gaussian_matrix(axis(AT[::-1]), centres, fwhm), rising[::-1], atol=1e-15)


@settings(deadline=None)
@given(seed=st.integers(0, 99), tiny=st.floats(1e-6, 0.4))
def test_own_bands_of_tiny_width_are_the_identity(seed, tiny):
    at = 400 + np.cumsum(np.random.default_rng(seed).uniform(4, 7, 60))
    np.testing.assert_array_equal(gaussian_matrix(axis(at), at, np.full(60, tiny)), np.eye(60))


@settings(deadline=None)
@given(value=st.floats(-10, 10, width=32), count=st.integers(1, 9), fwhm=st.floats(0.5, 100))
def test_constants_stay(tmp_path_factory, value, count, fwhm):
    file = tmp_path_factory.mktemp("sensor") / "sensor.csv"
    centres = np.linspace(470, 930, count)
    operator = fitted(f"resample={table(file, 'wavelength,FWHM', centres, np.full(count, fwhm))}", axis()).operator
    found = operator.apply(np.full((3, 121), value, np.float32))
    np.testing.assert_allclose(found, np.float32(value), rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize(
    ("centre", "fwhm", "match"),
    [
        (1200, 10, r"band 0 at 1200.*cover 0%.*400 to 1000 nm"),
        (0.55, 0.01, "unit of the scene's axis"),
        (399, 20, r"band 0 at 399, of whose response the scene's bands cover"),
        (700, 2000, "cover"),
    ],
)
def test_a_band_outside_the_range_is_refused(centre, fwhm, match):
    with pytest.raises(UserError, match=match):
        gaussian_matrix(axis(), np.array([centre], float), np.array([fwhm], float))


def test_a_band_in_a_gap_or_between_narrow_bands_is_refused():
    gap = axis(AT[(AT < 700) | (AT > 760)])
    with pytest.raises(UserError, match=r"band 0 at 730.*cover 0%"):
        gaussian_matrix(gap, np.array([730.0]), np.array([10.0]))
    with pytest.raises(UserError, match="lies between the widths"):
        gaussian_matrix(axis(AT, 1.0), np.array([502.5]), np.array([2.0]))
    # 5 nm steps that become 10 nm steps are two detectors, not a gap.
    two = axis(np.r_[400:700:5.0, 700:1001:10.0])
    assert gaussian_matrix(two, np.array([702.0]), np.array([30.0])).sum() == pytest.approx(1)


# Measured responses


def test_measured_responses_integrate_the_spectrum_between_its_bands(tmp_path):
    places = np.r_[420:980:7.3]
    responses = [np.exp(-(((places - c) / w) ** 2)) for c, w in ((500, 30), (600, 3), (800, 60))]
    sensor = read_curves(table(tmp_path / "s.csv", "wavelength,a,b,c", places, *responses), "resample")
    matrix, centres, fwhm = response_matrix(axis(), sensor)
    spectrum = np.random.default_rng(0).random(121)
    for i, response in enumerate(sensor.values):
        knots = np.unique(np.concatenate([AT, places]))

        def integral(weight, knots=knots, response=response):
            def at(x):
                return weight(x) * np.interp(x, places, response, left=0, right=0)

            return sum(quad(at, a, b)[0] for a, b in pairwise(knots))

        whole = integral(lambda x: 1.0)
        assert spectrum @ matrix[:, i] == pytest.approx(
            integral(lambda x: np.interp(x, AT, spectrum)) / whole, rel=1e-7
        )
        assert centres[i] == pytest.approx(integral(lambda x: x) / whole, rel=1e-7)
    np.testing.assert_allclose(matrix.sum(axis=0), 1, rtol=1e-12)
    np.testing.assert_allclose(AT @ matrix, centres, rtol=1e-12)
    np.testing.assert_allclose(fwhm[[0, 2]], 2 * np.sqrt(np.log(2)) * np.array([30, 60]), rtol=0.02)
    falling = response_matrix(axis(AT[::-1]), sensor)[0]
    np.testing.assert_allclose(falling[::-1], matrix, atol=1e-15)


def test_a_response_that_the_scene_does_not_cover_is_refused(tmp_path):
    places = np.arange(300.0, 1100)
    sensor = table(tmp_path / "s.csv", "nm,uv,wide", places, np.exp(-(((places - 380) / 30) ** 2)), np.ones(800))
    with pytest.raises(UserError, match="response uv, of whose response the scene's bands cover"):
        fitted(f"resample={sensor}", axis())


def test_a_measured_camera_makes_its_colours_of_a_scene(tmp_path, make_scene):
    if not CAMERAS.exists():
        pytest.skip(f"{CAMERAS} is not here")
    scene = make_scene(tmp_path / "scene", 40, 30, 101, nan=0.05)
    found = fit(scene, str(tmp_path / "recipe"), steps=f"resample={CAMERAS / 'RGB_Camera_QE.csv'}")
    assert found["responses"] == ["R", "G1", "G2", "B"]
    transform(str(tmp_path / "recipe"), scene, str(tmp_path / "out"))
    out = Scene.open(str(tmp_path / "out"))
    assert (out.shape, out.spectral.name, out.spectral.unit) == ((40, 30, 4), "wavelength", "nm")
    red, green, _, blue = out.spectral.values
    assert blue < green < red
    assert all(50 < width < 200 for width in out.spectral.fwhm)
    assert np.isnan(out.read(out.roi)).all(axis=2).sum() == np.isnan(Scene.open(scene).read(out.roi)).any(axis=2).sum()


def test_a_resampled_scene_has_the_other_sensors_axis_and_goes_on_from_there(tmp_path, make_scene):
    scene = make_scene(tmp_path / "scene", 40, 30, 61)
    sensor = table(tmp_path / "s.csv", "wavelength,fwhm", [490, 560, 665, 705, 842], [65, 35, 30, 15, 115])
    fit(scene, str(tmp_path / "recipe"), steps=f"resample={sensor},crop=500:800,snv")
    out = Recipe.load(str(tmp_path / "recipe"))
    assert (out.axis_out.values, out.axis_out.fwhm, out.bands_out) == ((560, 665, 705), (35, 30, 15), 3)


def test_wavenumbers_are_resampled_too(tmp_path):
    sensor = table(tmp_path / "s.csv", "wavenumber,fwhm", [1600, 2900], [16, 32])
    source = axis(np.linspace(4000, 400, 900), name="wavenumber", unit="cm-1")
    after = fitted(f"resample={sensor}", source).operator.out(Bands(count=900, axis=source)).axis
    assert (after.name, after.unit, after.values) == ("wavenumber", "cm-1", (1600, 2900))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("500,10\n600,10\n", "without a header"),
        ("wavelength\n500\n", "with one column"),
        ("wavelength,a\n500,1\n", "at one place"),
        ("wavelength,fwhm\n500,0\n", "no width"),
        ("wavelength,a\n500,0\n600,0\n", "a negative response, none"),
        ("wavelength,a\n500,1\n600,-1\n", "a negative response"),
        ("wavelength,fwhm\n500,x\n", "row 1 of numbers"),
    ],
)
def test_a_table_that_is_no_sensor_is_refused(tmp_path, text, match):
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(UserError, match=match):
        parse(f"resample={tmp_path / 's.csv'}")


@pytest.mark.parametrize(
    ("steps", "bands", "match"),
    [
        ("resample", Bands(count=121, axis=axis()), "resample=FILE"),
        ("resample=a:b", Bands(count=121, axis=axis()), "resample=FILE"),
        ("resample={}", Bands(count=121, axis=None), "no wavelengths.*--wavelengths"),
        ("pca=4,resample={}", Bands(count=121, axis=axis()), "4 bands by component"),
        ("crop=500:500,resample={}", Bands(count=121, axis=axis()), "1 bands by wavelength"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, steps, bands, match):
    sensor = table(tmp_path / "s.csv", "wavelength,fwhm", [500], [10])
    with pytest.raises(UserError, match=match):
        plan(parse(steps.format(sensor)), bands)


def test_recipes_of_all_these_steps_keep_every_bit_through_a_file_and_for_any_workers(tmp_path, make_scene):
    scene = make_scene(tmp_path / "scene", 70, 50, 61, nan=0.05)
    sensor = table(tmp_path / "s.csv", "wavelength,fwhm", np.arange(420, 980, 20.0), np.full(28, 25.0))
    steps = f"continuum,resample={sensor},absorbance,reflectance,als=1e3,msc,emsc=1,arpls=1e3:5,autoscale"
    done = fit(scene, str(tmp_path / "recipe"), steps=steps)
    assert (done["passes"], done["bands_out"]) == (3, 28)
    assert fit(scene, str(tmp_path / "again"), steps=steps, workers=2)["digest"] == done["digest"]
    recipe = Recipe.load(str(tmp_path / "recipe"))
    with np.load(tmp_path / "recipe" / "arrays.npz", allow_pickle=False) as stored:
        assert all(stored[name].dtype.kind in "fi" for name in stored.files)
    x = Scene.open(scene).read(Scene.open(scene).roi).reshape(-1, 61)
    whole = recipe.apply(x)
    assert np.isnan(whole).any(axis=1).sum() == np.isnan(whole).all(axis=1).sum() == np.isnan(x[:, 0]).sum() > 0
    np.testing.assert_array_equal(np.concatenate([recipe.apply(part) for part in np.array_split(x, 7)]), whole)
    transform(str(tmp_path / "recipe"), scene, str(tmp_path / "out"))
    out = Scene.open(str(tmp_path / "out"))
    np.testing.assert_array_equal(out.read(out.roi).reshape(-1, 28), whole)
    assert out.spectral.values == tuple(np.arange(420, 980, 20.0))
