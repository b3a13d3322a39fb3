"""Labels: any format, 255 = unlabelled, classes from 0."""

import numpy as np
import pytest
import rioxarray  # noqa: F401 - gives xarray its .rio
from envi_files import write_envi
from ingest_files import cube
from numpy.testing import assert_array_equal
from PIL import Image

from tilespec.core.errors import UserError
from tilespec.ingest.ingest import ingest
from tilespec.storage.scene import Scene


def labelled(folder, labels, name="labels.npy", **options):
    """Ingest a cube with labels and return the result and the stored labels."""
    np.save(folder / "x.npy", cube((*labels.shape[:2], 2)))
    path = folder / name
    if path.suffix == ".npy":
        np.save(path, labels)
    else:
        Image.fromarray(labels).save(path)
    result = ingest(folder / "x.npy", folder / "scene", labels=path, **options)
    return result, Scene.open(str(folder / "scene")).labels()


@pytest.mark.parametrize("name", ["l.npy", "l.png", "l.tif"])
def test_labels_are_stored_as_given(tmp_path, name):
    labels = np.random.default_rng(0).integers(0, 3, (140, 5)).astype(np.uint8)
    result, found = labelled(tmp_path, labels, name)
    assert_array_equal(found, labels)
    assert result["label_counts"] == np.bincount(labels.ravel()).tolist()
    assert result["classes"] == ["class_0", "class_1", "class_2"]


def test_a_palette_mask_gives_its_indices(tmp_path):
    labels = np.random.default_rng(0).integers(0, 3, (6, 5)).astype(np.uint8)
    np.save(tmp_path / "x.npy", cube())
    coloured = Image.frombytes("P", (5, 6), labels.tobytes())
    coloured.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    coloured.save(tmp_path / "mask.png")
    ingest(tmp_path / "x.npy", tmp_path / "scene", labels=tmp_path / "mask.png")
    assert_array_equal(Scene.open(str(tmp_path / "scene")).labels(), labels)


def test_when_label_0_is_ignored_classes_start_at_0(tmp_path):
    labels = np.array([[0, 1, 2], [2, 0, 1]], np.int64)
    result, found = labelled(tmp_path, labels, ignore_label=0)
    assert_array_equal(found, [[255, 0, 1], [1, 255, 0]])
    assert (result["label_counts"], result["unlabelled"]) == ([2, 2], 2)


def test_another_ignored_label_becomes_255_and_nothing_moves(tmp_path):
    _, found = labelled(tmp_path, np.array([[0, 1, 254], [9, 0, 1]], np.uint8), ignore_label=9)
    assert_array_equal(found, [[0, 1, 254], [255, 0, 1]])


def test_float_labels_may_be_whole_numbers_and_nan_is_unlabelled(tmp_path):
    _, found = labelled(tmp_path, np.array([[0, 1], [np.nan, 2]]))
    assert_array_equal(found, [[0, 1], [255, 2]])


def test_names_of_classes_come_from_an_envi_classification(tmp_path):
    labels = np.array([[[0], [1]], [[2], [1]]], np.uint8)
    extra = "file type = ENVI Classification\nclasses = 3\nclass names = {Unclassified, soil, leaf area}\n"
    header = write_envi(tmp_path, labels, name="labels", extra=extra)
    np.save(tmp_path / "x.npy", cube((2, 2, 3)))
    for ignore, classes in ((None, ("Unclassified", "soil", "leaf area")), (0, ("soil", "leaf area"))):
        out = tmp_path / f"scene{ignore}"
        ingest(tmp_path / "x.npy", out, labels=header, ignore_label=ignore)
        assert Scene.open(str(out)).classes() == classes


@pytest.mark.parametrize(
    ("labels", "name", "message"),
    [
        (np.zeros((6, 4), "u1"), "l.npy", "found 6 x 4 labels; expected 6 x 5, as the cube has"),
        (np.full((6, 5), 255, "u1"), "l.png", "found label 255 in row 0, column 0; .*--ignore-label 255"),
        (np.full((6, 5), 300, "u2"), "l.npy", "found label 300"),
        (np.full((6, 5), -1), "l.npy", "found label -1 "),
        (np.full((6, 5), 0.5), "l.npy", "found label 0.5"),
        (
            np.zeros((6, 5, 3), "u1"),
            "l.png",
            "found 3 bands; expected one band of class numbers. Save a mask as palette",
        ),
    ],
)
def test_wrong_labels_are_refused_before_anything_is_written(tmp_path, labels, name, message):
    np.save(tmp_path / "x.npy", cube())
    if name.endswith("npy"):
        np.save(tmp_path / name, labels)
    else:
        Image.fromarray(labels).save(tmp_path / name)
    with pytest.raises(UserError, match=message):
        ingest(tmp_path / "x.npy", tmp_path / "scene", labels=tmp_path / name)
    assert not (tmp_path / "scene").exists()
