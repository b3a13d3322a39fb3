"""Simulated: the forecast of tilespec beside real runs, and its curves for large scenes and many workers.

    python benchmarks/predict/simulated.py check --scene SCENE --model MODEL --work DIR [--tile 64] [--workers 1 2 4]
    python benchmarks/predict/simulated.py curves docs/scale.png

``check`` measures rates with one worker, then predicts with each number of workers, and compares their time with the
forecast. The fourth column compares it with a forecast for the cores that a run got, in brackets: on a machine that
others use these are fewer than there are. ``curves`` draws docs/scale.png and prints its table; it runs nothing.
"""

import argparse
import os
import statistics
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from tilespec import api
from tilespec.core.types import Roi
from tilespec.predict.planning import _panel
from tilespec.predict.time_forecast import PARTS
from tilespec.storage.backends.paths import store_path
from tilespec.storage.ledger import Ledger
from tilespec.storage.product import Product
from tilespec.storage.scene import Scene
from tilespec.tiling.forecast import LOADING, Forecast, Machines, Rates, forecast
from tilespec.tiling.grid import Grid
from tilespec.tiling.plan import PredictPlan, axes

SCENES = {"3000 x 2796": (3000, 2796), "100 000 x 100 000": (100_000, 100_000)}
BANDS, TILE, OVERLAP, EDGE, CHANNELS = 186, 512, 256, 256, (4, 2)
"""The pix2pix generator of docs/speed.md: tiles of 512, half of each shared, four scores in, two classes out."""
RATES = Rates(tile_seconds=0.122, read_rate=1.04e9)
"""From docs/speed.md, two cores: 110 tiles in 6.7 s from scores; 3.0 s more from the raw cube of 6.24 GB."""
WORKERS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
STORAGE = {"storage without limit": inf, "storage of 10 GB/s": 1e10, "storage of 1 GB/s": 1e9}
COLOURS = ("#1b6ca8", "#d1495b", "#3a7d44")


class Nothing:
    """A predictor's description for plans that nobody runs."""

    channels, classes = CHANNELS, ("a", "b")

    def _same(self, _: object) -> "Nothing":
        return self

    open = with_norms = with_intra = _same


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ways = parser.add_subparsers(required=True)
    one = ways.add_parser("check")
    for name in ("--scene", "--model", "--work"):
        one.add_argument(name, required=True)
    one.add_argument("--tile", type=int, default=64)
    one.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    one.add_argument("--repeat", type=int, default=3)
    one.set_defaults(run=check)
    other = ways.add_parser("curves")
    other.add_argument("picture")
    other.set_defaults(run=curves)
    given = parser.parse_args()
    given.run(given)


def check(given: argparse.Namespace) -> None:
    """Print forecast and measurement for some numbers of workers."""
    work, scene = Path(given.work), Scene.open(given.scene)
    common: dict[str, Any] = {"tile": given.tile, "overwrite": True}
    first = work / "rates"
    api.predict(given.model, given.scene, first, workers=1, **common)
    rates = Rates.of(Ledger.find(str(first)).read_note("predict"))  # type: ignore[union-attr]
    print(f"{rates}; load {os.getloadavg()[0]:.1f}")
    print("| workers | forecast s | measured s: least, median, most | with the cores it got | tiles: forecast, real |")
    print("|---|---|---|---|---|")
    runs: dict[int, list[dict[str, Any]]] = {workers: [] for workers in given.workers}
    for number in range(given.repeat):
        for workers, done in runs.items():
            out = work / f"out-{workers}-{number}"
            done.append(api.predict(given.model, given.scene, out, workers=workers, **common))
    for workers, done in runs.items():
        print(row(scene, given.tile, workers, rates, done))


