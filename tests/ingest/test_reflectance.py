"""Reflectance from targets in the scene: a white panel, the empirical line, and what a HySpex camera knows itself."""

import json

import numpy as np
import pytest
from envi_files import write_envi
from hypothesis import given, settings
from hypothesis import strategies as st
from interrupts import After, StoppedError, stop
from numpy.testing import assert_allclose, assert_array_equal
from raw_counts import counts

from tilespec.core.errors import UserError
from tilespec.ingest.calibration.empirical_line import empirical_line
from tilespec.ingest.ingest import ingest
from tilespec.storage.scene import Scene

WAVELENGTHS = "wavelength units = nm\nwavelength = {400, 500, 600, 700}\n"


def found(out):
    scene = Scene.open(str(out))
    return scene.read(scene.roi)


def targets(folder, *lines):
    path = folder / "targets.csv"
    path.write_text("name,rows,cols,reflectance\n" + "\n".join(lines) + "\n")
    return path


def provenance(out):
    return Scene.open(str(out)).attrs["provenance"]["calibration"]


# a panel


@settings(max_examples=12, deadline=None)
@given(
    interleave=st.sampled_from(["bil", "bip", "bsq"]),
    width=st.sampled_from([2, 6, 130]),
    whole=st.booleans(),
    share=st.sampled_from([0.5, 0.99]),
)
def test_a_panel_becomes_its_reflectance_and_the_scene_follows(tmp_path_factory, interleave, width, whole, share):
    folder = tmp_path_factory.mktemp("panel")
    raw, dark = counts((12, width, 4), 1000, 60000), counts((2, width, 4), 100, 300, 1)
    cols = slice(0, width if whole else width // 2)
    result = ingest(
        write_envi(folder, raw, interleave),
        folder / "scene",
        panel=f"3:7,{cols.start}:{cols.stop}",
        panel_reflectance=share,
        dark=write_envi(folder, dark, name="dark"),
    )
    light = raw - dark.mean(axis=0)
    mean = light[3:7, cols].mean(axis=0) if whole else light[3:7, cols].mean(axis=(0, 1))
    assert_allclose(found(folder / "scene"), light / mean * share, rtol=3e-6, atol=1e-6)
    assert result["calibration"]["panel_gain"] == ("per column and band" if whole else "per band")
    assert any("one gain a band for all columns" in note for note in result["notes"]) == (not whole)


def test_a_panel_s_spectrum_is_interpolated_and_bands_outside_it_have_no_data(tmp_path):
    raw = counts((8, 5, 4), 1000, 60000)
    spectrum = tmp_path / "panel.txt"
    spectrum.write_text("wavelength, reflectance\n# measured\n450, 0.80\n650; 0.90\n")
    header = write_envi(tmp_path, raw, extra=WAVELENGTHS)
    result = ingest(header, tmp_path / "scene", panel="0:4,1:3", panel_reflectance=spectrum)
    mean = raw[:4, 1:3].mean(axis=(0, 1))
    expected = raw / mean * [np.nan, 0.825, 0.875, np.nan]
    assert_allclose(found(tmp_path / "scene"), expected, rtol=3e-6)
    assert any("panel.txt: 2 bands lie outside 450 to 650 nm" in note for note in result["notes"])
    spectrum.write_text("450 0.80\n650 0.95\n")
    with pytest.raises(UserError, match="a product of other settings: sources"):
        ingest(header, tmp_path / "scene", panel="0:4,1:3", panel_reflectance=spectrum)


def test_a_saturated_band_of_a_panel_has_no_data(tmp_path):
    raw = counts((8, 5, 4), 1000, 60000)
    raw[2, 1, 2] = 65535
    result = ingest(write_envi(tmp_path, raw), tmp_path / "scene", panel="0:4,1:3", panel_reflectance=0.9)
    assert np.isnan(found(tmp_path / "scene")).all(axis=(0, 1)).tolist() == [False, False, True, False]
    assert any("1 bands have no panel (1 of them saturated)" in note for note in result["notes"])
    assert result["nan_pixels"] == 40


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"panel": "0:4"}, r"--panel: found '0:4'; expected A:B,C:D, rows and columns\. The scene has 8 rows and 5"),
        ({"panel": "0:4,3:9"}, r"--panel: found '0:4,3:9'; expected .* columns up to 5"),
        ({"panel": "4:4,0:2"}, "--panel: found '4:4,0:2'"),
        ({"panel": "0:4,0:2", "white": "x"}, "--panel: found a panel beside --white; expected one source of the gain"),
        ({"panel": "0:4,0:2", "targets": "x"}, "--panel: found a panel beside --targets"),
        ({"panel_reflectance": "0.9"}, "--panel-reflectance: found no panel"),
        (
            {"panel": "0:4,0:2", "panel_reflectance": "99"},
            "--panel-reflectance: found 99; expected reflectance between",
        ),
        (
            {"panel": "0:4,0:2", "panel_reflectance": "no.txt"},
            r"no\.txt: No such file .*; expected a number, or a text",
        ),
        ({"panel": "0:4,0:2", "dark": "raw"}, "--panel: found no light, or saturated counts, in every band"),
    ],
)
def test_a_panel_that_cannot_be_is_refused(tmp_path, options, message):
    header = write_envi(tmp_path, np.full((8, 5, 4), 500, "u2"))
    given = {key: header if value == "raw" else value for key, value in options.items()}
    with pytest.raises(UserError, match=message):
        ingest(header, tmp_path / "scene", **given)
    assert not (tmp_path / "scene").exists()


