import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tilespec.core.errors import UserError
from tilespec.models.nets.norms import SeededDropout
from tilespec.training.optimisers import compile_net


def test_without_a_compiler_the_message_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", "")
    with pytest.raises(
        UserError, match=r"train.compile: found no C\+\+ compiler; expected CXX, or one of c\+\+, g\+\+"
    ):
        compile_net(torch.nn.Conv2d(1, 1, 1))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's compiler
def test_names_and_memory_of_weights_stay():
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), SeededDropout(0.5, 0))
    before = dict(net.state_dict())
    compile_net(net)
    assert {key: value.data_ptr() for key, value in net.state_dict().items()} == {
        key: value.data_ptr() for key, value in before.items()
    }


@pytest.mark.slow
def test_compiled_nets_learn_the_same_and_resume(make_scene, tmp_path):
    """In processes of their own: annotations that are executed, as in these tests, are not what is to be compiled."""
    scene = make_scene(tmp_path / "a.zarr", 48, 48, 5, seed=1)
    for compiled in ("false", "true"):
        options = {
            "data.scene": scene,
            "train.steps": 6,
            "train.schedule": "constant",
            "train.compile": compiled,
            "net.norm": "batch",
            "net.dropout": 0.5,
        }
        steps = (3, 6) if compiled == "true" else (6,)
        for count in steps:
            pairs = [f"--set={key}={value}" for key, value in {**options, "train.steps": count}.items()]
            out = str(tmp_path / compiled)
            command = [sys.executable, "-m", "tilespec", "train", "preset:tiny", "--out", out, *pairs]
            subprocess.run([*command, "--quiet"], check=True, capture_output=True)
    logs = {}
    for compiled in ("false", "true"):
        text = (Path(tmp_path) / compiled / "log.jsonl").read_text()
        logs[compiled] = [json.loads(line)["cross_entropy"] for line in text.splitlines()]
    np.testing.assert_allclose(logs["true"], logs["false"], rtol=1e-3)
