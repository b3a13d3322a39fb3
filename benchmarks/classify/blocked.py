"""Classification of measured scenes with blocks of pixels held out: `tilespec study` does all of it.

    python benchmarks/classify/blocked.py --data shared/data --set indian_pines --seeds 3 --work /tmp/blocked \
        --out benchmarks/results/blocked_indian_pines.json

Squares of 16 x 16 pixels are for training or for test, by the seed. A linear SVM and a perceptron read single spectra;
so does one of the two transformers. The other nets read neighbours: a residual U-Net with one and with three halvings,
HybridSN with windows of 11 pixels, and the transformer with windows of 7. A run that was stopped continues.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tilespec import api

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))

from measured_scenes import SETS, scene

COMPONENTS, BANDS = "autoscale,pca=30,scale", "autoscale"
NETS: dict[str, tuple[dict[str, Any], str, int, int, float]] = {
    "ResUNet, 3 halvings": ({"name": "resunet", "base_width": 16, "levels": 3}, COMPONENTS, 32, 8, 2.0),
    "ResUNet, 1 halving": ({"name": "resunet", "base_width": 16, "levels": 1}, COMPONENTS, 32, 8, 2.0),
    "HybridSN": ({"name": "hybridsn", "window": 11}, COMPONENTS, 32, 4, 1.0),
    "transformer, windows": ({"name": "spectralformer", "window": 7}, BANDS, 8, 2, 0.5),
    "transformer, pixels": ({"name": "spectralformer"}, BANDS, 2, 32, 0.5),
}
"""The nets, with recipe, patch, batch and the share of the steps."""


def config(at: Path, name: str, url: str, steps: int) -> str:
    """Write the configuration of a net, which has its name; return the path."""
    net, recipe, patch, batch, share = NETS[name]
    tables = {
        "data": {"scene": url, "patch": patch, "balance": "labelled"},
        "recipe": {"steps": recipe},
        "task": {"name": "classify"},
        "net": net,
        "objective": {"name": "supervised", "loss": "cross_entropy"},
        "train": {
            "steps": round(share * steps),
            "batch": batch,
            "rate": 1e-3,
            "warmup": 0,
            "schedule": "one_cycle",
        },
    }
    lines = (
        f"[{key}]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in table.items()) for key, table in tables.items()
    )
    (at / f"{name}.toml").write_text("".join(lines))
    return str(at / f"{name}.toml")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", choices=list(SETS), default="indian_pines")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--split", default="blocks:16")
    parser.add_argument("--net", action="append", choices=list(NETS), help="the default is all")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    url = scene(options.work, *SETS[options.set](options.data))
    found = api.study(
        [config(options.work, name, url, options.steps) for name in options.net or NETS],
        options.work / "study",
        baselines=["svm,mlp"],
        baseline_options={"recipe": ""},
        split=[options.split],
        seeds=options.seeds,
        discard=True,
    )
    print(found["table"])
    if options.out:
        kept = {"set": options.set, "split": options.split, "steps": options.steps, "scores": found["scores"]}
        options.out.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
