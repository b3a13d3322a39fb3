import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tilespec.errors import IncompleteError
from tilespec.model import Model
from tilespec.ranks import spawn
from tilespec.train import train

LOSSES = ("d_real", "d_fake", "cross_entropy", "g_adversarial")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def settings(scene):
    judge = {"base_width": 4, "n_layers": 2, "norm": "channel", "init": "kaiming"}
    return {
        "data": {"scene": scene, "patch": 16, "patches": 10},
        "recipe": {"steps": "pca=3,scale"},
        "net": {"base_width": 4, "n_down": 2, "norm": "channel", "init": "kaiming", "dropout": 0.5},
        "objective": {"name": "cgan", "adversarial": 0.1, "separate": True, "discriminator": judge},
        "train": {"steps": 10, "batch": 4, "warmup": 2, "rate": 1e-3, "checkpoint_every": 2},
    }


def curve(out):
    rows = [json.loads(line) for line in (Path(out) / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(10))
    return np.array([[row[name] for name in LOSSES] for row in rows])


@pytest.fixture(scope="module")
def scene(make_scene, tmp_path_factory):
    return make_scene(tmp_path_factory.mktemp("scene") / "a.zarr", 48, 48, 5, seed=1, unlabelled=0.2)


@pytest.fixture(scope="module")
def alone(scene, tmp_path_factory):
    out = str(tmp_path_factory.mktemp("alone") / "m")
    train(settings(scene), out)
    return out


def same(out, other):
    np.testing.assert_allclose(curve(out), curve(other), rtol=1e-4, atol=1e-5)
    weights = [Model.load(m).weights for m in (out, other)]
    for name, value in weights[0].items():
        np.testing.assert_allclose(value, weights[1][name], rtol=1e-3, atol=1e-4)


def test_two_ranks_learn_as_one(alone, scene, tmp_path):
    out = str(tmp_path / "m")
    result = train(settings(scene), out, ranks=2)
    assert (result["steps"], result["ranks"]) == (10, 2)
    assert train(settings(scene), out, ranks=2) == result
    same(out, alone)


SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[3])
from interrupts import After
from test_train_ranks import die, train
train(json.loads(sys.argv[1]), sys.argv[2], progress=After(5, die))
"""


def test_launched_ranks_end_when_one_is_killed_and_one_rank_finishes_their_work(alone, scene, tmp_path):
    out, port = str(tmp_path / "m"), str(20000 + os.getpid() % 20000)
    env = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT, json.dumps(settings(scene)), out, str(Path(__file__).parent)]
    ranks = [
        subprocess.Popen(command, env={**env, "RANK": str(r), "GLOO_SOCKET_IFNAME": "lo"}, stderr=subprocess.DEVNULL)
        for r in range(2)
    ]
    try:
        codes = [rank.wait(timeout=120) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert codes[0] == -signal.SIGKILL
    assert codes[1] != 0
    assert train(settings(scene), out)["resumed_from"] == 4
    same(out, alone)


def test_a_killed_rank_is_unfinished_work_that_resumes():
    with pytest.raises(IncompleteError, match=r"SIGKILL.*the same command resumes"):
        spawn(die, (), 1)
