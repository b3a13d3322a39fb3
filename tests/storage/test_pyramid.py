"""The coarser copies of a store: means and majorities of 2 x 2 pixels, resumed, renewed, and small in memory."""

import shutil
from collections import Counter

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tilespec.core.progress import Silent
from tilespec.core.types import Roi
from tilespec.storage import pyramid as module
from tilespec.storage.halving import halved_classes, halved_means
from tilespec.storage.pyramid import Pyramid
from tilespec.storage.rasters import majority
from tilespec.storage.scene import Scene

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9))
NUMBERS = st.one_of(st.floats(-8, 8, width=32), st.just(np.nan))


@pytest.fixture(scope="module")
def scene(tmp_path_factory, make_scene):
    folder = tmp_path_factory.mktemp("pyramid")
    return make_scene(folder / "scene", 601, 530, 7, nan=0.2, unlabelled=0.2, classes=3, chunk=128)


@pytest.fixture
def copy(scene, tmp_path):
    shutil.copytree(scene, tmp_path / "scene")
    shutil.copytree(f"{scene}.tilespec", tmp_path / "scene.tilespec", ignore=shutil.ignore_patterns("pyramid"))
    return str(tmp_path / "scene")


def whole(pyramid, level):
    height, width = pyramid.at(level)
    return Roi(y0=0, y1=height, x0=0, x1=width)


def squares(values):
    """Return the 2 x 2 pixels of each pixel of the next level along a last axis; the last of an odd number twice."""
    ends = [(0, values.shape[0] % 2), (0, values.shape[1] % 2), *[(0, 0)] * (values.ndim - 2)]
    values = np.pad(values, ends, mode="edge")
    return np.stack([values[i::2, j::2] for i in (0, 1) for j in (0, 1)], axis=-1)


@given(SHAPES.flatmap(lambda shape: arrays(np.float32, (*shape, 2), elements=NUMBERS)))
def test_a_mean_is_that_of_the_pixels_with_data(values):
    cells = squares(values).astype(np.float64)
    there = np.isfinite(cells)
    counts = there.sum(axis=-1)
    expected = np.where(counts == 0, np.nan, np.where(there, cells, 0).sum(axis=-1) / np.maximum(counts, 1))
    np.testing.assert_allclose(halved_means(values), expected, rtol=1e-6, atol=1e-6)


@given(
    st.tuples(st.integers(1, 6), st.integers(1, 6)).flatmap(
        lambda shape: arrays(np.uint8, (2 * shape[0], 2 * shape[1]), elements=st.sampled_from([0, 1, 2, 7, 255]))
    )
)
def test_a_class_is_that_of_most_pixels_by_the_rule_of_reduced_maps(classes):
    np.testing.assert_array_equal(halved_classes(classes, 255), majority(classes, 2, "classes"))


@given(SHAPES.flatmap(lambda shape: arrays(np.int32, shape, elements=st.integers(-3, 3))))
def test_an_id_is_the_commonest_of_its_pixels_and_the_smallest_of_equals(ids):
    cells = squares(ids)
    counted = [[Counter(cell.tolist()) for cell in row] for row in cells]
    expected = [[min(c, key=lambda each: (-c[each], each)) for c in row] for row in counted]
    np.testing.assert_array_equal(halved_classes(ids, None), expected)


def test_each_level_is_half_of_the_one_before(scene):
    pyramid = Pyramid.of(scene)
    assert (pyramid.levels, pyramid.shape, set(pyramid.layers)) == (2, (601, 530), {"cube", "labels"})
    assert pyramid.build(Silent())
    for level in (1, 2):
        finer, roi = {n: pyramid.read(n, level - 1, whole(pyramid, level - 1)) for n in pyramid.layers}, None
        roi = whole(pyramid, level)
        np.testing.assert_array_equal(pyramid.read("cube", level, roi), halved_means(finer["cube"]))
        np.testing.assert_array_equal(pyramid.read("labels", level, roi), halved_classes(finer["labels"], 255))
    part = Roi(y0=70, y1=301, x0=5, x1=265)
    np.testing.assert_array_equal(
        pyramid.read("cube", 1, part, [4, 1]), pyramid.read("cube", 1, whole(pyramid, 1))[part.slices][..., [4, 1]]
    )


