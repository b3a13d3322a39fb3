"""Joined: one scene predicted by one process, by workers, and by processes that join; whole commands, equal bytes.

    python benchmarks/predict/joined.py --scene SCENE --model MODEL --work DIR [--tile 256] [--repeat 3]

Each process is bound to its share of the cores. ``wasted`` are tiles that were evaluated more than once.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    """Run all cases in turn, as often as asked, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scene", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--work", required=True, type=Path)
    parser.add_argument("--tile", default="256")
    parser.add_argument("--repeat", default=3, type=int)
    asked = parser.parse_args()
    cases = {"alone": (1, []), "--workers 2": (1, ["--workers", "2"])}
    cases |= {f"{number} joined": (number, ["--join"]) for number in (1, 2, 4)}
    found: dict[str, list[tuple[float, int]]] = {name: [] for name in cases}
    for _ in range(asked.repeat):
        for name, (number, options) in cases.items():
            found[name].append(timed(asked, number, options))
    print("| | seconds: least, median, most | tiles evaluated twice |\n|---|---|---|")
    for name, runs in found.items():
        seconds = [each for each, _ in runs]
        spread = f"{min(seconds):.1f}, {statistics.median(seconds):.1f}, {max(seconds):.1f}"
        print(f"| {name} | {spread} | {max(wasted for _, wasted in runs)} |")


def timed(asked: argparse.Namespace, number: int, options: list[str]) -> tuple[float, int]:
    """Return the seconds until the last of some processes has ended, and the tiles that were evaluated twice."""
    out = asked.work / "out"
    for left in (out, Path(f"{out}.tilespec")):
        shutil.rmtree(left, ignore_errors=True)
    command = [sys.executable, "-m", "tilespec", "predict", asked.model, asked.scene, str(out), "--tile", asked.tile]
    began = time.monotonic()
    runs = [
        subprocess.Popen(
            [*bound(number, i), *command, *options, "--quiet", "--json"], stdout=subprocess.PIPE, text=True
        )
        for i in range(number)
    ]
    results = [json.loads(run.communicate()[0]) for run in runs]
    seconds = time.monotonic() - began
    check(out, asked.work / "first")
    return seconds, sum(result["tiles"] + result["tiles_empty"] for result in results) - results[0]["tiles_planned"]


def bound(number: int, which: int) -> list[str]:
    """Return the command that binds a process to its share of the cores."""
    every = sorted(os.sched_getaffinity(0))
    mine = every if number == 1 else every[which % len(every) :: number] or [every[which % len(every)]]
    return ["taskset", "--cpu-list", ",".join(map(str, mine))]


def check(out: Path, first: Path) -> None:
    """Compare a product with the first one."""
    if not first.exists():
        shutil.copytree(out, first)
    subprocess.run(["diff", "-r", str(out), str(first)], check=True)


if __name__ == "__main__":
    main()
