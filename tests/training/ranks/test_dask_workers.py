"""Ranks beside the workers of a Dask cluster: started there, heard, stopped, and ended with whatever ends."""

import os
import signal
import sys
import threading
import time

import psutil
import pytest
from locations import SUPPORT

from tilespec.cluster import connect
from tilespec.core.errors import IncompleteError, UserError
from tilespec.core.progress import Silent
from tilespec.storage.lock import locked
from tilespec.training.ranks import dask_workers, processes
from tilespec.training.ranks.dask_workers import RankTask, _device, on_workers, present, workers_for

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def client():
    with connect.local(2) as found:
        yield found


@pytest.fixture(autouse=True)
def bounded(monkeypatch):
    monkeypatch.setattr(processes, "GRACE", 2.0)
    monkeypatch.setattr(dask_workers, "GRACE", 2.0)
    assert str(SUPPORT) in sys.path, "workers import what the command imports"


def launch(client, place, function, *, stop=bool, progress=None, **arguments):
    """Run a function of `rank_work` on all workers, with the lock of a product that is made in a folder."""
    out = str(place / "model")
    hosts = present(client, 2, 2)
    with locked(out):
        work = RankTask(function=f"rank_work:{function}", arguments=arguments, out=out)
        return on_workers(client, hosts, work, progress=progress or Silent(), stop=stop)


def gone(numbers, seconds=10.0):
    """Return whether processes end in time."""
    limit = time.monotonic() + seconds
    while any(psutil.pid_exists(number) for number in numbers):
        if time.monotonic() > limit:
            return False
        time.sleep(0.05)
    return True


class Counted:
    def __init__(self):
        self.units = 0

    def say(self, text): ...

    def start(self, what, total, unit): ...

    def advance(self, units, note=""):
        self.units += units

    def finish(self): ...


def test_every_worker_is_a_rank_and_rank_0_answers(client, tmp_path):
    found = launch(client, tmp_path, "answer", value=[1, 2])
    assert found == {"value": [1, 2], "rank": 0, "world": 2}


def test_progress_of_rank_0_comes_through_the_cluster(client, tmp_path):
    counted = Counted()
    assert launch(client, tmp_path, "steps", number=50, progress=counted) == 50
    assert counted.units == 50


def test_ranks_meet_at_the_worker_of_rank_0(client, tmp_path):
    found = launch(client, tmp_path, "surroundings", names=["MASTER_ADDR", "MASTER_PORT", "OMP_WAIT_POLICY"])
    assert found["MASTER_ADDR"] == "127.0.0.1"
    assert int(found["MASTER_PORT"]) > 0
    assert found["OMP_WAIT_POLICY"] == "passive"


@pytest.mark.parametrize(
    ("function", "kind", "message"),
    [
        ("mistake", UserError, r"^scene: found this; expected that"),
        ("failure", RuntimeError, r"rank 1 on (.|\n)*ValueError: a bug"),
        ("die", IncompleteError, r"rank 1 on .* was killed by SIGKILL"),
    ],
)
def test_a_rank_that_ends_badly_ends_the_others(client, tmp_path, function, kind, message):
    with pytest.raises(kind, match=message):
        launch(client, tmp_path, function)


def test_a_worker_that_is_killed_takes_its_rank_along_and_comes_back_for_the_next(client, tmp_path):
    numbers = []

    def kill():
        while len(list(tmp_path.glob("alive-*"))) < 2:
            time.sleep(0.02)
        ranks = sorted(path.name.split("-") for path in tmp_path.glob("alive-*"))
        numbers.extend(int(number) for _, _, number in ranks)
        os.kill(psutil.Process(numbers[1]).ppid(), signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    with pytest.raises(IncompleteError, match=r"rank 1 on 127.0.0.1 is gone with its worker|was killed"):
        launch(client, tmp_path, "wait", folder=str(tmp_path))
    killer.join(10)
    assert gone(numbers)
    assert launch(client, tmp_path, "answer", value=0)["world"] == 2


def test_ranks_are_asked_to_stop_through_the_cluster(client, tmp_path):
    def stop():
        return len(list(tmp_path.glob("ready-*"))) == 2

    with pytest.raises(KeyboardInterrupt):
        launch(client, tmp_path, "obedient", folder=str(tmp_path), stop=stop)
    assert len(list(tmp_path.glob("checkpoint-*"))) == 2


def test_ranks_whose_command_lost_its_product_end(client, tmp_path):
    def steal():
        while len(list(tmp_path.glob("alive-*"))) < 2:
            time.sleep(0.02)
        (tmp_path / "model.tilespec" / "lock").unlink()

    thief = threading.Thread(target=steal, daemon=True)
    thief.start()
    with pytest.raises(IncompleteError):
        launch(client, tmp_path, "wait", folder=str(tmp_path))
    thief.join(10)
    assert gone([int(path.name.rpartition("-")[2]) for path in tmp_path.glob("alive-*")])


def test_fewer_workers_than_are_wanted_are_refused(client):
    with pytest.raises(UserError, match="--cluster: found 2 workers; expected 3, a rank on each"):
        workers_for(client, 3)
    assert len(workers_for(client, 1)) == 1
    assert len(workers_for(client, 0)) == 2


@pytest.mark.parametrize(("there", "batch", "ranks"), [(4, 8, 4), (3, 8, 2), (3, 6, 3), (2, 7, 1), (9, 8, 4)])
def test_workers_that_do_not_come_back_leave_as_many_ranks_as_share_a_batch(monkeypatch, there, batch, ranks):
    monkeypatch.setattr(dask_workers, "PATIENCE", 0.0)
    monkeypatch.setattr(dask_workers, "addresses", lambda _: [f"tcp://10.0.0.{n % 2}:{n}" for n in range(there)])
    hosts = present(None, 4, batch)
    assert len(hosts) == ranks
    assert [host.rpartition(":")[0] for host in hosts] == sorted(host.rpartition(":")[0] for host in hosts)


def test_nobody_left_is_unfinished_work(monkeypatch):
    monkeypatch.setattr(dask_workers, "PATIENCE", 0.0)
    monkeypatch.setattr(dask_workers, "addresses", lambda _: [])
    with pytest.raises(IncompleteError, match="no worker is left"):
        present(None, 2, 4)


def test_workers_that_are_threads_are_refused(monkeypatch):
    monkeypatch.setattr(dask_workers, "addresses", lambda _: ["inproc://1.2.3.4/5/6"])
    with pytest.raises(UserError, match="workers that are processes"):
        workers_for(None, 0)


@pytest.mark.parametrize(
    ("visible", "given", "device"),
    [
        (None, [None, None], {}),
        ("0,1", ["0,1", "0,1"], {}),
        ("1,0", ["0,1", "1,0"], {"CUDA_VISIBLE_DEVICES": "1"}),
        ("3", ["3"], {}),
    ],
)
def test_workers_that_were_given_different_gpus_keep_theirs(visible, given, device):
    assert _device(visible, given) == device