def test_a_spectrum_for_a_scene_without_wavelengths_is_refused(tmp_path):
    (tmp_path / "panel.txt").write_text("400 .9\n700 .9\n")
    with pytest.raises(UserError, match=r"a spectrum .* for a scene without wavelengths"):
        ingest(
            write_envi(tmp_path, counts((4, 4, 3), 1, 9)),
            tmp_path / "scene",
            panel="0:1,0:1",
            panel_reflectance=tmp_path / "panel.txt",
        )


# the empirical line


@settings(max_examples=12, deadline=None)
@given(
    gains=st.lists(st.floats(1e-5, 3e-4), min_size=4, max_size=4),
    offsets=st.lists(st.floats(-0.05, 0.05), min_size=4, max_size=4),
    reflectances=st.lists(st.floats(0.02, 1.0), min_size=2, max_size=5, unique=True).filter(
        lambda values: np.ptp(values) > 0.2
    ),
)
def test_a_scene_made_by_a_gain_and_an_offset_a_band_is_recovered(tmp_path_factory, gains, offsets, reflectances):
    folder = tmp_path_factory.mktemp("line")
    truth = np.random.default_rng(0).uniform(0.05, 1, (4 * len(reflectances), 6, 4))
    for i, value in enumerate(reflectances):
        truth[4 * i : 4 * i + 3, 1:4] = value
    values = ((truth - offsets) / gains).astype(np.float64)
    lines = [f"t{i},{4 * i}:{4 * i + 3},1:4,{value!r}" for i, value in enumerate(reflectances)]
    result = ingest(write_envi(folder, values), folder / "scene", targets=targets(folder, *lines))
    line = result["calibration"]["empirical_line"]
    assert_allclose(line["gain"], gains, rtol=1e-6)
    assert_allclose(line["offset"], offsets, atol=1e-7)
    assert_allclose(line["residual"], 0, atol=1e-7)
    assert_allclose(found(folder / "scene"), truth, rtol=2e-5, atol=2e-5)
    assert json.dumps(provenance(folder / "scene"))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 99), count=st.integers(2, 6))
def test_the_line_of_a_band_is_numpy_s_least_squares(seed, count):
    rng = np.random.default_rng(seed)
    known = rng.uniform(0.05, 0.95, (count, 3))
    means = known * 4e4 + 500 + rng.normal(0, 100, (count, 3))
    line = empirical_line(means, np.full((count, 3), 1e-6), known)
    for band in range(3):
        gain, offset = np.polyfit(means[:, band], known[:, band], 1)
        if gain <= 0:
            assert np.isnan(line.gain[band])
            continue
        assert_allclose([line.gain[band], line.offset[band]], [gain, offset], rtol=1e-8, atol=1e-12)
        rest = known[:, band] - gain * means[:, band] - offset
        assert_allclose(line.residual[band], np.sqrt((rest**2).mean()), rtol=1e-6, atol=1e-12)


