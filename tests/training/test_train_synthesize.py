"""Trainings of generators of labelled spectra: what they learn from, what is refused, and what comes out."""

import numpy as np
import pytest
import zarr
from cube_scenes import write
from safetensors.numpy import load_file

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.core.types import SpectralAxis
from tilespec.models.determinism import torch_threads

BANDS = 12
AXIS = SpectralAxis(name="wavelength", unit="nm", values=tuple(np.linspace(450, 900, BANDS).tolist()))
SMALL = {
    "net.hidden": [32, 32],
    "objective.critic": {"hidden": [32, 32]},
    "objective.classifier": {"hidden": [32, 32]},
    "data.patches": 64,
    "train.batch": 16,
    "train.steps": 4,
}


def mixture(path, side=40, unlabelled=0.3, single=False, seed=0, spread=0.04):
    """Write a scene of three classes of Gaussian spectra; with ``single`` the last one has one labelled pixel."""
    rng = np.random.default_rng(seed)
    means = 0.3 + 0.4 * rng.random((3, BANDS))
    of = rng.integers(3, size=(side, side))
    cube = means[of] + rng.normal(0, spread, (side, side, BANDS))
    labels = of.astype(np.uint8)
    labels[rng.random(of.shape) < unlabelled] = 255
    if single:
        first = np.argwhere(labels == 2)[0]
        labels[labels == 2] = 255
        labels[tuple(first)] = 2
    url = write(path, cube, AXIS, layers={"labels": labels})
    group = zarr.open_group(url, mode="r+")
    group["labels"].attrs.update({"nodata": 255, "flag_values": [0, 1, 2], "flag_meanings": "soil leaf stem"})
    api.repair(url, accept=True)
    return url, means


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return mixture(tmp_path_factory.mktemp("s") / "scene")[0]


def train(scene, out, preset="audebert2018", **more):
    return api.train(f"preset:{preset}", str(out), overrides={"data.scene": scene, **SMALL, **more})


def weights(out):
    return load_file(out / "model.safetensors")


def test_a_training_goes_on_where_it_was(scene, tmp_path):
    train(scene, tmp_path / "whole")
    train(scene, tmp_path / "parts", **{"train.steps": 2})
    train(scene, tmp_path / "parts")
    for name, values in weights(tmp_path / "whole").items():
        np.testing.assert_array_equal(weights(tmp_path / "parts")[name], values)


@pytest.mark.slow
def test_two_ranks_learn_what_one_does(scene, tmp_path):
    train(scene, tmp_path / "one")
    api.train("preset:audebert2018", str(tmp_path / "two"), overrides={"data.scene": scene, **SMALL}, ranks=2)
    for name, values in weights(tmp_path / "one").items():
        np.testing.assert_allclose(weights(tmp_path / "two")[name], values, atol=1e-5)


def test_the_presets_differ_and_their_models_make_spectra(scene, tmp_path):
    batches = {"audebert2018": 16, "notebook": 20, "spectra-best": 20}
    for name, batch in batches.items():
        found = train(scene, tmp_path / name, name, **{"train.batch": batch})
        assert set(found["losses"]) == {"critic", "penalty", "classifier", "adversarial", "ordered"}
        api.synth(tmp_path / name, tmp_path / f"{name}.table", count=3)
    tables = [np.asarray(zarr.open_group(str(tmp_path / f"{name}.table"))["cube"]) for name in batches]
    assert all(np.isfinite(table).all() for table in tables)
    assert len({table.tobytes() for table in tables}) == len(batches)


def test_unlabelled_pixels_change_what_is_learned(scene, tmp_path):
    train(scene, tmp_path / "supervised")
    train(scene, tmp_path / "semi", **{"task.unlabelled": True, "data.balance": "none"})
    api.synth(tmp_path / "semi", tmp_path / "t", count=2)
    assert np.asarray(zarr.open_group(str(tmp_path / "t"))["cube"]).shape == (6, BANDS)
    a, b = (weights(tmp_path / name) for name in ("supervised", "semi"))
    assert any(not np.array_equal(a[key], b[key]) for key in a)


