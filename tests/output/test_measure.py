"""Measure: the table of objects, beside numpy on the whole plane; any blocks, workers and kinds of objects."""

import csv
import json

import numpy as np
import pytest
from geojson_files import collection, saved, square
from PIL import Image
from scenes import write_scene
from scipy import ndimage
from stored_predictions import write_map

from tilespec.core.errors import UserError
from tilespec.core.types import UNLABELLED, SpectralAxis
from tilespec.ingest.readers.georeference import crs_of, grid_mapping
from tilespec.output.measure.measure import measure
from tilespec.storage.layout import constants, cube_spec, layer_spec
from tilespec.storage.product import Product, publish
from tilespec.storage.scene import Scene

NAMES = ("background", "leaf", "stem")
SHAPE = (70, 90)
AXIS = SpectralAxis(name="wavelength", unit="nm", values=(531.0, 550.3, 570.0, 670.0, 700.0, 800.0))


def planes(seed=0):
    """Return a cube with nodata, plants and a prediction with nodata, all in patches."""
    rng = np.random.default_rng(seed)
    cube = (rng.uniform(0.05, 0.9, (*SHAPE, len(AXIS.values))) + 100 * (seed == 9)).astype(np.float32)
    cube[5:9, 10:20] = np.nan
    cube[30:33, 40:50, 2] = np.nan
    plant = np.kron(rng.integers(0, 5, (7, 9)), np.ones((10, 10))).astype(np.uint16)
    predicted = np.kron(rng.integers(0, 3, (35, 45)), np.ones((2, 2))).astype(np.uint8)
    predicted[60:64, 3:9] = UNLABELLED
    return cube, plant, predicted


def write_planted(path, cube, plant, *, chunk=32, georef=None, layer="plant"):
    """Write a scene with a layer of plants."""
    spec = cube_spec(cube.shape, "float32", spectral=AXIS, georeferenced=georef is not None)
    specs = [spec, layer_spec(layer, SHAPE, "uint16")]
    specs = [type(s)(**{**vars(s), "chunks": (chunk, chunk, *s.chunks[2:])}) for s in specs]
    product = Product.open(
        str(path),
        specs,
        settings={"planted": [chunk, float(np.nansum(cube))]},
        attrs={},
        constants=constants(AXIS, georef),
    )
    for row in product.missing():
        y0, y1 = product.span(row)
        product.write(row, {"cube": cube[y0:y1], layer: plant[y0:y1]})
    product.finish()
    return str(path)


@pytest.fixture
def stores(tmp_path):
    cube, plant, predicted = planes()
    return write_map(tmp_path / "pred", predicted, classes=NAMES), write_planted(tmp_path / "scene", cube, plant)


def table(path):
    """Return the rows of a table by id."""
    with path.open(newline="") as file:
        return {int(row["id"]): row for row in csv.DictReader(file)}


def column(row, stem):
    return np.array([float(value) for key, value in row.items() if key.startswith(stem)])


def by_hand(row, mask, cube, predicted, wanted):
    """Hold a row of the table to numpy on the whole plane."""
    y, x = np.nonzero(mask)
    assert int(row["pixels"]) == mask.sum()
    assert [int(row[k]) for k in ("y0", "y1", "x0", "x1")] == [y.min(), y.max() + 1, x.min(), x.max() + 1]
    assert (float(row["centroid_y"]), float(row["centroid_x"])) == pytest.approx((y.mean(), x.mean()))
    shares = [(predicted[mask] == k).mean() for k in (0, 1, 2, UNLABELLED)]
    assert column(row, "share_") == pytest.approx(shares)
    finite = np.isfinite(cube).sum(axis=2)
    assert int(row["invalid_pixels"]) == (finite[mask] == 0).sum()
    assert int(row["partial_pixels"]) == ((finite[mask] > 0) & (finite[mask] < cube.shape[2])).sum()
    taken = mask & np.isin(predicted, wanted) & (finite > 0)
    assert int(row["spectrum_pixels"]) == taken.sum()
    spectra = cube[taken].astype(np.float64)
    assert column(row, "mean_") == pytest.approx(np.nanmean(spectra, axis=0), rel=1e-12)
    assert column(row, "sd_") == pytest.approx(np.nanstd(spectra, axis=0, ddof=1), rel=1e-9)


def test_every_plant_has_the_figures_of_numpy_on_the_whole(tmp_path, stores):
    cube, plant, predicted = planes()
    result = measure(*stores, tmp_path / "out.csv")
    rows = table(tmp_path / "out.csv")
    assert sorted(rows) == [1, 2, 3, 4]
    for number, row in rows.items():
        by_hand(row, plant == number, cube, predicted, (1, 2))
        assert row["area_m2"] == "NaN"
    assert sum(int(row["pixels"]) for row in rows.values()) == (plant > 0).sum() == result["object_pixels"]
    assert result["spectrum_classes"] == ["leaf", "stem"]
    assert (result["objects"], result["by"]) == (4, "plant")
    assert result["invalid_pixels"] == (np.isnan(cube).all(axis=2) & (plant > 0)).sum()


