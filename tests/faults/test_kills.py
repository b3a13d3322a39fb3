"""Processes are killed at random moments; the same command ends the work, bit for bit as if nothing had happened."""

import os
import random
import shutil
import signal
import sys
import time
from statistics import mean

import psutil
import pytest
from fault_processes import Arena, Cluster, Run, contents, leftovers, predict, records, tiles_in, tilespec

from tilespec.storage.audit import verify

SLEEP = 0.06
"""Seconds that the net takes for a tile row: an undisturbed run works for 1.2 s on two lanes."""
EARLY = 0.2
"""Share of the kills that may come before the first tile: while the product, or the workers, begin."""
LATE = {True: 1.0, False: 0.1}
"""Seconds after that moment, early or not, at most: rows are written, but no tile more is answered, so that the run
cannot end."""
RUNS = 50
WASTE = 0.25
"""Share of the tiles evaluated twice, at most, in the mean: in flight are four batches and three rows of objects of
each process, which is much of so small a scene. Measured 0.12."""


@pytest.fixture(scope="module")
def arena(tmp_path_factory, make_scene):
    return Arena.build(tmp_path_factory.mktemp("kills"), make_scene)


def strike(run, victim, cluster=None):
    """Kill the victim; return whether there was one."""
    if run.process.poll() is not None:
        return False
    if victim == "client":
        os.kill(run.process.pid, signal.SIGKILL)
    elif victim == "all":
        os.killpg(run.process.pid, signal.SIGKILL)
    elif victim == "nanny":
        cluster.kill_nanny(0)
        cluster.add()
    else:
        workers = run.workers()
        if not workers:
            return False
        os.kill(workers[0], signal.SIGKILL)
    return True


def say(what):
    """Tell what a long run did (`pytest -s`)."""
    sys.stdout.write(f"{what}\n")


def gone(pids, timeout=10):
    """Return whether all processes end by themselves."""
    limit = time.monotonic() + timeout
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids):
        if time.monotonic() > limit:
            return False
        time.sleep(0.02)
    return True


def disturb(arena, name, victim, seed, cluster=None):
    """Kill a run, let another one finish it; return what happened and how many tiles were evaluated in vain."""
    rng = random.Random(seed)
    out, logs = arena.folder / name, arena.folder / f"{name}.log"
    log = arena.folder / f"{name}.tiles" if cluster is None else cluster.options["log"]
    before, gate = tiles_in(log), arena.folder / "gate"
    workers = rng.choice([0, 2]) if victim == "client" else 2
    where = ["--workers", workers] + ([] if cluster is None else ["--cluster", cluster.address])
    early, tile = rng.random() < EARLY, rng.randrange(1, arena.tiles)
    moment = rng.uniform(0, LATE[early])
    gate.write_text(str(before + tile))
    run = Run.start(logs, *predict(arena, out, *where), sleep=SLEEP, log=log, gate=gate)
    begun = run.workers if victim == "worker" else (arena.folder / f"{name}.tilespec" / "command.json").exists
    alive = run.until(begun if early else lambda: tiles_in(log) >= before + tile)
    time.sleep(moment)
    done, pids = records(out), run.workers()
    hit = alive and strike(run, victim, cluster)
    gate.unlink()
    if victim in {"client", "all"}:
        run.process.wait(60)
        assert gone(pids), "workers outlive the process that started them"
        run.end()
    else:
        code, _, errors = run.wait(100)
        assert code == 0, errors
    again = rng.choice([n for n in (0, 1, 2) if n != workers])
    code, result, errors = tilespec(logs, *predict(arena, out, "--workers", again), log=log)
    assert code == 0, errors
    assert result["status"] == "complete"
    assert contents(out) == arena.whole
    assert leftovers(out) == []
    found = verify(out)
    assert found["whole"]
    assert not found["unrecorded"]
    seen = {"victim": victim, "workers": f"{workers}>{again}", "early": early, "tile": tile, "hit": hit}
    return {**seen, "rows": done, "wasted": tiles_in(log) - before - arena.tiles}


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("victim", "seed"),
    [("client", 3), *(pytest.param(*one, marks=pytest.mark.slow) for one in [("worker", 1), ("all", 5)])],
)
def test_a_run_that_is_killed_and_resumed_equals_an_undisturbed_one(arena, victim, seed):
    seen = disturb(arena, f"{victim}-{seed}", victim, seed)
    assert seen["hit"], "the run ended before it was killed"
    assert 0 <= seen["wasted"] < arena.tiles


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_fifty_runs_killed_at_random_moments_are_fifty_times_the_same_bytes(arena):
    victims = ["client", "worker", "all", "nanny", "client"] * (RUNS // 5)
    seen = []
    options = {"sleep": SLEEP, "log": arena.folder / "cluster.tiles", "gate": arena.folder / "gate"}
    with Cluster.of(arena.folder / "cluster", 2, **options) as cluster:
        for seed, victim in enumerate(victims, 100):
            seen.append(disturb(arena, f"run-{seed}", victim, seed, cluster if victim == "nanny" else None))
            shutil.rmtree(arena.folder / f"run-{seed}")
            say(seen[-1])
    hits = [run for run in seen if run["hit"]]
    say(f"{len(seen)} runs, {len(hits)} hit; {arena.tiles} tiles each")
    for victim in sorted(set(victims)):
        wasted = [run["wasted"] for run in hits if run["victim"] == victim]
        say(f"{victim:7} {len(wasted):2} kills, tiles in vain: mean {mean(wasted):.1f}, at most {max(wasted)}")
    assert len(hits) >= 0.8 * RUNS, "too few runs were killed while they worked"
    assert mean(run["wasted"] for run in hits) < WASTE * arena.tiles
