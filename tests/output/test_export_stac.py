"""STAC: the item beside an exported file is valid, and says where, when and what the file is."""

import hashlib
import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from envi_files import write_envi
from numpy.testing import assert_allclose
from pyproj import CRS
from rasterio.warp import transform_bounds
from stored_predictions import write_map

from tilespec.core.errors import UserError
from tilespec.ingest.ingest import ingest
from tilespec.ingest.readers.georeference import grid_mapping
from tilespec.output.export.export import export

UTM = (380952.0, 30.0, 0.0, 5820372.0, 0.0, -30.0)
WHEN = "2026-06-01T10:30:00Z"
EXTRA = (
    "wavelength units = nm\nwavelength = {450, 650, 860}\nfwhm = {5, 6, 7}\nreflectance scale factor = 10000\n"
    "acquisition time = 2024-05-01T12:00:00.5+02:00\n"
    "map info = {UTM, 1, 1, 380952, 5820372, 30, 30, 33, South, WGS-84, units=Meters}\n"
)


def errors(item):
    """Return the errors of an item by the schemas of STAC's core, which pystac ships."""
    spec = find_spec("pystac")
    files = [f for place in spec.submodule_search_locations or () for f in Path(place).rglob("jsonschemas/**/*.json")]
    if not files:
        pytest.skip("no schemas of STAC are installed")
    from jsonschema import Draft7Validator
    from referencing import Registry, Resource
    from referencing.jsonschema import DRAFT7

    named = {file.name: json.loads(file.read_text()) for file in files}  # some have the $id of another one

    def retrieve(uri):
        return Resource(contents=named[uri.partition("#")[0].rpartition("/")[2]], specification=DRAFT7)

    main = {key: value for key, value in named["item.json"].items() if key != "$id"}
    validator = Draft7Validator(main, registry=Registry(retrieve=retrieve))
    return [error.message for error in validator.iter_errors(item)]


@pytest.fixture
def scene(tmp_path):
    data = np.random.default_rng(0).integers(1, 900, (40, 30, 3)).astype("u2")
    ingest(write_envi(tmp_path, data, extra=EXTRA), tmp_path / "scene")
    return tmp_path / "scene"


def item(path):
    return json.loads(path.with_name(f"{path.name}.json").read_text())


@pytest.mark.parametrize("end", ["tif", "hdr", "nc", "png"])
def test_the_item_of_a_scene_is_valid_and_says_what_the_file_is(tmp_path, scene, end):
    result = export(scene, tmp_path / f"x.{end}", stac=True)
    stac = item(tmp_path / f"x.{end}")
    assert str(tmp_path / f"x.{end}.json") in result["files"]
    assert stac["properties"]["datetime"] == "2024-05-01T10:00:00.500000Z"
    assert stac["properties"]["proj:code"] == "EPSG:32733"
    box = transform_bounds("EPSG:32733", "OGC:CRS84", 380952, 5820372 - 40 * 30, 380952 + 30 * 30, 5820372)
    assert_allclose(stac["bbox"], box, atol=1e-8)
    assert {Path(each["href"]).name for each in stac["assets"].values()} == {
        Path(name).name for name in result["files"] if not name.endswith(".json")
    }
    for asset in stac["assets"].values():
        content = (tmp_path / asset["href"]).read_bytes()
        assert asset["file:checksum"] == "1220" + hashlib.sha256(content).hexdigest()
        assert asset["file:size"] == len(content)
    if end != "png":
        bands = stac["assets"]["bil" if end == "hdr" else end]
        assert [band["eo:center_wavelength"] for band in bands["bands"]] == [0.45, 0.65, 0.86]
        assert bands["bands"][2]["eo:full_width_half_max"] == pytest.approx(0.007)
        assert (bands["data_type"], bands["raster:scale"]) == ("uint16", 1e-4)
        assert stac["properties"]["proj:shape"] == [40, 30]
        assert stac["properties"]["proj:transform"] == [30.0, 0.0, 380952.0, 0.0, -30.0, 5820372.0]
    pytest.importorskip("pystac")
    assert errors(stac) == []
    assert errors({**stac, "assets": {"x": {}}}) != []


def test_the_item_of_a_class_map_has_its_classes_and_polygons_have_one_too(tmp_path):
    plane = np.arange(48).reshape(6, 8) % 2
    store = write_map(tmp_path / "m", plane, classes=("bare soil", "leaf"), georef=grid_mapping(CRS(32733), UTM))
    export(store, tmp_path / "m.tif", stac=True, datetime=WHEN)
    stac = item(tmp_path / "m.tif")
    classes = stac["assets"]["tif"]["classification:classes"]
    assert [(each["value"], each["name"], each["title"]) for each in classes] == [
        (0, "bare_soil", "bare soil"),
        (1, "leaf", "leaf"),
    ]
    assert (stac["assets"]["tif"]["nodata"], stac["properties"]["datetime"]) == (255.0, WHEN)
    export(store, tmp_path / "m.geojson", stac=True, datetime=WHEN)
    assert item(tmp_path / "m.geojson")["assets"]["geojson"]["type"] == "application/geo+json"
    pytest.importorskip("pystac")
    assert errors(stac) == errors(item(tmp_path / "m.geojson")) == []


def test_without_a_crs_there_is_no_geometry_and_without_a_time_no_item(tmp_path):
    store = write_map(tmp_path / "m", np.zeros((6, 8)))
    with pytest.raises(UserError, match="no time in the header"):
        export(store, tmp_path / "m.npy", stac=True)
    with pytest.raises(UserError, match="--datetime: found 'June'"):
        export(store, tmp_path / "m.npy", stac=True, datetime="June")
    assert not (tmp_path / "m.npy").exists()
    notes = export(store, tmp_path / "m.npy", stac=True, datetime=WHEN)["notes"]
    assert any("no CRS" in note for note in notes)
    assert item(tmp_path / "m.npy")["geometry"] is None
    assert "bbox" not in item(tmp_path / "m.npy")


def test_a_dry_run_refuses_what_the_run_would(tmp_path):
    store = write_map(tmp_path / "m", np.zeros((6, 8)))
    for dry_run in (True, False):
        with pytest.raises(UserError, match="no time in the header"):
            export(store, tmp_path / "m.npy", stac=True, dry_run=dry_run)
    (tmp_path / "m.npy.json").write_text("mine")
    for dry_run in (True, False):
        with pytest.raises(UserError, match=r"m\.npy\.json: found a file"):
            export(store, tmp_path / "m.npy", stac=True, datetime=WHEN, dry_run=dry_run)
    assert (tmp_path / "m.npy.json").read_text() == "mine"
