"""Ctrl-C and SIGTERM with workers: what is in flight is finished, the ledger is true, the same command resumes."""

import os
import signal
import time
from pathlib import Path

import pytest
from fault_processes import Arena, Run, contents, leftovers, predict, records, tilespec

from tilespec.storage.audit import status, verify


@pytest.fixture(scope="module")
def arena(tmp_path_factory, make_scene):
    return Arena.build(tmp_path_factory.mktemp("signals"), make_scene)


def terminal(run):
    """Send Ctrl-C as a terminal does: to every process of the group."""
    os.killpg(run.process.pid, signal.SIGINT)


def asked(run):
    """Send SIGTERM as a batch system or `kill` does: to the command alone."""
    run.process.send_signal(signal.SIGTERM)


@pytest.mark.timeout(300)
@pytest.mark.slow
@pytest.mark.parametrize("send", [terminal, asked])
def test_a_signal_lets_workers_end_what_is_in_flight_and_the_run_resumes(arena, send):
    out, logs = arena.folder / send.__name__, arena.folder / "log"
    run = Run.start(logs, *predict(arena, out, "--workers", 2), sleep=0.15)
    assert run.until(lambda: records(out) > 1)
    send(run)
    code, result, errors = run.wait(60)
    assert (code, result) == (130, None)
    assert "finishing what is in flight; once more to stop at once" in errors
    assert "interrupted; run the same command again, it resumes" in errors
    assert "Traceback" not in errors
    code, said, errors = tilespec(logs, "status", out, "--json")
    assert code == 0, errors
    assert (said["status"], said["rows_in_flight"], said["lock"]) == ("writing", 0, None)
    assert 1 < said["rows_done"] < said["rows"]
    found = verify(out)
    assert (found["intact"], found["whole"], found["unrecorded"]) == (True, False, [])
    code, result, errors = tilespec(logs, *predict(arena, out))
    assert code == 0, errors
    assert result["rows_done"] == said["rows_missing"], "only what was missing is computed"
    assert contents(out) == arena.whole
    assert leftovers(out) == []


@pytest.mark.timeout(300)
def test_a_second_signal_ends_workers_at_once_and_the_run_resumes(arena):
    out, logs, log = arena.folder / "twice", arena.folder / "log", arena.folder / "twice.tiles"
    run = Run.start(logs, *predict(arena, out, "--workers", 2), sleep=60.0, log=log)
    assert run.until(log.exists), "a worker evaluates"
    terminal(run)
    assert run.until((Path(f"{out}.tilespec") / "stop").exists, timeout=20), run.err.read_text()
    assert run.process.poll() is None
    began = time.monotonic()
    terminal(run)
    code, _, errors = run.wait(50)
    took = time.monotonic() - began
    assert code == 130, errors
    assert took < 40, "batches of 60 s in flight were not waited for"
    assert "Traceback" not in errors
    assert status(out)["lock"] is None
    code, _, errors = tilespec(logs, *predict(arena, out))
    assert code == 0, errors
    assert contents(out) == arena.whole
    assert leftovers(out) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_signal_while_workers_start_spares_them_and_a_later_one_ends_the_run(arena):
    out, logs = arena.folder / "early", arena.folder / "log"
    run = Run.start(logs, *predict(arena, out, "--workers", 2))
    assert run.until(lambda: len(run.workers()) == 2)
    time.sleep(0.3)
    terminal(run)
    assert run.until(lambda: records(out), timeout=60), run.err.read_text()
    terminal(run)
    code, _, errors = run.wait(60)
    assert code == 130
    assert "Traceback" not in errors
    assert status(out)["lock"] is None
