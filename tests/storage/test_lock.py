"""The lock of a product: one writer, no stale lock that blocks, no living one that is broken."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tilespec.core.errors import UserError
from tilespec.storage import heartbeat
from tilespec.storage.backends.folder import FolderPath
from tilespec.storage.backends.paths import store_path
from tilespec.storage.heartbeat import TTL
from tilespec.storage.lock import holder, locked

HOLD = """
import sys, time
from tilespec.storage.lock import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""
RACE = """
import sys, time
from pathlib import Path
from tilespec.core.errors import UserError
from tilespec.storage.lock import locked
out, start = sys.argv[1], Path(sys.argv[2])
print("ready", flush=True)
while not start.exists():
    pass
try:
    with locked(out):
        print("won", flush=True)
        time.sleep(1)
except UserError:
    print("refused", flush=True)
"""


@contextmanager
def another_process(out):
    """Hold the lock of ``out`` in a second process."""
    run = subprocess.Popen([sys.executable, "-c", HOLD, str(out)], stdout=subprocess.PIPE, text=True)
    assert run.stdout.readline() == "held\n"
    try:
        yield run
    finally:
        run.kill()
        run.communicate()


def write_lock(out, **facts):
    """Leave the lock of a run that is not there."""
    folder = out.with_name(f"{out.name}.tilespec")
    folder.mkdir(exist_ok=True)
    (folder / "lock").write_text(json.dumps({**heartbeat.identity(), "token": "t", **facts}))
    return folder / "lock"


def a_dead_pid():
    run = subprocess.Popen(["true"])
    run.wait()
    return run.pid


def test_a_second_run_is_refused_while_the_first_lives_and_told_who_it_is(tmp_path):
    with another_process(tmp_path / "p") as run:
        with pytest.raises(UserError, match=rf"found another run that writes it: process {run.pid} on "):  # noqa: SIM117
            with locked(str(tmp_path / "p")):
                pass
        assert holder(str(tmp_path / "p"))["alive"] is True
        assert run.poll() is None


def test_a_holder_that_is_stopped_for_a_while_still_holds(tmp_path):
    with another_process(tmp_path / "p") as run:
        run.send_signal(signal.SIGSTOP)
        os.utime(tmp_path / "p.tilespec" / "lock", (1e9, 1e9))
        with pytest.raises(UserError, match="one run at a time"), locked(str(tmp_path / "p")):
            pass
        run.send_signal(signal.SIGCONT)


def test_the_lock_of_a_run_that_was_killed_is_broken_at_once(tmp_path):
    with another_process(tmp_path / "p") as run:
        run.kill()
        run.wait()
        assert holder(str(tmp_path / "p"))["alive"] is False
        with locked(str(tmp_path / "p")):
            assert holder(str(tmp_path / "p"))["pid"] == os.getpid()
    assert holder(str(tmp_path / "p")) is None


def test_a_killed_run_that_nobody_has_waited_for_is_gone_all_the_same(tmp_path):
    with another_process(tmp_path / "p") as run:
        run.kill()
        until = time.monotonic() + 10
        while holder(str(tmp_path / "p"))["alive"] and time.monotonic() < until:
            time.sleep(0.01)
        with locked(str(tmp_path / "p")):
            pass


def test_a_process_number_that_was_given_away_again_is_no_holder(tmp_path):
    write_lock(tmp_path / "p", pid=os.getpid(), started="1")
    with locked(str(tmp_path / "p")):
        pass


def test_a_dead_process_is_no_holder(tmp_path):
    write_lock(tmp_path / "p", pid=a_dead_pid())
    with locked(str(tmp_path / "p")):
        pass


@pytest.mark.parametrize(("age", "free"), [(0, False), (TTL / 2, False), (TTL + 5, True), (-3600, False)])
def test_a_holder_elsewhere_is_judged_by_its_heartbeat(tmp_path, age, free):
    lock = write_lock(tmp_path / "p", host="elsewhere", realm="elsewhere boot ns", pid=os.getpid())
    seen = time.time() - age
    os.utime(lock, (seen, seen))
    assert holder(str(tmp_path / "p"))["alive"] is not free
    if free:
        with locked(str(tmp_path / "p")):
            assert holder(str(tmp_path / "p"))["host"] != "elsewhere"
    else:
        with (
            pytest.raises(UserError, match=r"on elsewhere, last seen \d+ s ago.*remove .*lock"),
            locked(str(tmp_path / "p")),
        ):
            pass


@pytest.mark.parametrize("jump", [-1e6, 1e6])
def test_a_clock_that_jumps_breaks_no_living_lock(tmp_path, monkeypatch, jump):
    """Ages are differences of two times by the file system's clock."""
    write_lock(tmp_path / "p", host="elsewhere", realm="elsewhere boot ns")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + jump)
    assert holder(str(tmp_path / "p"))["alive"] is True
    assert abs(holder(str(tmp_path / "p"))["age"]) < 60


def test_a_lock_that_is_just_being_written_is_alive_and_a_torn_one_only_for_a_while(tmp_path):
    lock = write_lock(tmp_path / "p")
    lock.write_text("{")
    with pytest.raises(UserError, match="one run at a time"), locked(str(tmp_path / "p")):
        pass
    old = time.time() - TTL - 5
    os.utime(lock, (old, old))
    with locked(str(tmp_path / "p")):
        pass