def test_bands_without_contrast_have_no_data_and_a_note(tmp_path):
    rng = np.random.default_rng(1)
    raw = counts((12, 8, 4), 1000, 60000)
    raw[:4, :4], raw[4:8, :4] = 2000, 40000
    raw[:8, :4, 1] = rng.normal(9000, 300, (8, 4))  # both targets are one, in noise
    raw[:4, :4, 3], raw[4:8, :4, 3] = 40000, 2000  # the bright target is the dark one
    result = ingest(
        write_envi(tmp_path, raw),
        tmp_path / "scene",
        targets=targets(tmp_path, "dark,0:4,0:4,0.05", "bright,4:8,0:4,0.95"),
    )
    cube = found(tmp_path / "scene")
    assert np.isnan(cube).all(axis=(0, 1)).tolist() == [False, True, False, True]
    assert any("2 bands have no contrast between the targets (1, 3): no data" in note for note in result["notes"])
    assert result["calibration"]["empirical_line"]["bands_without_contrast"] == [1, 3]
    assert result["calibration"]["empirical_line"]["gain"][1] is None
    assert result["nan_pixels"] == 96
    assert_allclose(cube[:4, :4, 0], 0.05, rtol=1e-5)


@pytest.mark.parametrize(("gap", "error", "sound"), [(100.0, 20.0, True), (100.0, 30.0, False), (0.0, 0.0, False)])
def test_targets_that_differ_by_less_than_three_standard_errors_give_no_line(gap, error, sound):
    means, known = np.array([[1000.0], [1000.0 + gap]]), np.array([[0.1], [0.9]])
    line = empirical_line(means, np.full((2, 1), error), known)
    assert np.isfinite(line.gain).item() is sound
    assert np.isfinite(line.offset).item() is sound


def test_one_target_gives_the_gain_alone(tmp_path):
    raw = counts((8, 5, 4), 1000, 60000)
    raw[:4, :3] = [10000, 20000, 30000, 40000]
    result = ingest(write_envi(tmp_path, raw), tmp_path / "scene", targets=targets(tmp_path, "white,0:4,0:3,0.8"))
    assert_allclose(found(tmp_path / "scene"), raw / [10000, 20000, 30000, 40000] * 0.8, rtol=3e-6)
    assert any("one target: gain alone" in note for note in result["notes"])


def test_a_line_follows_white_and_dark(tmp_path):
    raw, white, dark = (counts((n, 6, 4), *r, n) for n, r in ((9, (1000, 9000)), (2, (20000, 30000)), (3, (100, 300))))
    raw[:3], raw[3:6] = white.mean(axis=0) * 0.2, white.mean(axis=0) * 0.8
    reflectance = (raw - dark.mean(axis=0)) / (white.mean(axis=0) - dark.mean(axis=0))
    low, high = reflectance[:3].mean(axis=(0, 1)), reflectance[3:6].mean(axis=(0, 1))
    ingest(
        write_envi(tmp_path, raw, "bsq"),
        tmp_path / "scene",
        white=write_envi(tmp_path, white, name="white"),
        dark=write_envi(tmp_path, dark, name="dark"),
        targets=targets(tmp_path, "a,0:3,0:6,0.1", "b,3:6,0:6,0.7"),
    )
    expected = 0.1 + (reflectance - low) * 0.6 / (high - low)
    assert_allclose(found(tmp_path / "scene"), expected, rtol=1e-4, atol=1e-5)


def test_a_saturated_target_does_not_count_in_that_band(tmp_path):
    raw = np.full((9, 4, 2), 1000, "u2")
    raw[3:6], raw[6:] = 20000, 40000
    raw[7, 1, 0] = 65535
    result = ingest(
        write_envi(tmp_path, raw),
        tmp_path / "scene",
        targets=targets(tmp_path, "a,0:3,0:4,0.05", "b,3:6,0:4,1.0", "c,6:9,0:4,0.5"),
    )
    gain = result["calibration"]["empirical_line"]["gain"]
    assert_allclose(gain[0], 0.95 / 19000, rtol=1e-6)
    assert gain[1] < gain[0]
    assert any("target c: saturated, without data or unknown in 1 bands" in note for note in result["notes"])
    assert result["calibration"]["empirical_line"]["residual"][1] > 0.1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found no target; expected the columns name, rows, cols, reflectance"),
        ("a,b\n1,2\n", "found the columns a, b; expected the columns name, rows"),
        ("name,rows,cols,reflectance\nx,0:3,0:99,0.5\n", r"targets\.csv: line 2: found '0:3,0:99'; .* columns up to 4"),
        ("name,rows,cols,reflectance\nx,0:3,0:2,50\n", "line 2: reflectance: found 50; expected reflectance between"),
        (
            "name,rows,cols,reflectance\nx,0:3,0:2,../a.txt\n",
            r"line 2: reflectance: found '\.\./a\.txt'; expected a file",
        ),
        ("name,rows,cols,reflectance\nx,0:3,0:2,.5\ny,3:6,0:2,.9\n", "found targets that do not differ"),
    ],
)
def test_targets_that_cannot_be_are_refused(tmp_path, text, message):
    (tmp_path / "targets.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        ingest(
            write_envi(tmp_path, np.full((8, 4, 3), 700, "u2")), tmp_path / "scene", targets=tmp_path / "targets.csv"
        )
    assert not (tmp_path / "scene").exists()


