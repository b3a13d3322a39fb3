"""ENVI: what GDAL and Spectral Python read from sound files, and what neither notices in broken ones."""

import math
import warnings

import numpy as np
import psutil
import pytest
import rasterio
import spectral.io.envi as spy
from envi_files import edited, small_cube, write_envi
from hypothesis import given, settings
from hypothesis import strategies as st
from locations import DATA, real
from numpy.testing import assert_array_equal

from tilespec.core.errors import UserError
from tilespec.ingest.ingest import info
from tilespec.ingest.readers.envi import find_pair, read_envi
from tilespec.ingest.readers.envi_fields import AXES, DTYPES, KNOWN, describe
from tilespec.ingest.readers.envi_header import read_header
from tilespec.ingest.readers.source import Options


def read_all(path, step=2):
    """Return a whole ENVI cube, read by blocks of lines, each copied from the reused buffer."""
    source = read_envi(path, Options())
    height = source.facts.shape[0]
    blocks = [source.read_rows(y, min(y + step, height)).copy() for y in range(0, height, step)]
    return np.concatenate(blocks)


def gdal_reads(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path) as raster:
            return np.moveaxis(raster.read(), 0, -1)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 7), st.integers(1, 6)),
    dtype=st.sampled_from(sorted(DTYPES.values())),
    interleave=st.sampled_from(sorted(AXES)),
    order=st.sampled_from(["<", ">"]),
    offset=st.sampled_from([0, 1, 128]),
    step=st.integers(1, 9),
)
def test_every_layout_reads_as_gdal_and_spectral_python_read_it(
    tmp_path_factory, shape, dtype, interleave, order, offset, step
):
    cube = small_cube(dtype, shape)
    header = write_envi(tmp_path_factory.mktemp("envi"), cube, interleave, order, offset)
    found = read_all(header, step)
    assert_array_equal(found, cube)
    if cube.nbytes + offset > 1:  # GDAL takes a file of one byte for none
        assert_array_equal(found, gdal_reads(header.with_suffix(".img")))
    opened = spy.open(str(header), str(header.with_suffix(".img")))
    assert_array_equal(found, np.asarray(opened.open_memmap(interleave="bip")))
    opened.fid.close()


@pytest.mark.parametrize("share", [0.9, 0.4, 0.0])
def test_a_truncated_file_is_refused_with_both_sizes(tmp_path, share):
    header = write_envi(tmp_path, small_cube(shape=(10, 4, 3)))
    data = header.with_suffix(".img")
    data.write_bytes(data.read_bytes()[: int(240 * share)])
    with pytest.raises(
        UserError, match=rf"found {int(240 * share)} bytes; expected 240 .*cut short, {int(10 * share)} lines"
    ):
        read_envi(header, Options())


@pytest.mark.parametrize("extra", [100, 24])
def test_a_file_that_is_too_long_is_refused_with_a_hint_at_the_header(tmp_path, extra):
    header = write_envi(tmp_path, small_cube(shape=(10, 4, 3)))
    with header.with_suffix(".img").open("ab") as file:
        file.write(b"\0" * extra)
    with pytest.raises(UserError, match=rf"{extra} bytes too many: correct header offset"):
        read_envi(header, Options())