def row(scene: Scene, tile: int, workers: int, rates: Rates, done: list[dict[str, Any]]) -> str:
    """Return a row of the table: the forecast beside some runs."""
    plan, pixel = again(scene, tile, done[0]), scene.shape[2] * scene.dtype.itemsize
    parts, times = plan.parts(PARTS * workers), [each["seconds"] + each["startup_seconds"] for each in done]

    def expected(cores: float, **known: float) -> Forecast:
        return forecast(plan, parts, Machines(workers=workers, cores=cores), replace(rates, **known), pixel)

    ratios = []
    for each, seconds in zip(done, times, strict=True):
        cores = (each["cpu_seconds"] + workers * LOADING) / each["seconds"]
        found = expected(cores, width=9, start_seconds=each["startup_seconds"])
        ratios.append(f"{seconds / found.seconds:.2f} ({cores:.2f})")
    found, tiles = expected(os.cpu_count() or 1), statistics.median(each["tiles"] for each in done)
    spread = f"{min(times):.1f}, {statistics.median(times):.1f}, {max(times):.1f}"
    cells = [workers, f"{found.seconds:.1f}", spread, ", ".join(ratios), f"{found.tiles}, {tiles:.0f}"]
    return "| " + " | ".join(map(str, cells)) + " |"


def again(scene: Scene, tile: int, result: dict[str, Any]) -> PredictPlan:
    """Return the plan of a run, of which nothing is written."""
    ledger = Ledger.find(result["out"])
    overlap = (ledger.read_note("settings") or {})["grid"]["overlap"] if ledger else 0
    plan = plan_of(scene.shape[:2], tile, overlap, EDGE, None)
    return replace(plan, threads=result["lanes"])


def plan_of(plane: tuple[int, ...], tile: int, overlap: int, edge: int, panel: int | None) -> PredictPlan:
    """Return a plan of which nothing exists."""
    y, x = axes((plane[0], plane[1]), tile, overlap)
    ledger = Ledger(folder=store_path("/nonexistent/out.tilespec"), key="none")
    product = Product(url="/nonexistent/out", height=plane[0], edge=edge, ledger=ledger, width=plane[1], panel=panel)
    roi = Roi(y0=0, y1=plane[0], x0=0, x1=plane[1])
    return PredictPlan(scene="none", roi=roi, product=product, grid=Grid(y=y, x=x), spec=Nothing(), threads=1)  # type: ignore[arg-type]


def curves(given: argparse.Namespace) -> None:
    """Draw the time and the share of idle workers, and print a table."""
    sheet = Figure(figsize=(11, 8.2), dpi=100, layout="constrained", facecolor="white")
    panels = sheet.subplots(2, 2, sharex=True)
    for column, (name, plane) in enumerate(SCENES.items()):
        bare = plan_of(plane, TILE, OVERLAP, EDGE, None)
        plan = plan_of(plane, TILE, OVERLAP, EDGE, _panel(bare.grid, CHANNELS, EDGE))
        above, below = panels[0][column], panels[1][column]
        for (label, rate), colour in zip(STORAGE.items(), COLOURS, strict=True):
            found = [run(plan, workers, replace(RATES, storage_rate=rate)) for workers in WORKERS]
            above.plot(WORKERS, [each["seconds"] for each in found], marker="o", color=colour, label=label)
            if rate == inf:
                below.plot(WORKERS, [100 * (1 - each["busy"]) for each in found], marker="o", color=COLOURS[0])
                twice = [100 * each["tiles_twice"] / plan.grid.tiles for each in found]
                below.plot(WORKERS, twice, marker="s", color=COLOURS[1])
            for workers, each in zip(WORKERS, found, strict=True):
                print(name, label, workers, each)
        ideal = [found[0]["seconds"] / workers for workers in WORKERS]
        above.plot(WORKERS, ideal, color="grey", linestyle=":", label="one worker, divided")
        above.set(xscale="log", yscale="log", title=f"{name} x {BANDS}, {plan.grid.tiles} tiles", ylabel="seconds")
        below.set(xscale="log", xlabel="workers, one core each", ylabel="percent", ylim=(0, 100))
        above.legend(frameon=False)
        place = ("center right", "upper left")[column]
        below.legend(["workers' time that is idle", "tiles that are evaluated twice"], frameon=False, loc=place)
    sheet.savefig(given.picture, metadata={"Software": "tilespec"})


def run(plan: PredictPlan, workers: int, rates: Rates) -> dict[str, Any]:
    parts = plan.parts(PARTS * workers)
    return forecast(plan, parts, Machines(workers=workers, cores=workers), rates, 4 * BANDS).to_json(plan)


if __name__ == "__main__":
    main()
