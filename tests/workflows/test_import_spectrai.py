"""Import of spectrai's configurations: all kinds become configurations that train, and no field is lost."""

import shlex
import tomllib

import numpy as np
import pytest
import yaml
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.models.nets import NETS
from tilespec.models.tasks import TASKS
from tilespec.spectra.steps import parse
from tilespec.training.config import resolve
from tilespec.training.objectives.losses import LOSSES as OUR_LOSSES
from tilespec.training.optimisers import OPTIMISERS as OUR_OPTIMISERS
from tilespec.training.schedules import Rate
from tilespec.workflows import spectrai_fields as old
from tilespec.workflows.spectrai_fields import FIELDS, LOST

IMAGES = {"data_format": "Image: H, W, C", "data_directory": "True", "train_input_data": "cells/"}
SPECTRA = {"data_format": "Spectra", "data_directory": "False", "train_input_data": "in.npy", "batch_size": 64}
CLASSES = {"classes": 3, "criterion": "Cross Entropy"}
KINDS = {
    "image_classification": {**IMAGES, **CLASSES, "task": "Classification", "network": "ResNet"},
    "image_classification3D": {
        **IMAGES,
        **CLASSES,
        "task": "Classification",
        "network": "DenseNet",
        "dimension": "3D",
        "normalization": "BatchNorm",
    },
    "image_segmentation": {
        **IMAGES,
        **CLASSES,
        "task": "Segmentation",
        "network": "SegNet",
        "train_target_data": "masks/",
    },
    "image_segmentation3D": {
        **IMAGES,
        **CLASSES,
        "task": "Segmentation",
        "network": "UNet",
        "dimension": "3D",
        "train_target_data": "masks/",
    },
    "image_superresolution": {
        **IMAGES,
        "task": "Super-Resolution",
        "network": "RCAN",
        "train_input_data": "None",
        "train_target_data": "cells/",
    },
    "spectral_calibration": {
        **SPECTRA,
        "task": "Calibration",
        "network": "ResUNet",
        "train_target_data": "out.npy",
        "criterion": "L2 / MSE",
    },
    "spectral_classification": {
        **SPECTRA,
        **CLASSES,
        "task": "Classification",
        "network": "ResNet",
        "data_directory": "True",
    },
    "spectral_denoising": {**SPECTRA, "task": "Denoising", "network": "ResUNet", "train_target_data": "out.npy"},
}
"""What the kinds of configurations say besides the defaults; they are spectrai's eight."""
QUICK_FIRST = ("spectral_denoising", "spectral_classification", "image_segmentation", "image_superresolution")
"""Kinds that have all fields between them."""
OTHER = {
    "task": "Calibration",
    "classes": 4,
    "training_option": "Transfer Learning",
    "pretrained_network": "old.pt",
    "pretrained_classes": 7,
    "network": "ResUNet",
    "dimension": "3D",
    "activation": "PReLU",
    "normalization": "InstanceNorm",
    "epochs": 9,
    "batch_size": 10,
    "learning_rate": "3e-3",
    "input_image_size": 32,
    "target_image_size": 128,
    "spectrum_length": 17,
    "optimizer": "SGD",
    "scheduler": "OneCycle",
    "criterion": "L2 / MSE",
    "spectral_crop_start": 3,
    "spectral_crop_end": 20,
    "background_subtraction": "3rd Order Polynomial",
    "data_normalization": "Area Under The Curve",
    "horizontal_flip": 1,
    "vertical_flip": 1,
    "rotation": 1,
    "random_crop": 0,
    "spectral_shift": 0.1,
    "spectral_flip": 1,
    "spectral_background": 1,
    "mixup": 1,
    "data_format": "Image: C, H, W",
    "data_directory": "True",
    "train_input_data": "elsewhere.npy",
    "val_input_data": "val_in.npy",
    "test_input_data": "test_in.npy",
    "train_target_data": "elsewhere_out.npy",
    "val_target_data": "val_out.npy",
    "test_target_data": "test_out.npy",
    "shuffle": "False",
    "seed": 5,
    "train_split": 60,
    "val_split": 20,
    "test_split": 10,
    "net_state_dict": "a.pt",
    "optimizer_state_dict": "b.pt",
    "scheduler_state_dict": "c.pt",
    "save_frequency": 3,
    "verbose": "True",
}
"""Another value of each field than the kinds have."""
TOGETHER = {
    "val_input_data": {"val_target_data": "v.npy"},
    "val_target_data": {"val_input_data": "v.npy"},
    "test_input_data": {"test_target_data": "t.npy"},
    "test_target_data": {"test_input_data": "t.npy"},
    "spectral_crop_start": {"spectral_crop_end": 20},
    "val_split": {"train_split": 60},
    "test_split": {"train_split": 60},
}
"""What a field needs beside it to say anything."""


