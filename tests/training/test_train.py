import json
import shutil
from pathlib import Path

import pytest
import torch
from interrupts import After
from short_trainings import config, interrupted, lines

from tilespec.core.errors import UserError
from tilespec.models.model import Model
from tilespec.storage.scene import Scene
from tilespec.training.run import checkpoint
from tilespec.training.schedules import Rate
from tilespec.training.settings import Train
from tilespec.training.train import train


@pytest.fixture(scope="module")
def scene(make_scene, tmp_path_factory):
    return make_scene(tmp_path_factory.mktemp("scene") / "a.zarr", 64, 48, 6, seed=1, nan=0.01, unlabelled=0.1)


@pytest.fixture(scope="module")
def undisturbed(scene, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "m"
    return str(out), train(config(scene), str(out))


def test_the_result_says_what_was_done(undisturbed):
    out, result = undisturbed
    assert (result["steps"], result["resumed_from"], result["model"]) == (9, 0, out)
    assert result["peak_memory"] > 0
    assert result["seconds"] > 0
    assert set(result["losses"]) == {"d_real", "d_fake", "cross_entropy", "g_adversarial"}
    assert [line["step"] for line in lines(out)] == list(range(9))
    assert json.loads(json.dumps(result)) == result
    assert (result["skipped"], result["published_step"], result["notes"]) == (0, 9, [])


def test_the_log_says_rate_norms_of_gradients_and_speed(undisturbed):
    rows = [json.loads(line) for line in (Path(undisturbed[0]) / "log.jsonl").read_text().splitlines()]
    for row in rows:
        assert set(row["norms"]) == {"generator", "discriminator"}
        assert row["rate"] == Rate.of(Train(steps=9, warmup=2)).at(row["step"])
        assert row["speed"]["steps_per_second"] > 0
        assert 0 <= row["speed"]["starvation"] <= 1
        assert row["speed"]["read_amplification"] > 0
    assert [row["seconds"] for row in rows] == sorted(row["seconds"] for row in rows)


def test_the_log_can_be_read_by_tensorboard_too(scene, undisturbed, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(config(scene, train={"tensorboard": True}), str(tmp_path / "m"))
    seen = EventAccumulator(str(tmp_path / "m/tensorboard")).Reload().Scalars("losses/cross_entropy")
    said = [line["cross_entropy"] for line in lines(undisturbed[0])]
    assert [event.value for event in seen] == pytest.approx(said)


def test_the_model_knows_where_it_learned_and_carries_its_recipe(undisturbed, scene):
    model = Model.load(undisturbed[0])
    (region,) = model.provenance["train_regions"]
    assert region["digest"] == Scene.open(scene).digest
    assert (region["rows"], region["cols"]) == ([0, 64], [0, 48])
    assert (model.classes, model.channels, model.tile) == (("background", "plant"), (3, 2), 16)
    assert model.recipe.bands_out == 3
    assert model.net["dropout"] == 0.5
    assert model.module()(torch.zeros(1, 3, 16, 16)).shape == (1, 2, 16, 16)


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(undisturbed, scene, tmp_path):
    same = config(scene, train={"loaders": 0}, data={"cache": 0})
    train(same, str(tmp_path / "same"))
    assert Model.load(str(tmp_path / "same")).digest == Model.load(undisturbed[0]).digest
    train(config(scene, train={"seed": 1}), str(tmp_path / "other"))
    assert Model.load(str(tmp_path / "other")).digest != Model.load(undisturbed[0]).digest


@pytest.mark.parametrize("at", [1, 3, 8])
def test_a_resumed_training_equals_an_undisturbed_one_bit_for_bit(undisturbed, scene, tmp_path, at):
    interrupted(config(scene), tmp_path / "m", at)
    result = train(config(scene), str(tmp_path / "m"))
    assert result["resumed_from"] == at // 3 * 3
    assert Model.load(str(tmp_path / "m")).digest == Model.load(undisturbed[0]).digest
    assert lines(tmp_path / "m") == lines(undisturbed[0])
    last = [checkpoint.load(Path(m) / "checkpoints", 9) for m in (tmp_path / "m", undisturbed[0])]
    assert all(torch.equal(last[0][key], value) for key, value in last[1].items())


def test_a_finished_training_returns_at_once_and_touches_nothing(undisturbed, scene):
    out, result = undisturbed
    before = {p: p.stat().st_mtime_ns for p in Path(out).rglob("*")}
    assert train(config(scene), out, progress=After(1)) == result
    assert {p: p.stat().st_mtime_ns for p in Path(out).rglob("*")} == before


def _flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: _flip(path / "state.safetensors"),
        lambda path: (path / "state.safetensors").write_bytes(b""),
        lambda path: (path / "state.json").write_text("{"),
        lambda path: (path / "state.json").unlink(),
    ],
    ids=["a flipped bit", "cut tensors", "a cut card", "no card"],
)
def test_a_damaged_checkpoint_falls_back_to_the_one_before_with_a_warning(undisturbed, scene, tmp_path, damage):
    interrupted(config(scene), tmp_path / "m", 8)
    damage(tmp_path / "m/checkpoints/step-000006")
    with pytest.warns(UserWarning, match=r"step-000006 cannot be used .* falling back"):
        result = train(config(scene), str(tmp_path / "m"))
    assert result["resumed_from"] == 3
    assert Model.load(str(tmp_path / "m")).digest == Model.load(undisturbed[0]).digest