def test_an_interrupted_line_resumes_to_the_same_bytes(tmp_path):
    raw = counts((300, 9, 4), 1000, 60000)
    raw[:4], raw[4:8] = 2000, 40000
    options = {"targets": targets(tmp_path, "a,0:4,0:9,0.05", "b,4:8,0:9,0.9"), "dtype": "uint16"}
    header = write_envi(tmp_path, raw)
    with pytest.raises(StoppedError):
        ingest(header, tmp_path / "killed", progress=After(1, stop), **options)
    result = ingest(header, tmp_path / "killed", **options)
    assert result["resumed"] == 1
    assert ingest(header, tmp_path / "whole", **options)["digest"] == result["digest"]
    with pytest.raises(UserError, match="a product of other settings"):
        ingest(header, tmp_path / "killed", **options | {"targets": None})


# what a HySpex camera knows


def write_hyspex(folder, raw, dark, bad, name="cube"):
    """Write counts behind a preamble as HySpex cameras do."""
    _, columns, bands = raw.shape
    fixed = bytearray(2181)
    fixed[:6] = b"HYSPEX"
    size = 2181 + 8 * (2 * bands + 2 * bands * columns) + 4 * len(bad)
    for offset, value in ((8, size), (1961, bands), (1965, columns), (2009, 1), (2077, len(bad))):
        fixed[offset : offset + 4] = int(value).to_bytes(4, "little")
    body = [np.linspace(400, 700, bands), np.ones(bands), np.ones(bands * columns), dark.T.ravel()]
    preamble = bytes(fixed) + b"".join(part.astype("<f8").tobytes() for part in body) + np.array(bad, "<u4").tobytes()
    header = write_envi(folder, raw, offset=len(preamble), name=name, suffix=".hyspex")
    data = folder / f"{name}.hyspex"
    data.write_bytes(preamble + data.read_bytes()[len(preamble) :])
    return header


def test_the_camera_s_dark_frame_and_bad_elements_are_used(tmp_path):
    raw, white = counts((5, 6, 7), 1000, 9000), counts((2, 6, 7), 20000, 30000, 1)
    dark = np.random.default_rng(2).uniform(100, 200, (6, 7))
    bad = [3 * 6 + 2, 0 * 6 + 5]
    result = ingest(
        write_hyspex(tmp_path, raw, dark, bad),
        tmp_path / "scene",
        white=write_hyspex(tmp_path, white, dark, bad, "white"),
    )
    cube = found(tmp_path / "scene")
    expected = (raw - dark) / (white.mean(axis=0) - dark)
    expected[:, 2, 3] = (expected[:, 2, 2] + expected[:, 2, 4]) / 2
    expected[:, 5, 0] = np.nan
    assert_allclose(cube, expected, rtol=1e-5)
    listed = {key: result["calibration"][key] for key in ("listed_bad_elements", "dead_elements", "repaired_elements")}
    assert listed == {"listed_bad_elements": 2, "dead_elements": 2, "repaired_elements": 1}
    assert any("the camera's own dark frame is used" in note for note in result["notes"])
    assert result["nan_pixels"] == 5


def test_counts_stay_as_they_are_with_a_note_on_bad_elements(tmp_path):
    raw = counts((5, 6, 7), 1000, 9000)
    result = ingest(write_hyspex(tmp_path, raw, np.ones((6, 7)), [9]), tmp_path / "scene")
    assert_array_equal(found(tmp_path / "scene"), raw)
    assert any("1 bad elements listed by the camera" in note for note in result["notes"])


def test_a_preamble_of_another_detector_is_passed_over_with_a_note(tmp_path):
    raw, white = counts((5, 6, 7), 1000, 9000), counts((2, 6, 7), 20000, 30000, 1)
    header = write_hyspex(tmp_path, raw, np.ones((6, 7)), [9])
    data = tmp_path / "cube.hyspex"
    damaged = bytearray(data.read_bytes())
    damaged[1961] = 99
    data.write_bytes(bytes(damaged))
    result = ingest(header, tmp_path / "scene", white=write_envi(tmp_path, white, name="white"))
    assert_allclose(found(tmp_path / "scene"), raw / white.mean(axis=0), rtol=3e-6)
    assert any("its preamble is of 6 columns x 99 bands and is passed over" in note for note in result["notes"])
