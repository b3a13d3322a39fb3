"""A real Slurm of one node, started here: the scripts of `cluster/` train and predict, heed its notice, and go on."""

import json
import time
from pathlib import Path

import pytest
from fault_processes import OVERLAP, Arena, contents, leftovers, records
from fault_trainings import SLOW, Lesson, same, steps
from locations import ROOT, SUPPORT
from slurm_node import driver_in, one_node

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]
QUICK = {"tilespec.storage.heartbeat.BEAT": 0.5, "tilespec.storage.heartbeat.TTL": 5.0}
SCRIPT = ROOT / "cluster" / "train.sbatch"
ARRAY = ROOT / "cluster" / "predict-array.sbatch"


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    with one_node(tmp_path_factory.mktemp("slurm")) as node:
        yield node


@pytest.fixture(scope="module")
def lesson(tmp_path_factory, make_scene):
    return Lesson.learned(tmp_path_factory.mktemp("lesson"), make_scene)


def test_a_job_heeds_its_notice_is_queued_again_and_goes_on(slurm, lesson, tmp_path):
    out, log = lesson.folder / "model", tmp_path / "log"
    driver = driver_in(tmp_path)
    asked = ["--parsable", "--nodes=1", "--ntasks-per-node=2", "--cpus-per-task=1", f"--output={log}"]
    command = [str(word) for word in lesson.command(out) if word != "--json"]
    job = slurm.ask("sbatch", *asked, str(SCRIPT), *command[1:], sleep=SLOW, TILESPEC=str(driver)).strip()
    slurm.until(lambda: steps(out) >= 4 or slurm.state(job)[0] in {"FAILED", "COMPLETED"})
    assert slurm.state(job)[0] == "RUNNING", log.read_text()
    slurm.ask("scancel", "--signal=USR1", job)
    slurm.until(lambda: slurm.state(job) == ("PENDING", 1) and slurm.idle())
    said = log.read_text()
    assert "SIGUSR1: finishing what is in flight" in said
    assert "not done (exit 130): queued again" in said
    before = steps(out)
    assert before >= 4
    time.sleep(3)  # slurmd refuses a credential that is no younger than the end of the last run, to the second
    slurm.ask("scontrol", "update", f"JobId={job}", "StartTime=now")
    slurm.until(lambda: slurm.state(job)[0] in {"FAILED", "COMPLETED"}, 300)
    assert slurm.state(job)[0] == "COMPLETED", log.read_text() + (slurm.folder / "slurmctld.log").read_text()[-3000:]
    (result,) = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    assert (result["ranks"], result["resumed_from"], len(result["hosts"])) == (2, before, 2)
    same(out, lesson.whole)


@pytest.fixture(scope="module")
def arena(tmp_path_factory, make_scene):
    return Arena.build(tmp_path_factory.mktemp("array"), make_scene)


def submit(slurm, arena, out, log, *asked, sleep):
    """Submit the array of `cluster/` and return the number of its job."""
    driver = driver_in(log.parent, SUPPORT / "fault_command.py")
    options = {"sleep": sleep, "TILESPEC": str(driver), "constants": QUICK}
    words = ["--parsable", "--array=1-2", "--cpus-per-task=1", f"--output={log}-%a", *asked, str(ARRAY)]
    return slurm.ask("sbatch", *words, arena.model, arena.scene, str(out), f"--overlap={OVERLAP}", **options).strip()


def ended(slurm, job):
    """Return whether no task of a job is left."""
    return slurm.ask("squeue", "-h", "-j", job, "-o", "%T").strip() == ""


def is_whole(arena, out):
    assert contents(out) == arena.whole
    assert leftovers(out) == []
    assert not Path(f"{out}.tilespec/joined").exists()


def test_an_array_of_jobs_predicts_what_one_process_does_though_one_is_cancelled_and_slurm_restarts(
    slurm, arena, tmp_path
):
    out, log = arena.folder / "cancelled", tmp_path / "log"
    job = submit(slurm, arena, out, log, sleep=0.15)
    slurm.until(lambda: records(out) >= 2)
    slurm.restart("slurmctld")
    slurm.ask("scancel", "--signal=KILL", "--full", f"{job}_1")
    slurm.until(lambda: ended(slurm, job), 200)
    said = [Path(f"{log}-{task}").read_text() for task in (1, 2)]
    assert '"status": "complete"' in said[1], said
    is_whole(arena, out)


def test_an_array_that_hits_its_limit_of_time_goes_on_with_the_next(slurm, arena, tmp_path):
    out, log = arena.folder / "limited", tmp_path / "log"
    job = submit(slurm, arena, out, log, "--time=2", "--signal=B:TERM@30", sleep=6.0)
    slurm.until(lambda: ended(slurm, job), 200)
    before = records(out)
    assert 0 < before < 19, [Path(f"{log}-{task}").read_text() for task in (1, 2)]
    assert not list(Path(f"{out}.tilespec").rglob("claim-*")), "what a job had claimed it gave back"
    slurm.until(slurm.idle)
    job = submit(slurm, arena, out, log, sleep=0.0)
    slurm.until(lambda: ended(slurm, job), 200)
    is_whole(arena, out)


def test_a_node_that_is_drained_and_a_job_that_is_queued_again_leave_a_whole_product(slurm, arena, tmp_path):
    out, log = arena.folder / "drained", tmp_path / "log"
    node = slurm.ask("sinfo", "-h", "-o", "%N").strip()
    job = submit(slurm, arena, out, log, sleep=0.5)
    slurm.until(lambda: records(out) >= 2 and all(task_state(slurm, job, n)[0] == "RUNNING" for n in (1, 2)))
    slurm.ask("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")
    slurm.ask("scontrol", "requeue", f"{job}_1")
    slurm.until(lambda: task_state(slurm, job, 1) == ("PENDING", 1))
    slurm.until(lambda: task_state(slurm, job, 2)[0] == "COMPLETED", 200)
    assert task_state(slurm, job, 1) == ("PENDING", 1), "nothing starts on a node that is drained"
    is_whole(arena, out)
    time.sleep(3)  # as above: a credential that is younger than the end of the last run
    slurm.ask("scontrol", "update", f"NodeName={node}", "State=RESUME")
    slurm.ask("scontrol", "update", f"JobId={job}_1", "StartTime=now")
    slurm.until(lambda: ended(slurm, job), 200)
    assert task_state(slurm, job, 1)[0] == "COMPLETED", Path(f"{log}-1").read_text()
    is_whole(arena, out)


def task_state(slurm, job, task):
    """Return the state of one task of an array, as `Slurm.state` does."""
    return slurm.state(f"{job}_{task}")
