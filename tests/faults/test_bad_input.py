"""Bad input, row by row of the table of faults: what is refused with which message, and what is read and counted.

`ROWS` names the tests of every row; those of one file or one calibration stand beside the others of that file.
"""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from envi_files import edited, write_envi
from numpy.testing import assert_allclose, assert_array_equal
from raw_counts import calibrated, counts

from tilespec.core.errors import UserError
from tilespec.ingest.ingest import ingest
from tilespec.spectra.fit import fit
from tilespec.spectra.transform import transform
from tilespec.storage.scene import Scene

ROWS = {
    1: """ingest/test_envi.test_a_truncated_file_is_refused_with_both_sizes
    faults/test_bad_input.test_a_truncated_file_gives_its_whole_lines_when_it_may
    faults/test_bad_input.test_a_truncated_file_without_a_whole_line_is_refused_even_so
    faults/test_bad_input.test_whole_lines_are_asked_of_an_envi_file_only""",
    2: "ingest/test_envi.test_a_file_that_is_too_long_is_refused_with_a_hint_at_the_header",
    3: """ingest/test_envi.test_every_layout_reads_as_gdal_and_spectral_python_read_it
    faults/test_bad_input.test_a_missing_byte_order_is_little_endian_with_one_note""",
    4: """ingest/test_envi.test_a_wrong_header_is_refused_by_file_field_found_and_expected
    faults/test_bad_input.test_an_interleave_is_read_in_any_case_and_never_guessed""",
    5: "ingest/test_envi.test_every_layout_reads_as_gdal_and_spectral_python_read_it",
    6: """ingest/test_envi.test_a_wrong_header_is_refused_by_file_field_found_and_expected
    ingest/test_envi.test_wavelengths_come_in_nanometres_and_guesses_are_told_once
    ingest/test_refused.test_wavelengths_of_another_count_are_refused
    faults/test_bad_input.test_wavelengths_out_of_order_or_twice_stay_as_they_are_with_a_note""",
    7: """ingest/test_envi.test_a_header_as_people_write_them_is_parsed
    ingest/test_envi.test_a_list_of_a_hundred_thousand_wavelengths_is_parsed""",
    8: """ingest/test_envi.test_a_wrong_header_is_refused_by_file_field_found_and_expected
    ingest/test_envi.test_absurd_dimensions_are_refused_before_memory_is_asked_for
    faults/test_bad_input.test_impossible_sizes_are_refused_before_memory_is_asked_for""",
    9: """ingest/test_envi.test_header_or_data_may_be_given_and_both_names_of_a_header_are_found
    ingest/test_envi.test_a_missing_partner_and_two_candidates_are_refused_by_name""",
    10: """ingest/test_envi.test_an_ignore_value_that_cannot_occur_is_ignored_with_a_note
    faults/test_bad_input.test_an_ignore_value_of_nan_masks_and_one_that_cannot_occur_masks_nothing""",
    11: """ingest/test_encode.test_constant_and_empty_bands_are_counted
    faults/test_bad_input.test_what_is_not_finite_is_counted_and_never_reaches_a_pca""",
    12: """ingest/test_white_dark.test_a_dead_column_and_a_dead_edge_are_not_invented
    ingest/test_white_dark.test_a_reference_of_another_camera_is_refused
    faults/test_bad_input.test_a_white_of_a_hundred_lines_is_their_mean_and_pixels_of_no_light_have_no_data""",
    13: """ingest/test_reflectance.test_the_camera_s_dark_frame_and_bad_elements_are_used
    ingest/test_white_dark.test_a_dead_element_is_interpolated_along_the_bands_of_its_pixel
    ingest/test_white_dark.test_without_repair_a_dead_element_is_nan_and_counted
    ingest/test_white_dark.test_saturated_counts_are_nan_and_a_saturated_white_is_dead""",
    14: """ingest/test_readers.test_cf_is_what_xarray_decodes
    ingest/test_refused.test_a_scale_factor_is_applied_once""",
    15: """ingest/test_ingest.test_a_south_up_or_rotated_raster_keeps_its_transform
    ingest/test_ingest.test_a_raster_without_a_place_gives_a_scene_without_one""",
}
"""Row of the table of faults to the tests that hold it."""


@pytest.mark.parametrize("row", ROWS)
def test_every_row_has_its_tests(row):
    for name in ROWS[row].split():
        file, _, function = name.rpartition(".")
        tree = ast.parse((Path(__file__).parents[1] / f"{file}.py").read_text())
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, name


def values(out):
    scene = Scene.open(str(out))
    return scene.read(scene.roi)


# row 1


def cut(header, share):
    data = header.with_suffix(".img")
    data.write_bytes(data.read_bytes()[: int(data.stat().st_size * share)])
    return header


