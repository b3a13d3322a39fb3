"""Numbers with decimal commas are read as they are meant, where a file is consistent in them, or refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilespec.core.errors import UserError
from tilespec.ingest.calibration.reference_panels import known
from tilespec.ingest.readers.source import Facts
from tilespec.ingest.readers.wavelengths import numbers, spectral_axis, wavelengths_file

CENTRES = st.lists(st.integers(40000, 250000).map(lambda n: n / 100), min_size=2, max_size=6)


@given(CENTRES, st.sampled_from([None, "; ", ";", "\t", " "]), st.sampled_from(".,"), st.booleans())
def test_a_file_gives_its_wavelengths_or_is_refused(tmp_path_factory, centres, apart, mark, titled):
    path = tmp_path_factory.mktemp("w") / "nm.txt"
    rows = [f"{value:.2f}" + ("" if apart is None else f"{apart}5.20") for value in centres]
    text = "\n".join(["nm" if titled else "# nm", *rows])
    path.write_text(text.replace(".", mark))
    try:
        assert wavelengths_file(path) == pytest.approx(centres)
    except UserError:
        assert mark == ","
        assert apart is None, "a separator tells what a comma is"


@pytest.mark.parametrize(
    "text",
    [
        "Band;Wavelength (nm)\n1;400,5\n2;410,5\n3;420,5\n",
        "band,FWHM,Wavelength\n1,5.2,400.5\n2,5.2,410.5\n3,5.3,420.5\n",
        '"id","center wavelength"\r\n0,400.5\r\n1,410.5\r\n2,420.5\r\n',
        "1 400.5 5.2\n2 410.5 5.2\n3 420.5 5.3\n",
        "Band 1: 400.5\nBand 2: 410.5\nBand 3: 420.5\n",
        "400.5\t5.2\n410.5\t5.2\n420.5\t5.3\n",
    ],
)
def test_of_a_table_the_column_of_the_wavelengths_is_taken(tmp_path, text):
    (tmp_path / "nm.csv").write_text(text)
    assert wavelengths_file(tmp_path / "nm.csv") == (400.5, 410.5, 420.5)


def test_a_list_of_numbers_of_bands_remains_one(tmp_path):
    (tmp_path / "nm.txt").write_text("1\n2\n3\n")
    assert wavelengths_file(tmp_path / "nm.txt") == (1, 2, 3)


@pytest.mark.parametrize("text", ["400,52\n410,61\n", "400,52, 5,2\n410,61, 5,2\n", "0,4005\n0,4105\n"])
def test_lines_that_can_be_read_in_two_ways_are_refused(tmp_path, text):
    (tmp_path / "nm.txt").write_text(text)
    with pytest.raises(UserError, match="decimal comma"):
        wavelengths_file(tmp_path / "nm.txt")


@pytest.mark.parametrize(
    "text", ["400, 410, 420", "400,410,420", "400 410 420", "400;410;420", "400,0; 410,0; 420,0", "\n400,\n410, 420,"]
)
def test_lists_are_read_with_every_separator(text):
    assert numbers("x", text) == (400, 410, 420)


def test_a_panel_is_known_from_a_file_or_a_number_with_commas(tmp_path):
    axis, _ = spectral_axis("x", (400.0, 500.0, 600.0), bands=3, unit="nm")
    facts = Facts(shape=(2, 2, 3), dtype=np.dtype("u2"), spectral=axis)
    (tmp_path / "p.csv").write_text("nm;reflectance\n400,0;0,98\n500,0;0,97\n600,0;0,96\n")
    assert known("x", str(tmp_path / "p.csv"), facts).values.tolist() == [0.98, 0.97, 0.96]
    assert known("x", "0,98", facts).values.tolist() == [0.98] * 3
