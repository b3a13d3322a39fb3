"""A training of a few steps with every part of its state in use, and what tests of resuming do with it."""

import json

import pytest
from interrupts import After

from tilespec.storage.backends.paths import store_path
from tilespec.training.train import train

NET = {"name": "unet", "base_width": 4, "n_down": 2, "norm": "channel", "init": "kaiming"}
JUDGE = {"base_width": 4, "n_layers": 1, "norm": "channel", "init": "kaiming"}


def config(scene, *, net=None, **tables):
    """Return a training of a few steps with every part of the state in use."""
    base = {
        "data": {"scene": scene, "patch": 16, "patches": 6},
        "recipe": {"steps": "pca=3,scale"},
        "net": {**NET, "norm": "batch", **(net or {})},
        "objective": {"name": "cgan", "discriminator": JUDGE, "separate": True},
        "train": {"steps": 9, "batch": 2, "warmup": 2, "checkpoint_every": 3},
    }
    return {name: {**base.get(name, {}), **tables.get(name, {})} for name in {*base, *tables}}


def interrupted(settings, out, at):
    with pytest.raises(KeyboardInterrupt):
        train(settings, str(out), progress=After(at))


def lines(out):
    rows = [json.loads(line) for line in (store_path(str(out)) / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in ("seconds", "speed")} for row in rows]
