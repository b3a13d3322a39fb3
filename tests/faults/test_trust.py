"""What a folder says is data: no model, recipe or record of a command makes tilespec import what it names."""

import json
import os
import sys
from pathlib import Path

import pytest
from torch.nn.modules.module import register_module_parameter_registration_hook

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.core.registry import PLUGINS, from_user, load, only_named_before
from tilespec.models.model import Model
from tilespec.models.tasks import task
from tilespec.spectra.recipe import Recipe

CANARY = "from pathlib import Path\nPath({path!r}).write_text('imported')\nclass Net: pass\n"
STRANGE = ["builtins:exec", "os:system", "strange:Net", "tilespec.ingest.ingest:ingest"]
"""Dotted paths that a stranger may write into a file: a built-in, a module of Python, one beside, one of tilespec's."""


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """A module on the path that leaves a file when it is imported."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "strange.py").write_text(CANARY.format(path=str(tmp_path / "canary")))
    monkeypatch.syspath_prepend(tmp_path / "modules")
    monkeypatch.setenv(PLUGINS, "")
    yield tmp_path / "canary"
    sys.modules.pop("strange", None)


@pytest.fixture(scope="module")
def made(tmp_path_factory, make_scene):
    """A scene, a model, its prediction, and a recipe."""
    folder = tmp_path_factory.mktemp("made")
    scene = make_scene(folder / "scene", 40, 40, 6)
    api.baseline("plsda", scene, str(folder / "out"), opening=1, components=2)
    api.fit(scene, str(folder / "recipe"), steps="pca=2")
    return folder


def edited(path, change):
    """Change a JSON file."""
    card = json.loads(path.read_text())
    change(card)
    path.write_text(json.dumps(card))


def signed(folder):
    """Give a changed card the digest that belongs to it, as a forger would, if anybody asks for it."""
    with pytest.raises(UserError, match=r"digest|which a file names and you did not") as refused:
        Model.load(str(folder))
    _, told, rest = str(refused.value).partition("have the digest ")
    if told:
        edited(folder / "model.json", lambda card: card.update(digest=rest.split(";")[0].split()[0]))


def copy(folder, target):
    """Copy a folder of files."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            (target / path.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
            (target / path.relative_to(folder)).write_bytes(path.read_bytes())
    return target


@pytest.mark.parametrize("name", STRANGE)
@pytest.mark.parametrize("inside", [False, True], ids=["net", "inner net"])
def test_a_net_that_only_a_model_card_names_is_not_imported(made, canary, tmp_path, name, inside):
    model = copy(made / "out.model", tmp_path / "evil")

    def change(card):
        assert card["net"]["name"] == "opened"
        card["net"] = card["net"] | {"inner": {"name": name}} if inside else {"name": name}

    edited(model / "model.json", change)
    signed(model)
    for verb in (
        lambda: api.predict(str(model), str(made / "scene"), str(tmp_path / "p"), dry_run=True),
        lambda: api.predict(str(model), str(made / "scene"), str(tmp_path / "p")),
        lambda: api.probe(str(model)),
    ):
        with pytest.raises(UserError, match="which a file names and you did not"):
            verb()
    assert not canary.exists()
    assert not (tmp_path / "p").exists()


ABSURD = [
    {"tile": 10**9},
    {"tile": 0},
    {"channels": [10**9, 2]},
    {"channels": [6, -2]},
    {"classes": "two"},
    {"net": {"name": "unet", "base_width": 1 << 20}},
    {"net": {"name": "unet", "n_down": 10**6}},
    {"net": {"name": "mlp", "hidden": [1] * 200}},
    {"net": {"name": "linear"}},
]


