"""Trainings with augmentation: the laws of training stay true."""

import json
from pathlib import Path

import numpy as np
import pytest
from interrupts import After

from tilespec.core.errors import UserError
from tilespec.models.model import Model
from tilespec.training.train import train

SCORES = {"rotate": 30, "gain": 0.1, "offset": 0.1, "noise": 0.1, "drop": 0.2, "cutmix": 1.0, "mixup": 0.3}
SPECTRA = {"shift": 0.5, "reverse": 0.2, "gain": 0.1, "slope": 0.1, "background": 0.1, "mixup": 0.3}


def config(scene, augment, **tables):
    judge = {"base_width": 4, "n_layers": 1, "norm": "channel", "init": "kaiming"}
    base = {
        "data": {"scene": scene, "patch": 16, "patches": 10},
        "recipe": {"steps": "pca=3,scale"},
        "net": {"base_width": 4, "n_down": 2, "norm": "channel", "init": "kaiming", "dropout": 0.5},
        "objective": {"name": "cgan", "adversarial": 0.1, "discriminator": judge},
        "train": {"steps": 6, "batch": 4, "warmup": 2, "rate": 1e-3, "checkpoint_every": 2},
        "augment": {**augment, "probability": dict.fromkeys(augment, 0.7)},
    }
    return {name: {**base.get(name, {}), **tables.get(name, {})} for name in base}


@pytest.fixture(scope="module")
def scene(make_scene, tmp_path_factory):
    return make_scene(tmp_path_factory.mktemp("scene") / "a.zarr", 48, 48, 6, seed=1, nan=0.02, unlabelled=0.2)


@pytest.fixture(scope="module")
def undisturbed(scene, tmp_path_factory):
    out = str(tmp_path_factory.mktemp("undisturbed") / "m")
    train(config(scene, SCORES), out)
    return out


def losses(out):
    rows = [json.loads(line) for line in (Path(out) / "log.jsonl").read_text().splitlines()]
    return np.array([[row["cross_entropy"], row["g_adversarial"]] for row in rows])


@pytest.mark.parametrize("at", [3])
def test_a_resumed_training_equals_an_undisturbed_one_bit_for_bit(scene, undisturbed, tmp_path, at):
    out = str(tmp_path / "m")
    with pytest.raises(KeyboardInterrupt):
        train(config(scene, SCORES), out, progress=After(at))
    train(config(scene, SCORES), out)
    assert Model.load(out).digest == Model.load(undisturbed).digest
    assert (losses(out) == losses(undisturbed)).all()


@pytest.mark.slow
def test_two_ranks_learn_as_one(scene, undisturbed, tmp_path):
    out = str(tmp_path / "m")
    train(config(scene, SCORES), out, ranks=2)
    np.testing.assert_allclose(losses(out), losses(undisturbed), rtol=1e-4, atol=1e-5)


def test_parts_of_a_batch_add_up_to_the_whole(scene, undisturbed, tmp_path):
    out = str(tmp_path / "m")
    train(config(scene, SCORES, train={"accumulate": 4}), out)
    np.testing.assert_allclose(losses(out), losses(undisturbed), rtol=1e-4, atol=1e-5)


def test_augmentation_decides_the_weights_and_what_is_off_does_not(scene, undisturbed, tmp_path):
    plain, off, spectral = (str(tmp_path / name) for name in ("plain", "off", "spectral"))
    train(config(scene, {}), plain)
    train(config(scene, dict.fromkeys(SCORES, 0)), off)
    train(config(scene, SPECTRA, recipe={"steps": "snv"}), spectral)
    assert Model.load(plain).digest == Model.load(off).digest
    assert len({Model.load(m).digest for m in (plain, undisturbed, spectral)}) == 3
    with pytest.raises(UserError, match=r"other settings.*augment"):
        train(config(scene, SCORES), plain)


@pytest.mark.parametrize(
    ("augment", "tables", "ranks", "text"),
    [
        ({"slope": 0.1}, {}, 1, "augment.slope: found 3 scores"),
        ({"mixup": 0.2}, {"train": {"batch": 3}}, 1, "an even number for each rank"),
        ({"cutmix": 0.2}, {"train": {"batch": 2}}, 2, "an even number for each rank"),
        ({"shift": 9}, {"recipe": {"steps": "snv"}}, 1, "augment.shift: found 9 bands; expected at most 5"),
    ],
)
def test_what_cannot_be_done_is_refused_by_the_dry_run(scene, tmp_path, augment, tables, ranks, text):
    with pytest.raises(UserError, match=text):
        train(config(scene, augment, **tables), str(tmp_path / "m"), ranks=ranks, dry_run=True)
    assert not (tmp_path / "m").exists()
