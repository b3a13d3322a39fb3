"""What a training refuses before it computes, and what it publishes again."""

import json
from pathlib import Path

import numpy as np
import pytest
from cube_scenes import write

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.storage.backends.paths import store_path
from tilespec.training.run.run_folder import result, settle
from tilespec.training.settings import Config, Data

TINY = {"data.rows": "0:32", "train.steps": "2", "data.patch": "16"}


@pytest.fixture
def scene(make_scene, tmp_path):
    return make_scene(tmp_path / "scene", 48, 40, 5)


def trained(scene, out, **more):
    return api.train("preset:tiny", out, overrides={"data.scene": scene, **TINY, **more})


def labelled(place, labels):
    """Return a scene with these labels."""
    cube = np.random.default_rng(0).uniform(0.1, 0.6, (*labels.shape, 5)).astype(np.float32)
    api.ingest(cube, place, labels=labels, wavelengths=np.linspace(400, 800, 5))
    return str(place)


def test_labels_of_one_class_teach_nothing(tmp_path):
    labels = np.ones((48, 40), np.uint8)
    labels[40:] = 0  # outside of the training region
    with pytest.raises(UserError, match=r"labelled pixels are all of the class 'class_1'"):
        trained(labelled(tmp_path / "scene", labels), tmp_path / "model")


def test_a_class_without_pixels_is_a_note(tmp_path):
    labels = np.where(np.arange(40) < 20, 1, 2) * np.ones((48, 1), np.uint8)
    notes = trained(labelled(tmp_path / "scene", labels.astype(np.uint8)), tmp_path / "model").notes
    assert any("no pixel of the training regions is class_0" in note for note in notes)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train.betas", "[1, 2]"),
        ("train.betas", "[0.9, -0.1]"),
        ("train.seed", "99999999999999999999"),
        ("train.seed", "-1"),
        ("train.rate", "inf"),
        ("train.decay", "nan"),
        ("train.clip", "inf"),
        ("train.steps", "100000000000000"),
        ("train.batch", "1000000000000"),
        ("train.timeout", "1e300"),
        ("train.loaders", "1000000"),
        ("net.base_width", "1048576"),
        ("net.base_width", "1000000000000"),
        ("net.n_down", "1000000"),
        ("net.dropout", "2"),
    ],
)
def test_a_value_that_only_torch_would_refuse_is_refused_by_its_key(scene, tmp_path, key, value):
    with pytest.raises(UserError, match=key.split(".")[1]):
        trained(scene, tmp_path / "model", **{key: value})
    assert not (tmp_path / "model").exists()


@pytest.fixture
def scales(tmp_path):
    """Return a scene of reflectance, the same in counts, and the same a little brighter."""
    cube = np.random.default_rng(0).uniform(0.1, 0.6, (48, 40, 7)).astype(np.float32)
    return [write(tmp_path / name, factor * cube) for name, factor in (("one", 1), ("counts", 1e4), ("brighter", 3))]


@pytest.mark.parametrize("steps", ["pca=2", "snv"])
def test_fit_refuses_scenes_of_two_scales(scales, tmp_path, steps):
    one, counts, brighter = scales
    for more in ({}, {"dry_run": True}):
        with pytest.raises(UserError, match=r"different scales"):
            api.fit([one, counts], tmp_path / "recipe", steps=steps, **more)
    api.fit([one, brighter], tmp_path / "recipe", steps=steps)
    if steps == "pca=2":  # which can be updated
        with pytest.raises(UserError, match=r"different scales"):
            api.fit(counts, tmp_path / "more", update=tmp_path / "recipe")


