"""One net of each task on a scene of 3000 x 2796 x 186, and a table of ten million spectra.

    python benchmarks/tasks/full_size.py --out benchmarks/results/tasks_full_size.json [--folder DIR] [--rows 3000]

The nets are small and have learned one step, which costs as much to predict with as any number. The scene is simulated;
the net of `superres` has learned on a corner of it and its means of 2 x 2 pixels, and enlarges the scene itself. Every
command is a process of its own; its seconds and its peak memory are what it says of itself. The maps of spectra have
the size of the scene, that of `superres` is four times as large: 25 GB.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))

from commands import command, figures

COLS, BANDS, CORNER = 2796, 186, 128
TABLE_BANDS, WRITTEN = 64, 100_000
RESUNET = {"name": "resunet", "dimensions": 1, "base_width": 4, "levels": 2, "norm": "none", "answer": "bands"}
TASKS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "segment": ({"name": "segnet", "base_width": 8, "stages": 2, "norm": "none", "dropout": 0.0}, {"patch": 32}),
    "classify": ({"name": "hybridsn", "window": 11, "dense": [64, 32]}, {"patch": 32}),
    "denoise": (RESUNET | {"head": "linear"}, {"patch": 16}),
    "calibrate": ({"name": "spectrum_mlp", "hidden": [128, 128]}, {"patch": 16}),
    "superres": ({"name": "rcan", "width": 16, "groups": 1, "blocks": 2, "reduction": 4}, {"patch": 16}),
}
"""The net and the settings of the data of each task."""
RECIPES = {"classify": "pca=16,scale"}


def learned(at: Path, task: str, data: dict[str, Any], net: dict[str, Any]) -> Path:
    """Train for one step; return the folder of the model."""
    out = at / f"{task}.model"
    tables = {
        "data": data,
        "recipe": {"steps": RECIPES.get(task, "minmax=shared")},
        "task": {"name": task} | ({"scale": 2} if task == "superres" else {}),
        "net": net,
        "objective": {"name": "supervised", "loss": "cross_entropy" if task in ("segment", "classify") else "l1"},
        "train": {"steps": 1, "batch": 2, "warmup": 0},
    }
    text = "".join(
        f"[{key}]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in table.items()) for key, table in tables.items()
    )
    (at / f"{task}.toml").write_text(text)
    command("train", at / f"{task}.toml", "--out", out)
    return out


def predicted(at: Path, task: str, model: Path, source: Path) -> dict[str, Any]:
    """Predict a store, print and return the figures; the map does not stay."""
    found = figures(command("predict", model, source, at / "map"), "projected_memory", "lanes")
    print(json.dumps({task: found}), flush=True)
    for path in (at / "map", at / "map.tilespec"):
        shutil.rmtree(path)
    return found


def scene_figures(at: Path, rows: int, tasks: list[str]) -> dict[str, Any]:
    """Return the figures of each task on the scene."""
    scene, fine, coarse = at / "scene", at / "fine", at / "coarse"
    command("simulate", scene, "--rows", rows, "--cols", COLS, "--bands", BANDS)
    command("simulate", fine, "--rows", CORNER, "--cols", CORNER, "--bands", BANDS)
    command("ingest", fine, coarse, "--bin", 2)
    found = {}
    for task in tasks:
        net, data = TASKS[task]
        sources = {
            "segment": {"scene": fine},
            "classify": {"scene": fine},
            "superres": {"scene": coarse, "target": fine},
        }.get(task, {"scene": fine, "target": fine})
        model = learned(at, task, data | {key: str(url) for key, url in sources.items()}, net)
        found[task] = predicted(at, task, model, scene)
    return found


def table_figures(at: Path, count: int) -> dict[str, Any]:
    """Return the figures of a table of ``count`` spectra of 64 bands, and of the first thousand to learn from."""
    draw, source, few = np.random.default_rng(0), at / "spectra.npy", at / "few.npy"
    base = np.cumsum(draw.normal(size=(8, TABLE_BANDS)), axis=1).astype(np.float32)
    held = np.lib.format.open_memmap(source, mode="w+", dtype=np.float32, shape=(count, TABLE_BANDS))
    for first in range(0, count, WRITTEN):
        part = held[first : first + WRITTEN]
        part[:] = draw.random((len(part), 8), np.float32) @ base + draw.normal(0, 0.1, part.shape)
    held.flush()
    np.save(few, held[:1000])
    np.save(at / "classes.npy", np.arange(1000) % 3)
    del held
    axes = ("--axes", "spectrum,band")
    found = {"ingest": figures(command("ingest", source, at / "table", *axes))}
    source.unlink()
    command("ingest", few, at / "few", *axes)
    command("ingest", few, at / "labelled", *axes, "--labels", at / "classes.npy", "--class-names", "a,b,c")
    found["fit"] = figures(command("fit", at / "table", at / "recipe", "--steps", "snv,pca=4"))
    found["transform"] = figures(command("transform", at / "recipe", at / "table", at / "scores"))
    for task, net, data in (
        ("denoise", RESUNET | {"head": "linear"}, {"scene": str(at / "few"), "target": str(at / "few")}),
        (
            "classify",
            {"name": "resnet", "dimensions": 1, "base_width": 4, "stages": 2},
            {"scene": str(at / "labelled")},
        ),
    ):
        model = learned(at, task, data | {"patch": 1}, net)
        found[task] = predicted(at, task, model, at / "table")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--folder", type=Path, help="where scene and maps are written; 32 GB")
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--spectra", type=int, default=10_000_000)
    parser.add_argument("--task", action="append", choices=list(TASKS), help="the default is all")
    options = parser.parse_args()
    found: dict[str, Any] = {"shape": [options.rows, COLS, BANDS], "spectra": [options.spectra, TABLE_BANDS]}
    for name, measure in (
        ("scene", lambda at: scene_figures(at, options.rows, options.task or list(TASKS))),
        ("table", lambda at: table_figures(at, options.spectra)),
    ):
        with tempfile.TemporaryDirectory(dir=options.folder) as at:
            found[name] = measure(Path(at))
    print(json.dumps(found, indent=1))
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
