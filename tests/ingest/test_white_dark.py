"""Calibration: the formula, its times and panel, dead and saturated elements, and what is refused."""

import numpy as np
import pytest
from envi_files import write_envi
from hypothesis import given, settings
from hypothesis import strategies as st
from locations import DATA, real
from numpy.testing import assert_allclose, assert_array_equal
from raw_counts import calibrated, counts

from tilespec.core.errors import UserError
from tilespec.ingest.calibration.exposure import exposure_of
from tilespec.ingest.ingest import ingest
from tilespec.ingest.readers.source import Facts
from tilespec.storage.scene import Scene


@settings(max_examples=12, deadline=None)
@given(
    interleave=st.sampled_from(["bil", "bip", "bsq"]),
    lines=st.integers(1, 5),
    width=st.sampled_from([1, 3, 127, 130]),
    times=st.tuples(st.sampled_from([4.0, 8.0]), st.sampled_from([2.0, 8.0])),
    panel=st.sampled_from([0.5, 0.99]),
)
def test_reflectance_is_the_formula_for_each_column_and_band(tmp_path_factory, interleave, lines, width, times, panel):
    raw, white, dark = (
        counts((n, width, 4), low, high, seed)
        for seed, (n, low, high) in enumerate([(lines, 300, 60000), (3, 20000, 60000), (2, 100, 300)])
    )
    t_raw, t_white = times
    extra = (f"integration time = {t_raw}\n", f"integration time = {t_white}\npanel reflectance = {panel}\n", "")
    folder = tmp_path_factory.mktemp("calibrate")
    _, found = calibrated(folder, raw, white, dark, extra=extra, interleave=interleave)
    w, d = white.mean(axis=0), dark.mean(axis=0)
    assert_allclose(found, (raw - d) / t_raw / ((w - d) / t_white) * panel, rtol=2e-6, atol=1e-7)


def test_white_calibrates_to_its_panel_and_dark_to_zero(tmp_path):
    white, dark = counts((1, 9, 5), 30000, 50000), counts((1, 9, 5), 100, 200, 1)
    extra = ("", "panel reflectance = {.5, .6, .7, .8, .9}\n", "")
    _, found = calibrated(tmp_path, np.concatenate([white, dark]), white, dark, extra=extra)
    assert_allclose(found[0], np.broadcast_to([0.5, 0.6, 0.7, 0.8, 0.9], (9, 5)), rtol=1e-6)
    assert_array_equal(found[1], 0)


def test_a_dead_element_is_interpolated_along_the_bands_of_its_pixel(tmp_path):
    raw, white, dark = counts((4, 6, 7), 1000, 9000), counts((2, 6, 7), 20000, 30000, 1), np.zeros((1, 6, 7), "u2")
    dark[0, 2, 3] = white[:, 2, 3] = 500
    dark[0, 4, 2:4] = 65000
    result, found = calibrated(tmp_path, raw, white, dark)
    assert_allclose(found[:, 2, 3], (found[:, 2, 2] + found[:, 2, 4]) / 2, rtol=1e-6)
    slope = (found[:, 4, 4] - found[:, 4, 1]) / 3
    assert_allclose(found[:, 4, 2:4], found[:, 4, 1:2] + slope[:, None] * [1, 2], rtol=1e-5)
    assert result["calibration"]["dead_elements"] == result["calibration"]["repaired_elements"] == 3
    assert np.isfinite(found).all()


def test_without_repair_a_dead_element_is_nan_and_counted(tmp_path):
    raw, white = counts((4, 6, 7), 1000, 9000), counts((2, 6, 7), 20000, 30000, 1)
    dark = np.zeros((1, 6, 7), "u2")
    dark[0, 2, 3] = 65535
    result, found = calibrated(tmp_path, raw, white, dark, repair=False)
    assert np.argwhere(np.isnan(found[0])).tolist() == [[2, 3]]
    assert result["nan_pixels"] == 4
    assert result["calibration"]["dead_elements"] == 1
    assert result["calibration"]["repaired_elements"] == 0


