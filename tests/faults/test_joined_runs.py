"""Processes join on one output, are killed, fall silent and wake: the bytes are those of one undisturbed process."""

import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from fault_processes import Arena, Run, contents, leftovers, predict, records, tiles_in, tilespec
from object_store import VARIABLES, served
from object_store import contents as contents_of

from tilespec.storage.audit import verify

pytestmark = pytest.mark.timeout(300)
SLEEP = 0.03
QUICK = {
    "tilespec.storage.heartbeat.BEAT": 0.2,
    "tilespec.storage.heartbeat.TTL": 2.0,
    "tilespec.storage.joined.POLL": 0.1,
    "tilespec.storage.joined.TRIES": 50,
}
"""A silent process counts as dead after two seconds instead of two minutes."""


@pytest.fixture(scope="module")
def arena(tmp_path_factory, make_scene):
    return Arena.build(tmp_path_factory.mktemp("joined"), make_scene)


def start(arena, out, *extra, **options):
    """Start one more process of the same command."""
    names = {"log": Path(f"{arena.folder}/{Path(str(out)).name}.tiles"), "constants": QUICK, **options}
    rows = str(arena.folder / f"{Path(str(out)).name}.rows")
    return Run.start(arena.folder / "log", *predict(arena, out, "--join", *extra), CHAOS_ROWS=rows, **names)


def written(arena, out):
    """Return how often each row was recorded, by any process."""
    file = arena.folder / f"{Path(str(out)).name}.rows"
    return Counter(line.split()[0] for line in file.read_text().splitlines())


def wasted(arena, out):
    return tiles_in(Path(f"{arena.folder}/{Path(str(out)).name}.tiles")) - arena.tiles


def is_whole(arena, out):
    assert contents(out) == arena.whole
    assert leftovers(out) == []
    assert not (Path(f"{out}.tilespec") / "joined").exists()
    assert verify(out)["whole"]


@pytest.mark.parametrize("number", [*(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2)), 4])
def test_processes_that_join_write_the_bytes_of_one_and_nothing_twice(arena, number):
    out = arena.folder / f"of-{number}"
    runs = [start(arena, out, sleep=SLEEP) for _ in range(number)]
    results = []
    for run in runs:
        code, result, errors = run.wait()
        assert code == 0, errors
        assert result["status"] == "complete"
        results.append(result)
    is_whole(arena, out)
    assert set(written(arena, out).values()) == {1}
    assert sum(result["rows_done"] for result in results) == len(written(arena, out))
    assert sum(result["tiles_wasted"] for result in results) == 0
    # both sides of a border evaluate its tiles when they run at the same time: the strips are not there yet
    assert 0 <= wasted(arena, out) <= arena.tiles // 2
    code, result, errors = tilespec(arena.folder / "log", *predict(arena, out, "--join"))
    assert code == 0, errors
    assert (result["tiles"], result["status"]) == (0, "complete")


def test_a_frozen_process_is_replaced_and_when_it_wakes_it_writes_nothing(arena):
    out, gate = arena.folder / "frozen", arena.folder / "frozen.gate"
    gate.write_text("20")
    frozen = start(arena, out, sleep=SLEEP, gate=gate)
    assert frozen.until(lambda: tiles_in(arena.folder / "frozen.tiles") >= 20), frozen.err.read_text()
    frozen.process.send_signal(signal.SIGSTOP)
    gate.unlink()
    before = records(out)
    other = start(arena, out, sleep=SLEEP)
    assert other.until(lambda: records(out) > before + 2)
    time.sleep(1)
    frozen.process.send_signal(signal.SIGCONT)
    code, _, errors = other.wait()
    assert code == 0, errors
    code, _, errors = frozen.wait()
    assert code in {0, 3}, errors
    assert code == 0 or "has taken over" in errors
    is_whole(arena, out)
    assert set(written(arena, out).values()) == {1}