def test_a_file_that_becomes_shorter_while_it_is_read_is_refused(tmp_path):
    header = write_envi(tmp_path, small_cube(shape=(10, 4, 3)))
    source = read_envi(header, Options())
    header.with_suffix(".img").write_bytes(b"\0" * 100)
    with pytest.raises(UserError, match="became shorter"):
        source.read_rows(0, 10)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("interleave = bil", "interleave = foo", "interleave: found 'foo'; expected bil, bip or bsq"),
        ("interleave = bil\n", "", "interleave: found nothing; expected bil"),
        ("samples = 4\n", "", "samples: found nothing; expected an integer of at least 1"),
        ("lines = 5", "lines = 0", "lines: found 0; expected an integer"),
        ("bands = 3", "bands = -3", "bands: found -3"),
        ("bands = 3", "bands = three", "bands: found three"),
        ("data type = 12", "data type = 6", r"data type: found 6 \(complex64\)"),
        ("data type = 12", "data type = 7", r"data type: found 7 \(unknown\)"),
        ("byte order = 0", "byte order = 2", "byte order: found 2"),
        ("header offset = 0", "header offset = -1", "header offset: found -1"),
        ("header offset = 0", "header offset = 1000", "found 120 bytes; expected 1120"),
        ("samples = 4", "samples = 4\nsamples = 5", "samples: found two values, 4 and 5"),
        ("byte order = 0", "byte order = 0\nwavelength = {1, 2", "wavelength: found a brace that opens in line"),
        (
            "byte order = 0",
            "byte order = 0\nwavelength = {1, 2}",
            "wavelength: found 2 values; expected 3, one for each",
        ),
        ("byte order = 0", "byte order = 0\nwavelength = {1, 2, x}", "wavelength: found .*'x'"),
        ("byte order = 0", "byte order = 0\nwavelength = {1, 2, nan}", "NaN or infinite for band 2"),
        ("byte order = 0", "byte order = 0\nbbl = {1}", "bbl: found 1 values"),
        ("byte order = 0", "wavelength units = furlongs\nwavelength = {1,2,3}", "wavelength units: found 'furlongs'"),
        ("byte order = 0", "reflectance scale factor = 0", "reflectance scale factor: found 0"),
        ("byte order = 0", "file type = ENVI Meta File", "file type: found ENVI Meta File"),
        ("byte order = 0", "file type = ENVI Spectral Library", "bands: found 3; expected 1: the lines of a spectral"),
        ("byte order = 0", "file compression = 1", "file compression: found 1"),
        ("byte order = 0", "major frame offsets = {0, 12}", "major frame offsets: found"),
        ("byte order = 0", "map info = {UTM, 1, 1, x, 2, 3, 4}", "map info: found UTM"),
        ("ENVI\n", "NROWS 5\n", r"an ESRI band header \(first key NROWS\)"),
        ("ENVI\n", "", "'samples = 4' in its first line; expected an ENVI header"),
    ],
)
def test_a_wrong_header_is_refused_by_file_field_found_and_expected(tmp_path, old, new, message):
    header = edited(write_envi(tmp_path, small_cube()), old, new)
    with pytest.raises(UserError, match=message) as error:
        read_envi(header, Options())
    assert str(tmp_path) in str(error.value) or "map info" in message
    assert str(error.value).count(". ") >= 1, "a message ends with what to do"


def test_absurd_dimensions_are_refused_before_memory_is_asked_for(tmp_path):
    header = write_envi(tmp_path, small_cube())
    for key, value in (("lines = 5", "2000000000"), ("samples = 4", "2000000000"), ("bands = 3", "100000")):
        edited(header, key, f"{key.split('=')[0]}= {value}")
    before = psutil.Process().memory_info().rss
    with pytest.raises(UserError, match="expected 800000000000000000000000 "):
        read_envi(header, Options())
    assert psutil.Process().memory_info().rss - before < 50e6


def test_a_header_as_people_write_them_is_parsed(tmp_path):
    cube = small_cube(shape=(2, 2, 4))
    header = write_envi(tmp_path, cube)
    text = (
        "\n ENVI \r\n; a comment = {\r\nSAMPLES=2\r\nLines   =  2\r\nbands = 4\r\nData  Type = 12\r\n"
        "Interleave = BIL\r\nsensor type =\r\ndescription = {Größe of\r\n a thing = 3}\r\n"
        "Wavelength Units = Micrometers\r\nwavelength = {\r\n,0.4\r\n; nothing\r\n,0.5,\r\n 0.60 , .7 }\r\n"
        "fwhm = {.01 .01 .01 .01}\r\nbbl = {1, 1.0, 0, true}\r\nmy key = some value\r\nno equals sign\r\n"
        "band names = {a, b, c, d}\r\ndata ignore value = 6.5535e+04\r\nreflectance scale factor = 1e4\r\n"
    )
    for encoding in ("utf-8-sig", "latin-1"):
        header.write_bytes(text.encode(encoding))
        facts = read_envi(header, Options()).facts
        assert_array_equal(read_all(header), cube)
        assert facts.spectral.values == (400.0, 500.0, 600.0, 700.0)
        assert facts.spectral.fwhm == (10.0,) * 4
        assert facts.spectral.good == (True, True, False, True)
        assert facts.nodata == 65535
        assert math.isclose(facts.scale, 1e-4)
        assert facts.header["my key"] == "some value"
        assert facts.header["sensor type"] == ""
        assert facts.header["description"] == "{Größe of\na thing = 3}"
        assert facts.header["band names"] == "{a, b, c, d}"
        assert [note for note in facts.notes if "byte order" in note]
        assert [note for note in facts.notes if "line 21 has no '='" in note]


def test_a_list_of_a_hundred_thousand_wavelengths_is_parsed(tmp_path):
    listed = ", ".join(str(400 + i / 100) for i in range(100_000))
    header = write_envi(tmp_path, small_cube("u1", (1, 1, 100_000)), extra=f"wavelength = {{{listed}}}\n")
    facts = read_envi(header, Options()).facts
    assert len(facts.spectral.values) == 100_000


