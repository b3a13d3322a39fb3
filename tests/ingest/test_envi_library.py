"""ENVI spectral libraries: each line is a spectrum of a table; SPy reads the same numbers and names."""

import numpy as np
import pytest
import spectral.io.envi as spy
import xarray as xr
from envi_files import edited
from locations import DATA, real
from numpy.testing import assert_allclose, assert_array_equal

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.storage.layout import class_names

SPECTRA = np.random.default_rng(3).random((6, 4)).astype(np.float32)
NAMES = ("red clay", "zinc", "grass (dry)", "water 1", "corn", "zinc 2")


@pytest.fixture
def library(tmp_path):
    """Write a library with SPy and return its header."""
    header = {"spectra names": NAMES, "wavelength": [0.4, 0.5, 0.6, 0.7], "wavelength units": "Micrometers"}
    spy.SpectralLibrary(SPECTRA, header).save(str(tmp_path / "lib"))
    return tmp_path / "lib.hdr"


def compare(header, out):
    """Compare a table with what SPy reads of its library."""
    theirs = spy.open(str(header))
    with xr.open_zarr(out) as table:
        assert_array_equal(table.cube, theirs.spectra)
        assert_allclose(table.wavelength, np.array(theirs.bands.centers) * 1000)
        texts = np.array(class_names(table.sample.attrs))[table.sample]
        assert texts.tolist() == [" ".join(name.split()) for name in theirs.names]
        return table.load()


def test_a_library_is_a_table_with_the_names_of_its_spectra(library, tmp_path):
    api.ingest(library, tmp_path / "out")
    table = compare(library, tmp_path / "out")
    assert_array_equal(table.cube, SPECTRA)
    assert dict(table.sizes) == {"spectrum": 6, "band": 4}


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("kind", [2, 5])
def test_every_type_and_byte_order_reads_as_in_spy(library, tmp_path, kind, order):
    dtype = np.dtype({2: "i2", 5: "f8"}[kind]).newbyteorder("<>"[order])
    (library.with_suffix(".sli")).write_bytes((SPECTRA * 1000).astype(dtype).tobytes())
    edited(library, "data type = 4", f"data type = {kind}")
    edited(library, "byte order = 0", f"byte order = {order}")
    api.ingest(library.with_suffix(".sli"), tmp_path / "out")
    compare(library, tmp_path / "out")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("bands = 1", "bands = 2", "bands: found 2; expected 1: the lines of a spectral library"),
        ("samples = 4", "samples = 5", "wavelength: found 4 values; expected 5"),
        ("lines = 6", "lines = 7", "found 96 bytes; expected 112"),
    ],
)
def test_a_library_whose_header_does_not_fit_is_refused(library, tmp_path, old, new, message):
    edited(library, old, new)
    with pytest.raises(UserError, match=message):
        api.ingest(library, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_that_are_too_few_are_left_out_with_a_note(library, tmp_path):
    edited(library, "red clay , ", "")
    done = api.ingest(library, tmp_path / "out")
    assert "lib.hdr: 5 spectra names for 6 spectra are left out" in done["notes"]
    with xr.open_zarr(tmp_path / "out") as table:
        assert "sample" not in table


@real
def test_a_real_library_reads_as_in_spy(tmp_path):
    header = DATA / "berlin_spectral_library_envi" / "library_berlin.hdr"
    api.ingest(header, tmp_path / "out")
    assert dict(compare(header, tmp_path / "out").sizes) == {"spectrum": 75, "band": 177}