def test_a_process_that_is_told_to_stop_gives_back_what_it_claimed(arena):
    out = arena.folder / "told"
    runs = [start(arena, out, sleep=2 * SLEEP) for _ in range(2)]
    rows = arena.folder / "told.rows"
    wrote = lambda: rows.exists() and f" {runs[0].process.pid}\n" in rows.read_text()  # noqa: E731 - a condition
    assert runs[0].until(wrote), runs[0].err.read_text()
    runs[0].process.send_signal(signal.SIGTERM)
    code, _, errors = runs[0].wait()
    assert code == 130, errors
    code, result, errors = runs[1].wait()
    assert code == 0, errors
    assert result["status"] == "complete", "a signal to one is none to the others"
    is_whole(arena, out)
    assert set(written(arena, out).values()) == {1}


@pytest.mark.slow
def test_a_process_with_workers_joins_too(arena):
    out = arena.folder / "workers"
    runs = [start(arena, out, "--workers", workers, sleep=SLEEP) for workers in (2, 0)]
    for run in runs:
        code, result, errors = run.wait()
        assert code == 0, errors
        assert result["status"] == "complete"
    is_whole(arena, out)


def disturb(arena, out, seed, see=contents, begin=start, **options):
    """Start one to four processes, kill some, freeze one, let new ones come; return what happened."""
    rng = random.Random(seed)
    runs = [begin(arena, out, sleep=SLEEP, **options) for _ in range(rng.choice([1, 2, 4]))]
    frozen, killed = None, 0
    for _ in range(rng.randint(1, 3)):
        time.sleep(rng.uniform(0, 2.0) if killed else rng.uniform(2.0, 5.0))
        living = [run for run in runs if run.process.poll() is None and run is not frozen]
        if not living:
            break
        victim = rng.choice(living)
        if frozen is None and rng.random() < 0.25:
            frozen = victim
            victim.process.send_signal(signal.SIGSTOP)
        else:
            os.kill(victim.process.pid, signal.SIGKILL)
            victim.process.wait()
            killed += 1
    runs.append(begin(arena, out, **options))
    if frozen is not None:
        time.sleep(2.5)
        frozen.process.send_signal(signal.SIGCONT)
    codes = [run.wait()[0] for run in runs]
    assert codes[-1] == 0, runs[-1].err.read_text()
    assert set(codes) <= {0, 3, -signal.SIGKILL}
    assert see(str(out)) == arena.whole
    return {"seed": seed, "runs": len(runs), "killed": killed, "frozen": frozen is not None}


@pytest.mark.slow
def test_processes_that_are_killed_while_others_work_change_no_byte(arena):
    seen = disturb(arena, arena.folder / "killed", 3)
    assert seen["killed"]
    is_whole(arena, arena.folder / "killed")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_forty_times_processes_are_killed_and_frozen_at_random_moments(arena):
    seen = []
    for seed in range(100, 140):
        out = arena.folder / f"run-{seed}"
        seen.append(disturb(arena, out, seed) | {"wasted": wasted(arena, out)})
        is_whole(arena, out)
        twice = [count for count in written(arena, out).values() if count > 1]
        seen[-1]["twice"] = len(twice)
        sys.stdout.write(f"{seen[-1]}\n")
        shutil.rmtree(out)
    assert sum(run["killed"] for run in seen) >= 20, "too few were killed while they worked"
    assert any(run["frozen"] for run in seen)
    assert sum(run["twice"] for run in seen) == 0, "a row was recorded by two processes"


@pytest.fixture(scope="module")
def bucket():
    with served() as port:
        yield {**VARIABLES, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}


@pytest.fixture
def in_bucket(bucket, monkeypatch):
    from tilespec.storage.backends.buckets import client

    for name, value in bucket.items():
        monkeypatch.setenv(name, value)
    import urllib.request

    name = "joined-runs"
    request = urllib.request.Request(f"{bucket['AWS_ENDPOINT_URL']}/{name}", method="PUT")
    urllib.request.urlopen(request).read()
    client(name)
    return f"s3://{name}"


@pytest.mark.slow
def test_processes_join_on_a_bucket_and_are_killed_there(arena, in_bucket):
    seen = disturb(arena, f"{in_bucket}/out", 5, see=contents_of)
    assert seen["killed"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_ten_times_on_a_bucket(arena, in_bucket):
    for seed in range(200, 210):
        sys.stdout.write(f"{disturb(arena, f'{in_bucket}/out-{seed}', seed, see=contents_of)}\n")
