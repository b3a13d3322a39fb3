"""Chemical maps at full size: a training step on one sample of 3000 x 2796 x 186, and maps of it by PLS and by a net.

    python benchmarks/chemmap/full_size.py --out benchmarks/results/chemmap_full_size.json [--folder DIR] [--rows 3000]

Every command is a process of its own; its seconds and its peak memory are what it says of itself.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))

from commands import command, figures, settings

COLS, BANDS, SAMPLES, TILE = 2796, 186, 24, 256


def measured(at: Path, rows: int) -> dict[str, Any]:
    """Return the figures of all commands, in a folder."""
    tray, table = at / "tray.zarr", at / "whole.csv"
    size = ("--rows", rows, "--cols", COLS, "--bands", BANDS, "--samples", SAMPLES)
    found = {"simulate": figures(command("simulate", tray, "--kind", "samples", *map(str, size)))}
    print(json.dumps(found), flush=True)
    references = ("--references", f"{tray}.references.csv", "--samples-layer", "sample", "--column", "fat")
    pls = command("baseline", "plsr", tray, at / "pls.zarr", *references)
    found["pls"] = figures(pls, "fit_seconds", "predict_seconds")
    print(json.dumps(found), flush=True)
    table.write_text("sample,fat [%]\ntray,20\n")
    data = {"data.scene": tray, "data.references": table, "data.tile": TILE, "train.steps": 1}
    found["train_step"] = figures(
        command("train", "preset:chemmap", "--out", at / "net", *settings(data)), "steps", "losses"
    )
    print(json.dumps(found), flush=True)
    found["predict"] = figures(command("predict", at / "net", tray, at / "net.zarr"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--folder", type=Path, help="where the scene and the maps are written; 13 GB")
    parser.add_argument("--rows", type=int, default=3000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as at:
        found = {"shape": [options.rows, COLS, BANDS], "tile": TILE, **measured(Path(at), options.rows)}
    print(json.dumps(found, indent=1))
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
