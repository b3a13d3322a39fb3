"""Integration times with units and gains in decibels; lines of references without data."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from raw_counts import calibrated, counts

from tilespec.core.errors import UserError
from tilespec.ingest.calibration.exposure import exposure_of, relative_light
from tilespec.ingest.readers.source import Facts

UNITS = {"ms": 1.0, "us": 1e-3, "µs": 1e-3, "s": 1e3, "seconds": 1e3, "microseconds": 1e-3, "ns": 1e-6}
SPELLINGS = ("tint = {n} {u}", "integration time = {n}{u}", "Integration Time ({u}) = {n}", "exposure_time_{u} = {n}")
SPELLINGS += ("shutter = {n} {u}", "exposure [{u}] = {n}", "exposure time = {{ {n} {u} }}")


def facts_of(text):
    key, _, value = text.partition("=")
    return Facts(shape=(1, 1, 1), dtype=np.dtype("u2"), header={key.strip().lower(): value.strip()})


@given(time=st.floats(0.01, 500), unit=st.sampled_from(sorted(UNITS)), spelling=st.sampled_from(SPELLINGS))
def test_a_time_is_the_same_in_every_unit_and_spelling(time, unit, spelling):
    facts = facts_of(spelling.format(n=f"{time / UNITS[unit]:.12f}", u=unit))
    assert_allclose(exposure_of(facts).time, time, rtol=1e-3)
    ratio, notes = relative_light(facts, facts_of(f"tint = {2 * time:.12f} ms"))
    assert_allclose(ratio, 2.0, rtol=1e-3)
    assert notes == ()


def test_a_unit_that_is_not_known_is_refused_and_a_key_that_is_not_is_named():
    with pytest.raises(UserError, match="furlongs"):
        exposure_of(facts_of("tint = 10 furlongs"))
    _, notes = relative_light(facts_of("sensor exposure setting = 3"), facts_of("sensor exposure setting = 9"))
    assert any("sensor exposure setting" in note for note in notes)


@given(st.floats(0, 40), st.floats(0, 40))
def test_gains_in_decibels_are_taken_into_account(ours, theirs):
    ratio, _ = relative_light(facts_of(f"gain = {ours:.6f} dB"), facts_of(f"gain (dB) = {theirs:.6f}"))
    assert_allclose(ratio, 10 ** ((theirs - ours) / 20), rtol=1e-4)


@pytest.mark.parametrize("which", ["white", "dark"])
@pytest.mark.parametrize(
    ("fill", "extra"), [(7, "data ignore value = 7\n"), (65535, "data ignore value = 65535\n"), (65535, ""), (0, "")]
)
def test_lines_without_data_do_not_count_in_a_reference(tmp_path, which, fill, extra):
    references = {"white": counts((10, 4, 3), 20000, 30000, 1), "dark": counts((10, 4, 3), 100, 200, 2)}
    raw = counts((3, 4, 3), 2000, 9000)
    _, right = calibrated(tmp_path / "a", raw, *(v[3:] if k == which else v for k, v in references.items()))
    references[which][:3] = fill
    texts = ("", *(extra if name == which else "" for name in references))
    result, found = calibrated(tmp_path / "b", raw, references["white"], references["dark"], extra=texts)
    assert_allclose(found, right, rtol=1e-6)
    assert any("3 of 10 lines" in note for note in result["notes"])


def test_a_nan_line_of_a_reference_does_not_count_and_one_without_any_data_is_refused(tmp_path):
    raw, white = counts((3, 4, 3), 2000, 9000), counts((5, 4, 3), 20000, 30000, 1).astype(np.float32)
    _, right = calibrated(tmp_path / "a", raw, white[1:])
    white[0] = np.nan
    _, found = calibrated(tmp_path / "b", raw, white)
    assert_allclose(found, right, rtol=1e-6)
    with pytest.raises(UserError, match="without data"):
        calibrated(tmp_path / "c", raw, np.full((2, 4, 3), np.nan, np.float32))


def test_references_with_a_gain_of_their_own_are_in_the_unit_of_the_scene(tmp_path):
    raw, white = counts((3, 4, 3), 2000, 9000), counts((5, 4, 3), 20000, 30000, 1)
    _, right = calibrated(tmp_path / "a", raw, white)
    texts = ("data gain values = {2, 2, 2}\n", "data gain values = {6, 6, 6}\n", "")
    _, found = calibrated(tmp_path / "b", raw, white, extra=texts)
    assert_allclose(found, right / 3, rtol=1e-6)