def test_classes_are_chosen_by_name_or_number(tmp_path, stores):
    cube, plant, predicted = planes()
    measure(*stores, tmp_path / "out.csv", only="background, 2")
    for number, row in table(tmp_path / "out.csv").items():
        by_hand(row, plant == number, cube, predicted, (0, 2))


def test_a_large_offset_costs_no_digit(tmp_path):
    cube, plant, predicted = planes(9)
    scene = write_planted(tmp_path / "scene", cube, plant)
    measure(write_map(tmp_path / "pred", predicted, classes=NAMES), scene, tmp_path / "out.csv")
    for number, row in table(tmp_path / "out.csv").items():
        by_hand(row, plant == number, cube, predicted, (1, 2))


def test_the_table_has_the_same_bytes_for_any_number_of_workers(tmp_path, stores):
    for workers in (0, 2):
        measure(*stores, tmp_path / f"{workers}.csv", workers=workers)
        measure(*stores, tmp_path / f"r{workers}.csv", regions="leaf", workers=workers)
    assert (tmp_path / "0.csv").read_bytes() == (tmp_path / "2.csv").read_bytes()
    assert (tmp_path / "r0.csv").read_bytes() == (tmp_path / "r2.csv").read_bytes()


def test_the_cut_into_blocks_changes_no_count_and_no_digit_that_counts(tmp_path, monkeypatch):
    cube, plant, predicted = planes()
    pred = write_map(tmp_path / "pred", predicted, classes=NAMES)
    found = []
    for chunk, piece in ((16, 50), (32, 4096), (96, 700)):
        monkeypatch.setattr("tilespec.storage.blocks.CHUNK", 16)
        monkeypatch.setattr("tilespec.output.measure.job.PIECE", piece)
        scene = write_planted(tmp_path / f"scene{chunk}", cube, plant, chunk=chunk)
        for kind in ({}, {"regions": "leaf", "min_area": 5}):
            measure(pred, scene, tmp_path / "out.csv", **kind)
            rows = table(tmp_path / "out.csv")
            found.append({key: [float(v) for name, v in row.items() if name != "scene"] for key, row in rows.items()})
    for one, other in zip(found[:2], found[2:4], strict=True):
        assert one.keys() == other.keys()
    for several in (found[::2], found[1::2]):
        for other in several[1:]:
            for key, row in several[0].items():
                assert other[key] == pytest.approx(row, rel=1e-11, nan_ok=True)


def test_regions_are_those_of_scipy_on_the_whole_plane(tmp_path, stores):
    cube, _, predicted = planes()
    parts, count = ndimage.label(predicted == 1, np.ones((3, 3)))
    sizes = np.bincount(parts.ravel())[1:]
    result = measure(*stores, tmp_path / "out.csv", regions="leaf", min_area=9)
    rows = table(tmp_path / "out.csv")
    assert list(rows) == list(range(1, 1 + (sizes >= 9).sum()))
    order = sorted((int(np.flatnonzero(parts.ravel() == k)[0]), k) for k in range(1, count + 1) if sizes[k - 1] >= 9)
    for row, (_, k) in zip(rows.values(), order, strict=True):
        by_hand(row, parts == k, cube, predicted, (1,))
    assert (result["small_regions"], result["small_regions_pixels"]) == ((sizes < 9).sum(), sizes[sizes < 9].sum())
    assert result["object_pixels"] + result["small_regions_pixels"] == (predicted == 1).sum()


def test_polygons_that_overlap_are_measured_whole_each_and_keep_their_attributes(tmp_path, stores):
    cube, _, predicted = planes()
    boxes = [(2, 3, 40, 50), (20, 20, 60, 69), (21, 0, 50, 30), (85, 60, 200, 80), (200, 200, 210, 210)]
    shapes = [(square(*box), {"name": f"plot, {i}", "pixels": i}) for i, box in enumerate(boxes)]
    result = measure(*stores, tmp_path / "out.csv", polygons=str(saved(tmp_path, collection(*shapes))), only="0,1,2")
    rows = table(tmp_path / "out.csv")
    for i, (row, (x0, y0, x1, y1)) in enumerate(zip(rows.values(), boxes[:4], strict=False)):
        mask = np.zeros(SHAPE, bool)
        mask[y0:y1, x0:x1] = True
        by_hand(row, mask, cube, predicted, (0, 1, 2))
        assert (row["name"], row["polygon_pixels"]) == (f"plot, {i}", str(i))
    assert (rows[5]["pixels"], rows[5]["mean_550.3"], rows[5]["share_leaf"]) == ("0", "NaN", "NaN")
    assert (result["objects"], result["without_pixels"]) == (5, 1)


