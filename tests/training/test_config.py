import pytest

from tilespec.core.errors import UserError
from tilespec.training.config import resolve
from tilespec.training.presets import preset, presets

SCENE = {"data.scene": "scene.zarr"}


@pytest.mark.parametrize("name", presets())
def test_every_preset_is_a_whole_configuration_but_for_its_scene(name):
    config = resolve(f"preset:{name}", SCENE)
    assert config.data.scene == ("scene.zarr",)
    with pytest.raises(UserError, match=r"data.scene: found nothing.*--set data.scene="):
        resolve(f"preset:{name}")


def test_the_published_preset_has_the_published_numbers():
    config = resolve("preset:mishra2021", SCENE)
    assert (config.data.patch, config.data.patches, config.data.drop_single_class) == (512, 500, True)
    assert (config.train.rate, config.train.betas, config.train.batch, config.train.steps) == (
        2e-4,
        (0.5, 0.999),
        1,
        50_000,
    )
    objective = config.objective.model_extra
    assert (objective["loss"], objective["fidelity"], objective["adversarial"], objective["separate"]) == (
        "l1",
        100,
        1,
        True,
    )
    assert config.net.model_extra["live"]
    assert config.recipe.steps == "vsn,pca=4"


@pytest.mark.parametrize(
    ("text", "value"),
    [("7", 7), ("[1, 2]", [1, 2]), ("true", True), ("plain text", "plain text"), ('"7"', "7"), ("0.5", 0.5)],
)
def test_set_reads_values_as_toml_and_anything_else_as_text(text, value):
    assert resolve("preset:tiny", {**SCENE, "net.option": text}).net.model_extra["option"] == value


def test_spans_and_paths_need_no_quotes():
    config = resolve("preset:tiny", {"data.scene": "/a b/c.zarr", "data.rows": "10:20", "data.cols": "07:32:00"})
    assert (config.data.scene, config.data.rows, config.data.cols) == (("/a b/c.zarr",), "10:20", "07:32:00")


def test_a_file_a_mapping_and_a_preset_resolve_alike(tmp_path):
    file = tmp_path / "tiny.toml"
    file.write_text(preset("tiny").replace("[data]", '[data]\nscene = ["scene.zarr"]'))
    from_file = resolve(file)
    assert from_file == resolve("preset:tiny", SCENE)
    assert from_file == resolve(from_file.model_dump(exclude_none=True))


def test_overrides_leave_the_mapping_as_it_was():
    given = {"data": {"scene": "a.zarr"}, "train": {"steps": 3}}
    assert resolve(given, {"train.steps": "4"}).train.steps == 4
    assert given["train"]["steps"] == 3


def test_naming_a_recipe_replaces_the_steps_of_the_preset():
    assert resolve("preset:tiny", {**SCENE, "recipe.path": "r"}).recipe.steps is None


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        ({"data.scen": "x"}, r"data.scen: found an unknown key; .*: scene, labels, target, synthetic, rows"),
        ({"train.step": "9"}, r"train.step: found an unknown key; expected keys of \[train\]: seed, start, steps"),
        ({"trian.steps": "9"}, "trian: found an unknown key; expected the tables data, recipe, task, net"),
        ({"steps": "9"}, "table.key=value"),
        ({"train.steps": "many"}, "train.steps: found 'many'; expected input should be a valid integer"),
        ({"train.steps": "0"}, "train.steps: found 0; expected input should be greater than or equal to 1"),
        (
            {"train.optimiser": "lion"},
            "train.optimiser: found 'lion'; expected .*'adam', 'adamw', 'rmsprop', 'sgd' or 'ada",
        ),
        ({"recipe.path": "r", "recipe.steps": "snv"}, "give steps or path, not both"),
        ({"data": "3"}, "table.key=value"),
        ({"train.steps.more": "3"}, "train.steps"),
    ],
)
def test_a_mistake_is_one_message_with_the_key_and_what_is_known(overrides, text):
    with pytest.raises(UserError, match=text) as caught:
        resolve("preset:tiny", {**SCENE, **overrides})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (
            "preset:huge",
            "one of alvarezgila2017, audebert2018, best, chemmap, demo, engstrom2025, mishra2021, notebook, rgb-best",
        ),
        ("nowhere.toml", "nowhere.toml: found No such file"),
    ],
)
def test_a_configuration_that_is_not_there_is_refused(config, text):
    with pytest.raises(UserError, match=text):
        resolve(config)


def test_a_file_that_is_no_toml_is_refused_with_the_line(tmp_path):
    file = tmp_path / "bad.toml"
    file.write_text("[data]\nscene = \n")
    with pytest.raises(UserError, match="line 2"):
        resolve(file)


def test_what_decides_leaves_out_how_it_is_computed():
    one = resolve("preset:tiny", SCENE)
    other = resolve("preset:tiny", {**SCENE, "train.loaders": "3", "data.cache": "9", "train.device": "cpu"})
    assert one != other
    assert one.deciding() == other.deciding()
    assert one.deciding() != resolve("preset:tiny", {**SCENE, "train.seed": "1"}).deciding()
