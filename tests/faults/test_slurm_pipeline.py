"""The reference run at 1024 x 1024 on a real Slurm: jobs that end in the middle leave the bytes of a run here."""

import json
import os
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from fault_processes import contents, environment, leftovers, records
from locations import ROOT, SUPPORT
from slurm_node import driver_in, job_settings, one_node

pytest.importorskip("dask_jobqueue", reason="no package dask-jobqueue: pip install 'tilespec[cluster]'")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
SIZE = {"ROWS": 1024, "COLS": 1024, "PLANTS": 6, "TEST_ROWS": 512, "STEPS": 20, "WIDTH": 8, "WORKERS": 2}
STORES = ("scene.zarr", "ndvi.zarr", "plsda.zarr", "opened.zarr", "mlp.zarr", "cgan.zarr")
QUICK = {
    "tilespec.cluster.slurm.EVERY": 1.0,
    "tilespec.storage.heartbeat.BEAT": 0.5,
    "tilespec.storage.heartbeat.TTL": 5.0,
}


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    with one_node(tmp_path_factory.mktemp("slurm")) as node:
        yield node


@contextmanager
def reference_run(folder, cluster, **others):
    """Start the reference run in a folder, with two workers of a cluster; its log lies beside."""
    folder.mkdir(exist_ok=True)
    driver_in(folder, SUPPORT / "fault_command.py")
    chosen = {name: str(value) for name, value in SIZE.items()} | {"ROOT": str(folder), "CLUSTER": cluster}
    env = environment(PATH=f"{folder}:{os.environ['PATH']}", **chosen, **others) | {"CHAOS_SET": json.dumps(QUICK)}
    with Path(f"{folder}.log").open("ab") as log:
        command = ["bash", str(ROOT / "cluster" / "pipeline.sh")]
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """The folder of a run with two workers of this machine, which nothing disturbed."""
    folder = tmp_path_factory.mktemp("here") / "run"
    with reference_run(folder, "local") as process:
        assert process.wait() == 0, said(folder)
    return folder


def said(folder):
    return Path(f"{folder}.log").read_text()[-3000:]


def objects(store):
    """Return the bytes of the stored objects, without the metadata, which name folders."""
    return {key: data for key, data in contents(store).items() if "/c/" in key}


def test_jobs_that_are_cancelled_while_slurm_restarts_leave_the_bytes_of_a_run_here(slurm, here, tmp_path):
    folder = tmp_path / "run"
    with reference_run(folder, "slurm", **job_settings(slurm)) as process:
        slurm.until(lambda: (folder / "model" / "log.jsonl").exists() or process.poll() is not None, 300)
        assert process.poll() is None, said(folder)
        slurm.restart("slurmctld")
        slurm.until(lambda: records(folder / "cgan.zarr") or process.poll() is not None, 300)
        first = slurm.running()
        slurm.ask("scancel", "--signal=KILL", "--full", first[0])
        slurm.until(lambda: process.poll() is not None, 600)
    assert process.returncode == 0, said(folder)
    for store in STORES:
        assert objects(folder / store) == objects(here / store), store
        assert leftovers(folder / store) == []
    assert (folder / "report.html").stat().st_size > 100_000


def test_an_array_that_loses_a_job_and_its_controller_and_hits_its_limit_predicts_the_same(slurm, here, tmp_path):
    out, log = tmp_path / "array.zarr", tmp_path / "log"
    slurm.until(slurm.idle)
    job = submit(slurm, here, out, log, "--time=1", "--signal=B:TERM@20", rest=25.0)
    slurm.until(lambda: records(out) >= 1)
    slurm.restart("slurmctld")
    slurm.ask("scancel", "--signal=KILL", "--full", f"{job}_1")
    slurm.until(lambda: not slurm.running(), 200)
    assert 0 < records(out) < 8, [Path(f"{log}-{task}").read_text() for task in (1, 2)]
    slurm.until(slurm.idle)
    submit(slurm, here, out, log, rest=0.0)
    slurm.until(lambda: slurm.ask("squeue", "-h") == "", 200)
    assert objects(out) == objects(here / "cgan.zarr"), [Path(f"{log}-{task}").read_text() for task in (1, 2)]
    assert leftovers(out) == []


def submit(slurm, here, out, log, *asked, rest):
    """Submit the array of `cluster/`, whose processes rest after each row, and return the number of its job."""
    driver = driver_in(log.parent, SUPPORT / "fault_command.py")
    chosen = {"CHAOS_REST": str(rest), "CHAOS_ROWS": f"{log}-rows", "TILESPEC": str(driver)}
    words = ["--parsable", "--array=1-2", "--cpus-per-task=1", f"--output={log}-%a", *asked]
    words += [str(ROOT / "cluster" / "predict-array.sbatch"), str(here / "model"), str(here / "scene.zarr"), str(out)]
    return slurm.ask("sbatch", *words, **chosen, CHAOS_SET=json.dumps(QUICK)).strip()