@pytest.mark.parametrize("change", ABSURD, ids=lambda change: str(change)[:40])
def test_a_card_of_absurd_sizes_is_refused_before_a_net_is_built(made, tmp_path, monkeypatch, change):
    """Also with the digest that belongs to it, which anybody can compute."""
    model = copy(made / "out.model", tmp_path / "absurd")
    edited(model / "model.json", lambda card: card.update(change))
    monkeypatch.setattr(Model, "digest", json.loads((model / "model.json").read_text())["digest"])
    tensors = []
    hook = register_module_parameter_registration_hook(lambda *_: tensors.append(1))
    try:
        with pytest.raises(UserError, match=r"model\.(json|safetensors): |^net\."):
            Model.load(str(model))
    finally:
        hook.remove()
    assert len(tensors) < 200, "a description of too many layers is refused after the first ones"


@pytest.mark.parametrize("name", STRANGE)
def test_a_task_that_only_a_model_card_names_is_not_imported(canary, name):
    with pytest.raises(UserError, match=PLUGINS):
        task({"name": name})
    assert not canary.exists()


@pytest.mark.parametrize("name", STRANGE)
def test_a_step_that_only_a_recipe_names_is_not_imported(made, canary, tmp_path, name):
    recipe = copy(made / "recipe", tmp_path / "evil")
    edited(recipe / "recipe.json", lambda card: card.update(steps=f"{name},pca=2"))
    with pytest.raises(UserError, match="which a file names"):
        api.fit(str(made / "scene"), str(tmp_path / "r"), update=str(recipe))
    assert not canary.exists()
    assert Recipe.load(str(recipe)).bands_out == 2


@pytest.mark.parametrize(
    "command",
    [
        {"verb": "predict", "options": {"cluster": "strange:Net"}},
        {"verb": "ingest", "options": {"src": "scene.hdr", "reader": "strange:Net"}},
        {"verb": "baseline", "options": {"name": "strange:Net", "scene": "scene"}},
        {"verb": "train", "options": {"config": {"net": {"name": "strange:Net"}}}},
        {"verb": "demo", "options": {}},
    ],
    ids=lambda command: command["verb"],
)
def test_a_plugin_that_only_the_record_of_a_command_names_is_not_imported(made, canary, tmp_path, command):
    out = tmp_path / "out"
    for end in ("", ".tilespec"):
        copy(made / f"out{end}", Path(f"{out}{end}"))
    next(path for path in (out / "prediction" / "c").rglob("*") if path.is_file()).write_bytes(b"damaged")
    record = Path(f"{out}.tilespec") / "command.json"
    kept = json.loads(record.read_text())

    def change(card):
        ours = kept["options"] if command["verb"] == "predict" else {}
        card.update(verb=command["verb"], options=ours | command["options"])

    edited(record, change)
    (tmp_path / "scene.hdr").write_text("ENVI\n")
    with pytest.raises(UserError):
        api.repair(str(out))
    assert not canary.exists()


def test_what_the_user_names_is_loaded_and_stays_named(canary):
    assert load({}, from_user("strange:Net"), "net").__name__ == "Net"
    assert load({}, "strange:Net", "net").__name__ == "Net"
    assert os.environ[PLUGINS] == "strange"
    assert canary.exists()


def test_a_module_in_the_environment_is_named_by_the_user(canary, monkeypatch):
    monkeypatch.setenv(PLUGINS, "fractions, strange")
    assert load({}, "strange:Net", "net").__name__ == "Net"


def test_a_named_module_that_cannot_be_imported_hinders_nothing_and_is_reported_with_a_name_that_is_missing(
    monkeypatch,
):
    monkeypatch.setenv(PLUGINS, "gone, fractions")
    assert load({"fraction": "fractions:Fraction"}, "fraction", "number").__name__ == "Fraction"
    with pytest.raises(UserError, match="an unknown name; 'gone' in TILESPEC_PLUGINS cannot be imported"):
        load({}, "mine", "net")


def test_what_a_record_names_is_not_named_by_the_user(canary):
    with only_named_before(), pytest.raises(UserError, match="which a file names"):
        load({}, from_user("strange:Net"), "net")
    assert not canary.exists()


def test_a_path_of_our_own_tables_is_loaded():
    table = {"fraction": "fractions:Fraction"}
    assert load(table, "fractions:Fraction", "number") is load(table, "fraction", "number")
