"""What a user gets wrong between verbs: one message, exit 2, and nothing that is done is harmed."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from command_line import tilespec

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.models.model import Model
from tilespec.spectra.recipe import Recipe
from tilespec.storage.scene import Scene


@pytest.fixture
def scene(make_scene, tmp_path):
    return make_scene(tmp_path / "scene", 96, 64, 21)


def test_a_scene_that_was_transformed_is_no_scene_to_fit_transform_or_train_on(scene, tmp_path):
    recipe, made = str(tmp_path / "recipe"), str(tmp_path / "made")
    api.fit(scene, recipe, steps="sg=5:2:1")
    api.transform(recipe, scene, made)
    calls = [
        lambda: api.fit(made, str(tmp_path / "r2"), steps="snv"),
        lambda: api.transform(recipe, made, str(tmp_path / "twice")),
        lambda: api.train("preset:tiny", str(tmp_path / "m"), overrides={"data.scene": made}),
        lambda: api.baseline("plsda", made, str(tmp_path / "p")),
    ]
    for call in calls:
        with pytest.raises(UserError, match="a scene that `transform` wrote; expected a raw scene"):
            call()


def test_fit_writes_over_nothing_but_the_same_recipe(scene, tmp_path):
    recipe = str(tmp_path / "recipe")
    api.fit(scene, recipe, steps="snv,pca=2")
    digest = Recipe.load(recipe).digest
    api.fit(scene, recipe, steps="snv,pca=2")
    with pytest.raises(UserError, match="found another recipe"):
        api.fit(scene, recipe, steps="snv,pca=3")
    with pytest.raises(UserError, match="something that is no recipe"):
        api.fit(scene, scene, steps="snv")
    assert Recipe.load(recipe).digest == digest


def test_a_baseline_of_other_settings_leaves_the_model_of_the_product_that_is_there(scene, tmp_path):
    out = str(tmp_path / "out")
    api.baseline("plsda", scene, out, components=2)
    digest = Model.load(f"{out}.model").digest
    with pytest.raises(UserError, match="the model of a product of other settings"):
        api.baseline("plsda", scene, out, components=3)
    assert Model.load(f"{out}.model").digest == digest


def test_a_training_knows_its_recipe_by_content_and_not_by_path(scene, tmp_path):
    recipe, model = str(tmp_path / "recipe"), str(tmp_path / "model")
    given = {"data.scene": scene, "recipe.path": recipe, "train.steps": "3"}
    api.fit(scene, recipe, steps="snv,pca=2")
    api.train("preset:tiny", model, overrides=given)
    shutil.rmtree(recipe)
    api.fit(scene, recipe, steps="pca=2")
    with pytest.raises(UserError, match=r"recipe\.path was .* is"):
        api.train("preset:tiny", model, overrides=given)


def test_objects_that_were_lost_are_missing_and_written_again(scene, tmp_path):
    out = str(tmp_path / "out")
    api.baseline("ndvi", scene, out)
    before = np.asarray(zarr.open_group(out, mode="r")["prediction"])
    shutil.rmtree(tmp_path / "out" / "prediction" / "c")
    assert (np.asarray(zarr.open_group(out, mode="r")["prediction"]) == 255).all()  # lost is no class
    assert api.predict(f"{out}.model", scene, out)["rows_done"] == 1
    np.testing.assert_array_equal(np.asarray(zarr.open_group(out, mode="r")["prediction"]), before)


def test_a_raw_folder_that_was_removed_is_begun_again(tmp_path):
    given = {"rows": 40, "cols": 40, "bands": 12, "plants": 1, "raw": True}
    api.simulate(str(tmp_path / "raw"), **given)
    before = (tmp_path / "raw" / "raw.bil").read_bytes()
    shutil.rmtree(tmp_path / "raw")
    api.simulate(str(tmp_path / "raw"), **given)
    assert (tmp_path / "raw" / "raw.bil").read_bytes() == before


def test_new_labels_are_no_new_cube(make_scene, tmp_path):
    labelled = make_scene(tmp_path / "a", 40, 40, 4)
    bare = make_scene(tmp_path / "b", 40, 40, 4, labelled=False)
    assert Scene.open(labelled).digest == Scene.open(bare).digest
    assert Scene.open(labelled).digest != Scene.open(make_scene(tmp_path / "c", 40, 40, 4, 1)).digest


def test_a_flipped_bit_in_a_scene_is_told_with_its_place(scene, tmp_path):
    victim = next(p for p in (Path(scene) / "cube" / "c").rglob("*") if p.is_file())
    data = bytearray(victim.read_bytes())
    data[100] ^= 1
    victim.write_bytes(bytes(data))
    with pytest.raises(UserError, match="found a damaged object"):
        api.fit(scene, str(tmp_path / "recipe"), steps="pca=2")


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_a_damaged_model_is_one_message(scene, tmp_path, name):
    api.baseline("plsda", scene, str(tmp_path / "out"))
    path = tmp_path / "out.model" / name
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(UserError, match="a damaged model"):
        api.predict(str(tmp_path / "out.model"), scene, str(tmp_path / "again"))


@pytest.mark.parametrize("name", ["model.safetensors", "recipe", "model.json"])
def test_a_model_of_which_a_file_is_another_models_is_refused(make_scene, tmp_path, name):
    """Each file is whole by itself, and together they would predict something."""
    for number in range(2):
        scene = make_scene(tmp_path / f"{number}.zarr", 40, 40, 8, seed=number)
        api.baseline("plsda", scene, str(tmp_path / f"out{number}"))
    taken, put = (tmp_path / f"out{number}.model" / name for number in range(2))
    shutil.copytree(taken, put, dirs_exist_ok=True) if taken.is_dir() else shutil.copy(taken, put)
    with pytest.raises(UserError, match="a damaged model: card, recipe and weights"):
        Model.load(str(tmp_path / "out1.model"))


@pytest.mark.parametrize(
    ("option", "value", "message"), [("--tile", "0", "--tile: found 0"), ("--workers", "-1", "--workers: found -1")]
)
def test_sizes_and_workers_that_cannot_be_are_refused(scene, tmp_path, option, value, message):
    api.baseline("ndvi", scene, str(tmp_path / "out"))
    words = ["predict", str(tmp_path / "out.model"), scene, str(tmp_path / "again"), option, value]
    result = tilespec(*words)
    assert result.returncode == 2
    assert message in result.stderr


def test_a_place_that_cannot_be_written_is_exit_2(scene, tmp_path):
    (tmp_path / "file").write_text("")
    words = ["fit", scene, str(tmp_path / "file" / "recipe"), "--steps", "snv"]
    result = tilespec(*words)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
