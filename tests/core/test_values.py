"""What people hold in Python becomes the plain data that verbs take."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from tilespec.core.errors import UserError
from tilespec.core.options import Option, Region, Seeded, options_of
from tilespec.core.values import is_array, listed, plain, span

ENDS = st.none() | st.integers(0, 10**6)


@given(ENDS, ENDS)
def test_every_spelling_of_a_span_is_one_text(start, stop):
    text = f"{'' if start is None else start}:{'' if stop is None else stop}"
    spelled = [slice(start, stop), (start, stop), [start, stop], text]
    if start is not None and stop is not None:
        spelled += [(np.int64(start), np.uint32(stop)), range(start, stop), np.array([start, stop])]
    assert {span(value) for value in spelled} == {text}


LEAVES = st.integers(-5, 5) | st.floats(allow_nan=False) | st.text() | st.booleans() | st.none()


@given(st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8))
def test_plain_data_stay_as_they_are(value):
    assert plain(value) == value


def test_paths_and_numbers_of_numpy_become_plain_wherever_they_are():
    value = {Path("a"): [Path("b/c"), np.int16(3), (np.float32(0.5), np.bool_(True))], "n": np.array(7)}
    assert json.loads(json.dumps(plain(value))) == {"a": ["b/c", 3, [0.5, True]], "n": 7}


def test_only_arrays_are_arrays():
    data = xr.DataArray(np.zeros(3))
    assert all(map(is_array, [np.zeros(3), data, data.to_dataset(name="cube")]))
    assert not any(map(is_array, [np.float32(1), np.array(1), "text", [1, 2], Path("a"), None]))


def option(name, kind):
    return next(option for option in options_of(kind) if option.name == name)


def test_an_option_of_text_takes_a_list():
    steps = Option(name="steps", kind=str | None, default=None, text="", flag="--steps", metavar=None)
    assert steps.read(["SNV", "pca=3"]) == "SNV,pca=3"
    assert steps.read(Path("a/b")) == "a/b"
    assert listed("snv") == "snv"
    assert option("rows", Region).read((0, np.int64(40))) == "0:40"


@pytest.mark.parametrize("value", [-1, 2**63, 1.5, float("nan"), True, "7", None, [1]])
def test_a_seed_that_no_generator_takes_is_refused(value):
    with pytest.raises(UserError, match="--seed: found"):
        option("seed", Seeded).read(value)


@given(st.integers(0, 2**63 - 1))
def test_any_other_seed_is_taken(value):
    assert option("seed", Seeded).read(value) == value