def test_polygons_of_pixels_need_only_be_said_to_be(tmp_path, stores):
    path = str(saved(tmp_path, collection((square(0, 0, 9, 4), {}), crs=None)))
    with pytest.raises(UserError, match="without a georeference"):
        measure(*stores, tmp_path / "out.csv", polygons=path)
    measure(*stores, tmp_path / "out.csv", polygons=path, pixel_coordinates=True)
    assert table(tmp_path / "out.csv")[1]["pixels"] == "36"


def test_half_and_half_are_the_whole(tmp_path, stores):
    results = []
    for rows in ("0:37", "37:70", None):
        measure(*stores, tmp_path / "out.csv", rows=rows, only="0,1,2")
        results.append(table(tmp_path / "out.csv"))
    top, bottom, whole = results
    for number, row in whole.items():
        parts = [half[number] for half in (top, bottom) if number in half]
        assert sum(int(part["pixels"]) for part in parts) == int(row["pixels"])
        n = np.array([int(part["spectrum_pixels"]) for part in parts])
        means = np.array([float(part["mean_531.0"]) for part in parts])  # a band without dead pixels
        assert (n * means).sum() / n.sum() == pytest.approx(float(row["mean_531.0"]), rel=1e-12)


def test_a_prediction_of_a_part_is_measured_where_it_lies(tmp_path, stores):
    cube, plant, predicted = planes()
    part = np.s_[11:60, 7:80]
    pred = write_map(tmp_path / "part", predicted[part], classes=NAMES, origin=[11, 7])
    measure(pred, stores[1], tmp_path / "out.csv")
    for number, row in table(tmp_path / "out.csv").items():
        mask = np.zeros(SHAPE, bool)
        mask[part] = plant[part] == number
        by_hand(row, mask, cube, predicted, (1, 2))


@pytest.mark.parametrize(("code", "area"), [(32633, 0.25), (2263, 0.25 * 0.3048006096012192**2), (4326, None)])
def test_areas_are_square_metres_where_coordinates_are_lengths(tmp_path, code, area):
    cube, plant, predicted = planes()
    georef = grid_mapping(crs_of(code), (4.0e5, 0.5, 0, 5e6, 0, -0.5))
    scene = write_planted(tmp_path / "scene", cube, plant, georef=georef)
    result = measure(write_map(tmp_path / "pred", predicted, classes=NAMES), scene, tmp_path / "out.csv")
    row = table(tmp_path / "out.csv")[1]
    if area is None:
        assert (row["area_m2"], result["pixel_area_m2"]) == ("NaN", None)
        assert "no lengths" in result["notes"][0]
    else:
        assert float(row["area_m2"]) == pytest.approx(area * int(row["pixels"]), rel=1e-6)


def test_a_block_without_an_object_is_not_read(tmp_path, stores, monkeypatch):
    read, seen = Scene.read, []
    monkeypatch.setattr(Scene, "read", lambda self, roi, *more: seen.append(roi) or read(self, roi, *more))
    path = str(saved(tmp_path, collection((square(1, 1, 9, 4), {}))))
    measure(*stores, tmp_path / "out.csv", polygons=path)
    assert len(seen) == 1


def test_a_dry_run_checks_and_writes_nothing(tmp_path, stores):
    plan = measure(*stores, tmp_path / "out.csv", dry_run=True)
    assert (plan["pixels"], plan["bytes_to_read"]) == (70 * 90, 70 * 90 * 6 * 4)
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "pot"}, "found 'pot'; layers are plant"),
        ({"regions": "root"}, "found 'root'; expected one of background, leaf, stem, or 0 to 2"),
        ({"regions": "3"}, "found '3'"),
        ({"only": "leaf,root"}, "--class: found 'root'"),
        ({"by": "plant", "regions": "leaf"}, "expected one of them"),
        ({"min_area": 5}, "--min-area"),
        ({"regions": "leaf", "min_area": 0}, "1 or more"),
        ({"pixel_coordinates": True}, "--pixel-coordinates"),
        ({"polygons": "nowhere.geojson"}, "found nothing"),
        ({"rows": "60:80"}, "--rows"),
    ],
)
def test_what_cannot_be_measured_is_refused(tmp_path, stores, options, message):
    with pytest.raises(UserError, match=message):
        measure(*stores, tmp_path / "out.csv", **options)
    assert not (tmp_path / "out.csv").exists()


def test_a_table_that_has_no_place_is_refused_before_the_work(tmp_path, stores):
    for out in (stores[1], tmp_path / "missing" / "out.csv"):
        with pytest.raises(UserError, match=r"a file OUT\.csv"):
            measure(*stores, out, dry_run=True)