def written(path, fields):
    """Write fields in spectrai's sections, and return the path."""
    sections = {}
    for name, value in fields.items():
        (sections.setdefault(FIELDS[name].section, {}) if FIELDS[name].section else sections)[name] = value
    path.write_text(yaml.safe_dump(sections, sort_keys=False))
    return str(path)


def imported(folder, fields, **options):
    """Return what the import of some fields returns."""
    file = written(folder / "old.yml", fields)
    return api.import_spectrai(file, str(folder / "new.toml"), overwrite=True, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder of 20 spectra of 12 bands with their targets."""
    at, draw = tmp_path_factory.mktemp("spectrai"), np.random.default_rng(0)
    clean = np.outer(draw.uniform(0.5, 1, 20), np.sin(np.linspace(0.2, 3, 12)) + 0.1)
    np.save(at / "in.npy", (clean + draw.normal(0, 0.05, clean.shape)).astype(np.float32))
    np.save(at / "out.npy", clean.astype(np.float32))
    return at


def test_every_choice_names_something_that_exists():
    nets = list(old.NETWORKS.values())
    assert {one.name for one in nets} <= set(NETS)
    assert {one.name for one in old.TASKS.values()} <= set(TASKS)
    assert {key for one in nets for key in one.cells} == {one.name for one in old.TASKS.values()}
    assert {one.value for one in old.LOSSES.values()} <= set(OUR_LOSSES)
    assert {one["optimiser"] for one in old.OPTIMISERS.values()} <= set(OUR_OPTIMISERS)
    for one in (*old.BACKGROUNDS.values(), *old.NORMALISATIONS.values()):
        parse(",".join(one.value))
    assert {name for name, one in FIELDS.items() if not one.goes} == set(LOST)
    assert set(OTHER) == set(FIELDS)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_becomes_a_configuration(folder, kind):
    found = imported(folder, KINDS[kind])
    text = (folder / "new.toml").read_text()
    assert tomllib.loads(text) == found["config"]
    assert resolve(found["config"]).train.warmup == 0
    assert found["commands"]
    assert [part for part in (*found["commands"], *found["notes"]) if part not in text] == []


@pytest.mark.parametrize("name", FIELDS)
def test_no_field_is_lost(folder, name):
    """A value of a field changes the configuration, the commands or the notes of a kind, and stands in the file."""
    assert any(shows(folder, KINDS[kind] | TOGETHER.get(name, {}), name) for kind in QUICK_FIRST)


def shows(folder, fields, name):
    """Return whether another value of a field changes what the import returns; False where it does not suit."""
    before = imported(folder, fields)
    try:
        after = imported(folder, fields | {name: OTHER[name]})
    except UserError:
        return False
    assert f"{name} = " in (folder / "new.toml").read_text()
    return any(before[key] != after[key] for key in ("config", "commands", "notes"))


def commands_run(found, folder, monkeypatch):
    """Run the commands of an import in its folder."""
    monkeypatch.chdir(folder)
    for line in found["commands"]:
        for command in line.split(" && "):
            _, verb, *words = shlex.split(command)
            first = next((k for k, word in enumerate(words) if word.startswith("--")), len(words))
            names = [word.removeprefix("--").replace("-", "_") for word in words[first::2]]
            values = [int(word) if word.isdigit() else word for word in words[first + 1 :: 2]]
            getattr(api, verb)(*words[:first], **dict(zip(names, values, strict=True)))


@pytest.mark.parametrize("kind", ["spectral_denoising", "spectral_calibration"])
def test_spectra_train_as_they_are_imported(folder, tmp_path, monkeypatch, kind):
    for name in ("in.npy", "out.npy"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    more = {"data_normalization": "Max Value", "spectral_crop_start": 2, "spectral_crop_end": 10, "batch_size": 8}
    splits = {"train_split": 60, "val_split": 40, "scheduler": "ReduceOnPlateau", "mixup": 1}
    found = imported(tmp_path, KINDS[kind] | more | splits)
    assert (found["config"]["train"]["steps"], found["config"]["data"]["rows"]) == (2, "0:12")
    commands_run(found, tmp_path, monkeypatch)
    quick = {"train.steps": 1, "net.base_width": 4, "net.levels": 1}
    assert api.train("new.toml", "model", overrides=quick)["steps"] == 1


def test_inputs_and_targets_that_are_spectra_are_prepared_alike(folder, tmp_path, monkeypatch):
    for name in ("in.npy", "out.npy"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    steps = {"data_normalization": "Max Value", "spectral_crop_start": 2, "spectral_crop_end": 10}
    found = imported(tmp_path, KINDS["spectral_denoising"] | steps)
    commands_run(found, tmp_path, monkeypatch)
    kept = np.load("out.npy")[:, 2:10]
    prepared = zarr.open_group("train_target.zarr", mode="r")["cube"][:]
    np.testing.assert_allclose(prepared, kept / kept.max(axis=1, keepdims=True), rtol=1e-6)
    assert found["config"]["recipe"]["steps"] == "crop=#2:#9,max"
    np.testing.assert_array_equal(zarr.open_group("train_scene.zarr", mode="r")["cube"][:], np.load("in.npy"))


def test_images_train_as_they_are_imported(tmp_path, monkeypatch):
    draw = np.random.default_rng(0)
    np.save(tmp_path / "in.npy", draw.random((16, 16, 6), np.float32))
    np.save(tmp_path / "masks.npy", draw.integers(0, 4, (16, 16)).astype(np.uint8))
    one = {"data_directory": "False", "train_input_data": "in.npy", "train_target_data": "masks.npy"}
    found = imported(tmp_path, KINDS["image_segmentation3D"] | one | {"target_image_size": 8, "rotation": 1})
    commands_run(found, tmp_path, monkeypatch)
    quick = {"train.steps": 1, "net.base_width": 4, "net.levels": 1}
    assert api.train("new.toml", "model", overrides=quick)["steps"] == 1


@pytest.mark.parametrize("dimension", ["2D", "3D"])
def test_each_image_of_a_classification_is_a_cell_with_one_answer(tmp_path, monkeypatch, dimension):
    draw, images = np.random.default_rng(0), ("cells/a/one.npy", "cells/b/two.npy")
    for name in images:
        (tmp_path / name).parent.mkdir(parents=True)
        np.save(tmp_path / name, draw.random((8, 8, 6), np.float32))
    fields = KINDS["image_classification"] | {"network": "UNet", "dimension": dimension, "target_image_size": 8}
    config = imported(tmp_path, fields)["config"]
    assert (config["net"]["name"], config["net"]["inner"]["name"]) == ("cells", "resunet")
    assert config["task"]["cell"] == config["net"]["cell"] == config["data"]["patch"] == 8
    monkeypatch.chdir(tmp_path)
    for number, (name, store) in enumerate(zip(images, config["data"]["scene"], strict=True)):
        np.save("label.npy", np.full((8, 8), number, np.uint8))
        api.ingest(name, store, labels="label.npy", class_names="a,b", axes="y,x,band")
    quick = {"train.steps": 1, "train.batch": 2, "net.inner.base_width": 2, "net.inner.levels": 1}
    assert api.train("new.toml", "model", overrides=quick)["steps"] == 1
    api.predict("model", config["data"]["scene"][0], "map")
    assert api.evaluate("map", config["data"]["scene"][0], patches=1)["labelled"] == 1


def test_a_network_that_does_not_enlarge_is_held_by_one_that_does(folder):
    config = imported(folder, KINDS["image_superresolution"] | {"network": "ResUNet"})["config"]
    scale = config["task"]["scale"]
    assert config["net"].items() >= {"name": "enlarged", "scale": scale}.items()
    assert config["net"]["inner"]["name"] == "resunet"
    assert "scale" in imported(folder, KINDS["image_superresolution"])["config"]["net"]


def test_epochs_become_steps_by_the_number_of_samples(folder):
    fields = KINDS["spectral_denoising"] | {"epochs": 3, "batch_size": 8}
    assert imported(folder, fields)["config"]["train"]["steps"] == 3 * 3
    assert imported(folder, fields, samples=80)["config"]["train"]["steps"] == 3 * 10
    unknown = imported(folder, fields | {"train_input_data": "absent.npy"})
    assert any("1000 samples are assumed" in note for note in unknown["notes"])


def test_files_of_a_folder_become_scenes_in_the_order_of_their_names(tmp_path):
    for name in ("cells/b.npy", "cells/a.npy", "cells/.hidden"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = imported(tmp_path, KINDS["image_segmentation"])
    assert found["config"]["data"]["scene"] == ["train_scene/a.zarr", "train_scene/b.zarr"]
    assert found["config"]["data"]["patches"] == 2


SCHEDULES = {
    "Constant": lambda step: 1.0,
    "Step": lambda step: 0.2 ** (step // 4 // 50),
    "Multiplicative": lambda step: 0.985 ** (step / 4),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_that_count_epochs_count_their_steps(folder, name):
    fields = KINDS["spectral_denoising"] | {"batch_size": 5, "epochs": 300, "scheduler": name, "learning_rate": 1}
    rate = Rate.of(resolve(imported(folder, fields)["config"]).train)
    for step in (0, 3, 4, 199, 200, 799):
        assert rate.at(step) == pytest.approx(SCHEDULES[name](step))


@pytest.mark.parametrize("label", ["Automatic Least Squares", "Asymmetric Least Squares", "automatic least-squares"])
def test_labels_of_windows_are_taken_for_the_names_of_files(folder, label):
    found = imported(folder, KINDS["spectral_classification"] | {"background_subtraction": label})
    assert found["config"]["recipe"]["steps"] == "als=1e4:0.05:10"


@pytest.mark.parametrize("name", [name for name, one in FIELDS.items() if one.goes and name not in old.SECTIONS])
def test_an_unknown_value_is_refused_by_what_is_allowed(folder, name):
    if FIELDS[name].read is old._text:
        wrong, match = "a\nb", "one line"
    else:
        wrong, match = "nonsense", "one of|number|0 or 1"
    with pytest.raises(UserError, match=match):
        imported(folder, KINDS["spectral_denoising"] | {name: wrong})


def test_a_network_that_spectrai_does_not_have_for_the_data_is_refused(folder):
    with pytest.raises(UserError, match="one of UNet, ResUNet"):
        imported(folder, KINDS["spectral_denoising"] | {"network": "RCAN"})


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("task: Denoising\nnetwrok: UNet\n", "netwrok.*unknown field.*network"),
        ("task: Denoising\ntask: Denoising\nnetwork: UNet\n", "twice"),
        ("task: Denoising\n", "network: found nothing"),
        ("task: !!python/object/apply:os.getcwd []\nnetwork: UNet\n", "no plain value"),
        ("task: !!python/name:os.getcwd ''\nnetwork: UNet\n", "no plain value"),
        ("task: [Denoising]\nnetwork: UNet\n", "no plain value"),
        ("Task_Options: 3\n", "no fields"),
        ("- task\n", "no fields"),
        ("", "no fields"),
        ("task: {a: [\n", "no YAML"),
        ("[" * 5000, "no YAML"),
        ("\x00", "no YAML"),
    ],
)
def test_a_file_that_is_none_ends_in_one_message(tmp_path, text, match):
    file = tmp_path / "old.yml"
    file.write_text(text)
    with pytest.raises(UserError, match=match):
        api.import_spectrai(str(file), str(tmp_path / "new.toml"))
    assert not (tmp_path / "new.toml").exists()


def test_fields_are_read_without_their_sections(folder):
    fields = KINDS["spectral_denoising"]
    (folder / "flat.yml").write_text(yaml.safe_dump(fields))
    flat = api.import_spectrai(folder / "flat.yml", folder / "new.toml", overwrite=True)
    assert flat["config"] == imported(folder, fields)["config"]


@settings(max_examples=30)
@given(path=st.text(min_size=1, max_size=12), shift=st.floats(0, 1), seed=st.integers(0, 2**40))
def test_no_text_of_a_file_breaks_what_is_written(folder, path, shift, seed):
    fields = {"train_input_data": path, "spectral_shift": shift, "seed": seed}
    try:
        found = imported(folder, KINDS["spectral_classification"] | fields)
    except UserError:
        return
    assert tomllib.loads((folder / "new.toml").read_text()) == found["config"]


def test_a_plan_writes_nothing(folder, tmp_path):
    file = written(tmp_path / "old.yml", KINDS["spectral_denoising"])
    assert api.import_spectrai(file, str(tmp_path / "new.toml"), dry_run=True)["config"]
    assert not (tmp_path / "new.toml").exists()
