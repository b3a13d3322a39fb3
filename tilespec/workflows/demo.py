"""Demo: all steps on a small simulated raw scene, from counts to the table of methods, in minutes on 2 cores."""

import time
from pathlib import Path
from typing import Any

from tilespec import api
from tilespec.core.options import with_options
from tilespec.core.progress import Progress
from tilespec.storage.backends.paths import local
from tilespec.workflows.options import DemoOptions

SIZE = {"rows": 1024, "cols": 932, "plants": 16}
TEST, TRAIN = "0:400", "400:1024"
PATCH = 256
BASELINES: dict[str, dict[str, Any]] = {
    "ndvi": {"name": "ndvi"},
    "plsda": {"name": "plsda"},
    "plsda-opening": {"name": "plsda", "opening": 4},
    "mlp": {"name": "mlp"},
}
COLUMNS = ("iou_mean", "iou_std", "scene_iou", "oa")


@with_options(DemoOptions)
def demo(out: str = "demo", *, options: DemoOptions, progress: Progress) -> dict[str, Any]:
    """Simulate, ingest, fit, train, predict, evaluate with the baselines, and report, under the folder ``out``.

    Returns:
        The path of the report, the table of methods, and the seconds of each stage. An interrupted demo is resumed.
    """
    folder = local(out, "a demo")
    stages = _stages(folder, options.seed)
    if options.dry_run:
        return {"stages": [name for name, _, _ in stages], "out": out, **SIZE}
    results: dict[str, dict[str, Any]] = {}
    seconds: dict[str, float] = {}
    for name, verb, arguments in stages:
        began = time.monotonic()
        results[name] = getattr(api, verb)(**arguments, progress=progress)
        seconds[name] = round(time.monotonic() - began, 1)
    methods = [*BASELINES, "cgan"]
    table = {method: {key: results[f"evaluate {method}"][key] for key in COLUMNS} for method in methods}
    runs = [
        *(str(folder / name) for name in ("scene.zarr", "model")),
        *(str(_prediction(folder, m)) for m in methods),
    ]
    page = api.report(runs, str(folder / "report.html"), title="tilespec demo", progress=progress)
    return {"seconds": seconds, "table": format_table(table), "methods": table, "report": page["out"]}


def _prediction(folder: Path, method: str) -> Path:
    return folder / f"{method}.zarr"


def _stages(folder: Path, seed: int) -> list[tuple[str, str, dict[str, Any]]]:
    """Return the name, the verb and the options of every stage in order."""
    raw, scene, recipe, model = (str(folder / name) for name in ("raw", "scene.zarr", "recipe", "model"))
    references = {key: f"{raw}/{key}.hdr" for key in ("white", "dark", "labels")}
    train = {
        "data.scene": scene,
        "data.rows": TRAIN,
        "data.test_rows": TEST,
        "recipe.path": recipe,
        "train.seed": str(seed),
    }
    evaluation = {"truth": scene, "rows": TEST, "patch_size": PATCH}
    stages: list[tuple[str, str, dict[str, Any]]] = [
        ("simulate", "simulate", {"out": raw, **SIZE, "raw": True, "seed": seed}),
        ("ingest", "ingest", {"src": f"{raw}/raw.hdr", "out": scene, **references}),
        ("fit", "fit", {"scene": scene, "out": recipe, "steps": "vsn,pca=4,scale", "rows": TRAIN}),
        ("train", "train", {"config": "preset:demo", "out": model, "overrides": train}),
        ("predict", "predict", {"model": model, "scene": scene, "out": str(_prediction(folder, "cgan"))}),
    ]
    for method, options in BASELINES.items():
        arguments = {
            **options,
            "scene": scene,
            "out": str(_prediction(folder, method)),
            "rows": TRAIN,
            "seed": seed,
        }
        stages.append((method, "baseline", arguments))
    return stages + [
        (f"evaluate {method}", "evaluate", {"pred": str(_prediction(folder, method)), **evaluation})
        for method in (*BASELINES, "cgan")
    ]


def format_table(table: dict[str, dict[str, float]]) -> str:
    """Return the table of methods as aligned text."""
    lines = [f"{'method':<16}{'patch IoU':>16}{'scene IoU':>12}{'accuracy':>11}"]
    for method, row in table.items():
        patch = f"{row['iou_mean']:.3f} ± {row['iou_std']:.3f}"
        lines.append(f"{method:<16}{patch:>16}{row['scene_iou']:>12.3f}{row['oa']:>11.3f}")
    return "\n".join(lines)
