"""Vector labels: polygons placed on the pixels of a scene, the same mask for any blocks, and what is refused."""

import json
import struct
import sys

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 - gives xarray its .rio
import xarray as xr
from geojson_files import collection, saved, square
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from pyproj import Transformer
from rasterio.features import rasterize

from tilespec.core.errors import UserError
from tilespec.core.types import Roi
from tilespec.ingest.ingest import ingest
from tilespec.ingest.labels.polygons import GRAIN, Polygon, read_polygons
from tilespec.ingest.labels.wkb import polygon_of
from tilespec.storage.scene import Scene

pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")  # rioxarray's own
TRANSFORM = rasterio.Affine(2.0, 0, 412000.0, 0, -2.0, 5800000.0)


def labelled(folder, labels, shape=(6, 5)):
    """Ingest a cube without a place, with labels; return the result and the stored labels."""
    np.save(folder / "x.npy", np.ones((*shape, 2), np.float32))
    result = ingest(folder / "x.npy", folder / "scene", labels=labels)
    return result, Scene.open(str(folder / "scene")).labels()


def placed(folder, shape=(40, 30)):
    """Write a GeoTIFF that lies in UTM 33N, 2 m a pixel."""
    cube = xr.DataArray(np.ones((2, *shape), np.float32), dims=("band", "y", "x"))
    cube.rio.write_transform(TRANSFORM).rio.write_crs("EPSG:32633").rio.to_raster(folder / "x.tif")
    return folder / "x.tif"


def test_the_later_polygon_holds_and_what_none_covers_is_unlabelled(tmp_path):
    document = collection((square(0, 0, 3, 2), {"class": 0}), (square(2, 1, 5, 3), {"class": 1}))
    result, found = labelled(tmp_path, saved(tmp_path, document))
    expected = np.full((6, 5), 255)
    expected[0:2, 0:3], expected[1:3, 2:5] = 0, 1
    assert_array_equal(found, expected)
    assert (result["label_counts"], result["unlabelled"]) == ([5, 6], 19)
    assert "1 pixels lie under several polygons" in " ".join(result["notes"])
    assert "the attribute 'class'" in " ".join(result["notes"])


def test_names_are_classes_in_alphabetical_order_and_null_is_none(tmp_path):
    named = [
        (square(0, 0, 1, 1), {"kind": "soil", "class": 9}),
        (square(1, 0, 2, 1), {"kind": "leaf area", "class": 9}),
        (square(2, 0, 3, 1), {"kind": None, "class": 9}),
        (None, {"kind": "soil"}),
    ]
    result, found = labelled(tmp_path, f"{saved(tmp_path, collection(*named))}:kind")
    assert found[0].tolist() == [1, 0, 255, 255, 255]
    assert Scene.open(str(tmp_path / "scene")).classes() == ("leaf area", "soil")
    assert "1 features without a geometry" in " ".join(result["notes"])
    assert "1 polygons without a class" in " ".join(result["notes"])


def test_holes_and_several_parts_are_kept(tmp_path):
    ring = square(0, 0, 5, 5)["coordinates"] + square(1, 1, 4, 4)["coordinates"]
    both = {"type": "MultiPolygon", "coordinates": [ring, square(2, 2, 3, 3)["coordinates"]]}
    _, found = labelled(tmp_path, saved(tmp_path, collection((both, {"class": 2}))))
    expected = np.full((6, 5), 255)
    expected[:5, :5] = 2
    expected[1:4, 1:4] = 255
    expected[2, 2] = 2
    assert_array_equal(found, expected)


corner = st.integers(-4 * GRAIN, 40 * GRAIN).map(lambda n: n / GRAIN) | st.integers(-8, 80).map(lambda n: n / 2)


@given(
    corners=st.lists(st.tuples(corner, corner), min_size=3, max_size=7),
    cut=st.tuples(st.integers(1, 31), st.integers(1, 31)),
)
@settings(max_examples=200)
def test_the_mask_of_a_block_is_that_part_of_the_mask_of_the_whole(corners, cut):
    """Also where edges run through the centres of pixels: coordinates are exact."""
    polygon = Polygon(parts=((np.array(corners),),), values={})
    whole = polygon.mask(Roi(y0=0, y1=32, x0=0, x1=32))
    (y, x) = cut
    for y0, y1, x0, x1 in ((0, y, 0, x), (0, y, x, 32), (y, 32, 0, x), (y, 32, x, 32)):
        roi = Roi(y0=y0, y1=y1, x0=x0, x1=x1)
        assert_array_equal(polygon.mask(roi), whole[roi.slices])
        window = polygon.window(roi)
        outside = polygon.mask(roi)
        if window is not None:
            outside[window.y0 - y0 : window.y1 - y0, window.x0 - x0 : window.x1 - x0] = False
        assert not outside.any()


