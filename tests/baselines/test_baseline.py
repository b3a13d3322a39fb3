"""Baselines: each is a model, predicted by the same predictor; what they cannot do is refused."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
import zarr
from baseline_input import labels_apart, training

from tilespec.baselines import labelled_pixels
from tilespec.baselines.baseline import baseline
from tilespec.baselines.ndvi import bands
from tilespec.core.errors import UserError
from tilespec.models.model import Model
from tilespec.predict.predict import predict
from tilespec.storage.scene import Scene


@pytest.fixture(scope="module")
def scene(tmp_path_factory, make_scene):
    return make_scene(tmp_path_factory.mktemp("scene") / "scene", 160, 140, 24, nan=0.02, unlabelled=0.1, seed=3)


@pytest.fixture(scope="module")
def three(tmp_path_factory, make_scene):
    return make_scene(tmp_path_factory.mktemp("three") / "three", 96, 96, 16, classes=3, seed=4)


def prediction(out):
    return zarr.open_group(str(out), mode="r")["prediction"][:]


def accuracy(out, scene):
    opened = Scene.open(scene)
    truth, valid = opened.labels(), np.isfinite(opened.read(opened.roi)[:, :, 0])
    use = valid & (truth != 255)
    return (prediction(out)[use] == truth[use]).mean()


def test_ndvi_is_the_threshold_on_reflectance_and_nodata_stays_nodata(scene, tmp_path):
    found = baseline("ndvi", scene, str(tmp_path / "out"), threshold=0.1)
    opened = Scene.open(scene)
    x = opened.read(opened.roi)
    red, nir = (x[:, :, i] for i in bands(opened))
    expected = np.where(np.isnan(red), 255, (nir - red) / (nir + red) > 0.1)
    np.testing.assert_array_equal(prediction(tmp_path / "out"), expected)
    assert found["nodata"] == int(np.isnan(red).sum()) > 0
    assert found["threshold"] == 0.1
    assert abs(found["red_nm"] - 670) < 20
    assert Scene.open(scene).spectral.nearest(800) == bands(opened)[1]


def test_otsu_finds_the_threshold_between_two_modes(scene, tmp_path):
    found = baseline("ndvi-otsu", scene, str(tmp_path / "out"))
    opened = Scene.open(scene)
    x = opened.read(opened.roi).reshape(-1, 24)
    red, nir = bands(opened)
    ndvi = (x[:, nir] - x[:, red]) / (x[:, nir] + x[:, red])
    labels = opened.labels().ravel()
    means = sorted(np.nanmean(ndvi[labels == c]) for c in (0, 1))
    assert means[0] < found["threshold"] < means[1]
    assert found["invalid_pixels"] == int(np.isnan(ndvi).sum())


@pytest.mark.parametrize(("name", "least"), [("plsda", 0.97), ("mlp", 0.97)])
def test_two_separable_materials_are_told_apart(scene, tmp_path, name, least):
    found = baseline(name, scene, str(tmp_path / "out"), rows="0:48", samples=800, components=3)
    assert accuracy(tmp_path / "out", scene) > least
    assert found["calibration_accuracy"] > least
    assert found["fit_seconds"] > 0
    assert found["seconds"] == pytest.approx(found["fit_seconds"] + found["predict_seconds"])


@pytest.mark.parametrize("name", ["plsda", "mlp"])
def test_any_number_of_classes(three, tmp_path, name):
    baseline(name, three, str(tmp_path / "out"), samples=900, components=4)
    assert accuracy(tmp_path / "out", three) > 0.9
    assert Model.load(str(tmp_path / "out.model")).classes == ("class_0", "class_1", "class_2")


def test_plsda_is_scikit_learns_on_the_same_pixels(scene, tmp_path):
    from sklearn.cross_decomposition import PLSRegression

    baseline("plsda", scene, str(tmp_path / "out"), samples=600, components=4, recipe="snv")
    model = Model.load(str(tmp_path / "out.model"))
    drawn = labelled_pixels.draw(replace(training(scene, rows="0:160"), recipe=model.recipe), 600, balanced=True)
    pls = PLSRegression(4, scale=False).fit(drawn.spectra.astype(np.float64), np.eye(2)[drawn.classes])
    opened = Scene.open(scene)
    x = model.recipe.apply(opened.read(opened.roi).reshape(-1, 24))
    valid = np.isfinite(x[:, 0])
    weight, bias = (model.weights[f"affine.{name}"].numpy() for name in ("weight", "bias"))
    expected = pls.predict(x[valid].astype(np.float64))
    np.testing.assert_allclose(x[valid] @ weight.T + bias, expected, atol=1e-4)
    clear = np.abs(expected[:, 1] - 0.5) > 1e-3
    decided = prediction(tmp_path / "out").ravel()[valid]
    np.testing.assert_array_equal(decided[clear], expected.argmax(axis=1)[clear])


def test_the_model_predicts_another_scene_and_says_where_it_learned(scene, tmp_path, make_scene):
    baseline("plsda", scene, str(tmp_path / "out"), rows="0:48", cols="8:64", samples=400, components=2)
    model = Model.load(str(tmp_path / "out.model"))
    (region,) = model.provenance["train_regions"]
    assert region == {"scene": "scene", "digest": Scene.open(scene).digest, "rows": [0, 48], "cols": [8, 64]}
    other = make_scene(tmp_path / "other", 40, 50, 24, seed=3)
    predict(str(tmp_path / "out.model"), other, str(tmp_path / "other.out"))
    assert prediction(tmp_path / "other.out").shape == (40, 50)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("plsda", (0, 2)),
        pytest.param("mlp", (0, 1, 2), marks=pytest.mark.slow),
        pytest.param("ndvi-otsu", (0, 1, 2), marks=pytest.mark.slow),
    ],
)
def test_any_number_of_workers_gives_the_same_bits(scene, tmp_path, name, counts):
    digests = set()
    for workers in counts:
        out = tmp_path / f"w{workers}"
        baseline(name, scene, str(out), samples=300, components=3, workers=workers)
        digests.add(zarr.open_group(str(out), mode="r").attrs["tilespec_digest"])
    assert len(digests) == 1


def test_an_opening_removes_specks_and_only_removes(scene, tmp_path):
    from scipy.ndimage import binary_opening

    from tilespec.models.nets.opening import disk

    for opening in (0, 2):
        baseline("plsda", scene, str(tmp_path / f"o{opening}"), samples=400, opening=opening)
    before, after = prediction(tmp_path / "o0"), prediction(tmp_path / "o2")
    assert ((after == 1) <= (before == 1)).all()
    structure = disk(2)[0, 0].numpy() > 0
    expected = binary_opening(before == 1, structure)
    inner = (slice(8, -8), slice(8, -8))
    valid = after[inner] != 255
    near_nodata = 5  # a nodata pixel is background to the opening, whatever the net says there
    assert ((after[inner] == 1) == expected[inner])[valid].mean() > 1 - near_nodata / 100


def test_a_recipe_may_be_a_folder_or_steps(scene, tmp_path):
    from tilespec.spectra.fit import fit

    fit(scene, str(tmp_path / "recipe"), steps="snv,pca=5")
    for i, recipe in enumerate((str(tmp_path / "recipe"), "snv,pca=5")):
        baseline("plsda", scene, str(tmp_path / f"out{i}"), recipe=recipe, samples=400, components=3)
    a, b = (Model.load(str(tmp_path / f"out{i}.model")) for i in (0, 1))
    assert a.recipe.digest == b.recipe.digest
    assert a.channels == (5, 2)


# Labelled pixels


def test_drawn_pixels_are_the_scenes_with_their_labels_and_balanced(scene):
    found = labelled_pixels.draw(training(scene, rows="0:160"), 400, balanced=True)
    opened = Scene.open(scene)
    x, labels = opened.read(opened.roi).reshape(-1, 24), opened.labels().ravel()
    where = {row.tobytes(): label for row, label in zip(x, labels, strict=True)}
    assert all(where[row.tobytes()] == c for row, c in zip(found.spectra, found.classes, strict=True))
    assert len({row.tobytes() for row in found.spectra}) == len(found.spectra) == 400 - found.invalid
    assert np.bincount(found.classes).min() > 180


def test_draws_in_proportion_and_beyond_what_there_is(scene):
    everything = labelled_pixels.draw(training(scene, rows="0:160"), 10**6, balanced=False)
    opened = Scene.open(scene)
    usable = (opened.labels() != 255) & np.isfinite(opened.read(opened.roi)[:, :, 0])
    assert len(everything.spectra) == usable.sum()
    part = labelled_pixels.draw(training(scene, rows="0:160"), 500, balanced=False)
    share = (opened.labels() == 1).sum() / (opened.labels() != 255).sum()
    assert part.classes.mean() == pytest.approx(share, abs=0.02)


# Bad input


def refused(match, name, scene, tmp_path, **options):
    with pytest.raises(UserError, match=match):
        baseline(name, scene, str(tmp_path / "out"), **options)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.model").exists()


def test_an_index_refuses_a_recipe(scene, tmp_path):
    refused("ratio of reflectances", "ndvi", scene, tmp_path, recipe="vsn")


def test_an_index_needs_its_bands(tmp_path, make_scene):
    refused("as the band nearest to 670 nm", "ndvi", make_scene(tmp_path / "few", 40, 40, 3), tmp_path)


def test_unknown_methods_list_the_known(scene, tmp_path):
    known = "kmeans, linear, logistic, mlp, ndvi, ndvi-otsu, plsda, plsr, polynomial, rbf, ridge, sam, svm"
    refused(known, "simca", scene, tmp_path)


def test_more_latent_variables_than_bands_are_refused(scene, tmp_path):
    refused("expected 1 to 24", "plsda", scene, tmp_path, components=25)


def test_a_scene_without_labels_is_refused(tmp_path, make_scene):
    bare = make_scene(tmp_path / "bare", 40, 40, 24, labelled=False)
    refused(r"expected labels\(y, x\)", "plsda", bare, tmp_path)


def test_a_region_without_one_of_the_classes_is_refused(tmp_path, make_scene):
    scene = make_scene(tmp_path / "s", 40, 40, 24)
    ground = labels_apart(tmp_path / "labels", scene, np.zeros((40, 40)))
    refused("no labelled pixel of plant in rows 0:40", "plsda", scene, tmp_path, labels=ground)


def test_a_transformed_scene_is_refused(scene, tmp_path):
    from tilespec.spectra.fit import fit
    from tilespec.spectra.transform import transform

    fit(scene, str(tmp_path / "r"), steps="snv")
    transform(str(tmp_path / "r"), scene, str(tmp_path / "t"))
    refused("expected a raw scene", "plsda", str(tmp_path / "t"), tmp_path)


def test_a_folder_that_is_no_recipe_is_refused(scene, tmp_path):
    refused("no recipe.json", "plsda", scene, tmp_path, recipe=str(tmp_path / "nowhere"))


def test_a_dry_run_writes_nothing(scene, tmp_path):
    planned = baseline("plsda", scene, str(tmp_path / "out"), rows="0:40", dry_run=True)
    assert planned["region"] == {"rows": [0, 40], "cols": [0, 140]}
    assert not (tmp_path / "out.model").exists()


def test_a_place_with_other_settings_is_refused_before_the_fit(three, tmp_path, monkeypatch):
    out = str(tmp_path / "out")
    first = baseline("sam", three, out)
    assert baseline("sam", three, out)["fingerprint"] == first["fingerprint"]
    monkeypatch.setattr("tilespec.baselines.sam.SpectralAngle.fit", lambda on: pytest.fail("it was fitted"))
    for name, options in (("sam", {"max_angle": 0.2}), ("sam", {"rows": "0:50"}), ("svm", {})):
        with pytest.raises(UserError, match=r"other settings \(.*(max_angle|region|method)"):
            baseline(name, three, out, **options)


def test_what_a_user_may_not_expect_is_noted(three, tmp_path):
    """A class without pixels in the region, bands without wavelengths, and a scene without data."""
    with xr.open_zarr(three) as scene:
        rare = scene.assign(labels=scene.labels.where((scene.labels != 2) | (scene.y >= 40), 0).astype(np.uint8))
        rare.labels.attrs = scene.labels.attrs
        stores = {"rare": rare, "bare": scene.drop_vars("wavelength")}
        stores["nothing"] = stores["bare"].assign(cube=scene.cube * np.float32("nan"))
        for name, store in stores.items():
            store.drop_encoding().to_zarr(tmp_path / name, zarr_format=3, consolidated=False)
    found = baseline("sam", str(tmp_path / "rare"), str(tmp_path / "out"), rows="0:40")
    assert any("never predicted" in note and Scene.open(three).classes()[2] in note for note in found["notes"])
    expected = {"bare": "no wavelengths", "nothing": "every pixel is nodata"}
    for name, words in expected.items():
        notes = predict(str(tmp_path / "out.model"), str(tmp_path / name), str(tmp_path / f"of-{name}"))["notes"]
        assert any(words in note for note in notes), name