def test_maps_of_other_planes_scales_and_classes_are_refused(tmp_path, stores):
    predicted = planes()[2]
    cases = {
        "one of rows 0:70": write_map(tmp_path / "small", predicted[:50], classes=NAMES),
        "inside|or of a part": write_map(tmp_path / "far", predicted, classes=NAMES, origin=[1, 0]),
        "at scale 1/2": write_map(tmp_path / "half", predicted, classes=NAMES, grid={"scale": "1/2"}),
        "the value 2": write_map(tmp_path / "two", predicted, classes=NAMES[:2]),
        "name its classes": write_map(tmp_path / "unnamed", predicted, classes=()),
    }
    for message, pred in cases.items():
        with pytest.raises(UserError, match=message):
            measure(pred, stores[1], tmp_path / "out.csv")


def shapes(row):
    names = ("perimeter", "hull_area", "solidity", "ellipse_major", "ellipse_minor", "eccentricity", "height", "width")
    return {name: float(row[name]) for name in names}


@pytest.mark.parametrize("kind", [{}, {"regions": "leaf"}])
def test_shapes_are_those_of_the_whole_plane_in_any_blocks(tmp_path, kind):
    cube, plant, predicted = planes()
    tables = []
    for chunk in (8, 96):
        scene = write_planted(tmp_path / f"scene{chunk}", cube, plant, chunk=chunk)
        measure(write_map(tmp_path / f"pred{chunk}", predicted, classes=NAMES), scene, tmp_path / "out.csv", **kind)
        tables.append({number: shapes(row) for number, row in table(tmp_path / "out.csv").items()})
    assert tables[0].keys() == tables[1].keys()
    for number, expected in tables[1].items():
        assert tables[0][number] == pytest.approx(expected), number


def test_a_table_names_its_scene_and_the_classes_of_a_class_map(tmp_path):
    scene = write_scene(tmp_path / "scene.zarr", 50, 60, 4)
    measure(scene, scene, tmp_path / "out.csv", by="labels")
    rows = table(tmp_path / "out.csv")
    assert {row["scene"] for row in rows.values()} == {"scene"}
    assert {number: row["class"] for number, row in rows.items()} == dict(enumerate(Scene.open(scene).classes()))


def test_indices_need_reflectance(tmp_path):
    """Counts have ratios too, but no indices: NaN and a note."""
    cube, plant, predicted = planes()
    pred = write_map(tmp_path / "pred", predicted, classes=NAMES)
    for name, scale, known in (("a", 1, True), ("b", 4000, False)):
        scene = write_planted(tmp_path / name, cube * np.float32(scale), plant)
        found = measure(pred, scene, tmp_path / "out.csv")
        assert (table(tmp_path / "out.csv")[1]["NDVI"] != "NaN") == known
        assert any("no vegetation indices" in note for note in found["notes"]) != known


def test_a_picture_has_the_outline_and_the_number_of_every_object(tmp_path, stores):
    plant = planes()[1]
    found = measure(*stores, tmp_path / "out.csv", picture=str(tmp_path / "objects.png"))
    assert found["picture"].endswith("objects.png")
    pixels = np.asarray(Image.open(tmp_path / "objects.png"))
    times = pixels.shape[0] // SHAPE[0]
    assert pixels.shape == (SHAPE[0] * times, SHAPE[1] * times, 3)
    yellow = (pixels[times // 2 :: times, times // 2 :: times] == (255, 230, 0)).all(axis=2)
    edge = np.zeros(SHAPE, bool)
    edge[:, :-1] |= plant[:, :-1] != plant[:, 1:]
    edge[:-1] |= plant[:-1] != plant[1:]
    covered = (yellow != edge).mean()
    assert covered < 0.1  # numbers lie over some
    with pytest.raises(UserError, match=r"a file NAME\.png"):
        measure(*stores, tmp_path / "out2.csv", picture=str(tmp_path / "objects.jpg"))


def test_what_may_surprise_is_noted(tmp_path, stores):
    pred = write_map(tmp_path / "p", planes()[2], classes=NAMES, scene_digest="of another scene")
    publish(pred, {"tilespec_status": "incomplete"})
    notes = " ".join(measure(pred, stores[1], tmp_path / "out.csv")["notes"])
    assert "incomplete" in notes
    assert "another scene" in notes


def test_the_labels_of_a_scene_are_a_class_map_too(tmp_path):
    scene = write_scene(tmp_path / "scene", 50, 60, 4)
    result = measure(scene, scene, tmp_path / "out.csv", by="labels")
    assert result["object_pixels"] == 50 * 60
    assert json.dumps(result)
    rows = table(tmp_path / "out.csv")
    assert (rows[0]["share_background"], rows[1]["share_plant"]) == ("1.0", "1.0")
    assert (rows[0]["spectrum_pixels"], rows[0]["mean_400.0"]) == ("0", "NaN")
