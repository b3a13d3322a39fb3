"""Killed at any moment and resumed, a training is the undisturbed one, with every part of its state in use."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from interrupts import After
from short_trainings import config, interrupted, lines

from tilespec.core.errors import UserError
from tilespec.evaluate.metrics.table import METRICS
from tilespec.models.model import Model
from tilespec.storage.backends.paths import store_path
from tilespec.training.loop.loop import _readable
from tilespec.training.run import checkpoint, run_folder
from tilespec.training.train import train
from tilespec.training.validation import history

STEPS = 10


def everything(scene, **train_options):
    """Return a training with parts, an average, clipping, a schedule that follows validations, and dropout."""
    plateau = {"name": "plateau", "factor": 0.5, "patience": 0, "threshold": 0.5}
    options = {"steps": STEPS, "batch": 4, "accumulate": 2, "ema": 0.9, "clip": 1.0, "schedule": plateau, "rate": 0.01}
    return config(
        scene,
        data={"rows": "0:40"},
        train={**options, "checkpoint_every": 3, **train_options},
        validate={"rows": "44:64", "every": 2},
    )


def curve(out):
    """Return all that a training said, but for times."""
    judged = [{k: v for k, v in line.items() if k != "seconds"} for line in history.read(store_path(str(out)))]
    return lines(out), judged


@pytest.fixture(scope="module")
def scene(make_scene, tmp_path_factory):
    return make_scene(tmp_path_factory.mktemp("scene") / "a.zarr", 64, 48, 6, seed=1, nan=0.01, unlabelled=0.1)


@pytest.fixture(scope="module")
def undisturbed(scene, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "m"
    return str(out), train(everything(scene), str(out))


def same(out, other, steps=STEPS):
    """Assert that two trainings are one, bit for bit: losses, validations, model, and all that is kept to go on."""
    assert curve(out) == curve(other)
    assert Model.load(str(out)).digest == Model.load(str(other)).digest
    last = [checkpoint.load(store_path(str(m)) / "checkpoints", steps) for m in (out, other)]
    assert last[0].keys() == last[1].keys()
    assert all(torch.equal(last[0][key], value) for key, value in last[1].items())


def test_every_part_of_the_state_is_in_use(undisturbed):
    out, result = undisturbed
    said, judged = curve(out)
    assert [line["step"] for line in judged] == [2, 4, 6, 8, 10]
    assert len({line["rate"] for line in said}) > 3, "warm-up, and reductions"
    assert min(line["rate"] for line in said[3:]) < 0.01
    assert [line["step"] for line in said if "validation" in line] == [1, 3, 5, 7, 9]
    kept = checkpoint.load(Path(out) / "checkpoints", STEPS)
    assert {key.split("/")[0] for key in kept} == {"net", "optimiser", "average"}
    assert checkpoint.validations(Path(out) / "checkpoints", STEPS) == history.read(Path(out))
    assert result["published_step"] == history.best(history.read(Path(out)), METRICS["iou"])


@pytest.mark.parametrize("at", [2, 4, 9])
def test_a_resumed_training_equals_an_undisturbed_one_bit_for_bit(undisturbed, scene, place, at):
    interrupted(everything(scene), place / "m", at)
    assert train(everything(scene), str(place / "m"))["resumed_from"] == at // 3 * 3
    same(place / "m", undisturbed[0])


def test_one_that_is_interrupted_after_every_step_too(undisturbed, scene, place):
    often = everything(scene, checkpoint_every=1)
    for _ in range(STEPS - 1):
        interrupted(often, place / "m", 1)
    assert train(often, str(place / "m"))["resumed_from"] == STEPS - 1
    same(place / "m", undisturbed[0])


def test_a_history_that_was_lost_comes_back_from_the_checkpoint(undisturbed, scene, tmp_path):
    interrupted(everything(scene), tmp_path / "m", 7)
    (tmp_path / "m/validation.jsonl").unlink()
    with (tmp_path / "m/log.jsonl").open("a") as log:
        log.write('{"step": 7, "cross')
    train(everything(scene), str(tmp_path / "m"))
    assert curve(tmp_path / "m") == curve(undisturbed[0])


CRASHES = {
    "writing tensors": "write",
    "flushing": "_flush",
    "writing the card": "write_atomic",
    "naming it the newest": "_record",
    "removing": "sweep",
}


class CrashError(BaseException):
    """Nothing of ours catches it: as good as a kill, but for what the kernel would lose."""


def plain(scene):
    """Return a training that is over soon, with a checkpoint every other step."""
    return config(scene, train={"steps": 6, "ema": 0.9, "checkpoint_every": 2})


@pytest.fixture(scope="module")
def plainly(scene, tmp_path_factory):
    out = tmp_path_factory.mktemp("plainly") / "m"
    train(plain(scene), str(out))
    return out


@pytest.mark.parametrize(
    ("where", "nth"),
    [("writing tensors", 2), ("removing", 3), ("flushing", 4)]
    + [(where, nth) for where in ("flushing", "writing the card", "naming it the newest") for nth in (1, 2, 3)],
)
def test_a_crash_anywhere_in_writing_a_checkpoint_loses_at_most_that_one(
    plainly, scene, place, monkeypatch, where, nth
):
    name, calls = CRASHES[where], 0
    real = getattr(checkpoint, name)

    def crash(*args, **options):
        nonlocal calls
        calls += 1
        if calls == nth:
            if name == "write":
                Path(args[0]).write_bytes(b"half")
            raise CrashError
        return real(*args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, name, crash)
        with pytest.raises(CrashError):
            train(plain(scene), str(place / "m"))
    assert train(plain(scene), str(place / "m"))["resumed_from"] % 2 == 0
    assert sorted({key.split("/")[0] for key in (place / "m/checkpoints").sizes()}) == [
        "LATEST",
        "result.json",
        "settings.json",
        "step-000004",
        "step-000006",
    ]
    same(place / "m", plainly, 6)


def test_leftovers_of_another_step_are_swept_with_the_next_checkpoint(undisturbed, scene, tmp_path):
    interrupted(everything(scene), tmp_path / "m", 5)
    kept = tmp_path / "m/checkpoints"
    (kept / "step-000004.partial").mkdir()
    (kept / "step-000004.partial/state.safetensors").write_bytes(b"half")
    (kept / "LATEST.123.partial").write_text("step-")
    train(everything(scene), str(tmp_path / "m"))
    assert not list(kept.glob("*.partial"))
    same(tmp_path / "m", undisturbed[0])


def test_what_a_kill_left_beside_the_result_is_swept(undisturbed, scene, tmp_path):
    out = tmp_path / "m"
    shutil.copytree(undisturbed[0], out)
    (out / "checkpoints" / "result.json").rename(out / "checkpoints" / "result.json.123.partial")
    (out / "config.json.7.partial").write_text("{")
    train(everything(scene), str(out))
    assert not list(out.rglob("*.partial"))
    same(out, undisturbed[0])


def test_a_training_that_crashed_after_its_last_step_publishes_what_it_learned(
    undisturbed, scene, tmp_path, monkeypatch
):
    for name in ("publish", "conclude"):
        real = getattr(run_folder, name)

        def crash(folder, *args, name=name, real=real, **options):
            if Path(folder) == tmp_path / name:  # validations publish models elsewhere
                raise CrashError
            return real(folder, *args, **options)

        with monkeypatch.context() as patched:
            patched.setattr(run_folder, name, crash)
            with pytest.raises(CrashError):
                train(everything(scene, checkpoint_every=2), str(tmp_path / name))
        result = train(everything(scene, checkpoint_every=2), str(tmp_path / name))
        assert result["published_step"] == undisturbed[1]["published_step"]
        same(tmp_path / name, undisturbed[0])


@pytest.mark.slow
def test_another_number_of_ranks_goes_on_with_the_same_patches(undisturbed, scene, tmp_path):
    interrupted(everything(scene), tmp_path / "m", 5)
    result = train(everything(scene), str(tmp_path / "m"), ranks=2)
    assert (result["resumed_from"], result["ranks"]) == (3, 2)
    (said, judged), (expected, theirs) = curve(tmp_path / "m"), curve(undisturbed[0])
    assert [line["step"] for line in said] == list(range(STEPS))
    assert said[:3] == expected[:3]
    assert [line["step"] for line in judged] == [line["step"] for line in theirs]


def loss_curve(out):
    return np.array([[v for v in line.values() if isinstance(v, float)] for line in lines(out)])


@pytest.mark.slow
def test_two_ranks_in_parts_learn_as_one_alone(scene, tmp_path):
    """Without norms over the batch, whose statistics are those of a part of a rank's share."""
    options = {"net": {"norm": "channel"}, "train": {"batch": 8, "accumulate": 2, "ema": 0.9, "clip": 1.0, "steps": 5}}
    for ranks in (1, 2):
        train(config(scene, **options), str(tmp_path / f"{ranks}"), ranks=ranks)
    np.testing.assert_allclose(loss_curve(tmp_path / "2"), loss_curve(tmp_path / "1"), rtol=1e-4, atol=1e-5)
    one, two = (Model.load(str(tmp_path / name)).weights for name in "12")
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, rtol=1e-3, atol=1e-4)


