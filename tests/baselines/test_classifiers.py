"""Spectral angle, linear classifiers and k-means: equal to public implementations, saved as nets, honest in errors."""

from dataclasses import replace

import numpy as np
import pytest
import spectral
import torch
import zarr
from baseline_input import labels_apart, training
from sklearn.cluster import KMeans as Oracle
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from tilespec.baselines import labelled_pixels
from tilespec.baselines.baseline import BASELINES, baseline
from tilespec.baselines.kmeans import KMeans, Nearest, lloyd
from tilespec.baselines.reference_spectra import read
from tilespec.baselines.sam import SpectralAngle
from tilespec.cli.verbs import BASELINE
from tilespec.cluster.connect import connect
from tilespec.core.errors import UserError
from tilespec.models.model import Model
from tilespec.models.nets import build
from tilespec.predict.predict import predict
from tilespec.spectra.passes import reduce_scene
from tilespec.storage.blocks import blocks
from tilespec.storage.scene import Scene


@pytest.fixture(scope="module")
def scene(tmp_path_factory, make_scene):
    path = tmp_path_factory.mktemp("scene") / "scene"
    return make_scene(path, 150, 140, 12, classes=3, nan=0.02, unlabelled=0.1, seed=3, noise=0.1)


def pixels(scene):
    """Return the cube, its labels and which pixels have data, the plain way."""
    opened = Scene.open(scene)
    x = opened.read(opened.roi)
    return x, opened.labels(), np.isfinite(x[:, :, 0])


def prediction(out):
    return zarr.open_group(str(out), mode="r")["prediction"][:]


def table(path, header, values):
    path.write_text("\n".join([header, *(",".join(str(cell) for cell in row) for row in values)]) + "\n")
    return str(path)


# Spectral angle


def test_the_spectral_angle_is_spys_to_the_class_means(scene, tmp_path):
    told = baseline("sam", scene, str(tmp_path / "out"), rows="0:100", max_angle=0.2)
    x, labels, valid = pixels(scene)
    use = valid & (labels != 255)
    use[100:] = False
    means = np.stack([x[use & (labels == c)].mean(axis=0, dtype=np.float64) for c in range(3)])
    angles = spectral.spectral_angles(x.astype(np.float64), means)
    expected = np.where(angles.min(axis=2) > 0.2, 255, angles.argmin(axis=2))
    clear = (
        valid & (np.abs(angles.min(axis=2) - 0.2) > 1e-5) & (np.diff(np.sort(angles, axis=2)[:, :, :2])[..., 0] > 1e-5)
    )
    assert clear.sum() > 0.97 * valid.sum()
    assert 0.01 < (expected[clear] == 255).mean() < 0.9
    np.testing.assert_array_equal(prediction(tmp_path / "out")[clear], expected[clear])
    assert (prediction(tmp_path / "out")[~valid] == 255).all()
    right = (angles.argmin(axis=2) == labels)[use].mean()
    assert told["calibration_accuracy"] == pytest.approx(right, abs=1e-3)
    assert told["samples"] == use.sum()


def test_references_of_a_table_are_the_classes(scene, tmp_path):
    x, _, valid = pixels(scene)
    spectra = x[valid][[5, 500]]
    rows = zip(Scene.open(scene).spectral.values, *spectra.tolist(), strict=True)
    path = table(tmp_path / "two.csv", "wavelength,leaf,dry_soil", rows)
    told = baseline("sam", scene, str(tmp_path / "out"), references=path)
    assert Model.load(str(tmp_path / "out.model")).classes == ("leaf", "dry_soil")
    assert "calibration_accuracy" not in told
    angles = spectral.spectral_angles(x.astype(np.float64), spectra.astype(np.float64))
    clear = valid & (np.abs(np.diff(angles)[..., 0]) > 1e-4)
    np.testing.assert_array_equal(prediction(tmp_path / "out")[clear], angles.argmin(axis=2)[clear])


