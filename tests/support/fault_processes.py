"""Real processes, and ways to end them: what the tests of faults share."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from locations import SUPPORT
from untrained_models import save_model

from tilespec.core.registry import from_user

OBJECT = 32
TILE, OVERLAP = 32, 16
SHAPE = (600, 100, 8)
"""37 tile rows of 6 tiles, 19 rows of 4 objects."""
NET = {"name": from_user("fault_nets:Slow")}


def environment(*, sleep=0.0, log=None, gate=None, deadly=False, constants=None, **others):
    """Return the environment of a command with small objects, one thread, and the nets of this folder."""
    chosen = {
        "PYTHONPATH": os.pathsep.join([str(SUPPORT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "OMP_NUM_THREADS": "1",
        "CHAOS_SLEEP": str(sleep),
        "CHAOS_SET": json.dumps({"tilespec.predict.output_store.OBJECTS": [OBJECT], **(constants or {})}),
    }
    if log is not None:
        chosen["CHAOS_LOG"] = str(log)
    if gate is not None:
        chosen["CHAOS_GATE"] = str(gate)
    if deadly:
        chosen["CHAOS_DEADLY"] = "1"
    return {**os.environ, **chosen, **others}


@dataclass(kw_only=True)
class Run:
    """A command that runs, in a session (and process group) of its own."""

    process: subprocess.Popen
    out: Path
    """Where its stdout goes: a file, which no orphan keeps open."""
    err: Path

    @classmethod
    def start(cls, folder, *arguments, within=(), **options):
        """Start ``tilespec ARGUMENTS``; ``within`` is what the command begins with, such as that of another host."""
        folder.mkdir(exist_ok=True)
        number = len(list(folder.glob("*.err")))
        out, err = folder / f"{number}.out", folder / f"{number}.err"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [*within, sys.executable, str(SUPPORT / "fault_command.py"), *map(str, arguments)],
                stdout=stdout,
                stderr=stderr,
                env=environment(**options),
                start_new_session=True,
            )
        return cls(process=process, out=out, err=err)

    def wait(self, timeout=100):
        """Return exit code, what ``--json`` printed (None: nothing), and stderr."""
        try:
            code = self.process.wait(timeout)
        finally:
            self.end()
        text = self.out.read_text()
        return code, json.loads(text) if text.startswith("{") else None, self.err.read_text()

    def until(self, condition, timeout=60):
        """Wait until a condition holds; return False when the command ended before."""
        limit = time.monotonic() + timeout
        while not condition():
            if self.process.poll() is not None:
                return False
            assert time.monotonic() < limit, f"nothing happened in {timeout} s: {self.err.read_text()}"
            time.sleep(0.005)
        return True

    def workers(self):
        """Return the numbers of the worker processes."""
        try:
            children = psutil.Process(self.process.pid).children(recursive=True)
            return [child.pid for child in children if "spawn_main" in " ".join(child.cmdline())]
        except psutil.Error:
            return []

    def end(self):
        """Kill the whole process group: nothing of a test outlives it."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def tilespec(folder, *arguments, timeout=100, **options):
    """Run ``tilespec ARGUMENTS``; return exit code, what ``--json`` printed, stderr."""
    return Run.start(folder, *arguments, **options).wait(timeout)


def predict(arena, out, *extra):
    """Return the arguments that predict the arena's scene."""
    return ["predict", arena.model, arena.scene, out, "--overlap", OVERLAP, "--json", "--quiet", *extra]


@dataclass(frozen=True, kw_only=True)
class Arena:
    """A scene, a model, and what an undisturbed run makes of them."""

    folder: Path
    scene: str
    model: str
    whole: dict
    """Bytes of the undisturbed store."""
    tiles: int
    """Tiles that an undisturbed run evaluates."""

    @classmethod
    def build(cls, folder, make_scene, shape=SHAPE):
        """Write scene and model, and predict once, in peace."""
        scene = make_scene(folder / "scene", *shape)
        model = save_model(folder / "model", scene, net=NET, tile=TILE)
        bare = cls(folder=folder, scene=scene, model=model, whole={}, tiles=0)
        code, result, errors = tilespec(folder / "log", *predict(bare, folder / "whole"), log=folder / "tiles")
        assert code == 0, errors
        tiles = tiles_in(folder / "tiles")
        assert tiles == result["tiles"] == result["tiles_planned"]
        return cls(folder=folder, scene=scene, model=model, whole=contents(folder / "whole"), tiles=tiles)


