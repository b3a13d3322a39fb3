"""The stages before the network, side by side: ingest, preprocess, fit, transform, random patches (README.md).

.venv/bin/python benchmarks/stages/stages.py                              # everything: simulates its scene first
.venv/bin/python benchmarks/stages/stages.py --work fit transform --size S --only tilespec sklearn-ram
"""

import argparse
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))
from rounds import HERE, Fresh, clear, in_turns, keep, machine, warm
from stage_cases import Case, cases
from stage_data import Data, prepare
from stage_table import tables
from stage_ways import STAGES
from table import put

from tilespec.storage.scene import Scene

PACKAGES = (
    *("numpy", "scipy", "torch", "zarr", "dask", "xarray", "rioxarray", "scikit-learn"),
    *("dask-ml", "spectral", "xbatcher", "tensorstore"),
)


def main() -> None:
    given = arguments()
    chosen = cases(given.work, given.size, given.only)
    if given.dry_run:
        print("\n".join(f"{min(case.rounds, given.rounds)} x {case.key}" for case in chosen))
        return
    data = prepare(given.scratch, given.raw, given.scene)
    fresh = Fresh(python=given.python, logs=data.scratch / "logs")
    began, records = time.monotonic(), {case.key: [] for case in chosen}
    report = {"machine": machine(given.python, PACKAGES), "scene": [*Scene.open(str(data.scene)).shape]}
    for one, facts in in_turns(chosen, given.rounds, lambda case, number: measured(case, data, number, fresh)):
        records[one.key].append(facts)
        ran = [{**asdict(case), "key": case.key, "runs": records[case.key]} for case in chosen if records[case.key]]
        results = keep(given.results, {**report, "minutes": (time.monotonic() - began) / 60, "cases": ran})
    for size in {case.size for case in chosen}:
        data.free(size)
    if given.readme:
        put(given.readme, "stages", tables(results))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    peers = HERE / ".venv" / "bin" / "python"
    ways = sorted({way for found in STAGES.values() for way in found})
    parser.add_argument("--work", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--size", nargs="+", choices=("S", "F", "L"), help="default: each work's own")
    parser.add_argument("--only", nargs="+", choices=ways, help="competitors; what they are measured by runs too")
    parser.add_argument("--rounds", type=int, default=99, help="at most so many repeats")
    parser.add_argument("--raw", type=Path, help="folder of raw, white and dark; default: simulated, 3000 x 2796 x 186")
    parser.add_argument("--scene", type=Path, help="their scene; default: ingested")
    parser.add_argument("--scratch", type=Path, default=Path("runs/stages"), help="on the same file system")
    parser.add_argument("--python", type=Path, default=peers if peers.exists() else Path(sys.executable))
    parser.add_argument("--results", type=Path, default=HERE / "results" / "stages.json")
    parser.add_argument("--readme", type=Path, help="put the tables into this file, between its markers")
    parser.add_argument("--dry-run", action="store_true", help="list what would run")
    return parser.parse_args()


def measured(case: Case, data: Data, number: int, fresh: Fresh) -> dict[str, Any]:
    """Return the facts of one run in a fresh process, its input in the page cache, its product removed."""
    out = data.scratch / "out"
    clear(out)
    out.mkdir()
    job = case.job(data, str(out / "product"))
    source = Path(job.source)
    warm(source if source.is_dir() else source.with_suffix(".bil"))
    name = f"{case.key.replace('/', '-')}-{number}"
    facts = fresh.run("stage", job, name, STAGES[case.work][case.way].env)
    clear(out)
    told = facts.get("error") or f"{facts['seconds']:8.2f} s  {facts.get('peak_memory', 0) / 1e9:6.2f} GB"
    print(f"{case.key:40} {told}", flush=True)
    return facts


if __name__ == "__main__":
    main()
