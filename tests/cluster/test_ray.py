"""The example of docs/many-machines.md for Ray runs where Ray is installed."""

import os
import re
import socket
import subprocess
import sys

import pytest
from fault_processes import contents, environment
from locations import ROOT
from untrained_models import save_model

from tilespec import api

PAGE = ROOT / "docs" / "many-machines.md"
EXAMPLE = re.search(r"```python\n# ray_workers\.py\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)[1]


@pytest.mark.slow
def test_workers_of_dask_run_in_tasks_of_ray(make_scene, tmp_path):
    pytest.importorskip("ray", reason="no package ray")
    scene = make_scene(tmp_path / "scene", 48, 40, 5)
    model = save_model(tmp_path / "model", scene)
    api.cluster_init_tls(str(tmp_path / "keys"), hosts=f"127.0.0.1,{socket.gethostname()}")
    (tmp_path / "ray_workers.py").write_text(EXAMPLE)
    path = os.pathsep.join([str(tmp_path), environment()["PYTHONPATH"]])
    env = environment(PYTHONPATH=path, DASK_CONFIG=str(tmp_path / "keys" / "dask.yaml"), RAY_USAGE_STATS_ENABLED="0")
    words = ["predict", model, scene, str(tmp_path / "out"), "--workers", "1", "--quiet"]
    words += ["--cluster", "ray_workers:workers_in_ray"]
    done = subprocess.run(
        [sys.executable, "-m", "tilespec", *words], env=env, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert api.status(str(tmp_path / "out"))["status"] == "complete"
    api.predict(model, scene, str(tmp_path / "alone"))
    assert contents(tmp_path / "out") == contents(tmp_path / "alone")
