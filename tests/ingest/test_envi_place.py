"""The place of an ENVI file: every rotation, orientation, unit and datum, as GDAL reads it, or absent with a note."""

import math
import warnings

import numpy as np
import pytest
import rasterio
from envi_files import write_envi
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from pyproj import CRS

from tilespec.core.errors import UserError
from tilespec.ingest.readers.envi import read_envi
from tilespec.ingest.readers.georeference import crs_of, from_envi
from tilespec.ingest.readers.map_info import MapInfo
from tilespec.ingest.readers.source import Options

CUBE = np.zeros((6, 5, 1), np.uint8)
ANGLES = st.one_of(st.floats(-360, 360), st.sampled_from([0, 90, 103, -95, 180, -180, 270, 300, 360]))
SIZES = st.floats(1e-3, 1e3).flatmap(lambda size: st.sampled_from([size, -size]))


def seen(folder, *lines):
    """Return what tilespec, and what GDAL, takes for the place of a header."""
    header = write_envi(folder, CUBE, extra="\n".join(lines) + "\n")
    facts = read_envi(header, Options()).facts
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(header.with_suffix(".img")) as raster:
            return facts, raster.transform.to_gdal(), raster.crs


def transform(georef):
    return [float(word) for word in georef["GeoTransform"].split()]


@given(angle=ANGLES, width=SIZES, height=SIZES, x=st.floats(-1e7, 1e7), y=st.floats(-1e7, 1e7))
def test_any_rotated_or_mirrored_grid_goes_through_a_line_of_map_info_and_back(angle, width, height, x, y):
    first = MapInfo(name="UTM", origin=(x, y), size=(width, height), rotation=angle, units="Meters").transform
    line = MapInfo.of(first, 1000, name="UTM").text()
    again = MapInfo.read("x", line)
    assert_allclose(again.transform, first, rtol=1e-9, atol=1e-9 * max(abs(width), abs(height)))
    assert not again.half_turn, "GDAL takes 180 degrees for rows that go up"


@given(a=st.floats(0.5, 2), shear=st.floats(0.1, 1).flatmap(lambda v: st.sampled_from([v, -v])))
def test_a_sheared_grid_is_refused(a, shear):
    with pytest.raises(UserError, match="sheared"):
        MapInfo.of((0.0, a, shear, 0.0, 0.0, -a), 10, name="x")


@given(angle=ANGLES.filter(lambda angle: abs(angle) != 180), size=st.floats(0.1, 100))
def test_a_rotation_is_read_as_gdal_reads_it(tmp_path_factory, angle, size):
    text = f"map info = {{UTM, 1, 1, 676960.169, 4254967.46, {size}, {size}, 10, North, WGS-84, rotation={angle}}}"
    facts, gdal, _ = seen(tmp_path_factory.mktemp("envi"), text)
    assert_allclose(transform(facts.georef), gdal, rtol=1e-9, atol=1e-9 * size)


@pytest.mark.parametrize(("width", "height"), [(2, 3), (2, -3), (-2, 3), (-2, -3)])
def test_an_orientation_is_read_as_gdal_reads_it(tmp_path, width, height):
    facts, gdal, _ = seen(tmp_path, f"map info = {{UTM, 1, 1, 1000, 2000, {width}, {height}, 10, North, WGS-84}}")
    assert_allclose(transform(facts.georef), gdal)


