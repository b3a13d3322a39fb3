"""One class for each image of a scene that is made of images, and for each pixel by default."""

from collections import Counter

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.core.registry import PLUGINS
from tilespec.models.tasks import task
from tilespec.storage.rasters import majority

CELL, ROWS, COLUMNS, BANDS = 8, 7, 6, 4
QUICK = {"steps": 150, "batch": 8, "rate": 5e-2, "warmup": 1, "loaders": 0}


@given(st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_a_cell_has_the_class_of_most_of_its_labelled_pixels_if_half_of_them_have_one(side, seed):
    labels = np.random.default_rng(seed).choice(np.array([0, 1, 2, 254, 255], np.uint8), (3 * side, 2 * side))
    found = majority(labels, side, "labels")
    for y, x in np.ndindex(3, 2):
        cell = labels[y * side : (y + 1) * side, x * side : (x + 1) * side].ravel().tolist()
        counts = Counter(value for value in cell if value != 255)
        most = max(counts.values(), default=0)
        expected = (
            min(value for value, n in counts.items() if n == most) if 2 * sum(counts.values()) >= len(cell) else 255
        )
        assert found[y, x] == (expected if side > 1 else labels[y, x])


def test_numbers_that_are_no_classes_have_no_majority():
    with pytest.raises(UserError, match="300"):
        majority(np.full((4, 4), 300, np.int32), 2, "labels")


@pytest.fixture(scope="module")
def album(tmp_path_factory):
    """Write a scene of images side by side, of which each has a class that only its mean spectrum tells."""
    at, draw = tmp_path_factory.mktemp("album"), np.random.default_rng(0)
    classes = draw.integers(0, 3, (ROWS, COLUMNS)).astype(np.uint8)
    labels = np.kron(classes, np.ones((CELL, CELL), np.uint8))
    shapes = np.eye(3, BANDS) * 0.3 + 0.2
    cube = shapes[labels] + draw.normal(0, 0.3, (*labels.shape, BANDS))
    labels[:CELL, : CELL - 3] = 255  # more than half of the first image
    labels[CELL : CELL + 3, :CELL] = 255  # less than half of another one
    np.savez(at / "source.npz", cube=cube.astype(np.float32), gt=labels)
    source, scene = str(at / "source.npz"), str(at / "scene")
    api.ingest(source, scene, variable="cube", labels=f"{source}:gt", ignore_label=255, class_names="a,b,c")
    return at, scene, classes


def settings(scene, cell, net, **data):
    """Return the settings of a training on the upper images."""
    return {
        "data": {"scene": scene, "rows": f"0:{5 * CELL}", "patch": CELL, "patches": 300, "augment": False, **data},
        "task": {"name": "classify", "cell": cell},
        "net": {"name": net},
        "recipe": {"steps": ""},
        "objective": {"name": "supervised"},
        "train": QUICK,
    }


def test_each_image_has_one_class_and_is_judged_by_the_labels_of_its_pixels(album, monkeypatch):
    monkeypatch.setenv(PLUGINS, "own_tasks")
    at, scene, classes = album
    api.train(settings(scene, CELL, "own_tasks:OfCells"), str(at / "images"))
    api.predict(str(at / "images"), scene, str(at / "images.zarr"))
    stored = np.asarray(zarr.open_group(str(at / "images.zarr"), mode="r")["prediction"])
    assert_array_equal(stored, classes)
    found = api.evaluate(str(at / "images.zarr"), scene, patches=1)
    assert (found["oa"], found["labelled"]) == (1.0, ROWS * COLUMNS - 1)


def test_tiles_of_images_are_no_larger_than_the_scene_and_those_of_large_ones_have_256_pixels(album, monkeypatch):
    monkeypatch.setenv(PLUGINS, "own_tasks")
    at, scene, _ = album
    api.train(settings(scene, CELL, "own_tasks:OfCells") | {"train": QUICK | {"steps": 1}}, str(at / "few"))
    assert api.predict(str(at / "few"), scene, str(at / "plan"), dry_run=True)["tile"] == ROWS
    np.save(at / "wide.npy", np.zeros((8 * CELL * ROWS, 8 * CELL * ROWS, BANDS), np.float32))
    api.ingest(str(at / "wide.npy"), str(at / "wide"))
    assert api.predict(str(at / "few"), str(at / "wide"), str(at / "plan"), dry_run=True)["tile"] == 256 // CELL


def test_each_pixel_is_a_cell_by_default(album):
    at, scene, _ = album
    api.train(settings(scene, 1, "linear"), str(at / "pixels"))
    api.predict(str(at / "pixels"), scene, str(at / "pixels.zarr"))
    found = api.evaluate(str(at / "pixels.zarr"), scene, patches=1)
    assert 0.5 < found["oa"] < 0.9  # single pixels overlap


def test_a_cell_has_pixels():
    with pytest.raises(UserError, match=r"task\.cell"):
        task({"name": "classify", "classes": 2, "cell": 0})


def test_a_patch_of_broken_images_is_refused(album, monkeypatch):
    monkeypatch.setenv(PLUGINS, "own_tasks")
    at, scene, _ = album
    with pytest.raises(UserError, match=r"data\.patch"):
        api.train(settings(scene, CELL, "own_tasks:OfCells", patch=CELL + 1), str(at / "broken"))
