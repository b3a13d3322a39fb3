"""Classifiers that learn from synthetic spectra too: what is added, and what is refused."""

import shutil

import numpy as np
import pytest
import zarr
from baseline_input import labels_apart, training
from cube_scenes import write
from generators import CLASSES, generator
from sklearn.cross_decomposition import PLSRegression
from sklearn.svm import LinearSVC

from tilespec import api
from tilespec.baselines import plsda
from tilespec.baselines.labelled_pixels import draw
from tilespec.baselines.pls.group_moments import Cross
from tilespec.baselines.spatial_folds import cells
from tilespec.baselines.synthetic_spectra import RULES, draw_augmented, synthetic
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


def test_plsda_with_synthetic_spectra_is_scikit_learns_on_both(scene, table, tmp_path):
    options = {"recipe": "", "samples": 90, "components": 3}
    found = api.baseline("plsda", scene, tmp_path / "out", synthetic=table, **options)
    real, own = draw(training(scene, samples=90), 90, balanced=True), SpectraTable.open(table)
    assert found["samples"] == len(real.spectra) + 210
    x = np.concatenate([real.spectra, own.read(0, 210)]).astype(np.float64)
    y = np.eye(CLASSES)[np.concatenate([real.classes, own.labels])]
    oracle = PLSRegression(3, scale=False, tol=1e-14, max_iter=10_000).fit(x, y)
    affine = Model.load(str(tmp_path / "out.model")).weights
    scores = x @ affine["affine.weight"].numpy().T + affine["affine.bias"].numpy()
    np.testing.assert_allclose(scores, oracle.predict(x), atol=1e-4)


