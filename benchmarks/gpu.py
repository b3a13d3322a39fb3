"""A GPU: what every stage takes on it, beside its floors; one command of at most eight minutes.

    python benchmarks/gpu.py --work DIR                       # the full scene, simulated in DIR first
    python benchmarks/gpu.py --work DIR --device cpu --side 512   # the same table of a machine without a GPU, smaller

The floors are measured in the same run: the copy between memory and card, the bare network on tiles that lie on the
card, and the reading of the raw cube. MONAI's sliding window runs on the same card and tiles, where it is installed.
"""

import argparse
import json
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent / "shared"))
from scenes import BANDS, COLS, ROWS, STEPS, Data, whole

from tilespec import api
from tilespec.core.cpu import cores
from tilespec.core.device import ready
from tilespec.core.progress import Lines
from tilespec.models.model import Model
from tilespec.models.tensors import channels_last
from tilespec.storage.blocks import blocks
from tilespec.storage.scene import Scene
from tilespec.training.presets import preset

LIMIT = 480.0
"""The seconds after which no further line is begun."""
TILE, OVERLAP = 512, 256
BATCHES = (1, 2, 4, 8)
COPY = 256 << 20
"""The bytes of one copy."""
PUBLISHED = 50_000
"""The steps of the published training."""
SKIPPED = 20
"""The first steps of a training, which are not timed."""

Line = tuple[str, float, str]
"""What was measured, the figure, and its unit."""


class Machine:
    """The card, the data, and what later lines need of earlier ones."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.name, self.work, self.steps, self.batch = given.device, given.work, given.steps, given.batch
        self.device = ready(given.device)
        side = given.side
        rows, cols = (side, side) if side else (ROWS, COLS)
        raw = self.work / f"raw-{rows}.zarr"
        if not whole(raw):
            api.simulate(raw, rows=rows, cols=cols, bands=BANDS, workers=max(0, cores() // 2), progress=Lines())
        self.data = Data(scratch=self.work, raw=raw, recipe=self.work / f"recipe-{rows}")
        self.side = min(rows, cols)
        self.rates: dict[str, float] = {}

    def out(self, name: str) -> Path:
        """Return a new place."""
        return self.work / f"{name}-{time.monotonic_ns()}"

    def wait(self) -> None:
        """Wait until the card has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def main() -> None:
    """Print the table, and write it as JSON into the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True, type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--side", type=int, help="rows and columns of a smaller scene")
    parser.add_argument("--steps", type=int, default=120, help="of each training")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8], help="of the trainings")
    given, began = parser.parse_args(), time.monotonic()
    given.work.mkdir(parents=True, exist_ok=True)
    machine = Machine(given)
    card = torch.cuda.get_device_name() if machine.device.type == "cuda" else f"{cores()} cores"
    shape = " x ".join(map(str, Scene.open(str(machine.data.raw)).shape))
    print(f"{card}, torch {torch.__version__}, {shape}\n\n| | | |\n|---|---|---|")
    table: list[Line] = []
    for stage in (copies, reading, fits, bare, maps, monai, trainings):
        if time.monotonic() - began > LIMIT:
            print(f"| {stage.__name__} | not run: the time was over | |")
            continue
        for line in stage(machine):
            table.append(line)
            print(f"| {line[0]} | {line[1]:.4g} | {line[2]} |", flush=True)
    (given.work / "gpu.json").write_text(json.dumps({"card": card, "table": table}, indent=1) + "\n")


def timed(machine: Machine, work: Callable[[], Any], repeat: int = 3) -> float:
    """Return the least seconds of some runs, after one that is not timed."""
    work()
    spent = []
    for _ in range(repeat):
        machine.wait()
        began = time.monotonic()
        work()
        machine.wait()
        spent.append(time.monotonic() - began)
    return min(spent)


def copies(machine: Machine) -> Iterator[Line]:
    """Measure the copy to the card and back, through pinned memory."""
    pin = machine.device.type == "cuda"
    host = torch.empty(COPY, dtype=torch.uint8, pin_memory=pin)
    there = host.to(machine.device, copy=True)
    yield "copy to the device", COPY / timed(machine, lambda: there.copy_(host, non_blocking=True)) / 1e9, "GB/s"
    yield "copy from the device", COPY / timed(machine, lambda: host.copy_(there, non_blocking=True)) / 1e9, "GB/s"


def reading(machine: Machine) -> Iterator[Line]:
    """Measure the reading of the raw cube, all objects decoded and checked on all cores."""
    scene = Scene.open(str(machine.data.raw))
    size = scene.shape[0] * scene.shape[1] * scene.shape[2] * scene.dtype.itemsize

    def read() -> None:
        with ThreadPoolExecutor(cores()) as pool:
            list(pool.map(lambda block: scene.cube.read(block.roi).nbytes, blocks(scene, scene.roi)))

    yield "read the raw cube", size / timed(machine, read, repeat=1) / 1e9, "GB/s"


def fits(machine: Machine) -> Iterator[Line]:
    """Measure `fit` and `transform` on the device and on the cores."""
    for device in dict.fromkeys((machine.name, "cpu")):
        recipe = machine.out("recipe")
        told = api.fit(machine.data.raw, recipe, steps=STEPS, device=device)
        yield f"fit {STEPS}, {device}", told["seconds"], "s"
        if not (machine.data.recipe / "recipe.json").exists():
            api.fit(machine.data.raw, machine.data.recipe, steps=STEPS, device=device)
        told = api.transform(machine.data.recipe, machine.data.raw, machine.out("scores"), device=device)
        yield f"transform, {device}", told["seconds"], "s"


def bare(machine: Machine) -> Iterator[Line]:
    """Measure the network alone, on tiles that lie on the device, at the best of some batch sizes."""
    model = Model.load(str(machine.data.model("unet")))
    for precision in ("float32", "bfloat16"):
        kind = getattr(torch, precision)
        net = channels_last(model.module().to(device=machine.device, dtype=kind)).requires_grad_(False)
        best = (0.0, 0)
        for batch in BATCHES:
            tiles = torch.zeros(batch, TILE, TILE, model.channels[0], device=machine.device, dtype=kind).permute(
                0, 3, 1, 2
            )
            with torch.no_grad():
                best = max(best, (batch / timed(machine, lambda net=net, tiles=tiles: net(tiles)), batch))
        machine.rates[precision] = best[0]
        yield f"bare network, {precision}, batch {best[1]}", best[0], f"tiles of {TILE}/s"


def maps(machine: Machine) -> Iterator[Line]:
    """Measure the way from the raw cube to the map, and its share of the bare network's rate."""
    for precision in ("float32", "bfloat16"):
        options = {"tile": TILE, "overlap": OVERLAP, "device": machine.name, "precision": precision}
        for run in ("first", "second"):
            told = api.predict(machine.data.model("unet"), machine.data.raw, machine.out("map"), **options)
            yield f"raw cube to map, {precision}, {run} run", told["seconds"], "s"
        yield f"of it the bare network's, {precision}", told["tiles"] / machine.rates[precision] / told["seconds"], ""