@pytest.mark.parametrize(
    ("extra", "name", "first", "note"),
    [
        (
            "wavelength units = nm\nwavelength = {400, 500, 600}\nfwhm = {1, 2}",
            "wavelength",
            400.0,
            "fwhm has 2 values",
        ),
        ("wavelength = {400, 500, 600}", "wavelength", 400.0, "units missing, taken as nanometres"),
        ("wavelength = {.4, .5, .6}", "wavelength", 400.0, "units missing, taken as micrometres"),
        ("wavelength units = Unknown\nwavelength = {1,2,3}", "channel", 1.0, "numbers of bands"),
        ("wavelength units = nm\nwavelength = {600, 400, 500}", "wavelength", 600.0, "not sorted"),
        ("wavelength units = nm\nwavelength = {400, 400, 500}", "wavelength", 400.0, "occur twice"),
        ("wavelength units = Angstroms\nwavelength = {4000, 5000, 6000}", "wavelength", 400.0, None),
        ("wavelength units = cm-1\nwavelength = {900, 800, 700}", "wavenumber", 900.0, None),
    ],
)
def test_wavelengths_come_in_nanometres_and_guesses_are_told_once(tmp_path, extra, name, first, note):
    facts = read_envi(write_envi(tmp_path, small_cube(), extra=extra + "\n"), Options()).facts
    assert facts.spectral.name == name
    assert facts.spectral.values[0] == first
    assert len(facts.notes) == (note is not None)
    assert note is None or note in facts.notes[0]


@pytest.mark.parametrize(
    ("dtype", "value", "found"),
    [("u2", "-9.999e+03", None), ("u2", "65535", 65535.0), ("f4", "NaN", math.nan), ("u1", "1.5", None)],
)
def test_an_ignore_value_that_cannot_occur_is_ignored_with_a_note(tmp_path, dtype, value, found):
    header = write_envi(tmp_path, small_cube(dtype), extra=f"data ignore value = {value}\n")
    facts = read_envi(header, Options()).facts
    assert facts.nodata == found or (found is not None and math.isnan(facts.nodata))
    assert any("cannot occur" in note for note in facts.notes) == (found is None)


MAPS = [
    "map info = {UTM, 1, 1, 380952.37, 5820372.35, 30, 30, 33, North, WGS-84, units=Meters}",
    "map info = {UTM, 1.5, 2.5, 380952.37, 5820372.35, 30, 20, 33, South, WGS-84, units=Meters}",
    "map info = {Geographic Lat/Lon, 1, 1, 13.1, 52.5, 0.001, 0.002, WGS-84, units=Degrees}",
    "map info = {UTM, 1, 1, 380952.37, 5820372.35, 3, 3, 11, North, WGS-84, units=Meters, rotation=-25.5}",
]


@pytest.mark.parametrize("line", MAPS)
def test_map_info_means_what_gdal_says_it_means(tmp_path, line):
    header = write_envi(tmp_path, small_cube(), extra=line + "\n")
    georef = read_envi(header, Options()).facts.georef
    with rasterio.open(header.with_suffix(".img")) as raster:
        expected = raster.transform.to_gdal()
        code = raster.crs.to_epsg()
    assert np.allclose([float(x) for x in georef["GeoTransform"].split()], expected, rtol=0, atol=1e-6)
    assert rasterio.crs.CRS.from_wkt(georef["crs_wkt"]).to_epsg() == code


def test_an_arbitrary_map_is_no_place_and_an_unknown_projection_keeps_the_transform(tmp_path):
    facts = read_envi(
        write_envi(tmp_path, small_cube(), extra="map info = {Arbitrary, 1, 1, 0, 0, 1, 1}\n"), Options()
    ).facts
    assert facts.georef is None
    extra = "map info = {Moon Mercator, 1, 1, 10, 20, 1, 1}\n"
    facts = read_envi(write_envi(tmp_path, small_cube(), extra=extra), Options()).facts
    assert facts.georef == {"GeoTransform": "10.0 1.0 0.0 20.0 0.0 -1.0"}
    assert any("unknown" in note for note in facts.notes)


def test_header_or_data_may_be_given_and_both_names_of_a_header_are_found(tmp_path):
    header = write_envi(tmp_path, small_cube(), name="a")
    assert find_pair(header) == find_pair(tmp_path / "a.img") == (header, tmp_path / "a.img")
    other = header.rename(tmp_path / "a.img.hdr")
    assert find_pair(other) == find_pair(tmp_path / "a.img") == (other, tmp_path / "a.img")
    bare = write_envi(tmp_path, small_cube(), name="b", suffix="")
    assert find_pair(bare) == (bare, tmp_path / "b")