def test_a_region_without_unlabelled_pixels_is_refused_for_semi_supervision(tmp_path):
    scene, _ = mixture(tmp_path / "scene", side=20, unlabelled=0.0)
    with pytest.raises(UserError, match="every pixel has a label"):
        train(scene, tmp_path / "m", **{"task.unlabelled": True, "data.balance": "none"})


def test_a_class_of_one_pixel_is_learned_and_warned_of(tmp_path):
    scene, _ = mixture(tmp_path / "scene", single=True)
    found = train(scene, tmp_path / "m")
    assert any("one pixel is all that is known of stem" in note for note in found["notes"])
    api.synth(tmp_path / "m", tmp_path / "t", count=2, classes="stem")


def test_a_class_without_a_pixel_is_noted_and_not_synthesized(tmp_path):
    scene, _ = mixture(tmp_path / "scene", single=True)
    group = zarr.open_group(scene, mode="r+")
    labels = group["labels"][...]
    labels[labels == 2] = 255
    group["labels"][...] = labels
    api.repair(scene, accept=True)
    found = train(scene, tmp_path / "m")
    assert any("stem: it cannot be learned" in note for note in found["notes"])
    assert api.synth(tmp_path / "m", tmp_path / "t", count=2)["classes"] == ["soil", "leaf"]
    with pytest.raises(UserError, match="a class 'stem' that the generator never saw"):
        api.synth(tmp_path / "m", tmp_path / "u", count=2, classes="stem")


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"train.batch": 15}, "a multiple of 2"),
        ({"task.bands": 5}, "which the recipe gives"),
        ({"net.head": "linear"}, "net.head, task.head"),
    ],
)
def test_settings_that_make_no_generator_are_refused(scene, tmp_path, more, text):
    with pytest.raises(UserError, match=text):
        train(scene, tmp_path / "m", **more)


@pytest.mark.parametrize(("task", "objective"), [("synthesize", "supervised"), ("segment", "wgan_gp")])
def test_a_generator_has_an_objective_of_its_own(scene, tmp_path, task, objective):
    config = {
        "data": {"scene": scene, "patch": 1, "patches": 8},
        "task": {"name": task, "head": "sigmoid"} if task == "synthesize" else {"name": task},
        "net": {"name": "spectrum_mlp", "head": "sigmoid"} if task == "synthesize" else {"name": "mlp"},
        "objective": {"name": objective},
    }
    with pytest.raises(UserError, match="wgan_gp for synthesize"):
        api.train(config, str(tmp_path / "m"))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_generator_learns_the_means_of_classes_and_what_tells_them_apart(tmp_path):
    scene, means = mixture(tmp_path / "scene", side=100, unlabelled=0.5)
    more = {"train.steps": 2000, "train.batch": 320, "train.rate": 5e-4, "train.schedule": "cosine"}
    more |= {"objective.critic_steps": 5, "data.patches": 5120, "net.hidden": [64, 64]}
    with torch_threads(1):  # so small a net gains nothing from a second, and waits for it on a busy machine
        train(scene, tmp_path / "m", **more)
    api.synth(tmp_path / "m", tmp_path / "t", count=300)
    found = api.evaluate(tmp_path / "t", scene)
    spectra = np.asarray(zarr.open_group(str(tmp_path / "t"))["cube"]).reshape(3, 300, BANDS)
    assert np.abs(spectra.mean(axis=1) - means).max() < 0.05
    svm = found["svm"]
    assert svm["real to synthetic"] >= 0.9
    assert svm["synthetic to real"] >= svm["real to real"] - 0.1
    assert 0 < found["spread_ratio"] < 2


def test_spectra_that_leave_the_range_of_the_recipe_are_told(scene, tmp_path):
    calm = mixture(tmp_path / "calm", spread=0.001)[0]
    api.fit(calm, tmp_path / "recipe", steps="minmax=shared")
    given = {"recipe.path": str(tmp_path / "recipe")}
    assert train(calm, tmp_path / "a", **given)["notes"] == []
    (note,) = train(scene, tmp_path / "b", **given)["notes"]
    assert "leave 0 to 1" in note
