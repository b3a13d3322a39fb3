"""Wavelengths that a file only has in the names of its bands are taken, if all names say them in one way."""

import numpy as np
import pytest
import rasterio
import rioxarray
from hypothesis import given
from hypothesis import strategies as st

from tilespec import api
from tilespec.ingest.readers.band_names import axis_in_names
from tilespec.storage.scene import Scene

CENTRES = st.lists(st.integers(4000, 25000), min_size=1, max_size=8, unique=True)
FORMS = {
    "{:.1f} nm": 1,
    "{:.4f}um": 1e-3,
    "Band 3 ({:.4f} Micrometers)": 1e-3,
    "wl_{:.1f}_nm": 1,
    "Red, {:.1f} nanometers (10 m)": 1,
    "B4: {:.0f} Angstrom": 10,
}
NAMES = [f"Band {i} ({wavelength:.1f} Nanometers)" for i, wavelength in enumerate((450, 550, 650), start=1)]


@given(CENTRES, st.sampled_from(sorted(FORMS)))
def test_names_with_a_unit_are_wavelengths(tenths, form):
    names = [form.format(n / 10 * FORMS[form]) for n in tenths]
    axis, notes = axis_in_names("x.tif", names, len(names))
    assert axis is not None
    np.testing.assert_allclose(axis.values, np.array(tenths) / 10, atol=1e-3 if FORMS[form] < 10 else 0.1)
    assert "names of the bands" in notes[0]


@pytest.mark.parametrize(
    "names",
    [
        ["450", "550", "650"],
        ["450 nm", "550 nm", "blue"],
        ["450 nm", "550 nm", "0.65 um"],
        ["450 nm", "550 nm", "650 nm to 680 nm"],
        ["10 nm wide", "10 nm wide", "10 nm wide"],
        ["1 m", "2 m", "3 m"],
        ["450 nm", "550 nm"],
        ["", "", ""],
    ],
)
def test_other_names_are_no_wavelengths(names):
    assert axis_in_names("x.tif", names, 3) == (None, ("x.tif: no wavelengths",))


@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")  # rioxarray's own
@pytest.mark.parametrize(("driver", "name"), [("GTiff", "x.tif"), ("ENVI", "x.dat")])
def test_what_gdal_writes_as_descriptions_comes_in(tmp_path, driver, name):
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine(2, 0, 600000, 0, -2, 5700000)}
    path = tmp_path / name
    with rasterio.open(path, "w", driver=driver, height=4, width=5, count=3, dtype="float32", **place) as file:
        file.write(np.random.default_rng(0).random((3, 4, 5), np.float32))
        file.descriptions = NAMES
    for number, source in enumerate((path, rioxarray.open_rasterio(path))):
        notes = api.ingest(source, tmp_path / str(number)).notes
        assert any("names of the bands" in note for note in notes)
        assert Scene.open(str(tmp_path / str(number))).spectral.values == (450.0, 550.0, 650.0)


def test_a_raster_without_wavelengths_says_so(tmp_path):
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine(2, 0, 600000, 0, -2, 5700000)}
    with rasterio.open(
        tmp_path / "x.tif", "w", driver="GTiff", height=4, width=5, count=3, dtype="int16", **place
    ) as file:
        file.write(np.ones((3, 4, 5), np.int16))
    assert "x.tif: no wavelengths" in api.info(tmp_path / "x.tif").notes