@given(corners=st.lists(st.tuples(corner, corner), min_size=3, max_size=7))
def test_a_pixel_is_inside_where_a_ray_from_its_centre_crosses_an_odd_number_of_edges(corners):
    ring = np.array(corners)
    mask = Polygon(parts=((ring,),), values={}).mask(Roi(y0=0, y1=32, x0=0, x1=32))
    y, x = np.mgrid[0:32, 0:32] + 0.5
    inside, doubt = np.zeros(mask.shape, bool), np.zeros(mask.shape, bool)
    for (xa, ya), (xb, yb) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        crosses = (ya > y) != (yb > y)
        doubt |= (y == ya) & (y == yb)
        with np.errstate(divide="ignore", invalid="ignore"):
            at = (y - ya) * (xb - xa) / (yb - ya) + xa
        inside ^= crosses & (x < at)
        doubt |= (crosses | (y == ya) | (y == yb)) & np.isclose(x, np.nan_to_num(at, nan=-99, posinf=-99, neginf=-99))
    sure = ~doubt
    assert_array_equal(mask[sure], inside[sure])


def test_polygons_of_another_crs_are_reprojected(tmp_path):
    turn = Transformer.from_crs(32633, 4326, always_xy=True)
    corners = [(412007.0, 5799991.0), (412043.0, 5799985.0), (412040.0, 5799940.0), (412010.0, 5799950.0)]
    geometry = {"type": "Polygon", "coordinates": [[list(turn.transform(*c)) for c in [*corners, corners[0]]]]}
    labels = saved(tmp_path, collection((geometry, {"class": 3}), crs=None))
    result = ingest(placed(tmp_path), tmp_path / "scene", labels=labels)
    truth = {"type": "Polygon", "coordinates": [[*corners, corners[0]]]}
    expected = rasterize([(truth, 3)], out_shape=(40, 30), fill=255, transform=TRANSFORM, dtype="uint8")
    assert 100 < (expected == 3).sum() < 600
    assert_array_equal(Scene.open(str(tmp_path / "scene")).labels(), expected)
    assert "reprojected from WGS 84" in " ".join(result["notes"])


@pytest.mark.parametrize("suffix", ["gpkg", "shp"])
@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326"])
def test_geopackage_and_shapefile_hold_what_geojson_holds(tmp_path, suffix, crs):
    raw = pytest.importorskip("pyogrio.raw")
    turn = Transformer.from_crs(32633, crs, always_xy=True)

    def moved(x0, y0, x1, y1):
        ring = [turn.transform(412000 + 2 * x, 5800000 - 2 * y) for x, y in [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]]
        return {"type": "Polygon", "coordinates": [[[*c] for c in [*ring, ring[0]]]]}

    features = [(moved(2, 3, 20, 30), {"kind": "soil", "n": 1}), (moved(10, 5, 29, 12), {"kind": "leaf", "n": 4})]
    written = {"type": "name", "properties": {"name": crs}}
    source = saved(tmp_path, collection(*features, crs=written))
    facts, _, geometry, columns = raw.read(source)
    other = tmp_path / f"labels.{suffix}"
    kind = "Polygon"
    raw.write(str(other), geometry, columns, list(facts["fields"]), geometry_type=kind, crs=crs)
    cube = placed(tmp_path)
    found = []
    for path in (source, other):
        out = tmp_path / f"scene {path.suffix}"
        result = ingest(cube, out, labels=f"{path}:kind")
        found.append(Scene.open(str(out)).labels())
        assert result["classes"] == ["leaf", "soil"]
    assert_array_equal(*found)
    assert np.bincount(found[0].ravel(), minlength=3)[:2].tolist() == [19 * 7, 18 * 27 - 10 * 7]


def test_without_the_extra_the_message_names_it(tmp_path, monkeypatch):
    (tmp_path / "l.gpkg").touch()
    monkeypatch.setitem(sys.modules, "pyogrio", None)
    with pytest.raises(UserError, match=r"tilespec\[vector\]"):
        read_polygons(tmp_path / "l.gpkg", (6, 5), None)