@pytest.mark.parametrize(
    ("interleave", "share", "whole"), [("bil", 0.9, 180), ("bip", 0.4, 80), ("bsq", 0.9, 140), ("bsq", 0.75, 50)]
)
@pytest.mark.parametrize("white", [False, True])
def test_a_truncated_file_gives_its_whole_lines_when_it_may(tmp_path, interleave, share, whole, white):
    raw = counts((200, 5, 4), 1000, 9000)
    if interleave == "bsq":  # its last band is cut: lines are whole while they have that band too
        whole = int(200 * 4 * share) - 600 if share > 0.75 else 0
    header = cut(write_envi(tmp_path, raw, interleave), share)
    options = {"white": write_envi(tmp_path, np.full((1, 5, 4), 10000, "u2"), name="white")} if white else {}
    with pytest.raises(UserError, match=rf"{whole} lines are whole"):
        ingest(header, tmp_path / "scene", **options)
    if not whole:
        with pytest.raises(UserError, match="0 lines are whole: copy it again"):
            ingest(header, tmp_path / "scene", allow_truncated=True, **options)
        return
    result = ingest(header, tmp_path / "scene", allow_truncated=True, **options)
    found = values(tmp_path / "scene")
    assert found.shape == raw.shape
    assert_allclose(found[:whole], raw[:whole] / (10000 if white else 1), rtol=1e-6)
    assert np.isnan(found[whole:]).all()
    assert result["empty_pixels"] == (200 - whole) * 5
    assert any(f"{200 - whole} of 200 lines are missing and have no data" in note for note in result["notes"])
    assert any("has no ignore value: 65535 means no data" in note for note in result["notes"])


def test_a_truncated_file_without_a_whole_line_is_refused_even_so(tmp_path):
    header = cut(write_envi(tmp_path, counts((10, 5, 4), 1000, 9000)), 0.0)
    with pytest.raises(UserError, match=r"found 0 bytes; expected 400 .*0 lines are whole: copy it again\."):
        ingest(header, tmp_path / "scene", allow_truncated=True)
    assert not (tmp_path / "scene").exists()


def test_a_truncated_file_of_floats_needs_no_ignore_value(tmp_path):
    data = np.random.default_rng(0).normal(size=(10, 5, 4)).astype(np.float32)
    result = ingest(cut(write_envi(tmp_path, data), 0.9), tmp_path / "scene", allow_truncated=True)
    assert_array_equal(values(tmp_path / "scene")[:9], data[:9])
    assert (result["empty_pixels"], result["nan_pixels"]) == (5, 5)


# rows 3, 4 and 6


def test_a_missing_byte_order_is_little_endian_with_one_note(tmp_path):
    raw = counts((4, 5, 3), 1000, 9000)
    result = ingest(edited(write_envi(tmp_path, raw), "byte order = 0\n", ""), tmp_path / "scene")
    assert_array_equal(values(tmp_path / "scene"), raw)
    assert [note for note in result["notes"] if "byte order" in note] == [
        "cube.hdr: byte order is missing, taken as 0 (little endian)"
    ]


def test_an_interleave_is_read_in_any_case_and_never_guessed(tmp_path):
    raw = counts((4, 5, 3), 1000, 9000)
    ingest(edited(write_envi(tmp_path, raw), "= bil", "= BIL"), tmp_path / "scene")
    assert_array_equal(values(tmp_path / "scene"), raw)
    for given, found in (("interleave = foo\n", "found 'foo'"), ("", "found nothing")):
        header = edited(write_envi(tmp_path, raw), "interleave = bil\n", given)
        with pytest.raises(UserError, match=rf"interleave: {found}; expected bil, bip or bsq"):
            ingest(header, tmp_path / "other")


@pytest.mark.parametrize(("listed", "note"), [("600, 400, 500", "not sorted"), ("400, 400, 500", "occur twice")])
def test_wavelengths_out_of_order_or_twice_stay_as_they_are_with_a_note(tmp_path, listed, note):
    raw = counts((4, 5, 3), 1000, 9000)
    extra = f"wavelength units = nm\nwavelength = {{{listed}}}\n"
    result = ingest(write_envi(tmp_path, raw, extra=extra), tmp_path / "scene")
    assert Scene.open(str(tmp_path / "scene")).spectral.values == tuple(float(x) for x in listed.split(","))
    assert sum(note in line for line in result["notes"]) == 1
    assert_array_equal(values(tmp_path / "scene"), raw)


# row 8

REFUSED = """
import sys
from pathlib import Path
from tilespec.core.errors import UserError
from tilespec.ingest.ingest import ingest
for header in sys.argv[1:]:
    try:
        ingest(header, Path(header).with_name("scene"))
    except UserError as error:
        print(error)
print(*[line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")])
"""
IMPOSSIBLE = {
    "lines: found -4; expected an integer of at least 1": {"lines = 4": "lines = -4"},
    "samples: found 0; expected an integer of at least 1": {"samples = 5": "samples = 0"},
    "found 120 bytes; expected 800000000000000000000000 ": {
        "lines = 4": "lines = 2000000000",
        "samples = 5": "samples = 2000000000",
        "bands = 3": "bands = 100000",
    },
    "found 120 bytes; expected 100000000119 ": {"header offset = 0": "header offset = 99999999999"},
}


