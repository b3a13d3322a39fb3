"""Trainings by ranks that share memory: one is killed in a move, one cannot share, and all end when they are done."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import shared_weights_work
from locations import SUPPORT

from tilespec.models.model import Model
from tilespec.training.train import train


def plan(scene, **table):
    return {
        "data": {"scene": scene, "patch": 16, "patches": 7},
        "recipe": {"steps": "pca=3,scale"},
        "net": {"base_width": 4, "n_down": 2, "norm": "channel", "init": "kaiming"},
        "objective": {"name": "supervised"},
        "train": {
            "optimiser": "adamw",
            "steps": 8,
            "batch": 6,
            "warmup": 2,
            "rate": 1e-3,
            "checkpoint_every": 2,
            "ema": 0.9,
            "clip": 1.0,
            **table,
        },
    }


@pytest.fixture(scope="module")
def scene(make_scene, tmp_path_factory):
    return make_scene(tmp_path_factory.mktemp("scene") / "a.zarr", 48, 48, 5, seed=1, unlabelled=0.2)


@pytest.fixture(scope="module")
def undisturbed(scene, tmp_path_factory):
    out = str(tmp_path_factory.mktemp("alone") / "m")
    train(plan(scene), out)
    return out


def same(out, other):
    rows = [[json.loads(line) for line in (Path(m) / "log.jsonl").read_text().splitlines()] for m in (out, other)]
    for ours, theirs in zip(*rows, strict=True):
        assert ours["cross_entropy"] == pytest.approx(theirs["cross_entropy"], rel=1e-3)
        assert ours["norms"] == pytest.approx(theirs["norms"], rel=1e-2)
    weights = [Model.load(m).weights for m in (out, other)]
    for name, value in weights[0].items():
        np.testing.assert_allclose(value, weights[1][name], rtol=1e-3, atol=1e-4)


def named():
    """Return what is in shared memory under a name."""
    return {path.name for path in Path("/dev/shm").iterdir()}


def launch(arguments, number):
    """Start ranks as `torchrun` would; return their codes, what they said, and their numbers as text."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-c",
        "import shared_weights_work; shared_weights_work.launched()",
        json.dumps(arguments),
    ]
    common = {"WORLD_SIZE": str(number), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    path = os.pathsep.join([str(SUPPORT), *sys.path])
    rank_processes = [
        subprocess.Popen(
            command,
            env={**os.environ, **common, "RANK": str(rank), "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(number)
    ]
    try:
        said = [rank_process.communicate(timeout=150) for rank_process in rank_processes]
    finally:
        for rank_process in rank_processes:
            rank_process.kill()
    return (
        [rank_process.returncode for rank_process in rank_processes],
        said,
        [str(rank_process.pid) for rank_process in rank_processes],
    )


@pytest.mark.slow
def test_a_rank_killed_in_a_move_ends_the_others_and_another_number_of_ranks_goes_on(scene, undisturbed, tmp_path):
    out, shared = str(tmp_path / "m"), named()
    began = time.monotonic()
    codes, said, pids = launch([plan(scene), out, "kill", 1, 7], 2)  # the 6th step: once it makes moments
    assert codes == [3, -signal.SIGKILL], said
    assert json.loads(said[0][0]) == [["generator"]], "they had memory to share"
    assert time.monotonic() - began < 100, "and nobody waited for the dead one"
    assert not [name for name in named() - shared if any(word in name for word in ("tilespec", *pids))]
    assert not [handle for handle in shared_weights_work.handles() if "tilespec" in handle[1]]
    result = train(plan(scene), out, ranks=3)
    assert (result["resumed_from"], result["ranks"]) == (4, 3)
    same(out, undisturbed)


@pytest.mark.slow
def test_a_training_whose_first_rank_cannot_share_learns_the_same(scene, undisturbed, tmp_path):
    out = str(tmp_path / "m")
    codes, said, _ = launch([plan(scene), out, "refuse", 0, 0], 2)
    assert codes == [0, 0], said
    assert [json.loads(one[0]) for one in said] == [[[], 8]] * 2
    same(out, undisturbed)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_ranks_end_however_often_they_are_launched(scene, tmp_path):
    """In 2 of 16 launches a rank that had done its work stood still: `tilespec.training.ranks.group.REST`."""
    for turn in range(20):
        out = str(tmp_path / str(turn))
        codes, said, _ = launch([plan(scene, steps=2), out, "", -1, 0], 2)
        assert codes == [0, 0], (turn, said)