def test_a_missing_partner_and_two_candidates_are_refused_by_name(tmp_path):
    header = write_envi(tmp_path, small_cube(), name="a")
    (tmp_path / "a.raw").write_bytes(b"")
    with pytest.raises(UserError, match=r"found a\.img and a\.raw; expected one data file"):
        find_pair(header)
    (tmp_path / "a.raw").unlink()
    (tmp_path / "a.img").rename(tmp_path / "b.img")
    with pytest.raises(UserError, match="found no data file"):
        find_pair(header)
    with pytest.raises(UserError, match=r"found no header beside it; expected b\.img\.hdr or b\.hdr"):
        find_pair(tmp_path / "b.img")


def test_a_data_file_given_as_header_is_refused(tmp_path):
    (tmp_path / "x.hdr").write_bytes(bytes(range(256)) * 8)
    with pytest.raises(UserError, match="expected an ENVI header"):
        read_header(tmp_path / "x.hdr")


def test_options_for_arrays_are_refused_instead_of_ignored(tmp_path):
    header = write_envi(tmp_path, small_cube())
    with pytest.raises(UserError, match=r"--axes: found 'band,y,x' for cube\.hdr"):
        read_envi(header, Options(axes="band,y,x"))


def test_bytes_before_the_cube_may_hold_a_camera_s_own_header(tmp_path):
    cube = small_cube(shape=(3, 5, 4))
    header = write_envi(tmp_path, cube, offset=4821, suffix=".hyspex")
    assert_array_equal(read_all(header), cube)


def test_info_of_a_header_needs_no_ingest(tmp_path):
    facts = info(write_envi(tmp_path, small_cube(), extra="wavelength units = nm\nwavelength = {400, 500, 650}\n"))
    assert facts["shape"] == [5, 4, 3]
    assert facts["spectral"] == {
        "name": "wavelength",
        "unit": "nm",
        "first": 400.0,
        "last": 650.0,
        "count": 3,
        "bad": 0,
    }


HEADERS = {
    "Hyperspectral_Unmixing_Software__jasperRidge2_F224": ((100, 100, 224), "int16", 369.850006),
    "TechLauncher-HSISR__2024-05-02--13-58-26_round-0_cam-1_tray-1": ((1971, 500, 480), "uint16", 352.49),
    "TechLauncher-HSISR__abctest": ((1971, 500, 480), "uint16", 352.49),
    "TechLauncher-HSISR__input": ((1971, 500, 480), "uint16", 352.49),
    "TechLauncher-HSISR__ref": ((50, 500, 480), "uint16", 352.49),
    "TechLauncher-HSISR__ref_BYTEORDER": "ESRI band header",
    "enmap-box__enmap_berlin": ((400, 220, 177), "int16", 460.0),
    "hylite__Radiometric_8x2_1x1": ((1, 384, 363), "float32", 379.87),
    "hylite__image": ((31, 168, 450), "float32", 378.19),
    "hyperspectral_image_toolbox__day10_bsq": ((400, 440, 64), "int16", None),
    "isofit-tutorials__AV320250308t200738_rdn": ((1, 1, 284), "float32", 389.75),
    "isofit-tutorials__prm20231110t071521_obs_two_px": "wavelength: found 246 values; expected 11",
    "isofit-tutorials__prm20231110t071521_rdn_two_px": ((2, 1, 246), "float32", 350.5548293),
    "ntire2018_adv_rgb2hs__envi_template": ((1300, 1392, 31), "uint16", 400.0),
    "plantcv-binder__test_data": ((1704, 1600, 6), "float32", 379.027),
    "plantcv_arcgis": "ESRI band header",
    "plantcv_darkReference_arcgis": "ESRI band header",
}


@real
def test_every_real_header_is_in_the_table():
    assert {path.stem for path in (DATA / "envi_header_samples").glob("*.hdr")} == set(HEADERS)


@real
@pytest.mark.parametrize("name", HEADERS)
def test_every_real_header_is_parsed_or_refused_with_its_reason(name):
    path = DATA / "envi_header_samples" / f"{name}.hdr"
    expected = HEADERS[name]
    if isinstance(expected, str):
        with pytest.raises(UserError, match=expected):
            describe(path, path)
        return
    facts, _ = describe(path, path)
    assert facts.shape == expected[0]
    assert facts.dtype.name == expected[1]
    assert (facts.spectral.values[0] if facts.spectral else None) == expected[2]


@real
@pytest.mark.parametrize(
    "name",
    [
        "aviris3_pixel_envi/AV320250308t200738_rdn.hdr",
        "aviris3_pixel_envi/prm20231110t071521_rdn_two_px.hdr",
        "plantcv_darkref_headwall_envi/darkReference.hdr",
        "plantcv_corn_kernel_envi/corn_kernel_B73.hdr",
    ],
)
def test_every_real_cube_reads_as_gdal_reads_it(name):
    header, data = find_pair(DATA / name)
    assert_array_equal(read_all(header), gdal_reads(data))


def test_known_keys_are_those_that_become_part_of_a_scene():
    assert len(set(KNOWN)) == len(KNOWN)
