"""Spectra from RGB through the whole engine: trained, stopped and resumed, shared by ranks, validated, predicted."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from short_trainings import interrupted, lines
from spectral_pairs import RGB, spectral, write_cube, write_pair

from tilespec.core.errors import UserError
from tilespec.evaluate.evaluate import evaluate
from tilespec.evaluate.metrics.table import METRICS
from tilespec.models.model import Model
from tilespec.predict.predict import predict
from tilespec.storage.scene import Scene
from tilespec.training.augment.augment import Augment
from tilespec.training.run import checkpoint
from tilespec.training.train import train
from tilespec.training.validation import history

STEPS = 12
JUDGE = {"name": "patchgan", "base_width": 4, "n_layers": 1, "norm": "none", "init": "kaiming"}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return write_pair(tmp_path_factory.mktemp("pair"), 64, 48, nan=0.01, unknown=0.05)


def adversarial(pair, **train_options):
    """Return a training with turns, dropout, augmentation and validations: every part of the state is in use."""
    options = {"steps": STEPS, "batch": 4, "accumulate": 2, "ema": 0.9, "warmup": 2, "checkpoint_every": 3}
    return {
        "data": {"scene": pair[0], "target": pair[1], "patch": 16, "patches": 6, "rows": "0:40"},
        "recipe": {"steps": "span=0:1"},
        "task": {"name": "reconstruct", "head": "tanh"},
        "net": {"name": "unet", "base_width": 4, "n_down": 2, "norm": "none", "dropout": 0.1, "head": "tanh"},
        "objective": {"name": "cgan", "loss": "l1", "fidelity": 100.0, "alternate": [4, 2], "discriminator": JUDGE},
        "train": {**options, **train_options},
        "augment": {"gain": 0.1, "rotate": 20.0, "mixup": 0.4},
        "validate": {"rows": "44:64", "every": 6},
    }


def linear(pair, **given):
    """Return a training of a net that sees each pixel alone: enough for what was rendered linearly."""
    base = {
        "data": {"scene": pair[0], "target": pair[1], "patch": 16, "patches": 40, "rows": "0:48"},
        "task": {"name": "reconstruct"},
        "recipe": {"steps": "pca=3,scale"},
        "net": {"name": "branched", "n_branches": 1, "dropout": 0.0, "head": "linear"},
        "objective": {"name": "supervised", "loss": "l1"},
        "train": {"steps": 150, "batch": 8, "rate": 3e-2, "warmup": 10, "checkpoint_every": 150},
    }
    return {name: {**base.get(name, {}), **given.get(name, {})} for name in {*base, *given}}


@pytest.fixture(scope="module")
def undisturbed(pair, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "m"
    return str(out), train(adversarial(pair), str(out))


def test_the_axes_decide_whether_scene_and_target_move_along_the_bands_together(pair, tmp_path, monkeypatch):
    together, of = [], Augment.of

    def spy(*given, same_bands=False):
        together.append(same_bands)
        return of(*given, same_bands=same_bands)

    monkeypatch.setattr(Augment, "of", spy)
    for scene, steps in ((pair[1], "crop=#0:#99"), (pair[1], "crop=#1:#99"), (pair[0], "span=0:1")):
        short = {"steps": 1, "batch": 2, "checkpoint_every": 1}
        config = linear((scene, pair[1]), recipe={"steps": steps}, train=short, augment={"shift": 0.5})
        together.clear()
        train(config, str(tmp_path / f"m{steps[6:8]}"))
        assert any(together) == (steps == "crop=#0:#99")


def test_the_players_take_turns_and_the_log_says_what_each_came_to(undisturbed):
    out, result = undisturbed
    assert [set(line["norms"]) for line in lines(out)] == (
        [{"discriminator"}] * 4 + [{"generator"}] * 2 + [{"discriminator"}] * 4 + [{"generator"}] * 2
    )
    assert set(result["losses"]) == {"l1", "g_adversarial"}
    assert [line["step"] for line in history.read(Path(out))] == [6, 12]
    judged = history.read(Path(out))[-1]
    assert {"rmse", "mae", "psnr", "sam"} <= set(judged)


@pytest.mark.parametrize("at", [2, 5, 10])
def test_killed_and_resumed_it_is_the_undisturbed_one_bit_for_bit(undisturbed, pair, tmp_path, at):
    interrupted(adversarial(pair), tmp_path / "m", at)
    assert train(adversarial(pair), str(tmp_path / "m"))["resumed_from"] == at // 3 * 3
    assert lines(tmp_path / "m") == lines(undisturbed[0])
    said = [[{**line, "seconds": 0} for line in history.read(Path(out))] for out in (tmp_path / "m", undisturbed[0])]
    assert said[0] == said[1]
    mine, theirs = (checkpoint.load(Path(m) / "checkpoints", STEPS) for m in (tmp_path / "m", undisturbed[0]))
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[key], value) for key, value in theirs.items())


@pytest.mark.slow
def test_two_ranks_learn_as_one_alone(pair, tmp_path):
    settings = adversarial(pair, accumulate=1, batch=4)
    for ranks in (1, 2):
        train(settings, str(tmp_path / f"{ranks}"), ranks=ranks)
    one, two = (
        [value for line in lines(tmp_path / name) for value in line.values() if isinstance(value, float)]
        for name in "12"
    )
    np.testing.assert_allclose(two, one, rtol=1e-3, atol=1e-4)
    one, two = (Model.load(str(tmp_path / name)) for name in "12")
    assert one.task == two.task
    for name, value in one.weights.items():
        np.testing.assert_allclose(two.weights[name], value, rtol=1e-2, atol=1e-3)


@pytest.fixture(scope="module")
def learned(pair, tmp_path_factory):
    """Return a training with a held-out region, its model folder, and the prediction of the whole scene."""
    folder = tmp_path_factory.mktemp("learned")
    model = str(folder / "model")
    train(linear(pair, validate={"rows": "48:64", "every": 50}), model)
    predict(model, pair[0], str(folder / "out.zarr"))
    return model, str(folder / "out.zarr")


def test_spectra_of_three_end_members_come_back_from_rgb(pair, learned):
    found = evaluate(learned[1], pair[1], rows="48:64", patches=1, patch_size=8)
    spread = float(np.nanstd(Scene.open(pair[1]).read(Scene.open(pair[1]).roi)))
    assert found["rmse"] < 0.15 * spread
    assert found["missing"] > 0, "pixels without RGB have no spectrum"
    assert found["overlaps_training"] is False
    assert evaluate(learned[1], pair[1], patches=1, patch_size=8)["overlaps_training"] is True


def test_a_prediction_is_a_scene_with_the_wavelengths_of_the_target_in_its_units(pair, learned):
    out, truth, rgb = (Scene.open(url) for url in (learned[1], pair[1], pair[0]))
    assert out.spectral == truth.spectral
    assert (out.shape, out.dtype) == (truth.shape, np.float32)
    assert out.attrs["task"] == "reconstruct"
    values, gone = out.read(out.roi), np.isnan(rgb.read(rgb.roi)).any(axis=2)
    assert gone.any()
    np.testing.assert_array_equal(np.isnan(values), np.repeat(gone[..., None], 7, axis=2))
    assert 0.5 < np.nanmax(values) / np.nanmax(truth.read(truth.roi)) < 1.5
    opened = out.to_xarray()
    assert list(opened.prediction.dims) == ["y", "x", "band"]
    np.testing.assert_allclose(opened.wavelength, truth.spectral.values)


def test_validations_are_of_what_predict_writes_and_less_error_is_better(pair, learned):
    said = history.read(Path(learned[0]))
    assert [line["step"] for line in said] == [50, 100, 150]
    best = min(said, key=lambda line: line["rmse"])
    assert Model.load(learned[0]).provenance["steps"] == best["step"] == history.best(said, METRICS["rmse"])
    found = evaluate(learned[1], pair[1], rows="48:64", patches=1, patch_size=8)
    for name in ("rmse", "mae", "psnr", "sam"):
        assert best[name] == pytest.approx(found[name], rel=0.05), "but for the borders of the region"


def test_without_a_recipe_too_and_with_a_scene_of_its_own(pair, tmp_path):
    other = write_pair(tmp_path / "other", 40, 40, seed=5)
    held = {"scene": other[0], "target": other[1], "every": 3, "metric": "psnr"}
    settings = linear(pair, recipe={"steps": None}, validate=held, train={"steps": 3})
    train(settings, str(tmp_path / "m"))
    (said,) = history.read(tmp_path / "m")
    predict(str(tmp_path / "m"), other[0], str(tmp_path / "out.zarr"))
    found = evaluate(str(tmp_path / "out.zarr"), other[1], patches=1, patch_size=8)
    assert {key: said[key] for key in ("rmse", "psnr", "sam")} == {key: found[key] for key in ("rmse", "psnr", "sam")}
    with pytest.raises(UserError, match=r"validate\.metric: found 'iou'; expected one of .*rmse, mae"):
        train({**settings, "validate": {**held, "metric": "iou"}}, str(tmp_path / "n"))


def test_a_held_out_target_of_other_bands_is_refused(pair, tmp_path):
    rgb, truth = write_pair(tmp_path, 40, 40, seed=5)
    cube = Scene.open(truth).read(Scene.open(truth).roi)
    moved = write_cube(tmp_path / "moved.zarr", cube, spectral(7).take(slice(None, None, -1)))
    fewer = write_cube(tmp_path / "fewer.zarr", np.ascontiguousarray(cube[..., :5]), spectral(7).take(slice(5)))
    for target, text in ((moved, "bands moved"), (fewer, "5 bands"), (None, "data.target: found nothing")):
        with pytest.raises(UserError, match=text):
            train(linear(pair, validate={"scene": rgb, "target": target}), str(tmp_path / "m"), dry_run=True)


def test_the_card_says_all_and_old_cards_still_load(learned, tmp_path):
    model = Model.load(learned[0])
    assert model.spectral_out == spectral(7)
    assert model.spectral == RGB
    assert model.task == {"name": "reconstruct", "channels": 7, "low": 0.0, "high": model.task["high"]}
    assert model.classes == ()
    shutil.copytree(learned[0], tmp_path / "old")
    card = json.loads((tmp_path / "old/model.json").read_text())
    assert card["spectral_out"]["unit"] == "nm"
    del card["spectral_out"]
    card["digest"] = replace(model, spectral_out=None).digest
    (tmp_path / "old/model.json").write_text(json.dumps(card))
    old = Model.load(str(tmp_path / "old"))
    assert old.spectral_out is None
    assert old.digest != model.digest, "its predictions lie on other coordinates"


def test_other_rgb_and_probabilities_of_values_are_refused(pair, learned, tmp_path):
    four = write_cube(tmp_path / "four.zarr", np.ones((40, 40, 4), np.float32), None)
    with pytest.raises(UserError, match="4 bands"):
        predict(learned[0], four, str(tmp_path / "out"))
    with pytest.raises(UserError, match="--probabilities: found a model that predicts 7 values"):
        predict(learned[0], pair[0], str(tmp_path / "out"), probabilities=True)


def test_settings_of_another_target_are_another_training(pair, tmp_path):
    settings = linear(pair, train={"steps": 4, "checkpoint_every": 2})
    interrupted(settings, tmp_path / "m", 3)
    cube = Scene.open(pair[1]).read(Scene.open(pair[1]).roi) / 2
    other = write_cube(tmp_path / "other.zarr", cube, spectral(7))
    settings["task"] = {"name": "reconstruct", "low": 0.0, "high": 1000.0}
    with pytest.raises(UserError, match="a training begun with other settings"):
        train({**settings, "data": {**settings["data"], "target": other}}, str(tmp_path / "m"))
    moved = shutil.copytree(pair[1], tmp_path / "elsewhere.zarr")
    again = linear((pair[0], str(moved)), train={"steps": 4, "checkpoint_every": 2})
    assert train(again, str(tmp_path / "m"))["resumed_from"] == 2
