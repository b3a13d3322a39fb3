"""Two network namespaces as two hosts: ranks learn over the wire between them, lose it, lose each other, and resume."""

import os
import signal
import time

import pytest
from fault_processes import tilespec
from fault_trainings import SLOW, Lesson, same, steps
from network_hosts import network

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
SILENCE = 6


@pytest.fixture
def hosts():
    with network(2) as found:
        yield found


@pytest.fixture(scope="module")
def lesson(tmp_path_factory, make_scene):
    return Lesson.learned(tmp_path_factory.mktemp("lesson"), make_scene)


def start(lesson, hosts, out, port, sleep=0.0):
    """Start a rank on each host, as any launcher does; they find the interface by themselves."""
    runs = []
    for rank, host in enumerate(hosts):
        place = {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": hosts[0].address, "MASTER_PORT": str(port)}
        runs.append(lesson.run(out, "--set", f"train.timeout={SILENCE}", within=host.within, sleep=sleep, **place))
    return runs


def finished(runs, seconds):
    """Return exit codes, answers and messages of ranks that must end in time."""
    began = time.monotonic()
    found = [run.wait(seconds) for run in runs]
    assert time.monotonic() - began < seconds
    return tuple(zip(*found, strict=True))


def test_ranks_of_two_hosts_lose_the_wire_and_each_other_and_what_they_learn_is_the_same(lesson, hosts):
    out, port = lesson.folder / "model", 29571
    runs = start(lesson, hosts, out, port, sleep=SLOW)
    assert runs[0].until(lambda: steps(out) >= 4), runs[0].err.read_text() + runs[1].err.read_text()
    hosts[0].cut()
    codes, _, errors = finished(runs, SILENCE + 30)
    assert codes == (3, 3), errors
    assert "no sign of rank 1" in errors[0]
    assert "no sign of rank 0" in errors[1]
    assert all("the same command resumes" in said for said in errors)

    hosts[0].mend()
    before = steps(out)
    runs = start(lesson, hosts, out, port + 1, sleep=SLOW)
    assert runs[0].until(lambda: steps(out) > before), runs[0].err.read_text() + runs[1].err.read_text()
    os.killpg(runs[1].process.pid, signal.SIGKILL)
    codes, _, errors = finished(runs, SILENCE + 30)
    assert codes == (3, -signal.SIGKILL), errors

    before = steps(out)
    runs = start(lesson, hosts, out, port + 2, sleep=SLOW)
    assert runs[0].until(lambda: steps(out) > before), runs[0].err.read_text() + runs[1].err.read_text()
    runs[1].process.send_signal(signal.SIGUSR1)  # told on one host, heard on both
    codes, _, errors = finished(runs, 60)
    assert codes == (130, 130), errors

    before = steps(out)
    code, result, errors = tilespec(lesson.folder / "log", *lesson.command(out))
    assert code == 0, errors
    assert (result["ranks"], result["resumed_from"]) == (1, before)
    same(out, lesson.whole)


def test_ranks_of_two_hosts_learn_as_one(lesson, hosts):
    out = lesson.folder / "undisturbed"
    codes, results, errors = finished(start(lesson, hosts, out, 29581), 120)
    assert codes == (0, 0), errors
    assert (results[0]["ranks"], len(results[0]["hosts"])) == (2, 2)
    assert results[1] is None, "rank 0 answers for all"
    same(out, lesson.whole)