FAR = square(50, 50, 60, 60)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (collection((square(0, 0, 3, 3), {"class": 0}), crs=None), "a scene without a georeference.*crs.*pixel"),
        (collection((FAR, {"class": 0})), "columns 50:60 of the scene; expected polygons that touch rows 0:6"),
        (collection((square(0.1, 0.1, 0.4, 0.4), {"class": 0})), "none of which holds the centre of a pixel"),
        (collection((square(0, 0, 3, 3), {"a": 0, "b": 1})), "found attributes a, b; .*:ATTRIBUTE"),
        (collection((square(0, 0, 3, 3), {})), "attributes none"),
        (collection((square(0, 0, 3, 3), {"class": 255})), "found 255"),
        (collection((square(0, 0, 3, 3), {"class": 0.5})), "found 0.5"),
        (collection((square(0, 0, 3, 3), {"class": True})), "found True"),
        (collection((square(0, 0, 3, 3), {"class": 1}), (square(0, 0, 3, 3), {"class": "a"})), "found 'a'"),
        (collection(({"type": "Point", "coordinates": [1, 1]}, {"class": 1})), "feature 1: found a Point"),
        (collection(({"type": "Polygon", "coordinates": [[[1, 1], [2, 2]]]}, {"class": 1})), "three corners"),
        (collection(({"type": "Polygon", "coordinates": []}, {"class": 1})), "expected a Polygon"),
        (collection(({"type": "Polygon", "coordinates": [["a", "b", "c"]]}, {"class": 1})), "expected a Polygon"),
        (collection(({"type": "Polygon", "coordinates": [[[1, float("nan")]] * 4]}, {"class": 1})), "not finite"),
        (collection((square(0, 0, 3, 3), {"class": 1}), crs="EPSG:nine"), "crs 'EPSG:nine'"),
        (collection(), "found no polygon"),
        ({"type": "FeatureCollection", "features": [3]}, "no feature"),
        ([1, 2], "no feature"),
        ("{", "expected a GeoJSON document"),
        ("[" * 100_000, "expected a GeoJSON document"),
    ],
)
def test_polygons_that_cannot_be_labels_are_refused_before_anything_is_written(tmp_path, document, message):
    path = tmp_path / "labels.geojson"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    with pytest.raises(UserError, match=message):
        labelled(tmp_path, path)
    assert not (tmp_path / "scene").exists()


def test_an_ignored_label_is_refused_and_an_attribute_must_be_there(tmp_path):
    path = saved(tmp_path, collection((square(0, 0, 3, 3), {"class": 1})))
    np.save(tmp_path / "x.npy", np.ones((6, 5, 2), np.float32))
    with pytest.raises(UserError, match="no such option"):
        ingest(tmp_path / "x.npy", tmp_path / "scene", labels=path, ignore_label=0)
    with pytest.raises(UserError, match="an attribute 'kind'"):
        ingest(tmp_path / "x.npy", tmp_path / "scene", labels=f"{path}:kind")


def binary(order, parts, multi):
    """Write well-known binary by hand."""

    def one(part):
        rings = b"".join(struct.pack(f"{order}I{2 * len(r)}d", len(r), *np.ravel(r)) for r in part)
        return struct.pack(order + "BII", order == "<", 3, len(part)) + rings

    body = b"".join(map(one, parts))
    return struct.pack(order + "BII", order == "<", 6, len(parts)) + body if multi else body


PARTS = [[[(0, 0), (4, 0), (4, 4), (0, 0)], [(1, 1), (2, 1), (2, 2), (1, 1)]], [[(9, 9), (8, 9), (8, 8), (9, 9)]]]


@pytest.mark.parametrize("order", ["<", ">"])
def test_well_known_binary_is_read_and_no_piece_of_it_is(order):
    for data, parts in ((binary(order, PARTS, multi=True), PARTS), (binary(order, PARTS[:1], multi=False), PARTS[:1])):
        found = polygon_of(data)
        assert [[ring.tolist() for ring in part] for part in found] == [
            [[list(c) for c in ring] for ring in part] for part in parts
        ]
        for end in range(len(data)):
            with pytest.raises((ValueError, IndexError)):
                polygon_of(data[:end])
        with pytest.raises(ValueError, match="after the geometry"):
            polygon_of(data + b"0")
