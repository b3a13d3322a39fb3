"""How much of the variance of measured classes synthetic spectra have: two presets on all labelled pixels of a scene.

    python benchmarks/synthesize/spread.py --data shared/data --set indian_pines --seeds 3 --work /tmp/spread \
        --out benchmarks/results/spread.json

500 spectra of each class are compared with the measured ones (`tilespec evaluate`): the median ratio of deviations
within classes (synthetic over measured), a linear SVM taught on one kind and judged on the other, RMSE
of class means, and the distance to the nearest measured spectrum over that between measured ones.
"""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from tilespec import api

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))

from measured_scenes import SETS, scene

PRESETS: dict[str, dict[str, Any]] = {
    "spectra-best": {},
    "audebert2018": {"train.steps": 5000, "train.batch": 128},
}
COUNT = 500


def judged(preset: str, url: str, at: Path, seed: int) -> dict[str, Any]:
    """Train, draw spectra and compare them; return the figures."""
    model, table, began = at / f"{preset}-{seed}", at / f"{preset}-{seed}.zarr", time.monotonic()
    api.train(f"preset:{preset}", str(model), overrides={"data.scene": url, "train.seed": seed, **PRESETS[preset]})
    seconds = time.monotonic() - began
    api.synth(str(model), str(table), count=COUNT, seed=seed)
    found = api.evaluate(str(table), url)
    shutil.rmtree(model)
    kept = {key: value for key, value in found.items() if isinstance(value, int | float | dict) and key != "classes"}
    return {"training_seconds": seconds, **kept}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", choices=list(SETS), default="indian_pines")
    parser.add_argument("--preset", action="append", choices=list(PRESETS), help="the default is both")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    url = scene(options.work, *SETS[options.set](options.data))
    rows: dict[str, Any] = {}
    for preset in options.preset or PRESETS:
        rows[preset] = [judged(preset, url, options.work, seed) for seed in range(options.seeds)]
        print(json.dumps({preset: rows[preset]}, indent=1), flush=True)
    if options.out:
        options.out.write_text(json.dumps({"set": options.set, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
