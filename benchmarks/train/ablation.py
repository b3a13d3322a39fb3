"""Methods and ablation on a simulated scene: one command, which goes on where it was interrupted (README.md).

.venv/bin/python benchmarks/train/ablation.py FOLDER --dry-run  # try each network for a few steps, print plan and time
.venv/bin/python benchmarks/train/ablation.py FOLDER --readme benchmarks/README.md

FOLDER holds scene.zarr; recipes, models, maps and results.jsonl are kept in FOLDER/ablation.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is loaded, as the command line of tilespec does

import argparse
import sys
import time
import traceback
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))
from ablation_cost import Costs
from ablation_runs import Place, Results, Run
from ablation_table import tables
from ablation_variants import ABLATION, METHODS, VARIANTS, in_order
from rounds import machine
from table import put, ran_on

from tilespec.core.errors import IncompleteError, UserError
from tilespec.core.memory import one_heap
from tilespec.core.progress import Lines
from tilespec.storage.scene import Scene


def main() -> None:
    given = arguments()
    one_heap()
    place, say = placed(given), Lines(every=60)
    runs = [Run(variant=variant, seed=seed, place=place) for variant, seed in in_order(given.seeds, given.only)]
    results = Results(path=place.kept / "results.jsonl")
    left = planned(runs, results, Costs(place=place), say)
    if given.dry_run:
        return
    until = time.monotonic() + given.hours * 3600
    for run, seconds in left:
        if time.monotonic() + seconds > until:
            print(f"{run.key}: left for another night")
            continue
        print(f"== {run.key}", flush=True)
        line = results.keep(run, facts(run, say))
        print(line.get("error") or f"IoU {line['iou_mean']:.3f} ± {line['iou_std']:.3f}", flush=True)
    report(given, runs, results)


def placed(given: argparse.Namespace) -> Place:
    """Return the scene and how it is used."""
    return Place(
        folder=given.folder,
        train=given.train,
        test=given.test,
        patches=given.patches,
        side=given.patch_size,
        width=given.width,
        steps={METHODS: given.steps, ABLATION: given.ablation_steps},
        overrides=dict(text.split("=", 1) for text in given.set),
    )


def planned(runs: list[Run], results: Results, costs: Costs, say: Lines) -> list[tuple[Run, float]]:
    """Print what will run, in order, with its time; return what is not done yet."""
    left, total, trained = [], 0.0, set()
    for run in runs:
        if results.of(run) is not None:
            print(f"{'done':>9}  {run.key}")
            continue
        model = run.model() if run.variant.preset else ""
        seconds = costs.run(run, say, trained=model in trained)
        trained.add(model)
        left.append((run, seconds))
        total += seconds
        print(f"{seconds:7.0f} s  {run.key:40}  {total / 3600:6.2f} h in all", flush=True)
    print(f"{len(left)} runs, {total / 3600:.1f} hours; reading of the scene is not in these figures")
    return left


def facts(run: Run, say: Lines) -> dict[str, Any]:
    """Return what a run came to, or why it came to nothing; the others go on."""
    began = time.monotonic()
    try:
        return {**run.carry_out(say), "seconds": time.monotonic() - began}
    except (UserError, IncompleteError, RuntimeError, OSError, MemoryError) as error:  # torch: RuntimeError
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"}


def report(given: argparse.Namespace, runs: list[Run], results: Results) -> None:
    """Print the tables of these runs, and put them into a file."""
    place = runs[0].place
    shape = " x ".join(map(str, Scene.open(place.scene).shape))
    on = f"simulated scene of {shape}, learned from rows {place.train}, judged on rows {place.test}"
    judged = f"{place.patches} patches of {place.side} x {place.side}, the same for every method"
    width = f" Networks of width {place.width} and at most {given.steps} steps: the published size needs a GPU."
    about = f"{ran_on({'machine': machine(Path(sys.executable), ('torch', 'numpy'))})} {on}; {judged}.{width}"
    for group in (METHODS, ABLATION):
        lines = [line for run in runs if run.variant.group == group and (line := results.of(run)) is not None]
        if not lines:
            continue
        shown = tables(lines, about)
        print(shown)
        if given.readme:
            put(given.readme, group, shown)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [METHODS, ABLATION, *(one.name for one in VARIANTS)]
    parser.add_argument("folder", type=Path, help="holds scene.zarr")
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, ... of each variant")
    parser.add_argument("--steps", type=int, default=3000, help="of a method at most")
    parser.add_argument("--ablation-steps", type=int, default=1000, help="of a variant of the ablation at most")
    parser.add_argument("--width", type=int, default=16, help="of all networks; 0: as the presets say")
    parser.add_argument("--train", default="1024:3000", metavar="A:B", help="rows to learn from")
    parser.add_argument("--test", default="0:1024", metavar="A:B", help="rows to be judged on")
    parser.add_argument("--patches", type=int, default=1000, help="random patches of the evaluation")
    parser.add_argument("--patch-size", type=int, default=512, help="their side")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="over every training")
    parser.add_argument("--hours", type=float, default=1e6, help="begin nothing that would end later")
    parser.add_argument("--readme", type=Path, help="put the tables into this file, between its markers")
    parser.add_argument("--dry-run", action="store_true", help="print plan and time; only a few steps are tried")
    return parser.parse_args()


if __name__ == "__main__":
    main()