def test_references_of_another_sensor_are_interpolated(scene, tmp_path):
    """As in a spectral library: more places than the scene has bands, in any order, linear between them."""
    centres = np.asarray(Scene.open(scene).spectral.values)
    fine = np.arange(350.0, 1101.0)[::-1]
    curves = np.stack([0.1 + 1e-4 * np.abs(fine - 650), 0.3 + np.sin(fine / 90) / 10])
    path = table(tmp_path / "library.csv", "wavelength,stone,paint", zip(fine, *curves.tolist(), strict=True))
    names, found = read(path, Scene.open(scene).spectral, len(centres))
    assert names == ("stone", "paint")
    expected = [np.interp(centres, fine[::-1], curve[::-1]) for curve in curves]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_gain_changes_no_spectral_angle_and_tiles_equal_the_scene(scene):
    net = build("sam", 12, 3)
    net.load_state_dict(SpectralAngle.fit(training(scene)).weights)
    x = torch.rand(1, 12, 70, 40, generator=torch.Generator().manual_seed(0)) + 0.1
    whole, before = net(x), torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for size in (13, 32):
            tile = x[:, :, 7 : 7 + size, 5 : 5 + size]
            for layout in (torch.contiguous_format, torch.channels_last):
                assert torch.equal(whole[:, :, 7 : 7 + size, 5 : 5 + size], net(tile.contiguous(memory_format=layout)))
    torch.set_num_threads(before)
    assert torch.equal(net(torch.cat([x, x + 1]))[:1], whole)
    torch.testing.assert_close(net(x), net(x * 7.5), atol=2e-3, rtol=0)
    assert torch.isfinite(net(x * 0)).all()


@pytest.mark.parametrize(
    ("header", "change", "match"),
    [
        ("wavelength,a,b", lambda w: w[:-1], "found 11 bands from 400 to .*; expected values from 400 to 1000 nm"),
        ("wavelength,a,b", lambda w: [*w[:-1], w[0]], "a place twice"),
        ("band,a,b", lambda w: w[:-1], "found 11 bands; expected 12 bands"),
        ("wavenumber,a,b", lambda w: w, "expected band or wavelength"),
        ("wavelength,a,a", lambda w: w, "classes of different names"),
        ("wavelength,a,", lambda w: w, "classes of different names"),
        ("wavelength,a,b", lambda w: [*w[:-1], "x"], "row 12: 'x,0.1,0.2'"),
        ("wavelength,a,b", lambda w: [*w[:-1], "nan"], "row 12: not finite"),
    ],
)
def test_references_of_other_bands_or_without_sense_are_refused(scene, tmp_path, header, change, match):
    places = change(list(Scene.open(scene).spectral.values))
    path = table(tmp_path / "bad.csv", header, [(place, 0.1, 0.2) for place in places])
    with pytest.raises(UserError, match=match):
        SpectralAngle.fit(training(scene, references=path))


def test_references_that_are_not_there_or_have_no_direction_are_refused(scene, tmp_path):
    with pytest.raises(UserError, match=r"no table .*nowhere\.csv"):
        SpectralAngle.fit(training(scene, references=str(tmp_path / "nowhere.csv")))
    path = table(tmp_path / "dark.csv", "band,a,b", [(i, 0, 0.2) for i in range(12)])
    with pytest.raises(UserError, match="a reference of a that is 0 in every band"):
        SpectralAngle.fit(training(scene, references=path))


# Linear classifiers


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", ["svm", "logistic"])
def test_a_linear_classifier_is_scikit_learns_on_the_same_pixels(tmp_path, make_scene, name, classes):
    path = make_scene(tmp_path / "s", 60, 64, 10, classes=classes, nan=0.02, noise=0.2, seed=5)
    told = baseline(name, path, str(tmp_path / "out"), samples=600, recipe="snv", penalty=0.5, seed=0)
    model = Model.load(str(tmp_path / "out.model"))
    drawn = labelled_pixels.draw(replace(training(path), recipe=model.recipe), 600, balanced=True)
    scaler = StandardScaler().fit(drawn.spectra.astype(np.float64))
    kind = LinearSVC(C=0.5, dual=False) if name == "svm" else LogisticRegression(C=0.5, max_iter=10_000)
    oracle = kind.fit(scaler.transform(drawn.spectra.astype(np.float64)), drawn.classes)
    x, _, valid = pixels(path)
    through = scaler.transform(model.recipe.apply(x[valid]).astype(np.float64))
    scores = oracle.decision_function(through)
    margin = np.abs(scores) if classes == 2 else np.diff(np.sort(scores)[:, -2:])[:, 0]
    clear = margin > 1e-4
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(prediction(tmp_path / "out")[valid][clear], oracle.predict(through)[clear])
    assert told["calibration_accuracy"] == pytest.approx(
        oracle.score(scaler.transform(drawn.spectra.astype(np.float64)), drawn.classes), abs=0.003
    )
    assert model.net["name"] == "linear"


