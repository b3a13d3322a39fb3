"""Predict, side by side: tilespec, its peers, the bare network and the physical limit in one run (README.md).

.venv/bin/python benchmarks/predict.py                    # everything: simulates its scene first
.venv/bin/python benchmarks/predict.py --work W6 --size S --only tilespec monai-ram
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cases import WORKS, Case, cases
from scenes import Data, prepare
from table import update
from ways import WAYS

from tilespec.scene import Scene

HERE = Path(__file__).parent
PATIENCE = 900
"""Seconds after which a run is given up."""
PACKAGES = ("torch", "numpy", "zarr", "dask", "monai", "patchly")


def main() -> None:
    given = arguments()
    chosen = cases(given.work, given.size, given.only)
    if given.dry_run:
        print("\n".join(f"{case.rounds} x {case.key}" for case in chosen))
        return
    data = prepare(given.scratch, given.scene, given.recipe)
    began, records = time.monotonic(), {case.key: [] for case in chosen}
    for number in range(max(case.rounds for case in chosen)):
        for case in chosen:
            if number < min(case.rounds, given.rounds):
                facts = measured(case, data, number, given.python)
                records[case.key].append({"round": number, **facts})
                say(case, facts)
    report = {
        "machine": machine(given.python),
        "scene": [*Scene.open(str(data.raw)).shape],
        "minutes": (time.monotonic() - began) / 60,
        "cases": [{**asdict(case), "key": case.key, "runs": records[case.key]} for case in chosen],
    }
    given.results.parent.mkdir(parents=True, exist_ok=True)
    given.results.write_text(json.dumps(merged(given.results, report), indent=1) + "\n")
    if given.readme:
        update(given.readme, json.loads(given.results.read_text()))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    peers = HERE / ".venv" / "bin" / "python"
    parser.add_argument("--work", nargs="+", choices=WORKS, default=list(WORKS))
    parser.add_argument("--size", nargs="+", choices=("S", "F", "L"), help="default: each work's own")
    parser.add_argument("--only", nargs="+", choices=WAYS, help="competitors; what they are measured by runs too")
    parser.add_argument("--rounds", type=int, default=99, help="at most so many repeats")
    parser.add_argument("--scene", type=Path, help="raw scene of size F; default: simulated, 3000 x 2796 x 186")
    parser.add_argument("--recipe", type=Path, help="fitted recipe; default: fitted on the scene")
    parser.add_argument("--scratch", type=Path, default=Path("runs/benchmark"), help="on the same file system")
    parser.add_argument("--python", type=Path, default=peers if peers.exists() else Path(sys.executable))
    parser.add_argument("--results", type=Path, default=HERE / "results" / "predict.json")
    parser.add_argument("--readme", type=Path, help="put the tables into this file, between its markers")
    parser.add_argument("--dry-run", action="store_true", help="list what would run")
    return parser.parse_args()


def measured(case: Case, data: Data, number: int, python: Path) -> dict[str, Any]:
    """Return the facts of one run in a fresh process, its input in the page cache, its product removed."""
    out = data.scratch / "out"
    clear(out)
    out.mkdir()
    job = case.job(data, str(out / "product"))
    warm(Path(job.scene))
    environment = {**os.environ, **WAYS[case.way].env, "PYTHONPATH": path()}
    command = [str(python), str(HERE / "race.py"), job.dumps()]
    log = data.scratch / "logs" / f"{case.key.replace('/', '-')}-{number}.log"
    log.parent.mkdir(exist_ok=True)
    try:
        run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"not done after {PATIENCE} s"}
    log.write_text(run.stderr + run.stdout)
    clear(out)
    try:
        return json.loads(run.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        return {"error": f"ended with {run.returncode}: {run.stderr.strip().splitlines()[-1:]}"}


def path() -> str:
    """Return where Python looks first: this folder, also in workers."""
    return os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))


def warm(scene: Path) -> None:
    """Read every object of a scene once, so that the page cache holds what it can; linked ones only once."""
    buffer, seen = memoryview(bytearray(1 << 24)), set()
    for item in sorted(scene.rglob("*")):
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


def say(case: Case, facts: dict[str, Any]) -> None:
    """Print one line."""
    memory = f"{facts.get('peak_memory', 0) / 1e9:6.2f} GB"
    told = facts.get("error") or f"{facts['seconds']:8.2f} s  {memory}  {facts.get('tiles', 0)} tiles"
    extra = " ".join(f"{key} {facts[key]:.4g}" for key in ("max_error", "changed", "seam_ratio") if key in facts)
    print(f"{case.key:40} {told}  {extra}", flush=True)


def machine(python: Path) -> dict[str, Any]:
    """Return what the run was made on."""
    cpu = [x for x in Path("/proc/cpuinfo").read_text().splitlines() if x.startswith("model name")]
    code = f"from importlib.metadata import version as v; print(*[v(p) for p in {PACKAGES!r}])"
    found = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False).stdout.split()
    return {
        "cpu": cpu[0].partition(":")[2].strip() if cpu else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "python": platform.python_version(),
        "tilespec": version("tilespec"),
        **dict(zip(PACKAGES, found, strict=False)),
    }


def merged(results: Path, report: dict[str, Any]) -> dict[str, Any]:
    """Return earlier results with this run's put in: what they say of the same work and size is replaced."""
    if not results.exists():
        return report
    run = {(case["work"], case["size"]) for case in report["cases"]}
    kept = [x for x in json.loads(results.read_text())["cases"] if (x["work"], x["size"]) not in run]
    return {**report, "cases": kept + report["cases"]}


if __name__ == "__main__":
    main()
