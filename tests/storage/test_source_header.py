"""Lists of bands in a header follow the bands, or are left out."""

import numpy as np
from envi_files import write_envi
from hypothesis import given
from hypothesis import strategies as st

from tilespec.core.types import SpectralAxis
from tilespec.ingest.ingest import ingest
from tilespec.spectra.fit import fit
from tilespec.spectra.transform import transform
from tilespec.storage.scene import Scene
from tilespec.storage.source_header import entries, fitting, header_after, listed, without_pixels

COUNT = 6
AXIS = SpectralAxis(name="wavelength", unit="nm", values=tuple(400.0 + 50 * i for i in range(COUNT)))


@given(st.lists(st.integers(0, COUNT - 1), min_size=1, max_size=COUNT, unique=True), st.data())
def test_lists_follow_the_bands_that_stay(selected, data):
    shown = data.draw(st.lists(st.integers(1, COUNT), min_size=1, max_size=3))
    header = {
        "band names": listed([f"b{i}" for i in range(COUNT)]),
        "default bands": listed([str(band) for band in shown]),
        "a": "b",
    }
    new, left = header_after(header, AXIS, AXIS.take(selected), (COUNT, len(selected)), other_pixels=False)
    assert entries(new["band names"]) == tuple(f"b{i}" for i in selected)
    assert new["a"] == "b"
    if all(band - 1 in selected for band in shown):
        assert [selected[int(word) - 1] + 1 for word in entries(new["default bands"])] == shown
    else:
        assert left == ("default bands",)
    assert fitting(new, len(selected)) == (new, ())


@given(st.integers(1, COUNT))
def test_lists_of_bands_that_are_gone_are_left_out(bands):
    scores = SpectralAxis(name="component", unit="1", values=tuple(map(float, range(bands))))
    header = {"band names": listed([f"b{i}" for i in range(COUNT)]), "default bands": "{1}", "pixel size": "{2, 2}"}
    new, left = header_after(header, AXIS, scores, (COUNT, bands), other_pixels=True)
    assert new == {}
    assert set(left) == set(header)


def test_keys_of_pixels_are_left_out_and_lists_of_another_length_do_not_fit():
    assert without_pixels({"geo points": "{1}", "a": "b"}) == ({"a": "b"}, ("geo points",))
    assert fitting({"band names": "{a, b}", "default bands": "{3}", "x": "{1, 2}"}, 2)[0] == {
        "band names": "{a, b}",
        "x": "{1, 2}",
    }


def test_a_crop_keeps_the_names_of_its_bands(tmp_path):
    names = [f"b{i}" for i in range(COUNT)]
    text = f"wavelength = {listed([str(value) for value in AXIS.values])}\nwavelength units = nm\nband names = {listed(names)}\n"
    ingest(write_envi(tmp_path, np.ones((4, 5, COUNT), np.uint16), extra=text), tmp_path / "scene")
    fit(str(tmp_path / "scene"), str(tmp_path / "recipe"), steps="crop=440:560")
    transform(str(tmp_path / "recipe"), str(tmp_path / "scene"), str(tmp_path / "cut"))
    assert Scene.open(str(tmp_path / "cut")).attrs["header"]["band names"] == "{b1, b2, b3}"