@pytest.mark.parametrize("classes", [2, 3])
def test_probabilities_of_logistic_regression_are_scikit_learns(tmp_path, make_scene, classes):
    path = make_scene(tmp_path / "s", 40, 44, 10, classes=classes, noise=0.2, seed=6)
    baseline("logistic", path, str(tmp_path / "out"), samples=400, recipe="snv")
    predict(str(tmp_path / "out.model"), path, str(tmp_path / "p"), probabilities=True)
    model = Model.load(str(tmp_path / "out.model"))
    drawn = labelled_pixels.draw(replace(training(path), recipe=model.recipe), 400, balanced=True)
    scaler = StandardScaler().fit(drawn.spectra.astype(np.float64))
    oracle = LogisticRegression(max_iter=10_000).fit(scaler.transform(drawn.spectra.astype(float)), drawn.classes)
    x, _, _ = pixels(path)
    expected = oracle.predict_proba(scaler.transform(model.recipe.apply(x.reshape(-1, 10)).astype(float)))
    found = zarr.open_group(str(tmp_path / "p"), mode="r")["probability"][:]
    np.testing.assert_allclose(found.reshape(-1, classes), expected, atol=1e-4)


@pytest.mark.parametrize("name", ["svm", "logistic", "mlp"])
def test_methods_that_hold_their_pixels_refuse_to_take_all(scene, tmp_path, name):
    with pytest.raises(UserError, match="--samples: found all"):
        baseline(name, scene, str(tmp_path / "out"), samples="all", recipe="snv")


# k-means


def all_spectra(scene):
    x, _, valid = pixels(scene)
    return x[valid].astype(np.float64)


def looks(scene, client=None):
    opened = Scene.open(scene)
    return lambda zero: reduce_scene(blocks(opened, opened.roi), (), zero, client=client)


def test_k_means_out_of_core_is_scikit_learns_from_the_same_start(scene):
    x = all_spectra(scene)
    start = x[np.random.default_rng(0).choice(len(x), 4, replace=False)]
    centres, seen, passes = lloyd(looks(scene), start, 100)
    oracle = Oracle(4, init=start, n_init=1, algorithm="lloyd", max_iter=100, tol=1e-4).fit(x)
    np.testing.assert_allclose(centres, oracle.cluster_centers_, atol=1e-5)
    assert passes == oracle.n_iter_
    assert seen.counts.sum() == len(x)
    assert seen.inertia == pytest.approx(oracle.inertia_, rel=1e-3)
    assert seen.invalid == 150 * 140 - len(x)


def test_a_pass_adds_up_whatever_the_blocks():
    rng = np.random.default_rng(1)
    x = rng.normal(50, 1, (300, 5)).astype(np.float32)
    x[7] = np.nan
    zero = Nearest.zero(x[:3].astype(np.float64))
    whole, parts = zero + zero.of(x), zero.of(x[:100]) + zero.of(x[100:])
    for name in ("sums", "counts", "inertia", "invalid", "variance"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-9, atol=1e-7)
    valid = np.delete(x, 7, axis=0).astype(np.float64)
    assert whole.variance == pytest.approx(valid.var(axis=0).mean())
    nearest = ((valid[:, None] - zero.centres) ** 2).sum(axis=2)
    assert whole.inertia == pytest.approx(nearest.min(axis=1).sum())
    label = nearest.argmin(axis=1)
    np.testing.assert_allclose(whole.finish(), [valid[label == c].mean(axis=0) for c in range(3)], rtol=1e-9)


def test_every_pixel_gets_its_nearest_cluster_and_the_largest_is_the_first(scene, tmp_path):
    told = baseline("kmeans", scene, str(tmp_path / "out"), clusters=3, recipe="snv")
    model = Model.load(str(tmp_path / "out.model"))
    assert model.classes == ("cluster_0", "cluster_1", "cluster_2")
    assert told["cluster_pixels"] == sorted(told["cluster_pixels"], reverse=True)
    with np.load(tmp_path / "out.model" / "arrays.npz") as kept:
        centres = kept["centres"]
    x, labels, valid = pixels(scene)
    away = ((model.recipe.apply(x[valid])[:, None].astype(np.float64) - centres) ** 2).sum(axis=2)
    clear = np.diff(np.sort(away)[:, :2])[:, 0] > 1e-4
    found = prediction(tmp_path / "out")[valid]
    np.testing.assert_array_equal(found[clear], away.argmin(axis=1)[clear])
    purity = sum(np.bincount(labels[valid][(found == c) & (labels[valid] != 255)]).max() for c in range(3))
    assert purity / (labels[valid] != 255).sum() > 0.8


