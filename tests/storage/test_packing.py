"""Packing: xarray decodes the same numbers by the same attributes; what it leaves is checked by its definition."""

import base64
import json
import struct
import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tilespec.core.errors import UserError
from tilespec.storage.packing import Packing

INTEGERS = ["i1", "u1", "i2", "u2", "i4", "u4"]
SPELLED = {
    "number": lambda value: value,
    "array": lambda value: np.array([value]),
    "list": lambda value: [value],
    "text": lambda value: repr(float(value)),
    "base64": lambda value: base64.b64encode(struct.pack("<d", value)).decode(),
}


def theirs(stored, attrs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return xr.conventions.decode_cf(xr.Dataset({"v": ("i", stored, dict(attrs))})).v.values


def ours(stored, attrs):
    return Packing.of("v", attrs, stored.dtype).values(stored)


@st.composite
def packed(draw):
    """Stored numbers and the attributes of their packing, as xarray understands them."""
    dtype = np.dtype(draw(st.sampled_from([*INTEGERS, "f4", "f8"])))
    if dtype.kind == "f":
        numbers = st.floats(-1e6, 1e6, width=32)
    else:
        info = np.iinfo(dtype)
        numbers = st.integers(int(info.min), int(info.max))
    stored = np.array(draw(st.lists(numbers, min_size=1, max_size=20)), dtype)
    attrs = {}
    if draw(st.booleans()):
        attrs["scale_factor"] = draw(st.sampled_from([0.5, 1e-4, 2.0, -0.25]))
    if draw(st.booleans()):
        attrs["add_offset"] = draw(st.sampled_from([0.0, 0.5, -100.0]))
    if draw(st.booleans()):
        attrs["_FillValue"] = dtype.type(draw(st.sampled_from(stored.tolist())))
    if draw(st.booleans()):
        attrs["missing_value"] = dtype.type(draw(st.sampled_from(stored.tolist())))
    if dtype.kind in "iu" and "missing_value" not in attrs and draw(st.booleans()):  # xarray turns _FillValue only
        attrs["_Unsigned"] = draw(st.sampled_from(["true", "false"]))
    return stored, attrs


@given(case=packed())
def test_values_are_those_that_xarray_decodes(case):
    stored, attrs = case
    assert_allclose(ours(stored, attrs), theirs(stored, attrs), rtol=1e-6, atol=1e-9)


@given(
    dtype=st.sampled_from(["f4", "f8"]),
    fill=st.sampled_from([-9999.0, float("nan"), 1e20, 0.0, float("inf")]),
    spelling=st.sampled_from(sorted(SPELLED)),
)
def test_a_fill_value_is_the_same_in_every_spelling(dtype, fill, spelling):
    stored = np.array([1.5, fill, 2.0], dtype)
    assert_array_equal(np.isnan(ours(stored, {"_FillValue": SPELLED[spelling](fill)})), [False, True, False])


def test_zarr_3_keeps_the_fill_value_of_floats_as_xarray_writes_it(tmp_path):
    xr.Dataset({"v": ("i", np.array([1.0, np.nan]))}).to_zarr(
        tmp_path / "x", zarr_format=3, consolidated=False, encoding={"v": {"_FillValue": -9999.0}}
    )
    attrs = json.loads((tmp_path / "x" / "v" / "zarr.json").read_text())["attributes"]
    assert isinstance(attrs["_FillValue"], str)
    assert Packing.of("v", attrs, np.dtype("f8")).fills == (-9999.0,)


@given(
    fills=st.lists(st.integers(-128, 127), min_size=1, max_size=4),
    stored=st.lists(st.integers(-128, 127), min_size=1, max_size=20),
)
def test_several_missing_values_are_all_missing(fills, stored):
    array = np.array(stored, "i1")
    assert_array_equal(np.isnan(ours(array, {"missing_value": np.array(fills, "i1")})), np.isin(array, fills))


@given(value=st.sampled_from([float("nan"), -9999, 70000, 0.5, float("inf")]), dtype=st.sampled_from(["u1", "u2"]))
def test_what_the_type_cannot_hold_hides_nothing_and_is_noted(value, dtype):
    packing = Packing.of("v", {"missing_value": value}, np.dtype(dtype))
    assert not packing.missing(np.arange(256, dtype=dtype)).any()
    assert packing.fills == (), "a scene would say it again, and its exports end in errors"
    assert packing.simple(np.dtype(dtype))
    assert len(packing.notes) == 1
    assert "missing_value" in packing.notes[0]


@given(
    low=st.integers(-100, 0),
    high=st.integers(1, 100),
    stored=st.lists(st.integers(-128, 127), min_size=1),
    one=st.booleans(),
)
def test_what_lies_outside_the_valid_range_is_no_data(low, high, stored, one):
    array = np.array(stored, "i1")
    attrs = {"valid_range": [low, high]} if one else {"valid_min": low, "valid_max": high}
    packing = Packing.of("v", attrs | {"scale_factor": 0.1}, array.dtype)
    assert_array_equal(packing.missing(array), (array < low) | (array > high))
    assert packing.notes


@given(scale=st.sampled_from([0.1, -0.1]), stored=st.lists(st.integers(-128, 127), min_size=1))
def test_a_float_range_of_packed_integers_is_in_the_unit_of_the_values(scale, stored):
    array = np.array(stored, "i1")
    packing = Packing.of("v", {"valid_range": [-5.03, 5.03], "scale_factor": scale}, array.dtype)
    assert_array_equal(packing.missing(array), np.abs(array * scale) > 5.03)


def test_the_largest_float_from_rounded_text_is_the_largest_float():
    stored = np.array([np.finfo("f4").min, 1.0], "f4")
    assert_array_equal(np.isnan(ours(stored, {"_FillValue": "-3.40282e+38"})), [True, False])


@pytest.mark.parametrize(
    "attrs",
    [
        {"scale_factor": "much"},
        {"scale_factor": 0.0},
        {"scale_factor": [1.0, 2.0]},
        {"add_offset": float("nan")},
        {"_FillValue": "none"},
        {"missing_value": {"a": 1}},
        {"scale_factor": [[]]},
    ],
)
def test_an_attribute_without_a_number_is_refused_by_its_name(attrs):
    key = next(iter(attrs))
    if attrs[key] == [[]]:
        assert Packing.of("v", attrs, np.dtype("i2")).scale == 1.0
        return
    with pytest.raises(UserError, match=f"v: {key}"):
        Packing.of("v", attrs, np.dtype("i2"))


def test_an_int64_that_no_float_holds_is_compared_as_an_integer():
    fill = -9223372036854775806
    stored = np.array([fill, fill + 1, 3], "i8")
    packing = Packing.of("v", {"_FillValue": np.int64(fill)}, stored.dtype)
    assert_array_equal(packing.missing(stored), [True, False, False])
    assert not packing.simple(stored.dtype)
