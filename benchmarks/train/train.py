"""Training, side by side: batches from a scene, from peers, and from memory, through the same loop (README.md).

.venv/bin/python benchmarks/train/train.py                        # everything: simulates its scene first
.venv/bin/python benchmarks/train/train.py --size w32-p256 --work raw --only tilespec
"""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))
from rounds import HERE, Fresh, clear, in_turns, keep, machine, warm
from scenes import Data, prepare
from table import put
from train_cases import DEFAULT, ROUNDS, Case, cases
from train_job import SIZES
from train_table import tables
from train_ways import FROM, TRAIN

from tilespec.storage.scene import Scene

PACKAGES = ("torch", "numpy", "zarr", "xarray", "xbatcher")


def main() -> None:
    given = arguments()
    chosen = cases(given.work, given.size, given.only)
    if given.dry_run:
        print("\n".join(f"{min(case.rounds, given.rounds)} x {case.key}" for case in chosen))
        return
    data = prepare(given.scratch, given.scene, given.recipe)
    fresh = Fresh(python=given.python, logs=data.scratch / "logs")
    records: dict[str, list[dict[str, Any]]] = {case.key: [] for case in chosen}
    report = {"machine": machine(given.python, PACKAGES), "scene": [*Scene.open(str(data.raw)).shape]}
    for one, facts in in_turns(chosen, given.rounds, lambda case, number: measured(case, data, number, fresh, given)):
        records[one.key].append(facts)
        ran = [{**asdict(case), "key": case.key, "runs": records[case.key]} for case in chosen if records[case.key]]
        results = keep(given.results, {**report, "cases": ran})
    if given.readme:
        put(given.readme, "train", tables(results))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    peers = HERE / ".venv" / "bin" / "python"
    works = [work for work in FROM if work != "memory"]
    parser.add_argument("--work", nargs="+", choices=works, default=works, help="what is trained from")
    parser.add_argument("--size", nargs="+", choices=SIZES, help=f"default: {' '.join(DEFAULT)}")
    parser.add_argument("--only", nargs="+", choices=TRAIN, help="competitors; the ceiling runs too")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="at most so many repeats")
    parser.add_argument("--steps", type=int, default=0, help="default: each size's own")
    parser.add_argument("--scene", type=Path, help="labelled raw scene; default: simulated, 3000 x 2796 x 186")
    parser.add_argument("--recipe", type=Path, help="vsn,pca=4,scale fitted on it; default: fitted")
    parser.add_argument("--scratch", type=Path, default=Path("runs/benchmark"), help="on the same file system")
    parser.add_argument("--python", type=Path, default=peers if peers.exists() else Path(sys.executable))
    parser.add_argument("--results", type=Path, default=HERE / "results" / "train.json")
    parser.add_argument("--readme", type=Path, help="put the tables into this file, between its markers")
    parser.add_argument("--dry-run", action="store_true", help="list what would run")
    return parser.parse_args()


def measured(case: Case, data: Data, number: int, fresh: Fresh, given: argparse.Namespace) -> dict[str, Any]:
    """Return the facts of one run in a fresh process, its input in the page cache, its model removed."""
    out = data.scratch / "out"
    clear(out)
    out.mkdir()
    job = case.job(data, out / "model", given.steps)
    warm(Path(job.source))
    facts = fresh.run("train", job, f"train-{case.key.replace('/', '-')}-{number}", TRAIN[case.way].env)
    clear(out)
    shown = ("rate", "{:8.2f} patches/s"), ("starvation", "waited {:6.1%}"), ("peak_memory", "{:.3e} B")
    print(f"{case.key:32}", facts.get("error") or "  ".join(form.format(facts[key]) for key, form in shown), flush=True)
    return facts


if __name__ == "__main__":
    main()