def test_a_dead_column_and_a_dead_edge_are_not_invented(tmp_path):
    raw, white = counts((4, 6, 7), 1000, 9000), counts((2, 6, 7), 20000, 30000, 1)
    dark = np.zeros((1, 6, 7), "u2")
    dark[0, 1] = 65535
    dark[0, 5, 0] = 65535
    result, found = calibrated(tmp_path, raw, white, dark)
    assert np.isnan(found[:, 1]).all()
    assert np.isnan(found[:, 5, 0]).all()
    assert result["empty_pixels"] == 4
    assert result["nan_pixels"] == 8
    assert result["calibration"]["repaired_elements"] == 0


def test_saturated_counts_are_nan_and_a_saturated_white_is_dead(tmp_path):
    raw, white = counts((4, 6, 7), 1000, 9000), counts((2, 6, 7), 20000, 30000, 1)
    raw[1, 2, 3] = raw[3, 0, 0] = 65535
    white[1, 4, 4] = 65535
    result, found = calibrated(tmp_path, raw, white, repair=False)
    assert sorted(map(tuple, np.argwhere(np.isnan(found)).tolist())) == sorted(
        [(1, 2, 3), (3, 0, 0), *((y, 4, 4) for y in range(4))]
    )
    assert result["saturated"] == 2
    assert result["calibration"]["saturated_white_elements"] == 1
    assert any("no dark reference" in note for note in result["notes"])


def test_an_ignore_value_is_no_saturation(tmp_path):
    raw, white = counts((4, 6, 7), 1000, 9000), counts((2, 6, 7), 20000, 30000, 1)
    raw[2, 3] = 65535
    result, found = calibrated(tmp_path, raw, white, extra=("data ignore value = 65535\n", "", ""))
    assert np.isnan(found[2, 3]).all()
    assert (result["saturated"], result["empty_pixels"], result["nan_pixels"]) == (0, 1, 1)


def test_reflectance_as_uint16_has_steps_of_a_ten_thousandth(tmp_path):
    raw, white = counts((4, 130, 7), 1000, 60000), counts((2, 130, 7), 20000, 30000, 1)
    raw[0, 0, 0] = 65535
    result, found = calibrated(tmp_path, raw, white, dtype="uint16")
    exact = raw / white.mean(axis=0)
    exact[0, 0, 0] = np.nan
    assert_allclose(found, exact, atol=0.51e-4)
    scene = Scene.open(str(tmp_path / "scene"))
    assert (scene.dtype, scene.nodata, round(1 / scene.scale)) == (np.uint16, 65535, 10000)
    assert result["clipped"] == 0


def test_values_outside_the_steps_are_clipped_and_counted(tmp_path):
    raw = counts((2, 3, 4), 5000, 9000)
    white, dark = np.full((1, 3, 4), 6000, "u2"), np.full((1, 3, 4), 5900, "u2")
    result, found = calibrated(tmp_path, raw, white, dark, dtype="uint16")
    exact = (raw - 5900.0) / 100
    assert result["clipped"] == int(((exact < -0.5e-4) | (exact > 6.5534)).sum()) > 0
    assert_allclose(found, np.clip(exact, 0, 6.5534), atol=1e-4)


@pytest.mark.parametrize(
    ("shape", "message"),
    [((2, 5, 7), "found 5 columns x 7 bands; expected 6 columns x 7 bands"), ((2, 6, 8), "found 6 columns x 8 bands")],
)
def test_a_reference_of_another_camera_is_refused(tmp_path, shape, message):
    with pytest.raises(UserError, match=message):
        calibrated(tmp_path, counts((4, 6, 7), 1000, 9000), counts(shape, 20000, 30000))
    assert not (tmp_path / "scene").exists()
    assert not (tmp_path / "scene.tilespec").exists()


def test_a_reference_of_other_wavelengths_is_refused(tmp_path):
    raw, white = counts((4, 6, 3), 1000, 9000), counts((2, 6, 3), 20000, 30000)
    extra = tuple(
        f"wavelength units = nm\nwavelength = {{{listed}}}\n" for listed in ("400, 500, 600", "401, 702, 801", "")
    )
    with pytest.raises(UserError, match="wavelength: found 702 nm for band 1; expected 500, as the scene has"):
        calibrated(tmp_path, raw, white, extra=extra)


def test_white_equal_to_dark_is_refused(tmp_path):
    raw, white = counts((4, 6, 7), 1000, 9000), counts((2, 6, 7), 20000, 30000)
    with pytest.raises(UserError, match="nowhere brighter than the dark"):
        calibrated(tmp_path, raw, white, white)
    assert not (tmp_path / "scene").exists()


