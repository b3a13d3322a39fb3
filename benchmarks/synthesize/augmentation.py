"""The augmentation study of Audebert et al. (2018) on measured scenes: `tilespec study` does all of it.

    python benchmarks/synthesize/augmentation.py --data shared/data --set indian_pines --seeds 5 --steps 5000 \
        --work /tmp/augmentation --out benchmarks/results/augmentation_indian_pines.json

For each seed and split a generator (and a semi-supervised one) learns from the training pixels alone; a linear SVM and
a perceptron learn from the training pixels, with as many synthetic ones of each class or without; both are judged on
the other labelled pixels. Splits: 3 % of each class at random (at least one pixel), or halves of
each class (halves of the image leave classes out). Beside the
generator: class Gaussians in the space of principal components, mixtures of pairs, gain and noise. The classifiers
standardise bands themselves. A run that was stopped continues.
"""

import argparse
import json
import sys
from pathlib import Path

from tilespec import api

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))

from measured_scenes import SETS, scene


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", choices=list(SETS), default="indian_pines")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--preset", default="audebert2018")
    parser.add_argument(
        "--split", action="append", help="random:SHARE, halves or class-halves; the default is both, of the paper"
    )
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    splits = options.split or ["random:0.03", "class-halves"]
    url = scene(options.work, *SETS[options.set](options.data))
    settings = {"data.scene": url, "train.steps": options.steps, "train.batch": options.batch}
    found = api.study(
        f"preset:{options.preset}",
        options.work / "study",
        overrides=settings,
        vary={"task.unlabelled": [False, True]},
        baselines=["svm,mlp"],
        baseline_options={"recipe": ""},
        synthetic=["gaussians,mixtures,gain-noise"],
        split=splits,
        seeds=options.seeds,
        discard=True,
    )
    print(found["table"])
    if options.out:
        chosen = {key: value for key, value in vars(options).items() if key not in ("data", "work", "out")}
        kept = {**chosen, "split": splits, "scores": found["scores"], "seconds": found["seconds"]}
        options.out.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
