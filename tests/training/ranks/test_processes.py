"""Ranks that are processes of this machine: started, heard, stopped, and ended with each other, in bounded time."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from locations import SUPPORT

from tilespec.core.errors import IncompleteError, UserError
from tilespec.training.ranks import processes
from tilespec.training.ranks.launchers import RankAddress
from tilespec.training.ranks.processes import ExitReport, RankProcess, again, outcome, run_processes

BOUND = 30.0
"""Seconds that are always enough on a busy machine, and never those of a hang."""


class Heard:
    def __init__(self):
        self.words, self.units = [], 0

    def say(self, text):
        self.words.append(text)

    def start(self, what, total, unit):
        self.words.append((what, total, unit))

    def advance(self, units, note=""):
        self.units += units

    def finish(self):
        self.words.append("finish")


@pytest.fixture(autouse=True)
def bounded(monkeypatch):
    monkeypatch.setattr(processes, "GRACE", 1.0)
    began = time.monotonic()
    yield
    assert time.monotonic() - began < BOUND


def test_rank_0_answers_for_all():
    assert run_processes("rank_work:answer", {"value": 3}, 2) == {"value": 3, "rank": 0, "world": 2}


def test_progress_of_rank_0_is_told_whole():
    heard = Heard()
    assert run_processes("rank_work:steps", {"number": 500}, 2, progress=heard) == 500
    assert heard.units == 500
    assert heard.words == [("train", 500, "steps"), "half", "finish"]


def test_a_rank_has_a_fair_share_of_threads_and_waits_passively(monkeypatch):
    names = ["OMP_NUM_THREADS", "OMP_WAIT_POLICY", "MASTER_ADDR"]
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setattr(processes, "cores", lambda: 7)
    assert run_processes("rank_work:surroundings", {"names": names}, 2) == dict(
        zip(names, ("3", "passive", "127.0.0.1"), strict=True)
    )
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert run_processes("rank_work:surroundings", {"names": names}, 2)["OMP_NUM_THREADS"] == "5"


def test_a_killed_rank_ends_the_others():
    with pytest.raises(
        IncompleteError, match=r"rank 1 on this machine was killed by SIGKILL.*the same command resumes"
    ):
        run_processes("rank_work:die", {}, 3)


def test_the_only_rank_killed_is_unfinished_work():
    with pytest.raises(IncompleteError, match="SIGKILL"):
        run_processes("rank_work:die", {"which": 0}, 1)


def test_a_rank_that_raises_ends_the_others_and_is_quoted():
    with pytest.raises(RuntimeError, match=r"rank 1 on this machine ended with code 1(.|\n)*ValueError: a bug"):
        run_processes("rank_work:failure", {}, 2)


def test_the_users_mistake_in_a_rank_is_the_users_mistake_here():
    with pytest.raises(UserError, match=r"^scene: found this; expected that. Do it.$"):
        run_processes("rank_work:mistake", {}, 2)


def test_a_function_that_is_not_there_is_told():
    with pytest.raises(UserError, match="no_such"):
        run_processes("rank_work:no_such", {}, 1)


def test_ranks_that_are_asked_to_stop_stop_in_order(tmp_path):
    def ready():
        return len(list(tmp_path.glob("ready-*"))) == 2

    with pytest.raises(KeyboardInterrupt):
        run_processes("rank_work:obedient", {"folder": str(tmp_path)}, 2, stop=ready)
    assert len(list(tmp_path.glob("checkpoint-*"))) == 2


def test_a_rank_that_is_asked_before_it_listens_has_stopped_too():
    def attempt():
        return run_processes("rank_work:wait", {}, 2, stop=lambda: True)

    with pytest.raises(KeyboardInterrupt):
        again(attempt, 3, Heard(), lambda: True)


def test_a_lost_rank_is_started_again_as_often_as_is_allowed(tmp_path):
    heard = Heard()

    def attempt():
        return run_processes("rank_work:die_once", {"folder": str(tmp_path)}, 2)

    assert again(attempt, 1, heard) == "done"
    (said,) = heard.words
    assert "rank 1 on this machine was killed by SIGKILL" in said
    assert "resumes by itself" in said
    (tmp_path / "died").unlink()
    with pytest.raises(IncompleteError):
        again(attempt, 0, heard)


def test_a_bug_is_not_tried_again():
    tries = []

    def attempt():
        tries.append(1)
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError):
        again(attempt, 3, Heard())
    assert tries == [1]


ORPHANS = """
import os, signal, sys, threading, time
sys.path.insert(0, sys.argv[2])
from tilespec.training.ranks.launchers import RankAddress
from tilespec.training.ranks.processes import RankProcess
for rank in range(2):
    place = RankAddress(rank=rank, world=2, address="127.0.0.1", port=9)
    RankProcess.start(place, "rank_work:wait", {"folder": sys.argv[1]}, local=2, path=sys.path)
while len(os.listdir(sys.argv[1])) < 2:
    time.sleep(0.02)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_ranks_do_not_outlive_who_started_them(tmp_path):
    command = [sys.executable, "-c", ORPHANS, str(tmp_path), str(SUPPORT)]
    assert subprocess.run(command, timeout=BOUND, check=False).returncode == -signal.SIGKILL
    numbers = [int(path.name.rpartition("-")[2]) for path in tmp_path.iterdir()]
    assert len(numbers) == 2
    limit = time.monotonic() + 10
    while any(Path(f"/proc/{number}").exists() for number in numbers):
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_a_rank_that_does_not_end_is_ended_from_here(tmp_path):
    rank_process = RankProcess.start(
        RankAddress(rank=0, world=2, address="a", port=1), "rank_work:wait", {}, local=1, path=sys.path
    )
    os.kill(rank_process.process.pid, signal.SIGSTOP)
    assert rank_process.running()
    rank_process.kill()
    assert (rank_process.ending().code, rank_process.ending().cut) == (-signal.SIGKILL, True)


def ended(rank, code, **others):
    return ExitReport(rank=rank, host="h", code=code, **others)


@pytest.mark.parametrize(
    ("endings", "kind", "message"),
    [
        ([ended(0, 3, text="lost"), ended(1, -9)], IncompleteError, "rank 1 on h was killed by SIGKILL"),
        ([ended(0, 3, text="lost"), ended(1, 2, text="yours")], UserError, "yours"),
        ([ended(0, -9, cut=True), ended(1, 1, text="bug")], RuntimeError, "bug"),
        ([ended(0, 3, text="lost it"), ended(1, 3, gone=True)], IncompleteError, "gone with its worker"),
        ([ended(0, -9, cut=True), ended(1, 3)], IncompleteError, "rank 0 on h did not end with the others"),
        ([ended(0, 130), ended(1, -9)], IncompleteError, "killed"),
        ([ended(0, 130), ended(1, 0)], KeyboardInterrupt, None),
        ([ended(0, 0, facts=1), ended(1, 3)], IncompleteError, "rank 1 on h lost another one"),
    ],
)
def test_what_came_first_is_told_not_what_followed_from_it(endings, kind, message):
    for order in (endings, endings[::-1]):
        with pytest.raises(kind, match=message):
            outcome(order)


def test_a_world_that_did_its_work_answers_with_rank_0():
    assert outcome([ended(1, 0, facts="no"), ended(0, 0, facts="yes")]) == "yes"


def test_what_a_rank_is_told_is_data(tmp_path):
    with pytest.raises(TypeError):
        json.dumps({"arguments": object()})
    with pytest.raises(TypeError, match="JSON"):
        run_processes("rank_work:answer", {"value": object()}, 1)