def test_level_0_is_the_scene(scene):
    roi = Roi(y0=100, y1=300, x0=7, x1=200)
    np.testing.assert_array_equal(Pyramid.of(scene).read("cube", 0, roi, [3]), Scene.open(scene).read(roi)[..., [3]])


def test_a_level_opens_in_xarray_with_its_axis_and_classes(scene):
    pyramid = Pyramid.of(scene)
    pyramid.build(Silent())
    with xr.open_zarr(pyramid.level_url(1), chunks=None) as level:
        assert level.cube.shape == (301, 265, 7)
        assert level.wavelength.attrs["units"] == "nm"
        assert level.labels.attrs["flag_meanings"] == "class_0 class_1 class_2"


def test_what_is_not_there_yet_is_computed_from_what_is(scene, tmp_path):
    done, new = Pyramid.of(scene), Pyramid.of(scene, module.store_path(tmp_path / "levels"))
    done.build(Silent())
    for name in new.layers:
        np.testing.assert_array_equal(new.read(name, 2, whole(new, 2)), done.read(name, 2, whole(done, 2)))
    assert not (tmp_path / "levels").exists()


def test_a_stopped_build_goes_on_where_it_was(copy, monkeypatch):
    pyramid, calls = Pyramid.of(copy), []
    assert not pyramid.build(Silent(), lambda: calls.append(0) or len(calls) > 3)
    assert (len(list(pyramid.recorded(1))), pyramid.complete(1), pyramid.complete(2)) == (3, False, False)
    written, write = [], module.Product.write
    monkeypatch.setattr(
        module.Product, "write", lambda self, row, *a, **k: written.append(self.url) or write(self, row, *a, **k)
    )
    assert pyramid.build(Silent())
    assert len(written) == pyramid.squares - 3
    written.clear()
    assert pyramid.build(Silent())
    assert written == []


def test_levels_of_other_contents_are_written_again(copy, make_scene):
    Pyramid.of(copy).build(Silent())
    for folder in (copy, f"{copy}.tilespec"):
        keep = shutil.move(f"{copy}.tilespec/pyramid", f"{copy}.levels") if folder.endswith(".tilespec") else None
        shutil.rmtree(folder)
    make_scene(copy, 601, 530, 7, seed=5, chunk=128)
    shutil.move(keep, f"{copy}.tilespec/pyramid")
    pyramid = Pyramid.of(copy)
    assert not pyramid.complete(1)
    fresh = halved_means(pyramid.read("cube", 0, whole(pyramid, 0)))
    np.testing.assert_array_equal(pyramid.read("cube", 1, whole(pyramid, 1)), fresh)  # and not the old ones
    assert pyramid.build(Silent())
    np.testing.assert_array_equal(pyramid.read("cube", 1, whole(pyramid, 1)), fresh)


def test_no_more_than_a_quarter_of_a_square_is_read_at_once(copy, monkeypatch):
    sizes, read = [], Scene.read
    monkeypatch.setattr(Scene, "read", lambda self, roi, *a: sizes.append(roi.shape) or read(self, roi, *a))
    Pyramid.of(copy).build(Silent())
    assert max(max(shape) for shape in sizes) <= module.EDGE


def test_a_coarse_region_of_a_large_store_reads_nothing_of_it(scene, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "DIRECT", 1000)
    new = Pyramid.of(scene, module.store_path(tmp_path / "levels"))
    monkeypatch.setattr(Scene, "read", lambda *_: pytest.fail("it reads the scene"))
    assert np.isnan(new.read("cube", 2, whole(new, 2), [0])).all()


def test_levels_lie_in_the_cache_of_the_user_where_nobody_may_write(copy, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert str(Pyramid.of(copy).folder) == f"{copy}.tilespec/pyramid"
    monkeypatch.setattr(module.os, "access", lambda *_: False)
    assert str(Pyramid.of(copy).folder).startswith(str(tmp_path / "caches" / "tilespec"))
