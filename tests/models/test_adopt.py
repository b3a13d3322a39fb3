"""Estimators of scikit-learn as models: every pixel has the answer of the estimator; nothing else is loaded."""

import pickle

import numpy as np
import pytest
from command_line import tilespec
from numpy.testing import assert_allclose
from sklearn.cross_decomposition import PLSRegression
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC
from untrained_models import objects, stored

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.predict.predictor import forget
from tilespec.storage.scene import Scene

skops = pytest.importorskip("skops.io", reason="skops is not installed")

CLASSIFIERS = {
    "logistic": make_pipeline(StandardScaler(), LogisticRegression()),
    "forest": RandomForestClassifier(5, random_state=0),
    "svc": SVC(),
    "ridge": RidgeClassifier(),
    "centroid": NearestCentroid(),
}
REGRESSORS = {
    "pls": PLSRegression(3),
    "ridge": make_pipeline(StandardScaler(), Ridge()),
    "forest": RandomForestRegressor(5, random_state=0),
}


TREES = "sklearn.tree._tree"
"""Trees have C structures that a crafted file could break out of: skops leaves it to the user to trust them."""


def foreign(x):
    return x


@pytest.fixture
def trees(monkeypatch):
    monkeypatch.setenv("TILESPEC_PLUGINS", TREES)


@pytest.fixture(scope="module")
def world(tmp_path_factory, make_scene):
    """A scene, its spectra as a table, and its labels."""
    at = tmp_path_factory.mktemp("adopt")
    scene = Scene.open(make_scene(at / "scene", 60, 47, 5, unlabelled=0.2))
    spectra = scene.read(scene.roi).reshape(-1, 5)
    return at, spectra, scene.labels(scene.roi).ravel()


def adopted(world, name, estimator, **options):
    """Dump, adopt and predict; return the folder of the model and the prediction."""
    at = world[0]
    skops.dump(estimator, at / f"{name}.skops")
    api.adopt(at / f"{name}.skops", at / f"{name}.model", like=at / "scene", **options)
    api.predict(at / f"{name}.model", at / "scene", at / name, tile=32)
    return at / name


@pytest.mark.usefixtures("trees")
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_pixel_has_the_class_of_the_classifier(world, name):
    _, spectra, labels = world
    estimator = CLASSIFIERS[name].fit(spectra[labels != 255], labels[labels != 255])
    assert (stored(adopted(world, f"c-{name}", estimator)).ravel() == estimator.predict(spectra)).all()


@pytest.mark.usefixtures("trees")
@pytest.mark.parametrize("name", REGRESSORS)
@pytest.mark.parametrize("targets", [1, 2])
def test_every_pixel_has_the_values_of_the_regressor(world, name, targets):
    _, spectra, _ = world
    values = spectra @ np.arange(5 * targets).reshape(5, targets) + np.square(spectra[:, :1])
    estimator = REGRESSORS[name].fit(spectra, values if targets > 1 else values[:, 0])
    predicted = stored(adopted(world, f"r-{name}-{targets}", estimator))
    assert_allclose(predicted.reshape(-1, targets), estimator.predict(spectra).reshape(-1, targets), rtol=1e-5)


def test_names_of_classes_and_classes_that_it_does_not_know_keep_their_numbers(world):
    at, spectra, labels = world
    names = np.array(Scene.open(str(at / "scene")).classes())
    estimator = LogisticRegression().fit(spectra[labels != 255], names[labels[labels != 255]])
    predicted = stored(adopted(world, "named", estimator)).ravel()
    assert (names[predicted] == estimator.predict(spectra)).all()
    shifted = LogisticRegression().fit(spectra[labels != 255], labels[labels != 255] * 2 + 1)
    assert (stored(adopted(world, "gaps", shifted)).ravel() == shifted.predict(spectra)).all()


def test_it_reads_what_its_recipe_gives(world):
    at, spectra, labels = world
    api.fit(at / "scene", at / "recipe", steps="snv")
    api.transform(at / "recipe", at / "scene", at / "snv")
    corrected = Scene.open(str(at / "snv"))
    table = corrected.read(corrected.roi).reshape(spectra.shape)
    estimator = LogisticRegression().fit(table[labels != 255], labels[labels != 255])
    assert (
        stored(adopted(world, "prepared", estimator, recipe=at / "recipe")).ravel() == estimator.predict(table)
    ).all()


@pytest.mark.slow
@pytest.mark.usefixtures("trees")
def test_workers_give_the_same_bytes(world):
    at, spectra, labels = world
    estimator = CLASSIFIERS["forest"].fit(spectra[labels != 255], labels[labels != 255])
    alone = adopted(world, "alone", estimator)
    api.predict(at / "alone.model", at / "scene", at / "two", tile=32, workers=2)
    assert objects(at / "two") == objects(alone)


def test_types_that_nobody_trusts_are_not_loaded(world, monkeypatch):
    at, spectra, labels = world
    estimator = make_pipeline(FunctionTransformer(foreign), LogisticRegression())
    estimator.fit(spectra[labels != 255], labels[labels != 255])
    with pytest.raises(UserError, match=rf"types that are not trusted: {foreign.__module__}\.foreign"):
        adopted(world, "foreign", estimator)
    monkeypatch.setenv("TILESPEC_PLUGINS", foreign.__module__)
    adopted(world, "foreign", estimator)
    monkeypatch.delenv("TILESPEC_PLUGINS")
    forget()  # what this process has loaded, it has
    with pytest.raises(UserError, match="types that are not trusted"):
        api.predict(at / "foreign.model", at / "scene", at / "again", tile=16)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (pickle.dumps({"a": 1}), "a pickle is never opened"),
        (b"", "no estimator"),
        (None, "No such file"),
    ],
)
def test_files_that_are_no_estimator_are_refused(world, tmp_path, content, says):
    file = tmp_path / "e.skops"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=says):
        api.adopt(file, tmp_path / "model", like=world[0] / "scene")
    assert not (tmp_path / "model").exists()


def test_estimators_that_do_not_suit_the_scene_are_refused(world, tmp_path):
    at, spectra, labels = world
    cases = {
        "other bands": (Ridge().fit(spectra[:, :3], labels), {}, "Ridge for 3 features"),
        "no predictor": (StandardScaler().fit(spectra), {}, "StandardScaler for 5 features"),
        "another task": (Ridge().fit(spectra, labels), {"task": "segment"}, "--task"),
        "other classes": (LogisticRegression().fit(spectra, labels.astype(str)), {}, "classes 0, 1"),
    }
    for name, (estimator, options, says) in cases.items():
        skops.dump(estimator, tmp_path / f"{name}.skops")
        with pytest.raises(UserError, match=says):
            api.adopt(tmp_path / f"{name}.skops", tmp_path / name, like=at / "scene", **options)


def test_the_command_line_adopts(world, tmp_path):
    at, spectra, labels = world
    skops.dump(Ridge().fit(spectra, labels), tmp_path / "ridge.skops")
    ended = tilespec("adopt", tmp_path / "ridge.skops", tmp_path / "model", "--like", at / "scene", "--json")
    assert ended.returncode == 0
    assert '"reconstruct"' in ended.stdout
    ended = tilespec("adopt", tmp_path / "ridge.skops", tmp_path / "other")
    assert ended.returncode == 2
    assert "--like" in ended.stderr