def test_a_dark_alone_is_refused(tmp_path):
    header = write_envi(tmp_path, counts((4, 6, 7), 1000, 9000))
    with pytest.raises(UserError, match="a dark reference alone"):
        ingest(header, tmp_path / "scene", dark=header)


def test_a_panel_in_percent_is_refused(tmp_path):
    raw, white = counts((4, 6, 7), 1000, 9000), counts((2, 6, 7), 20000, 30000)
    with pytest.raises(UserError, match="panel reflectance: found 99 to 99; expected reflectance between 0 and 1"):
        calibrated(tmp_path, raw, white, extra=("", "panel reflectance = 99\n", ""))


@pytest.mark.parametrize(
    ("header", "time"),
    [
        ({"integration time": "8.0"}, 8.0),
        ({"tint": "30.0"}, 30.0),
        ({"description": "{\nFrameperiod = 9.000\nIntegration time = 7.5\nBinning = 1 }"}, 7.5),
        ({"description": "{ integration time: 3,x,ms }"}, 3.0),
        ({"integration time": "{ 5 ms }"}, 5.0),
        ({"integration time": "unknown"}, None),
        ({"integration time": "0"}, None),
        ({}, None),
    ],
)
def test_the_integration_time_is_found_where_cameras_write_it(header, time):
    facts = Facts(shape=(1, 1, 1), dtype=np.dtype("u2"), header=header)
    assert exposure_of(facts).time == time


def test_a_dark_of_another_time_is_used_as_it_is_with_a_note(tmp_path):
    raw, white, dark = (counts((2, 3, 4), low, 2 * low, low) for low in (2000, 20000, 100))
    extra = tuple(f"integration time = {t}\n" for t in (4, 8, 16))
    result, found = calibrated(tmp_path, raw, white, dark, extra=extra)
    d = dark.mean(axis=0)
    assert_allclose(found, (raw - d) * 2 / (white.mean(axis=0) - d), rtol=2e-6)
    assert any("dark was taken with 16 ms" in note for note in result["notes"])


@real
def test_the_corn_kernel_has_the_reflectance_of_a_corn_kernel(tmp_path):
    folder = DATA / "plantcv_corn_kernel_envi"
    result = ingest(
        folder / "corn_kernel_B73.hdr",
        tmp_path / "scene",
        white=folder / "white_reference_crop.hdr",
        dark=folder / "dark_reference_crop.raw",
    )
    scene = Scene.open(str(tmp_path / "scene"))
    cube = scene.read(scene.roi)
    mean = cube[9:15, 21:33].mean(axis=(0, 1))
    assert abs(mean[scene.spectral.nearest(425)] - 0.16) < 0.05
    assert abs(mean[scene.spectral.nearest(900)] - 0.87) < 0.05
    raw, white, dark = (
        np.fromfile(folder / f"{name}.raw", "<u2").reshape(31, 580, 43).transpose(0, 2, 1)
        for name in ("corn_kernel_B73", "white_reference_crop", "dark_reference_crop")
    )
    d = dark.mean(axis=0)
    assert_allclose(cube, (raw - d) / (white.mean(axis=0) - d), rtol=1e-4, atol=1e-5)
    assert result["calibration"]["dead_elements"] == 0


@real
def test_a_column_without_light_is_nodata_in_real_frames(tmp_path):
    frames = np.load(DATA / "pushbroom_white_reference" / "spectralon_frames.npz")["frames"]
    white = frames[[int((frames == 0).sum(axis=(1, 2)).argmax())]]
    np.save(tmp_path / "white.npy", white)
    np.save(tmp_path / "raw.npy", white // 2)
    result = ingest(tmp_path / "raw.npy", tmp_path / "scene", white=tmp_path / "white.npy")
    scene = Scene.open(str(tmp_path / "scene"))
    cube = scene.read(scene.roi)
    dark_columns = (white[0] == 0).all(axis=1)
    assert dark_columns.sum() > 50
    assert np.isnan(cube[0, dark_columns]).all()
    assert result["empty_pixels"] >= dark_columns.sum()
    assert abs(np.nanmedian(cube) - 0.5) < 0.02
