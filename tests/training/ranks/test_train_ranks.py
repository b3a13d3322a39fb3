"""Ranks learn one model: as many as there are, however they were started, as one would alone."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from interrupts import After
from locations import SUPPORT
from rank_trainings import notice, once

from tilespec.core.errors import UserError
from tilespec.models.model import Model
from tilespec.training.train import train

LOSSES = ("d_real", "d_fake", "cross_entropy", "g_adversarial")


def settings(scene, **train):
    judge = {"base_width": 4, "n_layers": 2, "norm": "channel", "init": "kaiming"}
    return {
        "data": {"scene": scene, "patch": 16, "patches": 7},
        "recipe": {"steps": "pca=3,scale"},
        "net": {"base_width": 4, "n_down": 2, "norm": "channel", "init": "kaiming", "dropout": 0.5},
        "objective": {"name": "cgan", "adversarial": 0.1, "separate": True, "discriminator": judge},
        "train": {"steps": 10, "batch": 4, "warmup": 2, "rate": 1e-3, "checkpoint_every": 2, **train},
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


@pytest.mark.slow
def test_two_ranks_learn_as_one_though_the_patches_of_an_epoch_are_uneven(alone, scene, tmp_path):
    out = str(tmp_path / "m")
    result = train(settings(scene), out, ranks=2)
    assert (result["steps"], result["ranks"], len(result["hosts"])) == (10, 2, 2)
    assert train(settings(scene), out, ranks=2) == result
    same(out, alone)


def test_a_batch_that_ranks_cannot_share_is_refused(scene, tmp_path):
    with pytest.raises(UserError, match=r"train.batch: found 4 patches for 3 ranks.*Set train.batch=6"):
        train(settings(scene), str(tmp_path / "m"), ranks=3)
    assert not (tmp_path / "m").exists()


SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[3])
import rank_trainings
from interrupts import After
from tilespec.cli.shared import EXIT_INCOMPLETE, EXIT_INTERRUPTED, IncompleteError
from tilespec.training.train import train
try:
    act = rank_trainings.once(getattr(rank_trainings, sys.argv[4]))
    print(json.dumps(train(json.loads(sys.argv[1]), sys.argv[2], progress=After(int(sys.argv[5]), act))))
except KeyboardInterrupt:
    sys.exit(EXIT_INTERRUPTED)
except IncompleteError as error:
    print(error, file=sys.stderr)
    sys.exit(EXIT_INCOMPLETE)
"""


def start(scene, out, number, act, environment, at=5):
    """Start ranks as a launcher would: one process each, with its variables."""
    command = [sys.executable, "-c", SCRIPT, json.dumps(settings(scene)), out, str(SUPPORT), act, str(at)]
    ranks = [
        subprocess.Popen(
            command,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment(rank)},
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(number)
    ]
    try:
        said = [rank.communicate(timeout=150) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    return [rank.returncode for rank in ranks], said


def torchrun(number, port):
    def environment(rank):
        return {"RANK": str(rank), "WORLD_SIZE": str(number), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}

    return environment


def srun(number, job):
    def environment(rank):
        step = {"SLURM_JOB_ID": str(job), "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": str(number)}
        task = {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank), "SLURM_NTASKS": str(number)}
        return {**step, **task, "SLURM_JOB_NODELIST": "localhost", "ENVIRONMENT": "BATCH"}

    return environment


def test_launched_ranks_end_when_one_is_killed_and_one_rank_finishes_their_work(alone, scene, tmp_path):
    out = str(tmp_path / "m")
    codes, said = start(scene, out, 2, "die", torchrun(2, 20000 + os.getpid() % 10000))
    assert codes == [-signal.SIGKILL, 3]
    assert "rank 1 lost another one" in said[1][1]
    newest = Path(out) / "checkpoints" / "step-000004" / "state.safetensors"
    newest.write_bytes(newest.read_bytes()[:-9] + b"corrupted")
    shutil.copytree(newest.parent.with_name("step-000002"), newest.parent.with_name("step-000006.partial"))
    with pytest.warns(UserWarning, match="step-000004 cannot be used"):
        assert train(settings(scene), out)["resumed_from"] == 2
    same(out, alone)


@pytest.mark.slow
def test_tasks_of_slurm_that_get_its_notice_write_a_checkpoint_and_other_tasks_go_on(alone, scene, tmp_path):
    out, job = str(tmp_path / "m"), os.getpid()
    codes, said = start(scene, out, 2, "notice", srun(2, job), at=4)
    assert codes == [130, 130], said
    assert "SIGUSR1: finishing what is in flight" in said[0][1]
    assert (Path(out) / "checkpoints" / "step-000005").exists(), "not one of those that are written anyway"
    codes, said = start(scene, out, 2, "nothing", srun(2, job + 1))
    assert codes == [0, 0], said
    result = json.loads(said[0][0])
    assert (result["resumed_from"], result["ranks"]) == (5, 2)
    same(out, alone)


def test_a_process_that_is_alone_gets_the_notice_too(alone, scene, tmp_path):
    out = str(tmp_path / "m")
    with pytest.raises(KeyboardInterrupt):
        train(settings(scene), out, progress=After(4, once(notice)))
    assert train(settings(scene), out)["resumed_from"] == 5
    assert Model.load(out).digest == Model.load(alone).digest


@pytest.mark.parametrize(
    ("options", "found"),
    [({"ranks": 2, "workers": 2}, "--ranks 2"), ({"ranks": 2, "cluster": "local"}, "--ranks 2")],
)
def test_there_is_one_way_to_start_ranks(scene, tmp_path, options, found):
    with pytest.raises(UserError, match=f"--workers, --cluster: found {found}; expected one way to start ranks"):
        train(settings(scene), str(tmp_path / "m"), **options)