def test_leftovers_of_a_killed_run_do_not_stop_the_next(undisturbed, scene, tmp_path):
    interrupted(config(scene), tmp_path / "m", 5)
    leftover = tmp_path / "m/checkpoints/step-000006.partial"
    leftover.mkdir()
    (leftover / "state.safetensors").write_bytes(b"half")
    with (tmp_path / "m/log.jsonl").open("a") as log:
        log.write('{"step": 5, "cross_en')
    train(config(scene), str(tmp_path / "m"))
    assert not list((tmp_path / "m/checkpoints").glob("*.partial"))
    assert lines(tmp_path / "m") == lines(undisturbed[0])


def test_two_checkpoints_stay_and_latest_names_the_newest(undisturbed):
    folder = Path(undisturbed[0]) / "checkpoints"
    assert sorted(p.name for p in folder.glob("step-*")) == ["step-000006", "step-000009"]
    assert (folder / "LATEST").read_text() == "step-000009\n"


def test_another_configuration_is_not_mixed_in_and_the_difference_is_named(undisturbed, scene):
    with pytest.raises(UserError, match=r"train\.rate was 0.002, is 0.001"):
        train(config(scene, train={"rate": 1e-3}), undisturbed[0])


def test_a_folder_of_something_else_is_left_alone(scene, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match="files that no training wrote"):
        train(config(scene), str(tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_dry_run_returns_the_plan_and_writes_nothing(scene, tmp_path):
    plan = train(config(scene, net={"base_width": 8}), str(tmp_path / "m"), dry_run=True)
    assert plan["channels"] == [3, 2]
    assert plan["regions"] == ["rows 0:64, columns 0:48"]
    assert plan["parameters"]["generator"] > 1000
    assert sum(plan["labelled_pixels"]) == int((Scene.open(scene).labels() != 255).sum())
    assert not (tmp_path / "m").exists()


def test_the_published_preset_is_planned_with_the_published_networks(make_scene, tmp_path):
    scene = make_scene(tmp_path / "s.zarr", 520, 520, 6, chunk=128)
    plan = train("preset:mishra2021", str(tmp_path / "m"), overrides={"data.scene": scene}, dry_run=True)
    assert plan["parameters"] == {"generator": 54_418_434, "discriminator": 6_965_441}


def test_a_scene_that_changed_is_another_training(make_scene, scene, tmp_path):
    interrupted(config(scene), tmp_path / "m", 4)
    other = make_scene(tmp_path / "o.zarr", 64, 48, 6, seed=2)
    with pytest.raises(UserError, match=r"data\.scenes was"):
        train(config(other), str(tmp_path / "m"))
    shutil.copytree(scene, tmp_path / "a.zarr")
    assert train(config(str(tmp_path / "a.zarr")), str(tmp_path / "m"))["resumed_from"] == 3
