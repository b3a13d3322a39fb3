"""Spectra from RGB on two measured scenes, their halves by turns: methods, and the pruning of branches (README.md).

.venv/bin/python benchmarks/reconstruct/reconstruct.py OUT --cave toy.npz --houston houston_dataset.mat

It calls the verbs ingest, render and study, so it goes on where it was interrupted. OUT holds scenes, models, results.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is loaded, as the command line of tilespec does

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))
from reconstruct_scenes import SCENES, Pair
from rounds import HERE, machine
from table import put, ran_on

from tilespec import api
from tilespec.core.memory import one_heap
from tilespec.core.progress import Lines

CGAN = HERE / "reconstruct" / "cgan.toml"
METHODS = (HERE / "reconstruct" / "rgb-best.toml", HERE / "reconstruct" / "mst.toml")
BASELINES: dict[str, dict[str, Any]] = {"linear": {}, "polynomial": {"root": True}, "rbf": {}}
"""Regressions, and what they are told on linear light; there, roots of monomials grow as the light does."""
SMALL = {"data.patch": 64}
"""Changes to the published net where a half of a scene is lower than its patches."""


def main() -> None:
    given = arguments()
    one_heap()
    ran = ran_on({"machine": machine(Path(sys.executable), ("torch", "numpy"))})
    for name, (made, peak) in SCENES.items():
        source = getattr(given, name)
        if source is None:
            continue
        pairs = made(source, given.out / "scenes" / name)
        found = {title: COMPARED[title](given, name, pairs, peak) for title in given.only}
        shown = "\n\n".join([ran, *(f"### {name}, {title}\n\n{table}" for title, table in found.items())]) + "\n"
        print(shown)
        if given.readme:
            put(given.readme, name, shown)


def methods(given: argparse.Namespace, name: str, pairs: list[Pair], peak: float) -> str:
    """Compare ours, MST++, the published net and regressions of each pixel."""
    small = {**SMALL, "net.n_branches": 7} if name == "houston" else {}
    recipe = str(given.out / "scenes" / name / "light")
    api.fit(pairs[0].rgb, recipe, steps="light")  # which looks at no data
    more: list[dict[str, Any]] = [{"name": "cgan", "config": str(CGAN), "changes": small}]
    for regression, options in BASELINES.items():
        told = {"recipe": recipe, **options}
        more.append({"name": f"{regression}, light", "baseline": regression, "options": told})
    nets = [*map(str, METHODS)]
    return compared(given, f"{name}-methods", pairs, peak, config=nets, more=more, beside=tuple(BASELINES))


def pruning(given: argparse.Namespace, name: str, pairs: list[Pair], peak: float) -> str:
    """Compare our net with more branches and with fewer, one to as many as its patches have room for."""
    return compared(given, f"{name}-pruning", pairs, peak, config=str(METHODS[0]), vary={"net.n_branches": range(1, 8)})


def published(given: argparse.Namespace, name: str, pairs: list[Pair], peak: float) -> str:
    """Compare the published net with its coarsest branches cut, one after another (its table 3)."""
    small = name == "houston"
    branches = {"net.n_branches": range(1, 8 if small else 10)}
    told = SMALL if small else {}
    return compared(given, f"{name}-published", pairs, peak, config=str(CGAN), vary=branches, told=told)


COMPARED = {"methods": methods, "pruning": pruning, "published": published}


def compared(  # noqa: PLR0913 - what a comparison is made of
    given: argparse.Namespace,
    out: str,
    pairs: list[Pair],
    peak: float,
    *,
    config: Any,
    vary: dict[str, Any] | None = None,
    more: list[dict[str, Any]] | None = None,
    beside: tuple[str, ...] = (),
    told: dict[str, Any] | None = None,
) -> str:
    """Run one comparison, each half judged by what the other one teaches; return its table."""
    data = {"data.scene": [one.rgb for one in pairs], "data.target": [one.cube for one in pairs]}
    found = api.study(
        config,
        str(given.out / out),
        fold=[f"{one.name}={one.rgb}" for one in pairs],
        vary=vary,
        variants=more or [],
        baselines=beside,
        seeds=given.seeds,
        overrides={**data, **(told or {})},
        evaluate={"peak": peak},
        dry_run=given.dry_run,
        progress=Lines(every=60),
    )
    return str(found["table"]) if "table" in found else f"{len(found['runs'])} runs"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of scenes, models and results")
    parser.add_argument("--cave", type=Path, help="chart_and_stuffed_toy_ms.npz: cube(512, 512, 31), 16 bits")
    parser.add_argument("--houston", type=Path, help="houston_dataset.mat: hyprImg(128, 128, 48), rgbImg(512, 512, 3)")
    parser.add_argument("--only", nargs="+", choices=COMPARED, default=list(COMPARED))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--readme", type=Path, help="put the tables into this file, between its markers")
    parser.add_argument("--dry-run", action="store_true", help="check everything and say what would run")
    return parser.parse_args()


if __name__ == "__main__":
    main()
