"""What leaves is read back by GDAL, Spectral Python, xarray and tilespec: place, text, names, scale, of any kind."""

import json
import warnings
from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import spectral.io.envi as spy
import xarray as xr
from envi_files import write_envi
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from pyproj import CRS
from rasterio.warp import transform as warp

from tilespec.core.errors import UserError
from tilespec.core.progress import Silent
from tilespec.ingest.ingest import ingest
from tilespec.ingest.readers.envi import read_envi
from tilespec.ingest.readers.georeference import grid_mapping
from tilespec.ingest.readers.reader_table import open_source
from tilespec.ingest.readers.source import Options
from tilespec.output.export.envi import header
from tilespec.output.export.export import export
from tilespec.output.export.export_source import open_exported
from tilespec.output.export.geotiff import write_geotiff
from tilespec.output.export.netcdf import write_netcdf
from tilespec.storage.scene import Scene

CUBE = np.arange(6 * 5 * 4, dtype=np.uint16).reshape(6, 5, 4)
CODES = ("EPSG:32633", "EPSG:26910", "EPSG:25832", "EPSG:28355", "EPSG:2263", "EPSG:2222", "EPSG:4326", "EPSG:4258")
CODES += (
    "EPSG:3857",
    "EPSG:3035",
    "EPSG:31370",
    "EPSG:27700",
    "EPSG:2193",
    "EPSG:3031",
    "EPSG:5070",
    "EPSG:25832+5783",
)
CODES += ("+proj=utm +zone=33 +datum=WGS84 +units=km", "+proj=tmerc +lon_0=9 +ellps=bessel +units=us-ft")
NAMES = st.lists(
    st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")) | st.just(" "), min_size=1, max_size=9)
    | st.sampled_from(["bare soil", "bare_soil", "tree, old", "water/shadow", "{leaf}", "a;b", 'say "no"', "<&>"]),
    min_size=1,
    max_size=5,
    unique_by=lambda name: " ".join(name.split()),
).filter(lambda names: all(name.split() for name in names))


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Return a small scene of four bands with labels."""
    folder = tmp_path_factory.mktemp("export")
    np.save(folder / "l.npy", (CUBE[..., 0] % 3).astype(np.uint8))
    text = "wavelength units = nm\nwavelength = {450, 550, 650, 860}\n"
    ingest(write_envi(folder, CUBE, extra=text), folder / "scene", labels=folder / "l.npy")
    return str(folder / "scene")


def written(folder, exported):
    """Write the header of an exported cube and its data; return the path of the header."""
    path = folder / "out.hdr"
    path.write_text(header(exported), encoding="utf-8")
    np.ascontiguousarray(CUBE.transpose(0, 2, 1)).tofile(folder / "out.bil")
    return path


def gdal(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(path) as raster:
            return np.moveaxis(raster.read(), 0, -1), raster.crs, raster.transform


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("angle", [0, 25.5, 103, 180, 270])
def test_gdal_puts_an_exported_scene_where_it_is(tmp_path, scene, code, angle):
    crs = CRS(code)
    crs = crs.sub_crs_list[0] if crs.is_compound else crs
    factor = crs.axis_info[0].unit_conversion_factor if crs.is_projected else 1e5
    size, centre = 30 / factor, crs.area_of_use
    at = [500000 / factor, 5000000 / factor]
    if centre is not None:
        middle = ([(centre.west + centre.east) / 2], [(centre.south + centre.north) / 2])
        at = [values[0] for values in warp("EPSG:4326", crs.to_wkt(), *middle)]
    right = rasterio.Affine.translation(*at) @ rasterio.Affine.rotation(angle) @ rasterio.Affine.scale(size, -size)
    exported = replace(open_exported(scene, None), georef=grid_mapping(CRS(code), right.to_gdal()), notes=[])
    path = written(tmp_path, exported)
    _, found, transform = gdal(tmp_path / "out.bil")
    ours = read_envi(path, Options()).facts.georef
    for column, row in ((0, 0), (5, 0), (0, 6)):
        place = warp(crs.to_wkt(), "EPSG:4326", *([v] for v in right @ (column, row)))
        assert_allclose(warp(found, "EPSG:4326", *([v] for v in transform @ (column, row))), place, atol=1e-6)
        own = rasterio.Affine.from_gdal(*map(float, ours["GeoTransform"].split())) @ (column, row)
        assert_allclose(warp(ours["crs_wkt"], "EPSG:4326", *([v] for v in own)), place, atol=1e-6)


def test_rows_that_go_up_and_mirrored_grids_are_read_so_by_gdal(tmp_path, scene):
    for a, e in ((2, 2), (-2, -2), (-2, 2), (2, -2)):
        right = rasterio.Affine(a, 0, 500000, 0, e, 5000000)
        exported = replace(open_exported(scene, None), georef=grid_mapping(CRS(32633), right.to_gdal()), notes=[])
        path = written(tmp_path, exported)
        assert gdal(tmp_path / "out.bil")[2].almost_equals(right)
        ours = read_envi(path, Options()).facts.georef["GeoTransform"]
        assert_allclose([float(word) for word in ours.split()], right.to_gdal())


TEXT = st.text(st.sampled_from("ab =,;{}\n\r\té_1[]\"'"), max_size=30)
KEYS = TEXT | st.sampled_from(["Samples", "lines", "data type", "map_info", "ns", "bidx", "ENVI", "file compression"])


@settings(max_examples=40)
@given(
    st.dictionaries(KEYS, TEXT | st.sampled_from(["a\nsamples = 7\nlines = 200", "{a\nb}", "x = {", "}"]), max_size=6)
)
def test_no_text_of_a_source_breaks_an_envi_header(tmp_path_factory, scene, texts):
    folder = tmp_path_factory.mktemp("x")
    exported = replace(open_exported(scene, None), header=texts, notes=[])
    path = written(folder, exported)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert all("=" in line or line.startswith(" ") for line in lines[1:]), lines
    assert_array_equal(gdal(folder / "out.bil")[0], CUBE)
    source = read_envi(path, Options())
    assert_array_equal(source.read_rows(0, 6), CUBE)
    assert source.facts.spectral.values == (450.0, 550.0, 650.0, 860.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Spectral Python warns of keys with capitals
        assert_array_equal(np.asarray(spy.open(str(path)).load()), CUBE)


@settings(max_examples=10)
@given(
    st.dictionaries(st.sampled_from(["ns", "bidx", "a=b", "NS ", "my key", "x/y"]), TEXT.filter(str.strip), max_size=4)
)
def test_any_key_goes_into_a_geotiff_and_a_netcdf(tmp_path_factory, scene, texts):
    folder = tmp_path_factory.mktemp("x")
    for name, write in (("a.tif", write_geotiff), ("a.nc", write_netcdf)):
        write(replace(open_exported(scene, None), header=texts, notes=[]), folder / name, Silent())
        assert_array_equal(open_source(str(folder / name), Options()).read_rows(0, 6), CUBE)


@settings(max_examples=8)
@given(NAMES)
def test_names_of_classes_survive_every_format(tmp_path_factory, scene, names):
    names = [" ".join(name.split()) for name in names]
    folder = tmp_path_factory.mktemp("x")
    text = json.dumps(names)
    np.save(folder / "x.npy", CUBE)
    np.savez(folder / "l.npz", labels=np.zeros((6, 5), np.uint8), class_names=np.array(names))
    ingest(folder / "x.npy", folder / "scene", labels=f"{folder / 'l.npz'}:labels")
    assert list(Scene.open(str(folder / "scene")).classes()) == names, text
    for end in (".hdr", ".tif", ".nc"):
        export(folder / "scene", folder / f"map{end}", layer="labels")
        again = open_source(str(folder / f"map{end}"), Options(kind="labels"))
        assert list(again.facts.classes) == names, (end, text)
    assert len(spy.open(str(folder / "map.hdr")).metadata["class names"]) == len(names)
    found = ET.parse(folder / "map.tif.aux.xml").findall(".//Category")
    assert [node.text for node in found] == names


def test_gdal_finds_names_of_classes_for_a_legend(tmp_path, scene):
    export(scene, tmp_path / "map.tif", layer="labels")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rasterio.shutil.copy(tmp_path / "map.tif", tmp_path / "map.vrt", driver="VRT")
    found = ET.parse(tmp_path / "map.vrt").findall(".//Category")
    assert [node.text for node in found] == ["class_0", "class_1", "class_2"]


def test_a_geotiff_is_compressed_and_a_small_one_is_not_padded(tmp_path):
    data = np.repeat(np.arange(27 * 10, dtype=np.float32).reshape(27, 10, 1), 120, axis=2)
    ingest(write_envi(tmp_path, data), tmp_path / "scene")
    export(tmp_path / "scene", tmp_path / "x.tif")
    assert (tmp_path / "x.tif").stat().st_size < data.nbytes
    assert_array_equal(gdal(tmp_path / "x.tif")[0], data)


def test_names_of_bands_go_through_a_geotiff(tmp_path):
    text = "wavelength units = nm\nwavelength = {450, 550, 650, 860}\nband names = {blue, green, red, infrared}\n"
    ingest(write_envi(tmp_path, CUBE, extra=text), tmp_path / "scene")
    export(tmp_path / "scene", tmp_path / "x.tif")
    facts = open_source(str(tmp_path / "x.tif"), Options()).facts
    assert facts.header["band names"] == "{blue, green, red, infrared}"
    assert facts.spectral.values == (450.0, 550.0, 650.0, 860.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(tmp_path / "x.tif") as raster:
            assert raster.colorinterp[3].name != "alpha"
            assert raster.descriptions == ("blue", "green", "red", "infrared")


def test_a_scaled_scene_has_its_values_in_gdal_and_spectral_python(tmp_path):
    text = "reflectance scale factor = 10000\ndata ignore value = 3\n"
    ingest(write_envi(tmp_path, CUBE, extra=text), tmp_path / "scene")
    export(tmp_path / "scene", tmp_path / "x.hdr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(tmp_path / "x.bil") as raster:
            values = np.moveaxis(raster.read(), 0, -1) * np.array(raster.scales) + np.array(raster.offsets)
            assert raster.nodata == 3
    assert_allclose(values, CUBE * 1e-4)
    assert_allclose(np.asarray(spy.open(str(tmp_path / "x.hdr")).load()), CUBE * 1e-4, rtol=1e-6)


def test_a_netcdf_has_layers_title_provenance_and_place(tmp_path):
    np.save(tmp_path / "l.npy", (CUBE[..., 0] % 3).astype(np.uint8))
    place = "map info = {UTM, 1, 1, 676960, 4254967, 2, 2, 10, North, WGS-84}\nwavelength = {450, 550, 650, 860}\n"
    ingest(write_envi(tmp_path, CUBE, extra=place), tmp_path / "scene", labels=tmp_path / "l.npy")
    export(tmp_path / "scene", tmp_path / "x.nc")
    with xr.open_dataset(tmp_path / "x.nc", engine="h5netcdf", decode_coords="all") as data:
        assert_array_equal(data["cube"].values, CUBE)
        assert_array_equal(data["labels"].values, CUBE[..., 0] % 3)
        assert data.attrs["title"] == "cube"
        assert json.loads(data.attrs["provenance"])["verb"] == "ingest"
        assert_allclose(data["x"].values, 676961 + 2 * np.arange(5))
    again = open_source(str(tmp_path / "x.nc"), Options()).facts
    first = Scene.open(str(tmp_path / "scene")).georef
    assert again.georef["GeoTransform"] == first["GeoTransform"]


def test_a_file_that_could_not_be_finished_does_not_stay(tmp_path, scene, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tilespec.output.export.export_source.ExportSource.blocks", full)
    for end in ("tif", "hdr", "nc"):
        with pytest.raises(OSError, match="No space"):
            export(scene, tmp_path / f"x.{end}")
    assert list(tmp_path.iterdir()) == []


def test_a_format_without_compression_is_refused_on_a_full_disk(tmp_path, scene, monkeypatch):
    monkeypatch.setattr("tilespec.output.export.export.free_bytes", lambda _: 10)
    with pytest.raises(UserError, match="10 bytes free"):
        export(scene, tmp_path / "x.nc")


def test_a_picture_has_its_place_beside_it(tmp_path):
    place = "map info = {UTM, 1, 1, 676960, 4254967, 2, 2, 10, North, WGS-84}\n"
    ingest(write_envi(tmp_path, CUBE, extra=place), tmp_path / "scene")
    export(tmp_path / "scene", tmp_path / "x.png", max_side=3)
    with rasterio.open(tmp_path / "x.png") as raster:
        assert raster.crs.to_epsg() == 32610
        assert raster.transform.almost_equals(rasterio.Affine(4, 0, 676960, 0, -4, 4254967))


def test_a_crs_that_esri_has_no_words_for_is_left_out_and_said(tmp_path, scene):
    pole = {"grid_north_pole_latitude": 39.25, "grid_north_pole_longitude": -162.0}
    crs = CRS.from_cf({"grid_mapping_name": "rotated_latitude_longitude", **pole})
    place = grid_mapping(crs, (-20.0, 0.1, 0.0, 20.0, 0.0, -0.1))
    exported = replace(open_exported(scene, None), georef=place, notes=[])
    found = read_envi(written(tmp_path, exported), Options()).facts.georef
    assert "coordinate system string" not in (tmp_path / "out.hdr").read_text(encoding="utf-8")
    assert_allclose([float(word) for word in found["GeoTransform"].split()], (-20, 0.1, 0, 20, 0, -0.1))
    assert any("no coordinate system string" in note for note in exported.notes)


def test_text_that_no_format_holds_is_cut_and_lists_of_other_bands_are_left_out(tmp_path):
    """A source may say anything: control characters, more than HDF5's 64 KiB, names of bands that are gone."""
    long = "y" * 70_000
    text = f"comment = a\x01b\x7f\nhistory = {long}\nband names = {{one, two}}\n"
    ingest(write_envi(tmp_path, CUBE, extra=text), tmp_path / "scene")
    for end in (".tif", ".nc", ".hdr"):
        notes = export(tmp_path / "scene", tmp_path / f"out{end}")["notes"]
        facts = open_source(str(tmp_path / f"out{end}"), Options()).facts
        assert facts.header["comment"] == "ab", end
        assert facts.header["history"] == (long[:60_000] if end == ".nc" else long), end
        assert "band names" not in facts.header, end
        assert any("band names are lists of another number of bands" in note for note in notes)
        assert any("history is cut" in note for note in notes) == (end == ".nc")
