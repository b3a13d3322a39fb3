"""A plan of a million tiles and a list of ten thousand scenes: time and memory grow with neither squared."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fault_processes import Cluster, environment
from locations import SUPPORT
from many_parts import huge

from tilespec.predict.predict import places_of
from tilespec.storage import ledger
from tilespec.storage.audit import status
from tilespec.storage.files import read_json
from tilespec.tiling.plan import describe

MOST = 500e6
"""The largest bytes of the client and of the scheduler."""


def peak(pid):
    """Return the largest memory of a process so far, files that it has mapped included."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


@pytest.mark.slow
def test_a_million_tiles_are_submitted_in_little_memory_of_client_and_scheduler(tmp_path):
    with Cluster.of(tmp_path / "cluster", 2) as cluster:
        before = peak(cluster.scheduler.pid)
        command = [sys.executable, str(SUPPORT / "many_parts.py"), str(tmp_path / "out"), cluster.address]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True, timeout=500)
        scheduler = peak(cluster.scheduler.pid)
    found = json.loads(done.stdout)
    rate = found["parts"] / found["seconds"]
    sys.stdout.write(f"{found}; scheduler {scheduler / 1e6:.0f} MB, before {before / 1e6:.0f}; {rate:.0f} parts/s\n")
    assert found["tiles"] == 10**6
    assert found["evaluated"] >= found["tiles"], "tiles at the borders of parts are counted by both"
    assert found["parts"] > 9000
    assert found["client"] < MOST
    assert scheduler < MOST
    assert found["client_grew"] < 50e6
    assert scheduler - before < 100e6


def test_twenty_thousand_scenes_have_their_places_soon():
    began = time.process_time()
    places = places_of([f"/in/scene-{number}" for number in range(20_000)], "/out")
    assert places["/in/scene-7"] == "/out/scene-7"
    assert len(places) == 20_000
    assert time.process_time() - began < 5, "comparing each with each takes ten"


@pytest.mark.parametrize("reads", ["parts", "describe", "status"])
def test_the_records_of_many_panels_are_read_a_few_times_and_not_once_for_each(tmp_path, monkeypatch, reads):
    plan = huge(str(tmp_path / "out"))
    for panel in range(plan.product.panels):
        plan.product.ledger.record(0, {"objects": {}, "counts": {}}, panel)
    read = []
    monkeypatch.setattr(ledger, "read_json", lambda path: read.append(path.name) or read_json(path))
    calls = {"parts": lambda: plan.parts(4), "describe": lambda: describe(plan, 1, 1, {})}
    calls.get(reads, lambda: status(plan.product.url))()
    records = [name for name in read if name.startswith("row-")]
    assert plan.product.panels <= len(records) <= 3 * plan.product.panels
