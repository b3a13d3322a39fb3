"""Classifiers that learn from synthetic spectra too: what is added, and what is refused."""

import shutil

import numpy as np
import pytest
import zarr
from cube_scenes import write
from generators import CLASSES, generator
from sklearn.svm import LinearSVC

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.models.model import Model
from tilespec.storage.scene import Scene
from tilespec.storage.spectra_table import SpectraTable

BANDS = 9


@pytest.fixture(scope="module")
def scene(tmp_path_factory, make_scene):
    return make_scene(tmp_path_factory.mktemp("s") / "scene", 50, 40, BANDS, classes=CLASSES, unlabelled=0.2)


@pytest.fixture(scope="module")
def table(tmp_path_factory, scene):
    folder = tmp_path_factory.mktemp("gan")
    api.synth(generator(folder, scene), folder / "table", count=70)
    return str(folder / "table")


def test_an_svm_with_synthetic_spectra_is_scikit_learns_on_both(scene, table, tmp_path):
    found = api.baseline("svm", scene, tmp_path / "out", recipe="", samples=90, synthetic=table)
    alone = api.baseline("svm", scene, tmp_path / "alone", recipe="", samples=90)
    assert found["samples"] == alone["samples"] + 210
    own = SpectraTable.open(table)
    weights = Model.load(str(tmp_path / "out.model")).weights
    x = np.asarray(zarr.open_group(table)["cube"]).astype(np.float64)
    scores = (x - weights["mean"].numpy()) @ weights["affine.weight"].numpy().T + weights["affine.bias"].numpy()
    agree = (scores.argmax(axis=1) == own.labels).mean()
    oracle = LinearSVC(C=1.0, dual=False, max_iter=10_000).fit((x - x.mean(axis=0)) / x.std(axis=0), own.labels)
    assert agree > 0.8 * oracle.score((x - x.mean(axis=0)) / x.std(axis=0), own.labels)
    other = Model.load(str(tmp_path / "alone.model")).weights
    assert not np.allclose(other["affine.weight"], weights["affine.weight"])


@pytest.mark.parametrize("method", ["logistic", "mlp"])
def test_other_classifiers_take_them_too(scene, table, tmp_path, method):
    with_them = api.baseline(method, scene, tmp_path / "a", samples=60, synthetic=table)
    without = api.baseline(method, scene, tmp_path / "b", samples=60)
    assert with_them["samples"] == without["samples"] + 210


def test_a_class_that_only_the_table_has_is_learned(scene, table, tmp_path):
    copied = Scene.open(scene)
    labels = copied.labels().copy()
    labels[labels == 2] = 255
    url = write(tmp_path / "s", copied.read(copied.roi), copied.spectral, layers={"labels": labels})
    group = zarr.open_group(url, mode="r+")
    group["labels"].attrs.update(dict(zarr.open_group(scene)["labels"].attrs))
    api.repair(url, accept=True)
    without = api.baseline("svm", url, tmp_path / "a", samples=60)
    assert without["absent_classes"] == [copied.classes()[2]]
    assert api.baseline("svm", url, tmp_path / "b", samples=60, synthetic=table)["absent_classes"] == []


def test_tables_of_other_bands_or_classes_and_stores_that_are_none_are_refused(scene, table, make_scene, tmp_path):
    fewer = make_scene(tmp_path / "fewer", 30, 30, BANDS, classes=2)
    with pytest.raises(UserError, match="the classes of fewer"):
        api.baseline("svm", fewer, tmp_path / "a", samples=60, synthetic=table)
    other = make_scene(tmp_path / "other", 30, 30, BANDS + 1, classes=CLASSES)
    with pytest.raises(UserError, match="band"):
        api.baseline("svm", other, tmp_path / "b", samples=60, synthetic=table)
    with pytest.raises(UserError, match="a table of spectra"):
        api.baseline("svm", scene, tmp_path / "c", samples=60, synthetic=scene)
    note = api.baseline("sam", scene, tmp_path / "d", samples=60, synthetic=table)["notes"]
    assert any("--synthetic is of no use" in text for text in note)


def test_a_table_with_a_missing_object_is_refused(scene, table, tmp_path):
    for name in ("table", "table.tilespec"):
        shutil.copytree(f"{table}{name.removeprefix('table')}", tmp_path / name)
    next(
        path for path in (tmp_path / "table" / "cube").rglob("*") if path.is_file() and path.name != "zarr.json"
    ).unlink()
    with pytest.raises(UserError, match="no object"):
        api.baseline("svm", scene, tmp_path / "out", samples=60, synthetic=tmp_path / "table")