def test_of_many_that_find_a_stale_lock_only_one_wins(tmp_path):
    write_lock(tmp_path / "p", pid=a_dead_pid())
    command = [sys.executable, "-c", RACE, str(tmp_path / "p"), str(tmp_path / "start")]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for run in runs:
        assert run.stdout.readline() == "ready\n"
    (tmp_path / "start").touch()
    assert sorted(run.communicate()[0].strip() for run in runs) == ["refused"] * 3 + ["won"]
    assert holder(str(tmp_path / "p")) is None


def test_of_many_threads_only_one_wins_time_after_time(tmp_path):
    """Here the breakers are as close together as they can be."""
    for _ in range(20):
        write_lock(tmp_path / "p", pid=a_dead_pid())
        gate, inside = threading.Barrier(4), []

        def attempt(gate=gate, inside=inside):
            gate.wait()
            try:
                with locked(str(tmp_path / "p")):
                    inside.append(1)
                    time.sleep(0.02)
                    assert len(inside) == 1
                    inside.pop()
            except UserError:
                return False
            return True

        with ThreadPoolExecutor(4) as pool:
            won = [future.result() for future in [pool.submit(attempt) for _ in range(4)]]
        assert any(won)


def test_a_verb_that_calls_another_on_the_same_product_holds_one_lock(tmp_path):
    with locked(str(tmp_path / "p")):
        with locked(str(tmp_path / "p") + "/"):
            pass
        assert holder(str(tmp_path / "p"))["alive"] is True
        with locked(str(tmp_path / "other")):
            pass


def test_the_lock_goes_with_an_error_and_leaves_nothing_where_nothing_was(tmp_path):
    with pytest.raises(KeyboardInterrupt), locked(str(tmp_path / "p")):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_was_broken_and_is_another_s_is_not_removed(tmp_path):
    with locked(str(tmp_path / "p")):
        write_lock(tmp_path / "p", token="another")
    assert json.loads((tmp_path / "p.tilespec" / "lock").read_text())["token"] == "another"


def test_the_heart_beats_until_the_lock_is_another_s(tmp_path, monkeypatch):
    monkeypatch.setattr(heartbeat, "BEAT", 0.02)
    lock = tmp_path / "p.tilespec" / "lock"
    with locked(str(tmp_path / "p")):
        os.utime(lock, (1e9, 1e9))
        until = time.monotonic() + 5
        while lock.stat().st_mtime < 1.1e9 and time.monotonic() < until:
            time.sleep(0.01)
        assert lock.stat().st_mtime > 1.1e9
        while not store_path(lock).swap(b'{"token": "another"}', store_path(lock).tag()):
            pass
        time.sleep(0.1)
        os.utime(lock, (1e9, 1e9))
        time.sleep(0.1)
        assert lock.stat().st_mtime == 1e9


def test_taking_the_lock_sweeps_what_killed_writers_left_and_nothing_else(tmp_path):
    folder, chunk = tmp_path / "p.tilespec", tmp_path / "p" / "cube" / "c" / "0"
    for place in (folder, chunk):
        place.mkdir(parents=True)
    (folder / "settings.json").write_text("{}")
    stray = [chunk / f"0.{'a' * 32}.partial", folder / "row-000001.json.123.partial"]
    kept = [chunk / "0", tmp_path / "p" / "raw.bil.partial", tmp_path / "p" / "notes.partial"]
    for path in stray + kept:
        path.touch()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / f"0.{'b' * 32}.partial").touch()
    (tmp_path / "p" / "link").symlink_to(outside)
    with locked(str(tmp_path / "p")):
        assert not any(path.exists() for path in stray)
    assert all(path.exists() for path in kept)
    assert len(list(outside.iterdir())) == 1


def test_a_folder_that_no_run_began_is_not_swept(tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / f"thesis.{'a' * 32}.partial").touch()
    with locked(str(tmp_path / "p")):
        pass
    assert len(list((tmp_path / "p").iterdir())) == 1


def test_a_file_system_without_locks_of_its_own_still_lets_one_in(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", none)
    with another_process(tmp_path / "p"), pytest.raises(UserError, match="one run"), locked(str(tmp_path / "p")):
        pass
    with locked(str(tmp_path / "q")):
        pass


def test_a_product_behind_a_link_has_the_lock_of_what_the_link_points_to(tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "p")
    with another_process(tmp_path / "p"), pytest.raises(UserError, match="one run"), locked(str(tmp_path / "link")):
        pass


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_lock_that_a_full_disk_does_not_take_is_not_left_empty(tmp_path, monkeypatch):
    opened = FolderPath.open

    def full(path, mode="r", *how, **named):
        file = opened(path, mode, *how, **named)
        if mode != "xb":
            return file
        file.close()
        return Path("/dev/full").open("wb")

    with monkeypatch.context() as disk:
        disk.setattr(FolderPath, "open", full)
        with pytest.raises(OSError, match="No space"), locked(str(tmp_path / "p")):
            pass
    with locked(str(tmp_path / "p")):
        pass