def test_impossible_sizes_are_refused_before_memory_is_asked_for(tmp_path):
    headers = []
    for number, edits in enumerate(IMPOSSIBLE.values()):
        headers.append(write_envi(tmp_path, counts((4, 5, 3), 1000, 9000), name=f"cube{number}"))
        for old, new in edits.items():
            edited(headers[-1], old, new)
    run = subprocess.run([sys.executable, "-c", REFUSED, *headers], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    *errors, peak = run.stdout.splitlines()
    assert len(errors) == len(IMPOSSIBLE)
    assert all(message in error for message, error in zip(IMPOSSIBLE, errors, strict=True))
    assert int(peak.split()[1]) * 1024 < 200e6
    assert not (tmp_path / "scene").exists()


# row 10


def test_an_ignore_value_of_nan_masks_and_one_that_cannot_occur_masks_nothing(tmp_path):
    data = np.random.default_rng(0).normal(size=(6, 5, 3)).astype(np.float32)
    data[2, 3], data[4, 1, 0] = np.nan, np.nan
    result = ingest(write_envi(tmp_path, data, extra="data ignore value = NaN\n"), tmp_path / "floats")
    assert_array_equal(values(tmp_path / "floats"), data)
    assert (result["nan_pixels"], result["empty_pixels"]) == (2, 1)
    raw = counts((6, 5, 3), 0, 9000)
    result = ingest(write_envi(tmp_path, raw, extra="data ignore value = -9.999e+03\n"), tmp_path / "counts")
    assert_array_equal(values(tmp_path / "counts"), raw)
    assert any("data ignore value -9999 cannot occur in uint16, ignored" in note for note in result["notes"])


# row 11


def test_what_is_not_finite_is_counted_and_never_reaches_a_pca(tmp_path):
    rng = np.random.default_rng(0)
    data = rng.normal(0.5, 0.1, (140, 150, 6)).astype(np.float32)
    data[rng.random((140, 150)) < 0.01] = np.nan
    data[5, 7, 2] = np.inf
    data[..., 4] = 0.25
    data[..., 3], data[:128, 128:] = np.nan, np.nan
    valid = np.isfinite(np.delete(data, 3, axis=-1)).all(axis=-1)
    result = ingest(write_envi(tmp_path, data), tmp_path / "scene")
    known = {key: result[key] for key in ("infinities", "constant_bands", "empty_bands", "nan_pixels", "empty_pixels")}
    assert known == {
        "infinities": 1,
        "constant_bands": 1,
        "empty_bands": 1,
        "nan_pixels": 140 * 150,
        "empty_pixels": 128 * 22,
    }
    with pytest.raises(UserError, match=r"no valid pixel .*Drop bands that are NaN throughout"):
        fit(str(tmp_path / "scene"), str(tmp_path / "none"), steps="pca=2")
    fit(str(tmp_path / "scene"), str(tmp_path / "recipe"), steps="drop=#3:#4,pca=2")
    transform(str(tmp_path / "recipe"), str(tmp_path / "scene"), str(tmp_path / "scores"))
    scores = values(tmp_path / "scores")
    assert np.isfinite(scores[valid]).all()
    assert np.isnan(scores[~valid]).all()
    assert np.isnan(scores[:128, 128:]).all()
    pixels = np.delete(data, 3, axis=-1)[valid].astype(np.float64)
    largest = np.linalg.eigvalsh(np.cov(pixels.T))[::-1][:2]
    assert_allclose(scores[valid].var(axis=0, ddof=1), largest, rtol=1e-3)


# row 12


def test_a_white_of_a_hundred_lines_is_their_mean_and_pixels_of_no_light_have_no_data(tmp_path):
    raw, white = counts((4, 6, 7), 1000, 9000), counts((100, 6, 7), 20000, 30000, 1)
    dark = counts((3, 6, 7), 100, 200, 2)
    white[:, 1] = dark[:1, 1] = dark[1:, 1] = 150
    result, found = calibrated(tmp_path, raw, white, dark)
    light = white.mean(axis=0) - dark.mean(axis=0)
    expected = np.where(light > 0, (raw - dark.mean(axis=0)) / np.where(light > 0, light, 1), np.nan)
    assert_allclose(found, expected, rtol=3e-6)
    assert np.isnan(found[:, 1]).all()
    assert (result["empty_pixels"], result["calibration"]["dead_elements"]) == (4, 7)


def test_whole_lines_are_asked_of_an_envi_file_only(tmp_path):
    np.save(tmp_path / "cube.npy", np.zeros((3, 4, 5), np.float32))
    with pytest.raises(UserError, match=r"--allow-truncated: found .*cube\.npy.*expected an ENVI file"):
        ingest(tmp_path / "cube.npy", tmp_path / "scene", allow_truncated=True)
    assert not (tmp_path / "scene").exists()
