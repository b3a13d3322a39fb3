"""Seams of the demo's model, blended and unblended, and of the same weights normalised by the statistics of each tile.

    tilespec demo --out demo
    python benchmarks/predict/seams.py demo docs/seams.png

Prints the table (Markdown) and draws the picture of docs/seams.md. Predictions lie in DEMO/seams and are kept, so that
a second call only draws. Seam scores are of the whole scene, IoU of the rows that the model has not seen.
"""

import sys
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from matplotlib import rc_context
from matplotlib.figure import Figure

from tilespec import api
from tilespec.core.types import Roi
from tilespec.evaluate.seams import seam_score
from tilespec.models.model import Model
from tilespec.output.pictures import TRUE_COLOUR
from tilespec.storage.scene import Scene
from tilespec.workflows.demo import PATCH, TEST

NETS = {"model": "of the training set", "tiles": "of each tile"}
TILES = (256, 128, 64)
MERGES = {"side by side": (0, "none"), "cut": (2, "none"), "blended": (2, "cosine")}
"""How tiles become a plane: the divisor of the tile that gives the overlap (0: no overlap), and the window."""
CROP = Roi(y0=20, y1=244, x0=16, x1=240)
ROWS = (
    (("model", 64, "side by side"), ("model", 64, "blended")),
    (("tiles", 128, "side by side"), ("tiles", 128, "blended")),
)
"""What the picture shows of nets, beside the scene and its truth."""
ZOOM, GAP, TOP, BOTTOM = 2, 14, 30, 36
"""Pixels of the picture: of one of the scene, between panels, and for the words above and below each."""

Found = Mapping[tuple[str, int, str], Mapping[str, Any]]


def main(demo: str, out: str) -> None:
    folder = Path(demo)
    models = {"model": folder / "model", "tiles": by_tiles(folder)}
    cases = list(product(NETS, TILES, MERGES))
    found = {case: measure(folder, models[case[0]], case) for case in cases}
    print(table(found))
    draw(folder, found, out)


def by_tiles(folder: Path) -> Path:
    """Return a copy of the demo's model whose batch norms take the statistics of each tile; no dropout."""
    copy = folder / "seams" / "model-by-tiles"
    if not copy.exists():
        model = Model.load(str(folder / "model"))
        replace(model, net={**model.net, "live": True, "dropout": 0.0}).save(str(copy))
    return copy


def place(folder: Path, case: tuple[str, int, str]) -> str:
    net, tile, merge = case
    return str(folder / "seams" / f"{net}-{tile}-{merge.replace(' ', '-')}.zarr")


def measure(folder: Path, model: Path, case: tuple[str, int, str]) -> dict[str, Any]:
    scene, out, (divisor, window) = str(folder / "scene.zarr"), place(folder, case), MERGES[case[2]]
    overlap = case[1] // divisor if divisor else 0
    api.predict(str(model), scene, out, tile=case[1], overlap=overlap, window=window, probabilities=True)
    scores = api.evaluate(out, scene, rows=TEST, patch_size=PATCH)
    return {"iou": scores["scene_iou"], "overlap": overlap, **seam_score(out, truth=scene)}


def table(found: Found) -> str:
    """Return a row for each case."""
    lines = [
        "| statistics | tile | overlap | tiles are | seam score | the truth's | IoU |",
        "|---|" + "---:|" * 2 + "---|" + "---:|" * 3,
    ]
    for (net, tile, merge), row in found.items():
        scores = [figure(row["seam_score"]), figure(row["seam_score_truth"] if row["seam_score"] else None)]
        cells = [NETS[net], str(tile), str(row["overlap"]), merge, *scores, f"{row['iou']:.3f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def draw(folder: Path, found: Found, out: str) -> None:
    """Draw scene and truth, and beside each the probabilities of one net, unblended and blended."""
    scene = Scene.open(str(folder / "scene.zarr"))
    begin = [
        ("the scene, true colour", "simulated, rows the model has not seen", colours(scene)),
        ("the truth", "right: probability of plant, black 0, white 1", scene.labels(CROP) == 1),
    ]
    rows = [[start, *(shown(folder, found, case) for case in cases)] for start, cases in zip(begin, ROWS, strict=True)]
    side = ZOOM * CROP.shape[0]
    width, height = 3 * side + 4 * GAP, 2 * (side + TOP + BOTTOM)
    with rc_context({"font.size": 11.5}):
        sheet = Figure(figsize=(width / 100, height / 100), dpi=100, facecolor="white")
        for (y, row), x in product(enumerate(rows), range(3)):
            left, bottom = GAP + x * (side + GAP), height - (y + 1) * (side + TOP) - y * BOTTOM
            panel = sheet.add_axes((left / width, bottom / height, side / width, side / height))
            title, below, pixels = row[x]
            panel.imshow(pixels, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            panel.set_title(title, loc="left", pad=6)
            panel.set_axis_off()
            panel.text(0, -0.02, below, transform=panel.transAxes, va="top", fontweight="bold" if x else "normal")
        sheet.savefig(out, metadata={"Software": "tilespec"})


def shown(folder: Path, found: Found, case: tuple[str, int, str]) -> tuple[str, str, np.ndarray]:
    """Return title, scores and probabilities of a case."""
    row, store = found[case], zarr.open_group(place(folder, case), mode="r")
    of = ", own statistics" if case[0] == "tiles" else ""
    scores = f"seam score {figure(row['seam_score'])} (truth {figure(row['seam_score_truth'])}), IoU {row['iou']:.3f}"
    return f"tiles of {case[1]}{of}, {case[2]}", scores, np.asarray(store["probability"])[(*CROP.slices, 1)]


def colours(scene: Scene) -> np.ndarray:
    """Return the crop as the eye sees it: one scale for three bands, brightened."""
    assert scene.spectral is not None
    planes = scene.read(CROP)[..., [scene.spectral.nearest(value) for value in TRUE_COLOUR]]
    return np.clip(planes / np.nanpercentile(planes, 99), 0, 1) ** (1 / 2.2)


if __name__ == "__main__":
    main(*sys.argv[1:])