def tiles_in(log):
    """Return how many tiles the net was asked for, in all processes that wrote to a log."""
    return len(Path(log).read_bytes().splitlines()) if Path(log).exists() else 0


def contents(url):
    """Return the bytes of every file of a store, by key."""
    return {p.relative_to(url).as_posix(): p.read_bytes() for p in Path(url).rglob("*") if p.is_file()}


def records(out):
    """Return how many rows of objects are recorded."""
    return len(list(Path(f"{out}.tilespec").rglob("row-*.json")))


def leftovers(out):
    """Return what no finished run may leave: temporary names, markers, strips, locks."""
    kinds = ("*.partial", "*.writing", "*.taken", "strips", "lock", "lock.guard", "clock.*", "stop", "mend.json")
    places = (Path(out), Path(f"{out}.tilespec"))
    return sorted(str(found) for place in places for kind in kinds for found in place.rglob(kind))


@dataclass(frozen=True, kw_only=True)
class Loopback:
    """This machine, where nothing leaves it; `network_hosts.Host` is another one."""

    address: str = "127.0.0.1"
    within: tuple[str, ...] = ()


HERE = Loopback()


@dataclass(kw_only=True)
class Cluster:
    """A scheduler and nannies with their workers, on loopback or on hosts: processes of their own."""

    folder: Path
    scheduler: subprocess.Popen
    address: str
    nannies: list
    options: dict

    @classmethod
    @contextmanager
    def of(cls, folder, workers, host=HERE, protocol="tcp", **options):
        """Yield a running cluster, its scheduler on ``host``; end all of it afterwards."""
        folder.mkdir(exist_ok=True)
        file = folder / "scheduler.json"
        common = ["--host", host.address, "--port", "0", "--protocol", protocol, "--scheduler-file", str(file)]
        log, env = folder / "scheduler.log", environment(**options)
        scheduler = _dask(log, env, "scheduler", *common, "--no-dashboard", within=host.within)
        try:
            limit = time.monotonic() + 60
            while not (file.exists() and file.read_text().endswith("}")):
                assert scheduler.poll() is None, log.read_text()
                assert time.monotonic() < limit
                time.sleep(0.05)
            address = json.loads(file.read_text())["address"]
            cluster = cls(folder=folder, scheduler=scheduler, address=address, nannies=[], options=options)
            for _ in range(workers):
                cluster.add()
            yield cluster
        finally:
            for process in [*(cluster.nannies if "cluster" in locals() else []), scheduler]:
                end(process)

    def add(self, host=HERE, **options):
        """Start one more nanny, which starts its worker, on a host; ``options`` are its own beside the cluster's."""
        number = len(list(self.folder.glob("nanny-*.log")))
        where = ["--nworkers", "1", "--nthreads", "1", "--no-dashboard", "--memory-limit", "0"]
        where += ["--local-directory", str(self.folder / "scratch"), "--death-timeout", "20", "--host", host.address]
        log, env = self.folder / f"nanny-{number}.log", environment(**{**self.options, **options})
        self.nannies.append(_dask(log, env, "worker", self.address, *where, within=host.within))

    def until(self, workers, timeout=60):
        """Wait until so many workers have come to the scheduler."""
        limit = time.monotonic() + timeout
        while (said := (self.folder / "scheduler.log").read_text()).count("Register worker addr") < workers:
            assert time.monotonic() < limit, said
            time.sleep(0.1)

    def kill_nanny(self, which):
        """SIGKILL a nanny; its worker ends by itself when it notices."""
        nanny = self.nannies.pop(which)
        os.kill(nanny.pid, signal.SIGKILL)
        nanny.wait()


def _dask(log, env, *arguments, within=()):
    with log.open("wb") as file:
        command = [*within, sys.executable, "-m", "dask", *arguments]
        return subprocess.Popen(command, env=env, stdout=file, stderr=file, start_new_session=True)


def listening(processes):
    """Return the addresses on which processes wait for connections."""
    found = [one.laddr.ip for each in processes for one in each.net_connections("inet") if one.status == "LISTEN"]
    assert found, "nobody listens at all"
    return set(found)


def end(process):
    """Kill a process group, and what it started in others."""
    with suppress(psutil.Error, ProcessLookupError, PermissionError):
        found = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGKILL)
        for child in found:
            child.kill()
    process.wait()
