"""Predict, side by side: tilespec, its peers, the bare network and the physical limit in one run (README.md).

.venv/bin/python benchmarks/predict/predict.py                    # everything: simulates its scene first
.venv/bin/python benchmarks/predict/predict.py --work W6 --size S --only tilespec monai-ram
"""

import argparse
import os
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))
from cases import WORKS, Case, cases
from rounds import HERE, Fresh, clear, in_turns, keep, machine, warm
from scenes import OWN, Data, prepare
from table import update
from ways import WAYS

from tilespec.core.registry import PLUGINS
from tilespec.storage.scene import Scene

PACKAGES = ("torch", "numpy", "zarr", "dask", "monai", "patchly", "konfai", "tiatoolbox")


def main() -> None:
    given = arguments()
    found = [case for case in cases(given.work, given.size, given.only) if wanted(case, given)]
    chosen = [replace(case, rounds=given.repeat) for case in found] if given.repeat else found
    if given.dry_run:
        print("\n".join(f"{case.rounds} x {case.key}" for case in chosen))
        return
    os.environ[PLUGINS] = ",".join(OWN)
    data = prepare(given.scratch, given.scene, given.recipe)
    fresh = Fresh(python=given.python, logs=data.scratch / "logs")
    began = time.monotonic()
    records: dict[str, list[dict[str, Any]]] = {case.key: [] for case in chosen}
    for case, facts in in_turns(chosen, given.rounds, lambda case, number: measured(case, data, number, fresh)):
        records[case.key].append(facts)
    report = {
        "machine": machine(given.python, PACKAGES),
        "scene": [*Scene.open(str(data.raw)).shape],
        "minutes": (time.monotonic() - began) / 60,
        "cases": [{**asdict(case), "key": case.key, "runs": records[case.key]} for case in chosen],
    }
    results = keep(given.results, report)
    if given.readme:
        update(given.readme, results, given.marker)


def wanted(case: Case, given: argparse.Namespace) -> bool:
    """Return whether a case has one of the networks and inputs that were asked for."""
    asked = ((case.net, given.net), (case.data, given.data))
    return all(names is None or name in names for name, names in asked)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    peers = HERE / ".venv" / "bin" / "python"
    parser.add_argument("--work", nargs="+", choices=WORKS, default=list(WORKS))
    parser.add_argument("--size", nargs="+", choices=("S", "F", "L"), help="default: each work's own")
    parser.add_argument("--only", nargs="+", choices=WAYS, help="competitors; what they are measured by runs too")
    parser.add_argument("--net", nargs="+", help="networks; default: all of a work")
    parser.add_argument("--data", nargs="+", choices=("raw", "scores"), help="inputs; default: all of a work")
    parser.add_argument("--rounds", type=int, default=99, help="at most so many repeats")
    parser.add_argument("--repeat", type=int, help="every case just so often, whatever its own repeats are")
    parser.add_argument("--scene", type=Path, help="raw scene of size F; default: simulated, 3000 x 2796 x 186")
    parser.add_argument("--recipe", type=Path, help="fitted recipe; default: fitted on the scene")
    parser.add_argument("--scratch", type=Path, default=Path("runs/benchmark"), help="on the same file system")
    parser.add_argument("--python", type=Path, default=peers if peers.exists() else Path(sys.executable))
    parser.add_argument("--results", type=Path, default=HERE / "results" / "predict.json")
    parser.add_argument("--readme", type=Path, help="put the tables into this file, between its markers")
    parser.add_argument("--marker", default="results", help="name of these markers")
    parser.add_argument("--dry-run", action="store_true", help="list what would run")
    return parser.parse_args()


def measured(case: Case, data: Data, number: int, fresh: Fresh) -> dict[str, Any]:
    """Return the facts of one run in a fresh process, its input in the page cache, its product removed."""
    out = data.scratch / "out"
    clear(out)
    out.mkdir()
    job = case.job(data, str(out / "product"))
    warm(Path(job.scene))
    load = os.getloadavg()[0]
    facts = fresh.run("predict", job, f"{case.key.replace('/', '-')}-{number}", WAYS[case.way].env)
    clear(out)
    say(case, facts)
    return {"load": load, **facts}


def say(case: Case, facts: dict[str, Any]) -> None:
    """Print one line."""
    memory = f"{facts.get('peak_memory', 0) / 1e9:6.2f} GB"
    told = facts.get("error") or f"{facts['seconds']:8.2f} s  {memory}  {facts.get('tiles', 0)} tiles"
    extra = " ".join(f"{key} {facts[key]:.4g}" for key in ("max_error", "changed", "seam_ratio") if key in facts)
    print(f"{case.key:40} {told}  {extra}", flush=True)


if __name__ == "__main__":
    main()
