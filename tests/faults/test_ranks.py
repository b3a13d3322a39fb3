"""Ranks are killed, their workers are, their command is told to stop: all end in bounded time, and it resumes."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from fault_processes import Cluster, Run, environment, tilespec
from fault_trainings import SLOW, Lesson, ended, launched, ranks_of, same, steps
from locations import ROOT

SCRIPT = ROOT / "cluster" / "torchrun.sh"


@pytest.fixture(scope="module")
def lesson(tmp_path_factory, make_scene):
    return Lesson.learned(tmp_path_factory.mktemp("lesson"), make_scene)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_ranks_are_killed_twice_and_stopped_once_and_one_alone_finishes_their_work(lesson):
    out = lesson.folder / "killed"
    run = lesson.run(out, "--ranks", 2, "--set", "train.restarts=1", sleep=SLOW)
    numbers = []
    for checkpoint in (4, 8):
        assert run.until(lambda least=checkpoint: steps(out) >= least and len(ranks_of(run)) == 2), run.err.read_text()
        numbers += ranks_of(run)
        os.kill(numbers[-1], signal.SIGKILL)
        if checkpoint == 4:
            assert run.until(lambda first=numbers[0]: not psutil.pid_exists(first)), "it resumes by itself, once"
    began = time.monotonic()
    code, _, errors = run.wait(60)
    assert (code, time.monotonic() - began < 30) == (3, True), errors
    assert "rank 1 on this machine was killed by SIGKILL" in errors
    ended(numbers)

    before = steps(out)
    run = lesson.run(out, "--ranks", 2, sleep=SLOW)
    assert run.until(lambda: len((out / "log.jsonl").read_text().splitlines()) > before + 1), run.err.read_text()
    run.process.send_signal(signal.SIGTERM)
    code, _, errors = run.wait(60)
    assert code == 130, errors
    assert "interrupted; run the same command again, it resumes" in errors
    assert steps(out) > before, "a checkpoint of the step at which it stopped"
    code, result, errors = tilespec(lesson.folder / "log", *lesson.command(out))
    assert code == 0, errors
    assert result["ranks"] == 1
    same(out, lesson.whole)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_command_that_is_killed_takes_its_ranks_along_and_blocks_nobody(lesson):
    out = lesson.folder / "orphans"
    run = lesson.run(out, "--ranks", 2, sleep=SLOW)
    assert run.until(lambda: steps(out) >= 4), run.err.read_text()
    numbers = ranks_of(run)
    os.kill(run.process.pid, signal.SIGKILL)
    ended(numbers)
    run.process.wait()
    code, result, errors = tilespec(lesson.folder / "log", *lesson.command(out))
    assert code == 0, errors
    assert result["resumed_from"] >= 4
    same(out, lesson.whole)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_workers_of_a_cluster_are_killed_and_the_training_resumes_by_command_and_by_itself(lesson):
    out = lesson.folder / "cluster"
    with Cluster.of(lesson.folder / "dask", 2, sleep=SLOW) as cluster:
        there = ["--cluster", cluster.address]
        run = lesson.run(out, *there)
        assert run.until(lambda: steps(out) >= 4), run.err.read_text()
        began, lost = time.monotonic(), kill_worker(cluster)
        code, _, errors = run.wait(90)
        assert (code, time.monotonic() - began < 45) == (3, True), errors
        assert "the same command resumes" in errors
        ended([lost])
        before = steps(out)
        run = lesson.run(out, *there, "--set", "train.restarts=1")
        assert run.until(lambda: steps(out) > before), run.err.read_text()
        kill_worker(cluster)
        code, result, errors = run.wait(150)
        assert code == 0, errors
    assert (result["ranks"], len(result["hosts"])) == (2, 2)
    assert result["resumed_from"] > before
    same(out, lesson.whole)


def torchrun(lesson, out, name, **variables):
    """Start the script of one machine."""
    paths = [lesson.folder / "log" / f"{name}.{kind}" for kind in ("out", "err")]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with paths[0].open("wb") as stdout, paths[1].open("wb") as stderr:
        process = subprocess.Popen(
            [str(SCRIPT), *map(str, lesson.command(out)[1:])],
            stdout=stdout,
            stderr=stderr,
            env=environment(PATH=path, HEAD="127.0.0.1", **{"sleep": SLOW, **variables}),
            start_new_session=True,
        )
    return Run(process=process, out=paths[0], err=paths[1])


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_torchrun_starts_all_ranks_again_when_one_is_killed_and_they_go_on(lesson):
    out = lesson.folder / "torchrun"
    run = torchrun(lesson, out, "torchrun", RANKS="2", PORT="29611", RESTARTS="1")
    assert run.until(lambda: steps(out) >= 4), run.err.read_text()
    os.kill(launched(run, 1), signal.SIGKILL)
    code, result, errors = run.wait(200)
    assert code == 0, errors
    assert (result["ranks"], result["resumed_from"] >= 4) == (2, True)
    same(out, lesson.whole)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_torchrun_goes_on_with_a_machine_more_and_when_that_is_lost_with_one_less(lesson):
    out, variables = lesson.folder / "elastic", {"NODES": "1:2", "RANKS": "1", "PORT": "29631", "RESTARTS": "2"}
    variables["sleep"] = 8 * SLOW  # a machine more needs its time to start
    first = torchrun(lesson, out, "elastic-first", **variables)
    assert first.until(lambda: steps(out) >= 4, 120), first.err.read_text()
    second = torchrun(lesson, out, "elastic-second", **variables)
    try:
        assert second.until(lambda: any(launched(second, rank) for rank in (0, 1)), 120), second.err.read_text()
        before = steps(out)
        assert first.until(lambda: steps(out) > before, 120), first.err.read_text() + second.err.read_text()
    finally:
        power_off(second)
    code, result, errors = first.wait(200)
    assert code == 0, errors
    assert (result["ranks"], result["resumed_from"] >= before) == (1, True)
    same(out, lesson.whole)


def power_off(run):
    """Kill a command and all that it started, at once."""
    found = psutil.Process(run.process.pid).children(recursive=True) if run.process.poll() is None else []
    for each in [run.process, *found]:
        with suppress(psutil.Error):
            each.kill()
    run.end()


def kill_worker(cluster):
    """Kill the worker beside which rank 1 runs; its nanny starts another. Return the number of the rank."""
    mine = {nanny.pid for nanny in cluster.nannies}
    seats = [
        found
        for found in psutil.process_iter(["cmdline"])
        if "tilespec.training.ranks.processes" in (found.info["cmdline"] or [])
    ]
    (seat,) = [
        seat for seat in seats if mine & {parent.pid for parent in seat.parents()} and seat.environ().get("RANK") == "1"
    ]
    seat.parent().kill()
    return seat.pid
