"""Polygons of class regions: rasterised back they are the map, and GDAL traces the same regions on the whole plane."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_array_equal
from pyproj import CRS
from rasterio import Affine
from rasterio.features import rasterize, shapes
from rasterio.warp import transform_geom
from scipy.ndimage import label
from stored_predictions import write_field, write_map

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.ingest.labels.polygons import read_polygons
from tilespec.ingest.readers.georeference import grid_mapping
from tilespec.output.export.boundary import NOTHING
from tilespec.output.export.class_regions import class_regions
from tilespec.output.export.export import export

UTM = (380952.0, 30.0, 0.0, 5820372.0, 0.0, -30.0)
MAPS = arrays(np.int64, st.tuples(st.integers(1, 14), st.integers(1, 14)), elements=st.integers(-1, 2))


def regions_of(plane, height):
    """Return the regions of a plane that comes in strips of a height; -1 is nothing."""
    values = np.where(plane < 0, NOTHING, plane)
    return [*class_regions(((y, values[y : y + height]) for y in range(0, len(plane), height)), plane.shape[1])]


def geometry(region, width):
    """Return a region as a GeoJSON geometry in pixels."""
    parts = [[[*ring.tolist(), ring[0].tolist()] for ring in rings] for rings in region.polygons(width)]
    return {"type": "MultiPolygon", "coordinates": parts}


def burnt(geometries, shape, transform=None):
    """Return a plane with the number of each geometry, and refuse two that overlap."""
    out = np.full(shape, -1)
    for number, each in enumerate(geometries):
        mask = rasterize([(each, 1)], out_shape=shape, transform=transform or Affine.identity()).astype(bool)
        assert (out[mask] == -1).all()
        out[mask] = number
    return out


def area(ring):
    x, y = np.asarray(ring, float).T
    return ((x[:-1] - x[0]) * (y[1:] - y[0]) - (x[1:] - x[0]) * (y[:-1] - y[0])).sum() / 2


@settings(deadline=None, max_examples=150)
@given(plane=MAPS, height=st.integers(1, 6))
def test_polygons_burnt_back_are_the_map_whatever_the_strips(plane, height):
    found = regions_of(plane, height)
    places = burnt([geometry(region, plane.shape[1]) for region in found], plane.shape)
    values = np.array([region.value for region in found] + [-1])
    assert_array_equal(values[places], plane)
    assert [region.pixels for region in found] == np.bincount(places[places >= 0], minlength=len(found)).tolist()
    whole = regions_of(plane, len(plane))
    assert [geometry(r, plane.shape[1]) for r in whole] == [geometry(r, plane.shape[1]) for r in found]


@settings(deadline=None, max_examples=100)
@given(plane=MAPS, height=st.integers(1, 6))
def test_the_regions_are_those_of_scipy_and_their_parts_those_of_gdal(plane, height):
    found = regions_of(plane, height)
    expected = set()
    for value in range(3):
        labels, count = label(plane == value, np.ones((3, 3)))
        sizes = np.bincount(labels.ravel())
        expected |= {(value, int(np.flatnonzero(labels == i)[0]), int(sizes[i])) for i in range(1, count + 1)}
    assert {(region.value, region.first, region.pixels) for region in found} == expected
    traced = shapes(plane.astype(np.int16), mask=plane >= 0, connectivity=4)
    ours = [(r.value, part) for r in found for part in geometry(r, plane.shape[1])["coordinates"]]
    assert sorted(outline(v, part) for v, part in ours) == sorted(outline(v, g["coordinates"]) for g, v in traced)


def outline(value, rings):
    """Return the class, the outer area and the sorted areas and boxes of the holes of a polygon."""
    holes = sorted((abs(area(ring)), np.min(ring, 0).tolist()) for ring in rings[1:])
    total = abs(area(rings[0])) - sum(hole for hole, _ in holes)
    return int(value), np.min(rings[0], 0).tolist(), np.max(rings[0], 0).tolist(), total


@settings(deadline=None, max_examples=100)
@given(plane=MAPS)
def test_no_ring_touches_itself_and_outer_rings_run_the_other_way_than_holes(plane):
    for region in regions_of(plane, 3):
        for outer, *holes in region.polygons(plane.shape[1]):
            assert all(len(np.unique(ring, axis=0)) == len(ring) for ring in (outer, *holes))
            assert area([*outer, outer[0]]) > 0
            assert all(area([*hole, hole[0]]) < 0 for hole in holes)


@pytest.fixture
def plane():
    """Return a map of three classes, some pixels without one, over several stored objects."""
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 3, (10, 8)).repeat(7, axis=0).repeat(6, axis=1)[:60, :40]
    return np.where(rng.random((60, 40)) < 0.05, 255, coarse).astype(np.uint8)


CLASSES = ("soil", "leaf, old", "Übergang")


@pytest.mark.parametrize("code", [32733, 4326, 2263])
def test_geojson_is_longitude_and_latitude_and_comes_back_as_the_map(tmp_path, plane, code):
    transform = {4326: (13.1, 0.001, 0.0, 52.5, 0.0, -0.002), 2263: (9.8e5, 3.0, 0.5, 1.9e5, 0.4, -3.0)}.get(code, UTM)
    store = write_map(tmp_path / "m", plane, classes=CLASSES, georef=grid_mapping(CRS(code), transform))
    result = export(store, tmp_path / "m.geojson")
    document = json.loads((tmp_path / "m.geojson").read_text())
    assert "crs" not in document
    features = document["features"]
    back = [transform_geom("OGC:CRS84", f"EPSG:{code}", feature["geometry"]) for feature in features]
    places = burnt(back, plane.shape, Affine.from_gdal(*transform))
    assert_array_equal(np.array([f["properties"]["value"] for f in features] + [255])[places], plane)
    first = features[0]["properties"]
    assert first["class"] == CLASSES[first["value"]]
    assert [f["properties"]["id"] for f in features] == [*range(1, 1 + len(features))]
    square = abs(transform[1] * transform[5] - transform[2] * transform[4])
    metre = {32733: 1.0, 2263: 0.3048**2}.get(code)
    for feature in features:
        values = feature["properties"]
        assert values["area"] == pytest.approx(values["pixels"] * square)
        assert (values["area_m2"] is None) == (metre is None)
        assert metre is None or values["area_m2"] == pytest.approx(values["area"] * metre, rel=1e-4)
        assert plane[values["row"], values["col"]] == values["value"]
        parts = feature["geometry"]["coordinates"]
        outer = [rings[0] for rings in (parts if feature["geometry"]["type"] == "MultiPolygon" else [parts])]
        assert all(area(ring) > 0 for ring in outer)  # RFC 7946: counter-clockwise
    assert list(result["files"]) == [str(tmp_path / "m.geojson")]


def test_without_a_crs_geojson_is_in_pixels_and_measures_as_the_map(tmp_path, plane):
    export(write_map(tmp_path / "m", plane, classes=CLASSES), tmp_path / "m.geojson")
    document = json.loads((tmp_path / "m.geojson").read_text())
    assert document["crs"] == "pixel"
    polygons = read_polygons(tmp_path / "m.geojson", plane.shape, None)
    places = burnt([shape.geometry() for shape in polygons.shapes], plane.shape)
    assert_array_equal(np.array([s.values["value"] for s in polygons.shapes] + [255])[places], plane)


@pytest.mark.parametrize("place", ["utm", "transform", None])
def test_a_geopackage_has_the_crs_of_the_scene(tmp_path, plane, place):
    raw = pytest.importorskip("pyogrio.raw")
    georef = {"utm": grid_mapping(CRS(32733), UTM), "transform": grid_mapping(None, UTM)}.get(place)
    export(write_map(tmp_path / "m", plane, classes=CLASSES, georef=georef), tmp_path / "m.gpkg")
    facts, _, shapes_read, columns = raw.read(tmp_path / "m.gpkg", layer="prediction")
    values = dict(zip(facts["fields"], columns, strict=True))
    assert CRS(facts["crs"]) == CRS(32733) if place == "utm" else facts["crs"] is None
    assert set(values["class"]) == set(CLASSES)
    polygons = read_polygons(tmp_path / "m.gpkg", plane.shape, georef, pixels=place is None)
    assert len(shapes_read) == len(polygons.shapes)
    places = burnt([shape.geometry() for shape in polygons.shapes], plane.shape)
    assert_array_equal(np.append(values["value"], 255)[places], plane)


def test_classes_and_the_least_area_are_those_of_measure(tmp_path, plane, make_scene):
    store = write_map(tmp_path / "m", plane, classes=CLASSES)
    scene = make_scene(tmp_path / "s", 60, 40, 3)
    api.measure(store, scene, tmp_path / "t.csv", regions="soil", min_area=60)
    lines = (tmp_path / "t.csv").read_text().splitlines()
    sizes = [int(line.split(",")[lines[0].split(",").index("pixels")]) for line in lines[1:]]
    result = export(store, tmp_path / "m.geojson", only="soil", min_area=60)
    values = [f["properties"] for f in json.loads((tmp_path / "m.geojson").read_text())["features"]]
    ordered = sorted(values, key=lambda each: (each["row"], each["col"]))
    assert [each["pixels"] for each in ordered] == sizes
    assert {each["class"] for each in values} == {"soil"}
    assert "--min-area" in " ".join(result["notes"])


def test_the_bytes_do_not_depend_on_the_stored_objects(tmp_path, plane):
    texts = set()
    for chunk in (7, 16, 64):
        export(write_map(tmp_path / f"m{chunk}", plane, chunk=chunk, classes=CLASSES), tmp_path / f"{chunk}.geojson")
        texts.add((tmp_path / f"{chunk}.geojson").read_bytes())
    assert len(texts) == 1


def test_a_map_without_a_region_is_a_file_without_a_feature(tmp_path):
    store = write_map(tmp_path / "m", np.full((5, 4), 255))
    for name in ("m.geojson", "m.gpkg"):
        export(store, tmp_path / name)
    assert json.loads((tmp_path / "m.geojson").read_text())["features"] == []
    assert len(pytest.importorskip("pyogrio.raw").read(tmp_path / "m.gpkg")[2]) == 0


def test_wrong_requests_are_refused_and_leave_nothing(tmp_path, plane):
    store = write_map(tmp_path / "m", plane, classes=CLASSES)
    for options, message in (({"only": "water"}, "--class.*soil"), ({"min_area": 0}, "--min-area")):
        with pytest.raises(UserError, match=message):
            export(store, tmp_path / "m.geojson", **options)
    with pytest.raises(UserError, match=r"expected a class map.*--layer"):
        export(write_field(tmp_path / "f", np.zeros((4, 4))), tmp_path / "m.gpkg")
    assert not [*tmp_path.glob("*m.g*")]
    notes = export(store, tmp_path / "m.npy", min_area=3, only="soil")["notes"]
    assert ["--class" in notes[0], "--min-area" in notes[1]] == [True, True]