@pytest.mark.parametrize("which", ["scene", "target"])
def test_train_refuses_scenes_and_targets_of_two_scales(scales, tmp_path, which):
    one, counts, brighter = scales
    lists = {"scene": [one, one], "target": [one, brighter]}
    lists[which] = [one, counts]
    tables = {
        "data": {**lists, "patch": 16},
        "task": {"name": "reconstruct"},
        "net": {"name": "unet", "base_width": 4, "n_down": 2},
        "objective": {"name": "supervised"},
        "train": {"steps": 1},
    }
    with pytest.raises(UserError, match=r"different scales"):
        api.train(tables, tmp_path / "model", dry_run=True)


@pytest.mark.parametrize("damage", ["lost weights", "flipped weights", "lost card", "flipped card"])
def test_a_lost_or_damaged_model_is_published_again_with_the_same_bytes(scene, tmp_path, damage):
    model = tmp_path / "model"
    first = trained(scene, model)
    file = model / ("model.safetensors" if "weights" in damage else "model.json")
    before = {path.name: path.read_bytes() for path in model.iterdir() if path.is_file() and "model" in path.name}
    if "lost" in damage:
        file.unlink()
    else:
        whole = file.read_bytes()
        file.write_bytes(whole[:-9] + bytes([whole[-9] ^ 64]) + whole[-8:])
    again = trained(scene, model)
    assert {name: (model / name).read_bytes() for name in before} == before
    assert any("published again" in note for note in again.notes)
    assert again.losses == first.losses
    assert trained(scene, model).notes == first.notes


def test_a_finished_training_whose_result_is_cut_off_ends_again_with_the_same_bytes(scene, tmp_path):
    model = tmp_path / "model"
    first, file = trained(scene, model), model / "checkpoints" / "result.json"
    before = (model / "model.safetensors").read_bytes()
    file.write_text(file.read_text()[:-20])
    assert trained(scene, model).losses == first.losses
    assert (model / "model.safetensors").read_bytes() == before
    assert json.loads(file.read_text())


def test_a_lost_model_of_the_best_step_is_not_replaced_by_another(scene, tmp_path):
    model = tmp_path / "model"
    trained(scene, model)
    result = model / "checkpoints" / "result.json"
    result.write_text(json.dumps({**json.loads(result.read_text()), "published_step": 1}))
    Path(model / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"whose weights no checkpoint has"):
        trained(scene, model)


def test_only_a_picture_is_decoded_as_one(tmp_path):
    """A recipe with the step light takes values for sRGB: reflectance of as many bands is refused by every verb."""
    cube = np.random.default_rng(0).uniform(0.1, 0.9, (48, 40, 3)).astype(np.float32)
    picture, plain = str(tmp_path / "picture"), str(tmp_path / "plain")
    for out, rgb in ((picture, True), (plain, False)):
        api.ingest(cube, out, labels=(cube[..., 0] > 0.5).astype(np.uint8), rgb=rgb)
    recipe, model = str(tmp_path / "recipe"), str(tmp_path / "map.model")
    api.fit(picture, recipe, steps="light")
    api.baseline("sam", picture, tmp_path / "map", recipe=recipe)
    for verb in (
        lambda: api.fit(plain, tmp_path / "another", steps="light"),
        lambda: api.transform(recipe, plain, tmp_path / "light"),
        lambda: trained(plain, tmp_path / "net", **{"recipe.path": recipe}),
        lambda: api.predict(model, plain, tmp_path / "prediction"),
    ):
        with pytest.raises(UserError, match="not marked as sRGB"):
            verb()


@pytest.mark.parametrize("damage", ['{"train": {"steps"', "", "[1]", "null"])
def test_damaged_settings_of_a_training_are_named_and_a_damaged_result_is_none(tmp_path, damage):
    """Without a result the training goes on from its last checkpoint, and writes it again."""
    (tmp_path / "checkpoints").mkdir()
    for name in ("settings.json", "result.json"):
        (tmp_path / "checkpoints" / name).write_text(damage)
    with pytest.raises(UserError, match=r"settings\.json: found JSON that ends early"):
        settle(store_path(tmp_path), Config(data=Data(scene=("any",))), [])
    assert result(store_path(tmp_path)) is None
