"""Units of spectral axes: all spellings of one unit have one factor, and a title is read for its unit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilespec.core.spectral_units import NANOMETRES, quantity, unit_in

SPELLINGS = {
    ("wavenumber", 1.0): [
        "cm-1",
        "cm^-1",
        "1/cm",
        "cm⁻¹",
        "cm**-1",
        "cm^{-1}",
        "CM-1",
        "cm \N{MINUS SIGN}1",
        "Wavenumber",
    ],
    ("wavenumber", 0.01): ["m-1", "m^-1", "1/m", "m⁻¹"],
    ("wavelength", 1e3): ["um", "µm", "μm", "micrometers", "Micrometres", "microns", "(um)"],
    ("wavelength", 1.0): ["nm", "NM", "nanometer", "nanometres", "[nm]"],
    ("wavelength", 0.1): ["Angstroms", "angstrom"],
}


@pytest.mark.parametrize(("wanted", "unit"), [(w, unit) for w, units in SPELLINGS.items() for unit in units])
def test_all_spellings_of_a_unit_are_one(wanted, unit):
    assert quantity(unit) == wanted


@pytest.mark.parametrize("unit", ["", "furlong", "W/m^2", "GHz", "degrees"])
def test_other_units_are_none(unit):
    assert quantity(unit) is None


@given(
    unit=st.sampled_from(["nm", "um", "cm-1", "µm"]),
    form=st.sampled_from(["{} ({})", "{} [{}]", "# {}: {}", "{},{}", "{}_{}"]),
)
def test_a_title_says_its_unit_however_it_is_written(unit, form):
    assert unit_in(form.format("x axis", unit)) == unit


@pytest.mark.parametrize("title", ["shift_cm1", "raman_shift", "Wavenumber", "Raman shift/cm-1", "# unit: cm-1"])
def test_a_raman_shift_is_in_wavenumbers(title):
    assert quantity(unit_in(title)) == ("wavenumber", 1.0)


@pytest.mark.parametrize("title", ["wavelength", "band", "channel 1", "distance (m)", "reflectance", ""])
def test_a_title_without_a_unit_has_none(title):
    assert unit_in(title) == ""


def test_a_metre_holds_its_nanometres():
    assert NANOMETRES["m"] == 1e9
