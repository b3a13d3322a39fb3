"""Colours: sums over bands as the CIE has them, against colour-science and the pairs of Sharma, Wu and Dalal."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from locations import DATA

from tilespec.core.errors import UserError
from tilespec.spectra.colour import observer as ours
from tilespec.spectra.colour.camera import camera_primaries
from tilespec.spectra.colour.cie_tables import illumination
from tilespec.spectra.colour.lab import ciede2000
from tilespec.spectra.colour.metamers import metamers
from tilespec.spectra.colour.observer import Observer, widths
from tilespec.spectra.numerics.srgb import decode, encode

science = pytest.importorskip("colour", reason="colour-science is the oracle: the extra `color`")

NM = np.arange(400.0, 701.0, 10.0)

# Sharma, Wu and Dalal, The CIEDE2000 Color-Difference Formula: Implementation Notes, Supplementary Test Data, and
# Mathematical Observations, Color Research and Application 30 (2005) 21-30, table 1: L a b, L a b, difference.
PAIRS = np.array(
    [
        [50.0, 2.6772, -79.7751, 50.0, 0.0, -82.7485, 2.0425],
        [50.0, 3.1571, -77.2803, 50.0, 0.0, -82.7485, 2.8615],
        [50.0, 2.8361, -74.02, 50.0, 0.0, -82.7485, 3.4412],
        [50.0, -1.3802, -84.2814, 50.0, 0.0, -82.7485, 1.0],
        [50.0, -1.1848, -84.8006, 50.0, 0.0, -82.7485, 1.0],
        [50.0, -0.9009, -85.5211, 50.0, 0.0, -82.7485, 1.0],
        [50.0, 0.0, 0.0, 50.0, -1.0, 2.0, 2.3669],
        [50.0, -1.0, 2.0, 50.0, 0.0, 0.0, 2.3669],
        [50.0, 2.49, -0.001, 50.0, -2.49, 0.0009, 7.1792],
        [50.0, 2.49, -0.001, 50.0, -2.49, 0.001, 7.1792],
        [50.0, 2.49, -0.001, 50.0, -2.49, 0.0011, 7.2195],
        [50.0, 2.49, -0.001, 50.0, -2.49, 0.0012, 7.2195],
        [50.0, -0.001, 2.49, 50.0, 0.0009, -2.49, 4.8045],
        [50.0, -0.001, 2.49, 50.0, 0.001, -2.49, 4.8045],
        [50.0, -0.001, 2.49, 50.0, 0.0011, -2.49, 4.7461],
        [50.0, 2.5, 0.0, 50.0, 0.0, -2.5, 4.3065],
        [50.0, 2.5, 0.0, 73.0, 25.0, -18.0, 27.1492],
        [50.0, 2.5, 0.0, 61.0, -5.0, 29.0, 22.8977],
        [50.0, 2.5, 0.0, 56.0, -27.0, -3.0, 31.903],
        [50.0, 2.5, 0.0, 58.0, 24.0, 15.0, 19.4535],
        [50.0, 2.5, 0.0, 50.0, 3.1736, 0.5854, 1.0],
        [50.0, 2.5, 0.0, 50.0, 3.2972, 0.0, 1.0],
        [50.0, 2.5, 0.0, 50.0, 1.8634, 0.5757, 1.0],
        [50.0, 2.5, 0.0, 50.0, 3.2592, 0.335, 1.0],
        [60.2574, -34.0099, 36.2677, 60.4626, -34.1751, 39.4387, 1.2644],
        [63.0109, -31.0961, -5.8663, 62.8187, -29.7946, -4.0864, 1.263],
        [61.2901, 3.7196, -5.3901, 61.4292, 2.248, -4.962, 1.8731],
        [35.0831, -44.1164, 3.7933, 35.0232, -40.0716, 1.5901, 1.8645],
        [22.7233, 20.0904, -46.694, 23.0331, 14.973, -42.5619, 2.0373],
        [36.4612, 47.858, 18.3852, 36.2715, 50.5065, 21.2231, 1.4146],
        [90.8027, -2.0831, 1.441, 91.1528, -1.6435, 0.0447, 1.4441],
        [90.9257, -0.5406, -0.9208, 88.6381, -0.8985, -0.7239, 1.5381],
        [6.7747, -0.2908, -2.4247, 5.8714, -0.0985, -2.2286, 0.6377],
        [2.0776, 0.0795, -1.135, 0.9033, -0.0636, -0.5514, 0.9082],
    ]
)


def reflectances(count, bands=31, seed=0):
    """Return smooth spectra of 0..1."""
    rng = np.random.default_rng(seed)
    knots = rng.uniform(0.02, 0.98, size=(count, 7))
    return np.stack([np.interp(np.linspace(0, 6, bands), np.arange(7), row) for row in knots])


def their_xyz(spectra, illuminant, degrees=10):
    """Return XYZ by colour-science, by sums over bands of 10 nm."""
    shape = science.SpectralShape(400, 700, 10)
    name = {2: "CIE 1931 2 Degree Standard Observer", 10: "CIE 1964 10 Degree Standard Observer"}[degrees]
    seen = science.MSDS_CMFS[name].copy().align(shape)
    light = science.SDS_ILLUMINANTS[illuminant].copy().align(shape)
    return science.msds_to_XYZ(spectra, seen, light, method="Integration", shape=shape)


# Rendering, check C2


@pytest.mark.parametrize("illuminant", ["D65", "E", "A", "D50", "FL2"])
@pytest.mark.parametrize("degrees", [10, 2])
def test_xyz_is_that_of_colour_science(illuminant, degrees):
    spectra = reflectances(50)
    found = Observer.at(NM, illuminant, degrees=degrees).xyz(spectra)
    np.testing.assert_allclose(found, their_xyz(spectra, illuminant, degrees), atol=1e-9)


@pytest.mark.parametrize("illuminant", ["D65", "E"])
def test_lab_and_srgb_are_those_of_colour_science(illuminant):
    spectra, eye = reflectances(50, seed=1), Observer.at(NM, illuminant)
    xyz = their_xyz(spectra, illuminant)
    white = science.XYZ_to_xy(eye.white)
    np.testing.assert_allclose(eye.lab(spectra), science.XYZ_to_Lab(xyz / 100, white), atol=1e-6)
    theirs = science.XYZ_to_sRGB(xyz / 100, apply_cctf_encoding=True, chromatic_adaptation_transform=None)
    np.testing.assert_allclose(eye.rgb(spectra), theirs.clip(0, 1), atol=1e-6)
    np.testing.assert_allclose(ours.rgb(spectra, NM, illuminant), eye.rgb(spectra))
    np.testing.assert_allclose(ours.lab(spectra, NM, illuminant), eye.lab(spectra))


@pytest.mark.parametrize("illuminant", ["D65", "E", "A", "D50"])
def test_the_illuminant_itself_is_white(illuminant):
    light = illumination(NM, illuminant)[None]
    eye = Observer.at(NM, illuminant, radiance=True)
    np.testing.assert_allclose(eye.xyz(light)[0], eye.white)
    assert eye.xyz(light)[0, 1] == pytest.approx(100)
    np.testing.assert_allclose(eye.lab(light)[0], [100, 0, 0], atol=1e-9)
    if illuminant == "E":
        np.testing.assert_array_equal(light, 1)


@pytest.mark.parametrize("illuminant", ["D65", "E", "A"])
def test_reflectance_is_radiance_under_its_light(illuminant):
    spectra, light = reflectances(5), illumination(NM, illuminant)
    lit, plain = Observer.at(NM, illuminant, radiance=True), Observer.at(NM, illuminant)
    np.testing.assert_allclose(lit.xyz(spectra * light), plain.xyz(spectra), rtol=1e-12)
    np.testing.assert_allclose(lit.white, plain.white)


def test_a_white_reflector_is_white_as_far_as_two_observers_agree():
    eye, white = Observer.at(NM), np.ones((1, 31))
    assert eye.xyz(white)[0, 1] == pytest.approx(100)
    np.testing.assert_allclose(eye.lab(white)[0], [100, 0, 0], atol=1e-9)
    # the matrix of sRGB is for the 2-degree observer: the 10-degree one's white is 1.7 % short of blue in light
    np.testing.assert_allclose(eye.linear(white)[0], [1.000, 1.002, 0.983], atol=1e-3)
    np.testing.assert_allclose(eye.rgb(white)[0], 1, atol=8e-3)
    two = Observer.at(NM, degrees=2)
    np.testing.assert_allclose(two.linear(white)[0], 1, atol=3e-3)  # 0.9974 red: bands of 10 nm, not of 1


def test_the_gamma_has_its_toe_where_the_standard_has_it():
    toe = np.array([0.0031308, 0.0031309, 0.0, 1.0, 0.5])
    expected = [12.92 * 0.0031308, 1.055 * 0.0031309 ** (1 / 2.4) - 0.055, 0, 1, 1.055 * 0.5 ** (1 / 2.4) - 0.055]
    np.testing.assert_allclose(encode(toe), expected, rtol=1e-12)
    either_side = encode(np.array([0.0031308 - 1e-9, 0.0031308 + 1e-9]))
    assert np.diff(either_side)[0] < 1e-6


@given(st.floats(-0.5, 2), st.sampled_from([np.float32, np.float64]))
def test_decoding_undoes_encoding(value, kind):
    values = np.array([value], kind)
    assert encode(values).dtype == decode(values).dtype == kind
    np.testing.assert_allclose(decode(encode(values)), values, rtol=1e-4, atol=1e-7)


def test_decoding_is_that_of_the_standard():
    values = np.linspace(0, 1, 1001)
    np.testing.assert_allclose(decode(values), science.models.eotf_sRGB(values), atol=1e-6)


@given(st.integers(0, 1000), st.floats(0.05, 3))
def test_xyz_is_linear_and_order_of_bands_is_nothing(seed, factor):
    rng = np.random.default_rng(seed)
    a, b = rng.random((2, 4, 31))
    eye, order = Observer.at(NM), rng.permutation(31)
    np.testing.assert_allclose(eye.xyz(a + factor * b), eye.xyz(a) + factor * eye.xyz(b), rtol=1e-9)
    np.testing.assert_allclose(Observer.at(NM[order]).xyz(a[:, order]), eye.xyz(a), rtol=1e-9)


@given(st.integers(0, 1000))
def test_uneven_and_dense_bands_see_nearly_the_same(seed):
    rng = np.random.default_rng(seed)
    uneven = np.sort(rng.uniform(395, 705, 120))
    if (np.diff(uneven) > 12).any() or uneven[0] > 402 or uneven[-1] < 698:
        return
    fine = np.arange(400.0, 701.0, 1.0)
    curve = reflectances(1, 301, seed)[0]
    found = Observer.at(uneven).xyz(np.interp(uneven, fine, curve)[None])
    np.testing.assert_allclose(found, Observer.at(fine).xyz(curve[None]), atol=1.5)


def test_bands_far_from_each_other_stand_for_no_more_than_their_surroundings():
    np.testing.assert_array_equal(widths(NM), 10)
    np.testing.assert_array_equal(widths(np.array([400.0, 410, 420, 900])), [10, 10, 25, 40])
    np.testing.assert_array_equal(widths(np.array([900.0, 420, 400, 410])), [40, 25, 10, 10])


def test_bands_outside_of_the_visible_add_nothing():
    wide = np.arange(300.0, 1100.0, 10.0)
    spectra = np.random.default_rng(0).random((3, len(wide)))
    spectra[:, (wide < 360) | (wide > 830)] = 1e6
    inside = (wide >= 360) & (wide <= 830)
    np.testing.assert_allclose(Observer.at(wide).xyz(spectra), Observer.at(wide[inside]).xyz(spectra[:, inside]))


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_types_stay_and_a_band_that_is_nan_makes_its_pixel_nan(kind):
    spectra, eye = reflectances(4).astype(kind), Observer.at(NM)
    spectra[2, 7] = np.nan
    for found in (eye.xyz(spectra), eye.lab(spectra), eye.rgb(spectra), eye.linear(spectra)):
        assert found.dtype == kind
        assert np.isnan(found).all(axis=1).tolist() == [False, False, True, False]
        np.testing.assert_array_equal(np.isnan(found).any(axis=1), np.isnan(found).all(axis=1))


def test_negative_values_are_no_light():
    eye, noise = Observer.at(NM), np.full((1, 31), -0.01)
    np.testing.assert_array_equal(eye.rgb(noise), 0)
    np.testing.assert_allclose(eye.lab(noise), 0, atol=1e-9)
    assert (eye.xyz(noise) < 0).all()


# Differences of two colours, check C3


def test_the_pairs_of_sharma_wu_and_dalal_hold():
    assert len(PAIRS) == 34
    np.testing.assert_allclose(ciede2000(PAIRS[:, :3], PAIRS[:, 3:6]), PAIRS[:, 6], atol=1e-4)
    np.testing.assert_allclose(ciede2000(PAIRS[:, 3:6], PAIRS[:, :3]), PAIRS[:, 6], atol=1e-4)


def colours(seed, count=200):
    return np.random.default_rng(seed).uniform([0, -100, -100], [100, 100, 100], (count, 3))


def test_differences_are_those_of_colour_science():
    a, b = colours(0, 2000), colours(1, 2000)
    np.testing.assert_allclose(ciede2000(a, b), science.delta_E(a, b, method="CIE 2000"), rtol=1e-9)


@given(st.integers(0, 10_000))
def test_a_difference_is_none_to_itself_the_same_both_ways_and_one_by_one(seed):
    a, b = colours(seed, 12), colours(seed + 1, 12)
    np.testing.assert_allclose(ciede2000(a, a), 0, atol=1e-6)
    np.testing.assert_allclose(ciede2000(a, b), ciede2000(b, a), rtol=1e-9)
    whole = ciede2000(a.reshape(3, 4, 3), b.reshape(3, 4, 3))
    np.testing.assert_array_equal(
        whole.ravel(), np.concatenate([ciede2000(x[None], y[None]) for x, y in zip(a, b, strict=True)])
    )
    single = ciede2000(a.astype(np.float32), b.astype(np.float32))
    np.testing.assert_allclose(single, whole.ravel(), rtol=1e-3, atol=1e-3)


def test_opposite_hues_are_opposite_whatever_rounding_makes_of_them():
    angle = np.radians(np.arange(0, 180, 0.1))
    hue = np.stack([np.full_like(angle, 50), 2.5 * np.cos(angle), 2.5 * np.sin(angle)], axis=1)
    found = ciede2000(hue, hue * [1, -1, -1])
    assert np.abs(np.diff(found)).max() < 0.01  # the other mean hue would make it jump by 0.04


def test_greys_have_no_hue_and_nan_stays():
    a, b = np.array([[50.0, 0, 0], [50, 0, 0], [np.nan, 0, 0]]), np.array([[60.0, 0, 0], [50, 3, 4], [50, 0, 0]])
    found = ciede2000(a, b)
    assert found[0] == pytest.approx(science.delta_E(a[0], b[0], method="CIE 2000"))
    assert found[1] == pytest.approx(science.delta_E(a[1], b[1], method="CIE 2000"))
    assert np.isnan(found[2])


# Metamers


@given(st.integers(0, 1000), st.floats(0.1, 1))
def test_metamers_are_other_spectra_of_the_same_colour(seed, strength):
    spectrum, eye = reflectances(1, seed=seed)[0], Observer.at(NM)
    found = metamers(spectrum, NM, count=5, strength=strength, seed=seed)
    assert found.shape == (5, 31)
    np.testing.assert_allclose(eye.xyz(found), np.repeat(eye.xyz(spectrum[None]), 5, axis=0), atol=1e-9)
    np.testing.assert_allclose(ciede2000(eye.lab(found), np.repeat(eye.lab(spectrum[None]), 5, axis=0)), 0, atol=1e-5)
    assert found.min() >= -1e-12
    assert found.max() <= 1 + 1e-12
    assert (np.abs(found - spectrum).max(axis=1) > 1e-4).all()


# Cameras


def write_responses(path, header="wavelength,R,G1,G2,B", factor=1.0):
    nm = np.arange(380, 721, 5.0)
    bells = [np.exp(-0.5 * ((nm - centre) / 30) ** 2) * factor for centre in (600, 540, 550, 450)]
    path.write_text(header + "\n" + "\n".join(",".join(f"{v:.8g}" for v in row) for row in np.stack([nm, *bells], 1)))
    return str(path)


@pytest.mark.parametrize("radiance", [False, True])
def test_a_camera_sees_white_as_white_whatever_its_scale(tmp_path, radiance):
    path = write_responses(tmp_path / "camera.csv", factor=37.0)
    primaries = camera_primaries(path, NM, "A", radiance=radiance)
    white = illumination(NM, "A") if radiance else np.ones(31)
    np.testing.assert_allclose(white @ primaries, 1)
    again = camera_primaries(write_responses(tmp_path / "other.csv"), NM, "A", radiance=radiance)
    np.testing.assert_allclose(primaries, again, rtol=1e-6)


def test_two_greens_of_a_camera_are_one(tmp_path):
    path = write_responses(tmp_path / "camera.csv")
    nm = np.arange(380, 721, 5.0)
    green = (np.exp(-0.5 * ((nm - 540) / 30) ** 2) + np.exp(-0.5 * ((nm - 550) / 30) ** 2)) / 2
    seen = np.interp(NM, nm, green)
    np.testing.assert_allclose(camera_primaries(path, NM, "E")[:, 1], seen / seen.sum(), rtol=1e-6)


@pytest.mark.skipif(not DATA.exists(), reason="the measured camera is not here")
def test_a_measured_camera_sees_a_leaf_green():
    primaries = camera_primaries(str(DATA / "camera_response" / "RGB_Camera_QE.csv"), NM)
    leaf = 0.05 + 0.1 * np.exp(-0.5 * ((NM - 550) / 25) ** 2)
    red, green, blue = leaf @ primaries
    assert green > 1.2 * max(red, blue)


def test_a_camera_without_its_colours_is_refused(tmp_path):
    for header in ("wavelength,a,b,c,d", "wavelength,R,G,G,X"):
        path = write_responses(tmp_path / "camera.csv", header)
        with pytest.raises(UserError, match="headers begin with R, G and B"):
            camera_primaries(path, NM)
    micrometres = tmp_path / "um.csv"
    micrometres.write_text("wavelength,R,G,B\n0.4,1,2,3\n0.7,1,2,3\n")
    with pytest.raises(UserError, match="unit of the first column"):
        camera_primaries(str(micrometres), NM)
    with pytest.raises(UserError, match="no such file"):
        camera_primaries(str(tmp_path / "none.csv"), NM)


# Bad input


@pytest.mark.parametrize(
    ("nm", "match"),
    [
        (np.arange(900.0, 1700.0, 10.0), "none within 20 nm of 400 nm"),
        (np.arange(430.0, 700.0, 10.0), "none within 20 nm of 400 nm"),
        (np.arange(400.0, 671.0, 10.0), "none within 20 nm of 691 nm"),
        (np.array([400.0, 420, 440, 460, 480, 500, 550, 600, 650, 700]), "none within 20 nm of 521 nm"),
        (np.arange(0.4, 0.7, 0.01), "none within 20 nm"),
        (np.array([]), "found 0 bands"),
        (np.full(31, np.nan), "none within 20 nm"),
    ],
)
def test_wavelengths_that_do_not_cover_the_visible_are_refused(nm, match):
    with pytest.raises(UserError, match=match):
        Observer.at(nm)


@pytest.mark.parametrize(
    "nm", [np.arange(420.0, 681.0, 10.0), np.arange(400.0, 701.0, 40.0), np.arange(690.0, 400.0, -5.0)]
)
def test_wavelengths_that_just_cover_it_are_taken(nm):
    assert Observer.at(nm).xyz(np.ones((1, len(nm))))[0, 1] == pytest.approx(100)


def test_unknown_lights_and_observers_are_refused_with_the_known():
    with pytest.raises(UserError, match=r"'D66'; expected one of .*D50.*D65"):
        Observer.at(NM, "D66")
    with pytest.raises(UserError, match=r"10 \(CIE 1964\) or 2"):
        Observer.at(NM, degrees=4)


# The package


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_colour_science_waits_for_the_first_observer():
    code = "import sys, tilespec.spectra.colour.observer, tilespec.api, tilespec.cli; print('colour' in sys.modules)"
    assert run(code).strip() == "False"


def test_without_colour_science_the_extra_is_named():
    code = """
import sys
sys.modules["colour"] = None
from tilespec.spectra.colour.observer import Observer
from tilespec.core.errors import UserError
try:
    Observer.at(range(400, 701, 10))
except UserError as error:
    print(error)
"""
    assert "tilespec[color]" in run(code)


def test_loading_colour_science_changes_nothing_of_numpy():
    code = """
import numpy as np
before = np.get_printoptions(), np.geterr()
from tilespec.spectra.colour.observer import Observer
Observer.at(np.arange(400.0, 701.0, 10.0))
print(before == (np.get_printoptions(), np.geterr()))
"""
    assert run(code).strip() == "True"