def test_rows_that_go_up_are_read_from_what_gdal_writes_and_half_a_turn_from_envi(tmp_path):
    up = rasterio.Affine(2, 0, 1000, 0, 2, 2000)
    with rasterio.open(
        tmp_path / "x.img",
        "w",
        driver="ENVI",
        width=5,
        height=6,
        count=1,
        dtype="uint8",
        crs="EPSG:32610",
        transform=up,
    ) as file:
        file.write(CUBE.transpose(2, 0, 1))
    facts = read_envi(tmp_path / "x.hdr", Options()).facts
    assert_allclose(transform(facts.georef), up.to_gdal())
    assert any("180" in note for note in facts.notes)
    text = "map info = {UTM, 1, 1, 1000, 2000, 2, 2, 10, North, WGS-84, units=Meters, rotation=180}"
    facts, _, _ = seen(tmp_path, text)
    assert_allclose(transform(facts.georef), (1000, -2, 0, 2000, 0, 2))
    assert any("180" in note for note in facts.notes)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("UTM|33, North, WGS-84", 32633),
        ("UTM|33, South, WGS84", 32733),
        ("UTM|33N, D_WGS_1984", 32633),
        ("UTM|10, North, NAD83", 26910),
        ("UTM|10, North, North America 1983", 26910),
        ("UTM|10, North, North America 1927", 26710),
        ("UTM|32, North, ETRS89", 25832),
        ("UTM|55, South, GDA94", 28355),
        ("Geographic Lat/Lon|WGS-84", 4326),
        ("Geographic Lat/Lon|WGS84", 4326),
        ("Geographic Lat/Lon|D_ETRS_1989", 4258),
        ("Geographic|NAD83", 4269),
    ],
)
def test_datums_are_known_in_all_their_spellings(words, code):
    name, _, tail = words.partition("|")
    georef, kept, _ = from_envi("x", {"map info": f"{{{name}, 1, 1, 10, 20, 1, 1, {tail}}}"})
    assert crs_of(georef["crs_wkt"]).to_epsg() == code
    assert kept == {}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("Geographic Lat/Lon, 1, 1, 10, 20, 1, 1, Atlantis-1927, units=Degrees", "Atlantis-1927"),
        ("UTM, 1, 1, 10, 20, 1, 1, 33, North, Atlantis-1927, units=Meters", "Atlantis-1927"),
        ("UTM, 1, 1, 10, 20, 1, 1, 33, North, WGS-84, units=Feet", "units=Feet"),
        ("UTM, 1, 1, 10, 20, 1, 1, 33, North, WGS-84, units=Furlongs", "units=Furlongs"),
        ("Geographic Lat/Lon, 1, 1, 10, 20, 1, 1, WGS-84, units=Radians", "units=Radians"),
        ("UTM, 1, 1, 10, 20, 1, 1", "zone"),
        ("Oblique Cylinder, 1, 1, 10, 20, 1, 1", "Oblique Cylinder"),
    ],
)
def test_a_place_that_is_not_understood_is_absent_and_kept_as_text(line, said):
    georef, kept, notes = from_envi("x", {"map info": f"{{{line}}}"})
    assert "crs_wkt" not in georef
    assert kept["map info"] == f"{{{line}}}"
    assert any(said in note for note in notes)


@pytest.mark.parametrize("code", [2263, 2222, 32633, 4326, 3035, 31370])
@pytest.mark.parametrize("units", ["", ", units=Meters", ", units=Feet", ", units=Km", ", units=Degrees"])
def test_a_string_and_units_that_contradict_it_leave_no_crs(code, units):
    crs = CRS(code)
    wkt = crs.to_wkt("WKT1_ESRI")
    header = {"map info": f"{{X, 1, 1, 10, 20, 1, 1{units}}}", "coordinate system string": f"{{{wkt}}}"}
    georef, _, notes = from_envi("x", header)
    unit = {"metre": ", units=Meters", "degree": ", units=Degrees"}.get(crs.axis_info[0].unit_name, ", units=Feet")
    if units in ("", unit):
        assert crs_of(georef["crs_wkt"]).to_epsg() == code
    else:
        assert "crs_wkt" not in georef
        assert any("units" in note for note in notes)


@pytest.mark.parametrize("parameter", ["False_Easting", "Central_Meridian", "Scale_Factor", "Latitude_Of_Origin"])
def test_a_string_without_a_parameter_is_no_crs(parameter):
    wkt = CRS(32633).to_wkt("WKT1_ESRI")
    start = wkt.index(f'PARAMETER["{parameter}"')
    assert crs_of(wkt[:start] + wkt[wkt.index("]", start) + 2 :]) is None


def test_a_line_that_has_no_numbers_is_refused_and_one_that_has_no_place_has_none():
    for bad in (
        "UTM, 1, 1, x, 2, 3, 4",
        "UTM, 1, 1, 0, 0, 0, 4",
        "UTM, 1",
        "UTM, 1, 1, nan, 0, 1, 1",
        "A,1,1,0,0,1,1,rotation=z",
    ):
        with pytest.raises(UserError, match="map info"):
            MapInfo.read("x", f"{{{bad}}}")
    assert MapInfo.read("x", "{Arbitrary, 1, 1, 0, 0, 1, 1}") is None


def test_right_angles_are_exact():
    for angle in (0, 90, 180, 270, -90, 360):
        numbers = MapInfo(name="x", origin=(0.0, 0.0), size=(2.0, 3.0), rotation=float(angle), units="Meters").transform
        assert all(abs(value) in (0, 2, 3) for value in numbers), (angle, numbers)
        assert math.isclose(abs(numbers[1] * numbers[5] - numbers[2] * numbers[4]), 6)
