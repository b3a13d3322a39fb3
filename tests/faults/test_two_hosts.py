"""Two network namespaces as two hosts: ranks learn over the wire between them, lose it, lose each other, and resume.

Needs root and `ip` of iproute2; no packet leaves this machine.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from fault_processes import Run, environment, tilespec
from fault_trainings import SLOW, Lesson, same, steps
from locations import SUPPORT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
SILENCE = 6
ADDRESSES = ("10.77.231.1", "10.77.231.2")


def ip(*words):
    """Run ``ip WORDS``."""
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@pytest.fixture
def hosts():
    """Yield the names of two namespaces with a wire between them; their ends are called ``wire``."""
    names = [f"tilespec{os.getpid()}{side}" for side in "ab"]
    if not shutil.which("ip"):
        pytest.skip("no `ip` here: install iproute2")
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", "wire", "netns", names[0], "type", "veth", "peer", "name", "wire", "netns", names[1])
        for name, address in zip(names, ADDRESSES, strict=True):
            ip("-n", name, "address", "add", f"{address}/30", "dev", "wire")
            for link in ("wire", "lo"):
                ip("-n", name, "link", "set", link, "up")
    except subprocess.CalledProcessError as error:
        remove(names)
        pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
    yield names
    remove(names)


def remove(names):
    for name in names:
        with suppress(subprocess.CalledProcessError):
            ip("netns", "delete", name)


@pytest.fixture(scope="module")
def lesson(tmp_path_factory, make_scene):
    return Lesson.learned(tmp_path_factory.mktemp("lesson"), make_scene)


def start(lesson, hosts, out, port, sleep=0.0):
    """Start a rank on each host, as any launcher does; they find the interface by themselves."""
    logs = lesson.folder / "log"
    command = [*lesson.command(out, "--set", f"train.timeout={SILENCE}")]
    runs = []
    for rank, host in enumerate(hosts):
        place = {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": ADDRESSES[0], "MASTER_PORT": str(port)}
        paths = [logs / f"{port}-{rank}.{kind}" for kind in ("out", "err")]
        with paths[0].open("wb") as stdout, paths[1].open("wb") as stderr:
            process = subprocess.Popen(
                ["ip", "netns", "exec", host, sys.executable, str(SUPPORT / "fault_command.py"), *map(str, command)],
                stdout=stdout,
                stderr=stderr,
                env=environment(sleep=sleep, **place),
                start_new_session=True,
            )
        runs.append(Run(process=process, out=paths[0], err=paths[1]))
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
    ip("-n", hosts[0], "link", "set", "wire", "down")
    codes, _, errors = finished(runs, SILENCE + 30)
    assert codes == (3, 3), errors
    assert "no sign of rank 1" in errors[0]
    assert "no sign of rank 0" in errors[1]
    assert all("the same command resumes" in said for said in errors)

    ip("-n", hosts[0], "link", "set", "wire", "up")
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
