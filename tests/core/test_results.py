"""Results are dictionaries that people can read."""

import json

import pytest

from tilespec.core.results import Result, human, in_bytes


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (710049792, "710 MB"),
        (194848768, "195 MB"),
        (5.5e9, "5.5 GB"),
        (2e12, "2 TB"),
    ],
)
def test_bytes_have_a_unit(size, text):
    assert in_bytes(size) == text


def test_a_result_is_data_for_programs_and_lines_for_people():
    result = Result(oa=1 / 3, bytes_read=710049792, peak_memory=83000000, tiles=710049792, spectral={"first": 450.0})
    assert result.oa == result["oa"]
    assert json.loads(json.dumps(result)) == dict(result)
    assert "710 MB" in repr(result)
    assert "83 MB" in repr(result)
    assert "0.333333" in repr(result)
    assert "710049792" in repr(result), "a count is no size"
    assert "oa" in dir(result)
    with pytest.raises(AttributeError, match="it has oa"):
        _ = result.kappa


def test_lists_have_six_digits():
    assert human({"ratio": [1 / 3, 2 / 3]}) == "ratio  [0.333333, 0.666667]"