class TestMoreSteps:
    def longer(self, scene, steps, **options):
        return config(scene, train={"schedule": "constant", "steps": steps, **options})

    def test_a_training_that_ended_goes_on(self, scene, tmp_path):
        train(self.longer(scene, 5), str(tmp_path / "m"))
        result = train(self.longer(scene, 9), str(tmp_path / "m"))
        assert (result["resumed_from"], result["steps"]) == (5, 9)
        train(self.longer(scene, 9), str(tmp_path / "whole"))
        assert lines(tmp_path / "m") == lines(tmp_path / "whole")
        assert Model.load(str(tmp_path / "m")).digest == Model.load(str(tmp_path / "whole")).digest
        assert json.loads((tmp_path / "m/config.json").read_text())["train"]["steps"] == 9
        assert train(self.longer(scene, 9), str(tmp_path / "m"), progress=After(1)) == result

    def test_with_validations_too(self, scene, tmp_path):
        def judged(steps):
            held = {"data": {"rows": "0:40"}, "validate": {"rows": "44:64", "every": 4}}
            plateau = {"name": "plateau", "factor": 0.5, "patience": 0}
            return config(scene, train={"schedule": plateau, "steps": steps}, **held)

        train(judged(6), str(tmp_path / "m"))
        assert [line["step"] for line in history.read(tmp_path / "m")] == [4, 6]
        result = train(judged(9), str(tmp_path / "m"))
        whole = train(judged(9), str(tmp_path / "whole"))
        assert result["published_step"] == whole["published_step"]
        assert Model.load(str(tmp_path / "m")).digest == Model.load(str(tmp_path / "whole")).digest
        assert curve(tmp_path / "m")[1] == curve(tmp_path / "whole")[1]

    def test_a_crash_between_result_and_settings_changes_nothing(self, scene, tmp_path, monkeypatch):
        train(self.longer(scene, 5), str(tmp_path / "m"))

        def crash(*_):
            raise CrashError

        with monkeypatch.context() as patched:
            patched.setattr(run_folder, "write_atomic", crash)
            with pytest.raises(CrashError):
                train(self.longer(scene, 9), str(tmp_path / "m"))
        assert train(self.longer(scene, 5), str(tmp_path / "m"))["steps"] == 5
        assert train(self.longer(scene, 9), str(tmp_path / "m"))["steps"] == 9

    def test_fewer_than_are_done_are_refused(self, scene, tmp_path):
        train(self.longer(scene, 5), str(tmp_path / "m"))
        with pytest.raises(UserError, match="a training that has done 5 steps, more than 3"):
            train(self.longer(scene, 3), str(tmp_path / "m"))

    def test_a_schedule_that_knows_its_end_is_another_course(self, scene, tmp_path):
        train(config(scene, train={"steps": 3}), str(tmp_path / "m"))
        before = (tmp_path / "m/checkpoints/result.json").read_text()
        with pytest.raises(UserError, match=r"3 steps, whose cosine schedule ends with.*So 9 steps are another"):
            train(config(scene), str(tmp_path / "m"))
        assert (tmp_path / "m/checkpoints/result.json").read_text() == before

    def test_another_setting_beside_is_named(self, scene, tmp_path):
        train(self.longer(scene, 3), str(tmp_path / "m"))
        with pytest.raises(UserError, match=r"train\.rate was 0.002, is 0.01; train\.steps was 3, is 5"):
            train(self.longer(scene, 5, rate=0.01), str(tmp_path / "m"))