def test_k_means_needs_no_labels_and_counts_that_are_large_lose_nothing(tmp_path, make_scene):
    bare = make_scene(tmp_path / "bare", 48, 48, 6, labelled=False, seed=2, dtype="uint16")
    found = KMeans.fit(training(bare, clusters=2))
    assert sum(found.facts["cluster_pixels"]) == 48 * 48
    assert found.notes == ()
    few = KMeans.fit(training(bare, clusters=5, passes=1))
    assert few.facts["passes"] == 1


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_clusters_and_means(scene):
    alone = KMeans.fit(training(scene, clusters=3)), SpectralAngle.fit(training(scene))
    with connect(2, None) as client:
        shared = (
            KMeans.fit(training(scene, clusters=3, client=client)),
            SpectralAngle.fit(training(scene, client=client)),
        )
    for a, b in zip(alone, shared, strict=True):
        assert a.facts == b.facts
        for name in a.weights:
            assert a.weights[name].equal(b.weights[name])


def test_more_clusters_than_spectra_are_refused(tmp_path, make_scene):
    flat = make_scene(tmp_path / "flat", 8, 8, 4, seed=1)
    with pytest.raises(UserError, match="at most 64"):
        KMeans.fit(training(flat, clusters=65))


# All of them


def test_the_help_names_every_method():
    for name in BASELINES:
        assert f"\n{name} " in BASELINE


def test_an_option_that_a_method_does_not_use_is_noted(scene, tmp_path):
    told = baseline("sam", scene, str(tmp_path / "out"), dry_run=True, clusters=4, components="6", threshold=0.5)
    given = ("components", "threshold", "clusters")
    assert told["notes"] == [f"--{name} is of no use to this method" for name in given]


def test_what_cannot_go_together_is_refused(scene, tmp_path):
    with pytest.raises(UserError, match="neither Q nor T2"):
        baseline("sam", scene, str(tmp_path / "out"), diagnostics=True)
    with pytest.raises(UserError, match="together with --max-angle"):
        baseline("sam", scene, str(tmp_path / "out"), max_angle=0.1, opening=2)
    with pytest.raises(UserError, match="max-angle: found 9"):
        baseline("sam", scene, str(tmp_path / "out"), max_angle=9.0)
    with pytest.raises(TypeError, match="no option 'latent'"):
        baseline("sam", scene, str(tmp_path / "out"), latent=3)


@pytest.mark.parametrize("name", ["plsda", "sam", "svm", "logistic"])
def test_a_class_without_pixels_keeps_its_number_and_is_never_predicted(tmp_path, make_scene, name):
    path = make_scene(tmp_path / "s", 40, 40, 8, classes=3, seed=4)
    labels = Scene.open(path).labels()
    without = labels_apart(tmp_path / "labels", path, np.where(labels == 1, 255, labels))
    told = baseline(name, path, str(tmp_path / "out"), samples=200, components=2, recipe="snv", labels=without)
    assert told["absent_classes"] == ["class_1"]
    assert Model.load(str(tmp_path / "out.model")).classes == ("class_0", "class_1", "class_2")
    assert set(np.unique(prediction(tmp_path / "out"))) == {0, 2}


def test_a_perceptron_has_the_hidden_layers_that_were_asked_for(tmp_path, make_scene):
    path = make_scene(tmp_path / "s", 20, 20, 8, classes=2)
    baseline("mlp", path, str(tmp_path / "out"), samples=100, hidden="24, 16,8")
    model = Model.load(str(tmp_path / "out.model"))
    assert model.net["hidden"] == [24, 16, 8]
    for wrong in ("0", "64,", "many"):
        with pytest.raises(UserError, match="hidden"):
            baseline("mlp", path, str(tmp_path / "b"), hidden=wrong)
