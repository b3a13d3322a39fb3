"""A training that meets losses which are no numbers, or files which are not what they seem (faults 31, 37, 38)."""

import hashlib
import io
import json
import pickle
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from interrupts import After
from safetensors.torch import load_file, save_file
from short_trainings import config, interrupted, lines

from tilespec.core.errors import UserError
from tilespec.models.model import Model
from tilespec.spectra.recipe import Recipe
from tilespec.training.run import checkpoint
from tilespec.training.train import train


@pytest.fixture(scope="module")
def scene(make_scene, tmp_path_factory):
    return make_scene(tmp_path_factory.mktemp("scene") / "a.zarr", 48, 48, 6, seed=1, unlabelled=0.1)


def faulty(scene, *, train_options=None, **fault):
    """Return a training whose losses go wrong, with running means and an average that could be spoilt."""
    settings = config(scene, train={"ema": 0.5, "clip": 1.0, **(train_options or {})})
    return {**settings, "objective": {"name": "faulty_objectives:Faulty", **fault}}


def good(out):
    """Assert that the newest checkpoint holds numbers only, and return its step."""
    step = checkpoint.newest(Path(out) / "checkpoints")
    tensors = checkpoint.load(Path(out) / "checkpoints", step)
    assert all(bool(torch.isfinite(value).all()) for value in tensors.values())
    return step


class TestNoNumbers:
    @pytest.mark.parametrize("fault", ["nan", "inf", "gradient"])
    def test_so_many_steps_in_a_row_end_a_training_and_the_last_good_checkpoint_stays(self, scene, tmp_path, fault):
        bad = faulty(scene, first=4, fault=fault, train_options={"bad_steps": 2, "steps": 30, "checkpoint_every": 1})
        with pytest.raises(UserError, match=r"losses at step 6: .*(nan|inf).*3 such steps in a row.*is kept"):
            train(bad, str(tmp_path / "m"))
        assert good(tmp_path / "m") == 4
        assert [line["step"] for line in lines(tmp_path / "m")][-1] >= 3
        assert not (tmp_path / "m/model.json").exists()
        with pytest.raises(UserError, match="losses at step 6"):
            train(bad, str(tmp_path / "m"))

    def test_one_that_diverges_by_itself_ends_too(self, scene, tmp_path):
        wild = config(scene, train={"rate": 1e30, "steps": 60, "checkpoint_every": 1, "decay": 0})
        with pytest.raises(UserError, match=r"(losses|weights).*finite losses.*checkpoint is kept"):
            train(wild, str(tmp_path / "m"))
        assert not (tmp_path / "m/model.json").exists()
        if (tmp_path / "m/checkpoints/LATEST").exists():
            good(tmp_path / "m")

    @pytest.mark.parametrize("fault", ["nan", "gradient", "input"])
    def test_a_bad_step_leaves_no_trace_but_in_the_log(self, scene, tmp_path, fault):
        every = {"checkpoint_every": 1}
        interrupted(faulty(scene, steps=[4], fault=fault, train_options=every), tmp_path / "m", 4)
        before = checkpoint.load(tmp_path / "m/checkpoints", 4)
        seen = []

        def look():
            seen.append(checkpoint.newest(tmp_path / "m/checkpoints"))
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):  # after the bad step, and one more
            train(
                faulty(scene, steps=[4], fault=fault, train_options=every), str(tmp_path / "m"), progress=After(1, look)
            )
        assert seen == [4], "no checkpoint of a bad step"
        after = checkpoint.load(tmp_path / "m/checkpoints", 4)
        assert all(torch.equal(before[key], value) for key, value in after.items())
        result = train(faulty(scene, steps=[4], fault=fault, train_options=every), str(tmp_path / "m"))
        assert result["skipped"] == 1
        assert result["notes"] == ["1 steps were skipped: losses or gradients were NaN or infinite"]
        assert good(tmp_path / "m") == 9
        assert [line["step"] for line in lines(tmp_path / "m")] == list(range(9))

    def test_skipped_steps_resume_as_exactly_as_others(self, scene, tmp_path):
        some = faulty(scene, steps=[1, 2, 5, 6])
        train(some, str(tmp_path / "whole"))
        for at in (2, 6, 7):
            interrupted(some, tmp_path / f"{at}", at)
            train(some, str(tmp_path / f"{at}"))
            assert json.dumps(lines(tmp_path / f"{at}")) == json.dumps(lines(tmp_path / "whole"))
            assert Model.load(str(tmp_path / f"{at}")).digest == Model.load(str(tmp_path / "whole")).digest

    @pytest.mark.slow
    def test_all_ranks_skip_a_step_that_goes_wrong_in_one_of_them(self, scene, tmp_path):
        options = {"steps": 6, "batch": 2}
        some = faulty(scene, steps=[2, 4], patch=1, train_options=options)
        some["net"]["norm"] = "channel"
        results = [train(some, str(tmp_path / f"{ranks}"), ranks=ranks) for ranks in (1, 2)]
        assert [result["skipped"] for result in results] == [2, 2]
        one, two = (Model.load(str(tmp_path / name)).weights for name in "12")
        for name, value in one.items():
            np.testing.assert_allclose(two[name], value, rtol=1e-3, atol=1e-4)

    def test_a_training_never_ends_on_a_bad_step(self, scene, tmp_path):
        with pytest.raises(UserError, match="losses at step 8"):
            train(faulty(scene, steps=[8]), str(tmp_path / "m"))
        assert not (tmp_path / "m/model.json").exists()


