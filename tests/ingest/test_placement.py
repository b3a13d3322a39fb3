"""Labels are laid on the scene by the georeferences of both, or refused."""

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from pyproj import CRS

from tilespec.core.errors import UserError
from tilespec.ingest.ingest import ingest
from tilespec.ingest.labels.placement import lay_on_scene
from tilespec.ingest.readers.containers import ArraySource
from tilespec.ingest.readers.georeference import grid_mapping
from tilespec.ingest.readers.source import Facts
from tilespec.storage.scene import Scene

UTM = CRS(32633)


def facts_of(shape, transform, crs=UTM, dtype="u1"):
    return Facts(shape=(*shape, 1), dtype=np.dtype(dtype), georef=grid_mapping(crs, transform.to_gdal()))


def source_of(values, transform, crs=UTM):
    return ArraySource(facts=facts_of(values.shape, transform, crs), array=values, axes=("y", "x"))


@given(
    shape=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    size=st.sampled_from([(2.0, -2.0), (2.0, 2.0), (-2.0, -2.0), (4.0, -4.0), (1.0, -1.0), (0.5, 2.0)]),
    corner=st.tuples(st.integers(-8, 20), st.integers(-8, 20)),
)
def test_every_pixel_has_the_label_at_its_centre(shape, size, corner):
    scene = facts_of((6, 5), rasterio.Affine(2, 0, 1000, 0, -2, 2000))
    grid = rasterio.Affine(size[0], 0, 1000 + corner[0], 0, size[1], 2000 - corner[1])
    values = np.random.default_rng(0).integers(1, 200, shape).astype(np.uint8)
    expected = np.zeros((6, 5))
    for row, col in np.ndindex(6, 5):
        x, y = 1000 + 2 * (col + 0.5), 2000 - 2 * (row + 0.5)
        at = ~grid @ (x, y)
        c, r = (int(np.floor(v + 1e-6)) for v in at)
        expected[row, col] = values[r, c] if 0 <= r < shape[0] and 0 <= c < shape[1] else np.nan
    if np.isnan(expected).all():
        with pytest.raises(UserError, match="beside the scene"):
            lay_on_scene("l", source_of(values, grid), scene)
        return
    source = lay_on_scene("l", source_of(values, grid), scene)
    parts = [source.read_rows(y, min(y + 4, 6)) for y in (0, 4)]
    assert_array_equal(np.concatenate(parts)[..., 0], expected)
    assert source.facts.notes or shape == (6, 5)


@pytest.mark.parametrize("crs", [CRS(32634), CRS(4326), CRS(3857)])
def test_labels_in_another_crs_are_refused(crs):
    grid = rasterio.Affine(2, 0, 500000, 0, -2, 5800000)
    with pytest.raises(UserError, match="the CRS"):
        lay_on_scene("l", source_of(np.zeros((6, 5), "u1"), grid, crs), facts_of((6, 5), grid))


def test_a_turned_grid_is_refused_and_a_crs_in_other_words_is_the_same(tmp_path):
    grid = rasterio.Affine(2, 0, 500000, 0, -2, 5800000)
    scene, values = facts_of((6, 5), grid), np.zeros((6, 5), "u1")
    with pytest.raises(UserError, match="turned"):
        lay_on_scene("l", source_of(values, grid @ rasterio.Affine.rotation(20)), scene)
    other = CRS.from_proj4("+proj=utm +zone=33 +ellps=WGS84 +units=m")
    source = source_of(values, grid, other)
    assert lay_on_scene("l", source, scene) is source


def test_labels_without_a_place_are_taken_pixel_for_pixel():
    grid = rasterio.Affine(2, 0, 500000, 0, -2, 5800000)
    values = np.zeros((6, 5), "u1")
    bare = ArraySource(facts=Facts(shape=(6, 5, 1), dtype=np.dtype("u1")), array=values, axes=("y", "x"))
    assert lay_on_scene("l", bare, facts_of((6, 5), grid)) is bare


def placed(path, values, grid):
    profile = {"driver": "GTiff", "height": 6, "width": 5, "dtype": values.dtype.name, "photometric": "MINISBLACK"}
    with rasterio.open(path, "w", count=len(values), crs="EPSG:32633", transform=grid, **profile) as file:
        file.write(values)
    return str(path)


@pytest.mark.parametrize("option", ["labels", "layer"])
def test_what_an_ingest_brings_in_beside_the_cube_is_laid_on_it(tmp_path, option):
    labels = np.arange(30, dtype=np.uint8).reshape(1, 6, 5)
    cube = placed(tmp_path / "x.tif", np.ones((3, 6, 5), np.uint16), rasterio.Affine(2, 0, 500000, 0, -2, 5800000))
    up = placed(tmp_path / "up.tif", labels[:, ::-1], rasterio.Affine(2, 0, 500000, 0, 2, 5799988))
    far = placed(tmp_path / "far.tif", labels, rasterio.Affine(2, 0, 501000, 0, -2, 5800000))
    name = {"labels": "labels", "layer": "plot"}[option]
    taken = {path: {option: path if option == "labels" else {"plot": path}} for path in (up, far)}
    with pytest.raises(UserError, match="beside the scene"):
        ingest(cube, tmp_path / "none", **taken[far])
    ingest(cube, tmp_path / "scene", **taken[up])
    assert_array_equal(Scene.open(str(tmp_path / "scene")).layer(name), labels[0])
