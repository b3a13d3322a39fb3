"""The numbers of an ENVI file: gains, offsets and nodata as GDAL decodes them, names at their numbers, bad bands."""

import warnings

import numpy as np
import pytest
import rasterio
from envi_files import write_envi
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from tilespec.core.errors import UserError
from tilespec.ingest.ingest import ingest
from tilespec.ingest.readers.envi import read_envi
from tilespec.ingest.readers.source import Options, possible_nodata, without_data
from tilespec.storage.scene import Scene

GAINS = st.sampled_from([1.0, 1e-4, 0.5, 2.0, -3.0])
OFFSETS = st.sampled_from([0.0, 1.0, -0.25])
FLOAT_MAX = float(np.finfo(np.float32).max)


def raster_of(header):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(header.with_suffix(".img")) as raster:
            scales, offsets = np.array(raster.scales), np.array(raster.offsets)
            return np.moveaxis(raster.read(masked=True), 0, -1), scales, offsets


def braced(values):
    return "{" + ", ".join(map(repr, values)) + "}"


@given(
    gains=st.lists(GAINS, min_size=3, max_size=3),
    offsets=st.lists(OFFSETS, min_size=3, max_size=3),
    interleave=st.sampled_from(["bil", "bip", "bsq"]),
    order=st.sampled_from("<>"),
    dtype=st.sampled_from(["u1", "i2", "u2", "i4", "f4", "f8"]),
)
def test_gains_and_offsets_are_applied_as_gdal_applies_them(tmp_path_factory, gains, offsets, interleave, order, dtype):
    cube = np.random.default_rng(0).integers(0, 100, (4, 5, 3)).astype(dtype)
    text = f"data gain values = {braced(gains)}\ndata offset values = {braced(offsets)}\n"
    header = write_envi(tmp_path_factory.mktemp("x"), cube, interleave, order, extra=text)
    source = read_envi(header, Options())
    values = source.read_rows(0, 4).astype(np.float64) * source.facts.scale
    stored, scales, offs = raster_of(header)
    assert_allclose(values, stored.astype(np.float64) * scales + offs, rtol=1e-6, atol=1e-6)
    assert_allclose(values, cube.astype(np.float64) * gains + offsets, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "text", ["data gain values = {0, 0, 0}\n", "data gain values = {2, 2}\n", "data offset values = {nan, 0, 0}\n"]
)
def test_gains_that_cannot_be_are_not_applied_and_said_so(tmp_path, text):
    source = read_envi(write_envi(tmp_path, np.ones((2, 2, 3), np.uint16), extra=text), Options())
    assert_array_equal(source.read_rows(0, 2), 1)
    assert any("not applied" in note for note in source.facts.notes)


def test_a_scale_factor_counts_before_gains_and_that_is_said_only_where_they_differ(tmp_path):
    cube = np.full((2, 2, 3), 5000, np.uint16)
    for gain, said in ((1e-4, False), (2.0, True)):
        text = f"reflectance scale factor = 10000\ndata gain values = {braced([gain] * 3)}\n"
        facts = read_envi(write_envi(tmp_path, cube, extra=text), Options()).facts
        assert abs(facts.scale - 1e-4) < 1e-18
        assert any("not applied" in note for note in facts.notes) == said


@pytest.mark.parametrize("text", ["-3.40282e+38", "-3.4028235e+38", "-3.4e38", "-9999", "-9999.99", "1e20", "nan", "7"])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_a_value_without_data_is_hidden_in_every_spelling(text, dtype):
    """A value as the text says it in float32, and the largest float however it is rounded, have no data."""
    meant = float(np.float32(text))
    raw = np.array([1.0, 0.0, meant, -FLOAT_MAX if abs(meant) > 3e38 else meant], np.float32).astype(dtype)
    assert without_data(raw, float(text)).tolist() == [False, False, True, True]


@given(value=st.floats(allow_nan=True, allow_infinity=True), dtype=st.sampled_from(["u1", "i2", "u2", "i4", "u4"]))
def test_a_value_that_integers_cannot_hold_hides_nothing_and_is_said(value, dtype):
    nodata, notes = possible_nodata("x", value, np.dtype(dtype))
    limits = np.iinfo(dtype)
    whole = np.isfinite(value) and value == np.floor(value) and limits.min <= value <= limits.max
    assert (nodata == value and not notes) if whole else (nodata is None and len(notes) == 1)


@given(st.lists(st.sampled_from(["", " ", "leaf", "bare soil", "bare_soil", "leaf"]), min_size=1, max_size=6))
def test_names_of_classes_stay_at_their_numbers(tmp_path_factory, names):
    text = f"file type = ENVI Classification\nclasses = {len(names)}\nclass names = {{{', '.join(names)}}}\n"
    facts = read_envi(
        write_envi(tmp_path_factory.mktemp("x"), np.zeros((2, 2, 1), np.uint8), extra=text), Options()
    ).facts
    wanted = [name.strip() for name in names] if any(name.strip() for name in names) else []
    assert list(facts.classes)[: len(wanted)] == wanted


def test_bad_bands_without_wavelengths_are_bad_in_the_scene(tmp_path):
    header = write_envi(tmp_path, np.ones((3, 4, 4), np.uint16), extra="bbl = {1, 1, 0, 1}\nfwhm = {5, 5, 5, 6}\n")
    ingest(header, tmp_path / "scene")
    scene = Scene.open(str(tmp_path / "scene"))
    assert scene.spectral.good == (True, True, False, True)
    assert scene.attrs["header"]["fwhm"] == "{5, 5, 5, 6}"


@pytest.mark.parametrize("key", ["wavelengths", "Wavelength", "wavelength_units", "WAVELENGTH  UNITS"])
def test_known_keys_are_read_in_other_spellings(tmp_path, key):
    text = f"{key} = {'{0.4, 0.5, 0.6}' if 'nit' not in key.lower() else 'nm'}\n"
    text += "wavelength = {400, 500, 600}\n" if "nit" in key.lower() else ""
    facts = read_envi(write_envi(tmp_path, np.ones((2, 2, 3), np.uint8), extra=text), Options()).facts
    assert facts.spectral.values == (400.0, 500.0, 600.0)


def test_two_values_without_data_are_refused(tmp_path):
    header = write_envi(tmp_path, np.ones((2, 2, 3), np.uint16), extra="data ignore value = {0, 65535, 0}\n")
    with pytest.raises(UserError, match="data ignore value"):
        read_envi(header, Options())