class Bomb:
    """Unpickled, it writes a file."""

    def __init__(self, canary):
        self.canary = str(canary)

    def __reduce__(self):
        return Path.touch, (Path(self.canary),)


def pickled(canary):
    return pickle.dumps(Bomb(canary))


def saved(canary):
    """Return what `torch.save` writes: a zip with a pickle in it."""
    file = io.BytesIO()
    torch.save({"weights": Bomb(canary)}, file)
    return file.getvalue()


BOMBS = {"pickle": pickled, "torch.save": saved}


@pytest.fixture(scope="module")
def trained(scene, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "m"
    train(config(scene), str(out))
    return out


@pytest.fixture
def model(trained, tmp_path):
    return Path(shutil.copytree(trained, tmp_path / "model"))


def change(path, **others):
    """Write a file of tensors again, with some of them others; None leaves one out."""
    tensors = {**load_file(path), **others}
    save_file({key: value for key, value in tensors.items() if value is not None}, path)


@pytest.mark.parametrize("bomb", BOMBS)
class TestPickles:
    def test_the_bomb_is_live(self, bomb, tmp_path):
        data = BOMBS[bomb](tmp_path / "canary")
        if bomb == "pickle":
            pickle.loads(data)
        else:
            torch.load(io.BytesIO(data), weights_only=False)
        assert (tmp_path / "canary").exists()

    def test_as_weights_of_a_model(self, bomb, model, tmp_path):
        (model / "model.safetensors").write_bytes(BOMBS[bomb](tmp_path / "canary"))
        with pytest.raises(UserError, match="a damaged model"):
            Model.load(str(model))
        assert not (tmp_path / "canary").exists()

    def test_as_a_model_on_the_command_line(self, bomb, scene, tmp_path):
        path = tmp_path / "model.pt"
        path.write_bytes(BOMBS[bomb](tmp_path / "canary"))
        command = [sys.executable, "-m", "tilespec", "predict", str(path), scene, str(tmp_path / "out.zarr")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "no model.json" in done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "canary").exists()

    def test_as_a_checkpoint_it_falls_back_to_the_one_before(self, bomb, scene, tmp_path):
        interrupted(config(scene), tmp_path / "m", 7)
        newest = tmp_path / "m/checkpoints/step-000006"
        state = newest / "state.safetensors"
        state.write_bytes(BOMBS[bomb](tmp_path / "canary"))
        card = json.loads((newest / "state.json").read_text())
        card["digest"] = hashlib.blake2b(state.read_bytes(), digest_size=16).hexdigest()
        (newest / "state.json").write_text(json.dumps(card))
        with pytest.warns(UserWarning, match="step-000006 cannot be used .*falling back"):
            assert train(config(scene), str(tmp_path / "m"))["resumed_from"] == 3
        assert not (tmp_path / "canary").exists()

    def test_in_the_arrays_of_a_recipe(self, bomb, model, tmp_path):
        objects = np.array([Bomb(tmp_path / "canary")], dtype=object)
        if bomb == "pickle":
            with np.load(model / "recipe/arrays.npz") as kept:
                np.savez(model / "recipe/arrays.npz", **{**kept, next(iter(kept)): objects})
        else:
            with zipfile.ZipFile(model / "recipe/arrays.npz", "w") as file:
                file.writestr("weights.npy", saved(tmp_path / "canary"))
        for load in (lambda: Recipe.load(str(model / "recipe")), lambda: Model.load(str(model))):
            with pytest.raises(UserError, match="recipe"):
                load()
        assert not (tmp_path / "canary").exists()


FIRST = "downs.0.0.weight"
OTHERS = {
    "another shape": ({FIRST: torch.zeros(4, 3, 2, 2)}, r"float32 \[4, 3, 2, 2\]; expected float32 \[4, 3, 4, 4\]"),
    "another type": ({FIRST: torch.zeros((4, 3, 4, 4), dtype=torch.int64)}, r"int64 .*expected float32"),
    "half the precision": ({FIRST: torch.zeros((4, 3, 4, 4), dtype=torch.float16)}, r"float16 .*expected float32"),
    "missing": ({FIRST: None}, r"no tensor; expected float32 \[4, 3, 4, 4\]"),
    "one too many": ({"more": torch.zeros(2)}, r"more: found float32 \[2\]; expected no tensor"),
}


@pytest.mark.parametrize(("others", "text"), OTHERS.values(), ids=OTHERS.keys())
class TestOtherTensors:
    def test_in_a_model_even_with_the_right_digest(self, model, others, text):
        whole = Model.load(str(model))
        change(model / "model.safetensors", **others)
        card = json.loads((model / "model.json").read_text())
        card["digest"] = replace(whole, weights=load_file(model / "model.safetensors")).digest
        (model / "model.json").write_text(json.dumps(card))
        with pytest.raises(UserError, match=text):
            Model.load(str(model)).module()

    def test_in_a_checkpoint_even_with_the_right_digest(self, scene, tmp_path, others, text):
        interrupted(config(scene), tmp_path / "m", 7)
        newest = tmp_path / "m/checkpoints/step-000006"
        change(newest / "state.safetensors", **{f"net/generator/{key}": value for key, value in others.items()})
        card = json.loads((newest / "state.json").read_text())
        card["digest"] = checkpoint._digest(newest / "state.safetensors")
        (newest / "state.json").write_text(json.dumps(card))
        with pytest.raises(UserError, match=text):
            train(config(scene), str(tmp_path / "m"))
        assert not (tmp_path / "m/model.json").exists()


def test_an_optimisers_tensor_of_another_shape_is_refused(scene, tmp_path):
    interrupted(config(scene), tmp_path / "m", 7)
    newest = tmp_path / "m/checkpoints/step-000006"
    for key in ("optimiser/generator/0/exp_avg", "optimiser/generator/0/step", "optimiser/generator/999/exp_avg"):
        copy = Path(shutil.copytree(tmp_path / "m", tmp_path / key.replace("/", "-")))
        state = copy / newest.relative_to(tmp_path / "m") / "state.safetensors"
        change(state, **{key: torch.zeros(3, 3)})
        card = json.loads(state.with_name("state.json").read_text())
        state.with_name("state.json").write_text(json.dumps({**card, "digest": checkpoint._digest(state)}))
        with pytest.raises(UserError, match=rf"{key}: found float32 \[3, 3\]; expected"):
            train(config(scene), str(copy))