@pytest.mark.parametrize("wanted", ["table", "gaussians", None])
def test_a_fold_is_judged_by_measured_spectra_and_by_what_a_rule_makes_of_the_others(scene, table, wanted):
    on = training(scene, samples=200, components="auto", synthetic=table if wanted == "table" else wanted)
    squares = cells(on)
    real = draw(on, 200, balanced=True)
    fold = squares.of(*real.places.T)
    _, moments = plsda._drawn(on, squares)
    made = synthetic(on, real, 200, balanced=True)
    for left in range(on.options.folds):
        kept = fold != left
        beside, _ = made(real.spectra[kept], real.classes[kept])
        learned = np.concatenate([real.spectra[kept], beside]).astype(np.float64)
        whole = Cross.of_classes(moments.training_moments(left), len(real.names), balanced=False)
        assert whole.n == len(learned)
        np.testing.assert_allclose(whole.mean_x, learned.mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(
            whole.xx, (learned - learned.mean(axis=0)).T @ (learned - learned.mean(axis=0)), 1e-4
        )
        assert sum(group.n for group in moments.folds[left].values()) == (~kept).sum()


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
    with pytest.raises(UserError, match="the classes of fewer"):
        api.baseline("svm", fewer, tmp_path / "c", samples=60, synthetic=scene)
    with pytest.raises(UserError, match="gaussians, mixtures"):
        api.baseline("svm", scene, tmp_path / "e", samples=60, synthetic="gaussian")
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


def test_the_spectra_of_a_scene_are_drawn_like_those_of_the_real_one(scene, make_scene, tmp_path):
    other = make_scene(tmp_path / "other", 40, 30, BANDS, classes=CLASSES, seed=3)
    on = training(scene, samples=60, synthetic=other)
    both = draw_augmented(on, 10, balanced=True)
    real, made = draw(on, 60, balanced=True), draw(training(other), 60, balanced=True)
    assert np.array_equal(both.spectra, np.concatenate([real.spectra, made.spectra]))
    assert np.array_equal(both.classes, np.concatenate([real.classes, made.classes]))
    assert (both.places[len(real.places) :] == -1).all()


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_makes_as_many_of_each_class_as_were_drawn_near_them(scene, rule):
    on = training(scene, samples=300, synthetic=rule)
    real, both = draw(on, 300, balanced=False), draw_augmented(on, 10, balanced=False)
    count = len(real.spectra)
    assert np.array_equal(both.classes[:count], both.classes[count:])
    assert not np.array_equal(both.spectra[:count], both.spectra[count:])
    for number in np.unique(real.classes):
        own, made = (part[both.classes[:count] == number] for part in (real.spectra, both.spectra[count:]))
        assert np.abs(made.mean(axis=0) - own.mean(axis=0)).max() < 5 * own.std(axis=0).max() / len(own) ** 0.5
    again = draw_augmented(on, 10, balanced=False)
    assert np.array_equal(both.spectra, again.spectra)


def test_mixtures_lie_between_two_spectra_of_their_class():
    x, y = np.array([[0.0], [1.0], [10.0], [12.0]]), np.array([0, 0, 1, 1])
    made = RULES["mixtures"](np.repeat(x, 50, axis=0), np.repeat(y, 50), np.random.default_rng(0))
    assert (made[:100] <= 1).all()
    assert (made[100:] >= 10).all()
    assert len(np.unique(made)) > 50


def test_gaussians_have_the_moments_of_their_class():
    rng = np.random.default_rng(0)
    x = rng.multivariate_normal([1, 2, 3], [[2, 1, 0], [1, 2, 0], [0, 0, 0.1]], 20_000)
    made = RULES["gaussians"](x, np.zeros(len(x), int), rng)
    assert np.allclose(np.cov(made.T), np.cov(x.T), atol=0.05)
    assert np.allclose(made.mean(axis=0), x.mean(axis=0), atol=0.05)
    alone = RULES["gaussians"](np.concatenate([x, [[9, 9, 9]]]), np.r_[np.zeros(len(x), int), 1], rng)
    assert np.allclose(alone[-1], 9)  # the only spectrum of a class is its mean


@pytest.mark.parametrize("method", ["svm", "plsda", "sam"])
def test_labels_in_another_store_are_learned_from_as_if_they_were_the_scenes(scene, make_scene, tmp_path, method):
    other = make_scene(tmp_path / "scene", 50, 40, BANDS, classes=CLASSES, unlabelled=0.7, seed=0)
    cube = Scene.open(scene)
    labels = Scene.open(other).labels()
    url = write(tmp_path / "s", cube.read(cube.roi), cube.spectral, layers={"labels": labels})
    zarr.open_group(url, mode="r+")["labels"].attrs.update(dict(zarr.open_group(scene)["labels"].attrs))
    api.repair(url, accept=True)
    apart = labels_apart(tmp_path / "labels", scene, labels)
    more = {"components": "auto:3", "samples": "all", "folds": 2} if method == "plsda" else {}
    own = api.baseline(method, url, tmp_path / "a", **more)
    other = api.baseline(method, scene, tmp_path / "b", labels=apart, **more)
    assert own["samples"] == other["samples"]
    weights = [Model.load(str(tmp_path / f"{name}.model")).weights for name in "ab"]
    assert all(np.array_equal(weights[0][key], weights[1][key]) for key in weights[0])
    with pytest.raises(UserError, match="other settings"):
        api.baseline(method, scene, tmp_path / "b", **more)


def test_labels_of_another_program_may_be_wider_numbers(scene, tmp_path):
    opened, weights = Scene.open(scene), []
    cube, labels = opened.read(opened.roi), opened.labels()
    for kind in ("uint8", "int32"):
        url = write(tmp_path / kind, cube, opened.spectral, layers={"labels": labels.astype(kind)})
        api.baseline("svm", url, f"{url}.out", samples=90)
        weights.append(Model.load(f"{url}.out.model").weights["affine.weight"])
    assert np.array_equal(*weights)


def test_labels_that_do_not_lie_on_the_scene_or_are_of_no_use_are_refused(scene, tmp_path):
    small = labels_apart(tmp_path / "small", scene, np.zeros((4, 4)))
    with pytest.raises(UserError, match="50 x 40"):
        api.baseline("svm", scene, tmp_path / "a", labels=small)
    with pytest.raises(UserError, match="not classes"):
        api.baseline("linear", scene, tmp_path / "b", labels=small, target=scene)
    zarr.create_group(str(tmp_path / "none"))
    with pytest.raises(UserError, match=r"labels\(y, x\)"):
        api.baseline("svm", scene, tmp_path / "c", labels=tmp_path / "none")
