"""The scheduler dies, or a tile kills every worker that touches it: the client ends in bounded time and says so."""

import os
import signal
import time
from contextlib import ExitStack, contextmanager, nullcontext

import pytest
import zarr
from fault_processes import Arena, Cluster, Run, contents, leftovers, predict, records, tilespec

from tilespec import api
from tilespec.cluster import connect as clusters
from tilespec.core.errors import IncompleteError
from tilespec.storage.audit import status, verify


@pytest.fixture(scope="module")
def arena(tmp_path_factory, make_scene):
    return Arena.build(tmp_path_factory.mktemp("loss"), make_scene)


@pytest.mark.timeout(300)
def test_a_scheduler_that_is_killed_ends_the_client_with_a_message_and_a_rerun_resumes(arena):
    out, logs = arena.folder / "orphan", arena.folder / "log"
    with Cluster.of(arena.folder / "cluster", 1, sleep=0.2) as cluster:
        run = Run.start(logs, *predict(arena, out, "--cluster", cluster.address))
        assert run.until(lambda: records(out) > 1), run.err.read_text()
        os.kill(cluster.scheduler.pid, signal.SIGKILL)
        began = time.monotonic()
        code, result, errors = run.wait(60)
        took = time.monotonic() - began
        assert (code, result) == (3, None), errors
        assert "the scheduler is lost; start it again and run the same command, it resumes" in errors
        assert took < 45
        said = status(out)
        assert (said["status"], said["lock"]) == ("writing", None)
        assert said["rows_done"] > 1
    code, result, errors = tilespec(logs, *predict(arena, out))
    assert code == 0, errors
    assert result["rows_done"] < said["rows"]
    assert contents(out) == arena.whole
    assert leftovers(out) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_cluster_without_any_worker_is_not_waited_for_for_ever(arena):
    out, logs = arena.folder / "alone", arena.folder / "log"
    with Cluster.of(arena.folder / "empty", 0) as cluster:
        began = time.monotonic()
        arguments = predict(arena, out, "--cluster", cluster.address)
        code, _, errors = tilespec(logs, *arguments, constants={"tilespec.cluster.submit.PATIENCE": 2.0})
    assert code == 3, errors
    assert "no worker is left since 2 s" in errors
    assert time.monotonic() - began < 45
    assert status(out)["lock"] is None


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_tile_that_kills_every_worker_is_named_and_the_other_parts_are_finished(arena, make_scene, tmp_path):
    scene = make_scene(tmp_path / "scene", *(600, 100, 8))
    zarr.open_group(scene, mode="r+")["cube"][8:10, 8:10] = 50.0
    api.repair(scene, accept=True)
    out, logs = tmp_path / "out", tmp_path / "log"
    arguments = ["predict", arena.model, scene, out, "--overlap", 16, "--json", "--quiet"]
    fewer = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}
    code, result, errors = tilespec(logs, *arguments, "--workers", 2, deadly=True, **fewer)
    assert code == 3, errors
    assert result["status"] == status(out)["status"] == "incomplete"
    (failed,) = result["failed"]
    assert failed["rows"][0] == 0
    assert failed["tile_rows"][0] == 0
    assert "killed" in failed["do"]
    missing = status(out)["panels"][0]["missing"]
    assert missing
    assert missing == list(range(len(missing)))
    assert max(missing) * 32 < failed["rows"][1]
    assert verify(out)["damaged"] == []
    code, result, errors = tilespec(logs, *arguments)
    assert code == 0, errors
    assert (result["rows_done"], result["status"]) == (len(missing), "complete")
    code, _, errors = tilespec(logs, *arguments[:3], tmp_path / "peace", *arguments[4:])
    assert code == 0, errors
    assert contents(out) == contents(tmp_path / "peace")
    assert leftovers(out) == []


@pytest.mark.parametrize("lost", [RuntimeError("Nanny failed to start."), OSError("Timed out trying to connect")])
@pytest.mark.parametrize("deaths", [1, 2, 3])
def test_workers_that_are_lost_while_they_start_are_started_again(monkeypatch, deaths, lost):
    tries, ended = iter([lost] * deaths + ["client"]), []

    @contextmanager
    def cluster(**options):
        assert options["n_workers"] == 2
        yield "cluster"
        ended.append("cluster")

    def client(of):
        assert of == "cluster"
        found = next(tries)
        if found is lost:
            raise lost
        return nullcontext(found)

    monkeypatch.setattr("distributed.LocalCluster", cluster)
    monkeypatch.setattr("distributed.Client", client)
    with ExitStack() as stack:
        if deaths < 3:
            assert clusters._started(stack, 2) == "client"
        else:
            with pytest.raises(IncompleteError, match=r"3 times in a row.*resumes"):
                clusters._started(stack, 2)
    assert ended == ["cluster"] * (1 if deaths < 3 else 0)
