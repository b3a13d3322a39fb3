"""What all benchmarks share: runs in fresh processes, in turns, on a page cache that is warm; what they ran on."""

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, final

HERE = Path(__file__).parents[1]
FOLDERS = ("shared", "predict", "stages", "train")
"""Where modules of benchmarks lie: a competitor of one subject may use what another one has."""
PATIENCE = 900
"""Seconds after which a run is given up."""


class Told(Protocol):
    """A job as a process is told it."""

    def dumps(self) -> str: ...


class Turn(Protocol):
    """A case that takes its turns."""

    @property
    def key(self) -> str: ...

    @property
    def rounds(self) -> int: ...


@final
@dataclass(frozen=True, kw_only=True)
class Fresh:
    """How fresh processes are started."""

    python: Path
    """The interpreter of every competitor."""
    logs: Path
    """Where what they say is kept."""

    def run(self, kind: str, job: Told, name: str, environment: Mapping[str, str]) -> dict[str, Any]:
        """Return the facts of one run of `race.py`."""
        command = [str(self.python), str(HERE / "shared" / "race.py"), kind, job.dumps()]
        env = {**os.environ, **environment, "PYTHONPATH": path()}
        try:
            run = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False)
        except subprocess.TimeoutExpired:
            return {"error": f"not done after {PATIENCE} s"}
        self.logs.mkdir(parents=True, exist_ok=True)
        (self.logs / f"{name}.log").write_text(run.stderr + run.stdout)
        try:
            return json.loads(run.stdout.splitlines()[-1])
        except (IndexError, ValueError):
            return {"error": f"ended with {run.returncode}: {run.stderr.strip().splitlines()[-1:]}"}


def in_turns(
    cases: Sequence[Turn], most: int, measured: Callable[[Any, int], dict[str, Any]]
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield cases and the facts of a run: competitors take turns within a round, ``most`` rounds at most."""
    for number in range(max(case.rounds for case in cases)):
        for case in cases:
            if number < min(case.rounds, most):
                yield case, {"round": number, **measured(case, number)}


def path() -> str:
    """Return where Python looks first, also in workers: the folders of the benchmarks."""
    folders = [str(HERE / folder) for folder in FOLDERS]
    return os.pathsep.join(filter(None, (*folders, os.environ.get("PYTHONPATH"))))


def warm(*places: Path) -> None:
    """Read files, and every file of folders, once, so that the page cache holds what it can; linked ones only once."""
    buffer, seen = memoryview(bytearray(1 << 24)), set()
    for item in (item for place in places for item in (sorted(place.rglob("*")) if place.is_dir() else [place])):
        inode = item.stat().st_ino
        if item.is_file() and inode not in seen:
            seen.add(inode)
            with item.open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass


def clear(folder: Path) -> None:
    """Remove a product, and wait until the disk has taken what was written before: no run pays for another."""
    shutil.rmtree(folder, ignore_errors=True)
    os.sync()


def machine(python: Path, packages: Iterable[str]) -> dict[str, Any]:
    """Return what the run was made on."""
    names = tuple(packages)
    cpu = [x for x in Path("/proc/cpuinfo").read_text().splitlines() if x.startswith("model name")]
    code = f"from importlib.metadata import version as v; print(*[v(p) for p in {names!r}])"
    found = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False).stdout.split()
    return {
        "cpu": cpu[0].partition(":")[2].strip() if cpu else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "python": platform.python_version(),
        "tilespec": version("tilespec"),
        **dict(zip(names, found, strict=False)),
    }


def merged(results: Path, report: dict[str, Any]) -> dict[str, Any]:
    """Return earlier results with this run's put in: what they say of the same work and size is replaced."""
    if not results.exists():
        return report
    run = {(case["work"], case["size"]) for case in report["cases"]}
    kept = [x for x in json.loads(results.read_text())["cases"] if (x["work"], x["size"]) not in run]
    return {**report, "cases": kept + report["cases"]}


def keep(results: Path, report: dict[str, Any]) -> dict[str, Any]:
    """Merge a report into the results; return what they hold now."""
    results.parent.mkdir(parents=True, exist_ok=True)
    results.write_text(json.dumps(merged(results, report), indent=1) + "\n")
    return json.loads(results.read_text())