def monai(machine: Machine) -> Iterator[Line]:
    """Measure MONAI's sliding window on scores that lie on the device."""
    try:
        from monai.inferers import sliding_window_inference
    except ImportError:
        return
    model = Model.load(str(machine.data.model("unet")))
    net = channels_last(model.module().to(machine.device)).requires_grad_(False)
    height, width = Scene.open(str(machine.data.raw)).shape[:2]
    scores = torch.zeros(1, model.channels[0], height, width, device=machine.device)

    def slide() -> None:
        with torch.no_grad():
            sliding_window_inference(scores, TILE, BATCHES[1], net, overlap=OVERLAP / TILE, mode="gaussian")

    yield "MONAI's sliding window, from scores on the device", timed(machine, slide, repeat=1), "s"


def trainings(machine: Machine) -> Iterator[Line]:
    """Measure steps of the preset mishra2021 on patches of 512 pixels, and the minutes of the published training."""
    for batch in machine.batch:
        config = tomllib.loads(preset("mishra2021"))
        config["data"] |= {
            "scene": [str(machine.data.raw)],
            "patch": min(TILE, machine.side),
            "drop_single_class": False,
        }
        config["recipe"] = {"path": str(machine.data.recipe)}
        config["train"] |= {"batch": batch, "steps": machine.steps, "checkpoint_every": machine.steps, "log_every": 1}
        config["train"]["device"] = machine.device.type
        out = machine.out("model")
        api.train(config, out)
        lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        speed = (len(lines) - SKIPPED) / (lines[-1]["seconds"] - lines[SKIPPED - 1]["seconds"])
        yield f"training, batch {batch}", speed, "steps/s"
        yield f"{PUBLISHED} steps of batch {batch}", PUBLISHED / speed / 60, "minutes"


if __name__ == "__main__":
    main()