def test_settings_that_did_not_exist_when_a_training_began_are_their_defaults(scene, tmp_path):
    interrupted(config(scene), tmp_path / "m", 5)
    kept = tmp_path / "m/checkpoints/settings.json"
    settings = json.loads(kept.read_text())
    del settings["train"]["ema"], settings["validate"]
    kept.write_text(json.dumps(settings))
    assert train(config(scene), str(tmp_path / "m"))["resumed_from"] == 3
    kept.write_text(json.dumps(settings))
    with pytest.raises(UserError, match=r"train\.ema was 0.0, is 0.5"):
        train(config(scene, train={"ema": 0.5}), str(tmp_path / "m"))


def test_a_metric_that_is_not_defined_is_said_to_be_none():
    assert _readable({"iou": None, "oa": 0.5}) == "iou - oa 0.5"


def test_a_training_that_gets_no_better_stops_early_and_stays_stopped(scene, tmp_path):
    held = {"data": {"rows": "0:40"}, "validate": {"rows": "44:64", "every": 1, "patience": 2}}
    still = config(scene, train={"rate": 1e-9, "steps": 30, "schedule": "constant", "warmup": 0}, **held)
    result = train(still, str(tmp_path / "m"))
    assert (result["steps"], result["published_step"]) == (3, 1)
    assert result["notes"][0].startswith("stopped after 3 of 30 steps")
    assert checkpoint.newest(tmp_path / "m/checkpoints") == 3
    (tmp_path / "m/checkpoints/result.json").unlink()  # killed before that was written
    again = train(still, str(tmp_path / "m"))
    assert (again["steps"], again["resumed_from"], again["published_step"]) == (3, 3, 1)


def test_the_best_validated_model_is_published_else_the_average_else_the_last(scene, tmp_path, undisturbed):
    out, result = undisturbed
    kept = checkpoint.load(Path(out) / "checkpoints", STEPS)
    average = {k.removeprefix("average/"): v for k, v in kept.items() if k.startswith("average/")}
    last = {k.removeprefix("net/generator/"): v for k, v in kept.items() if k.startswith("net/generator/")}

    def published(name, **tables):
        settings = {**everything(scene), **tables}
        train(settings, str(tmp_path / name))
        return Model.load(str(tmp_path / name)).weights

    keep_last = published("keep", validate={"rows": "44:64", "every": 2, "keep": "last"})
    assert all(torch.equal(average[key], value) for key, value in keep_last.items())
    assert any(not torch.equal(last[key], value) for key, value in keep_last.items())
    assert Model.load(out).provenance["steps"] == result["published_step"]
    shutil.rmtree(tmp_path / "keep")
