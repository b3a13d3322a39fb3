"""The augmentation study of Audebert et al. (2018): classifiers with and without synthetic spectra, over seeds.

    python benchmarks/synthesize/augmentation.py --data shared/data --set indian_pines --seeds 5 --steps 5000 \
        --out benchmarks/results/augmentation.json

For each seed and split a generator (and a semi-supervised one) learns from the training pixels alone; a linear SVM and
a perceptron learn from the training pixels, with as many synthetic ones of each class or without; both are judged on
the other labelled pixels. Splits: 3 % of each class at random (at least one pixel), or halves of the image. Beside the
generator: class Gaussians in the space of principal components, mixtures of pairs, gain and noise.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from tilespec import api
from tilespec.storage.layout import class_attrs
from tilespec.storage.scene import Scene

SHARE = 0.03
METHODS = ("svm", "mlp")
GANS: dict[str, dict[str, Any]] = {"gan": {}, "ss-gan": {"task.unlabelled": True, "data.balance": "none"}}


def indian_pines(data: Path) -> tuple[np.ndarray, np.ndarray]:
    held = np.load(data / "indian_pines" / "indian_pines.npz")
    return held["cube"].astype(np.float32), held["gt"]


def pavia(data: Path) -> tuple[np.ndarray, np.ndarray]:
    held = np.load(data / "pavia_university" / "pavia_university_lowres.npz")
    return held["cube"], held["gt"]


def houston(data: Path) -> tuple[np.ndarray, np.ndarray]:
    from scipy.io import loadmat

    held = loadmat(data / "houston2018_subset" / "houston_dataset.mat")
    blocks = held["clasLabs"].reshape(128, 4, 128, 4).transpose(0, 2, 1, 3).reshape(128, 128, 16)
    pure = (blocks == blocks[..., :1]).all(axis=2)
    return held["hyprImg"].astype(np.float32), np.where(pure, blocks[..., 0], 0).astype(np.uint8)


def potsdam(data: Path) -> tuple[np.ndarray, np.ndarray]:
    held = np.load(data / "enmap_potsdam" / "enmap_potsdam_tiles.npz")
    good = held["bbl"] != 0
    tiles = held["tiles"][..., good].astype(np.float32) / 1e4
    return np.concatenate(list(tiles), axis=1), np.concatenate(list(held["labels"]), axis=1)


SETS: dict[str, Callable[[Path], tuple[np.ndarray, np.ndarray]]] = {
    "indian_pines": indian_pines,
    "pavia": pavia,
    "houston": houston,
    "potsdam": potsdam,
}


def randomly(gt: np.ndarray, seed: int) -> np.ndarray:
    """Return which labelled pixels are for training: `SHARE` of each class, at least one."""
    rng, train = np.random.default_rng([seed, 1]), np.zeros(gt.shape, bool)
    for number in np.unique(gt[gt > 0]):
        places = np.argwhere(gt == number)
        for y, x in places[rng.permutation(len(places))[: max(1, round(SHARE * len(places)))]]:
            train[y, x] = True
    return train


def halves(gt: np.ndarray, seed: int) -> np.ndarray:
    """Return the labelled pixels of one half of the image: left, right, upper, lower by turns."""
    train, (height, width) = gt > 0, gt.shape
    mine = np.zeros(gt.shape, bool)
    part = (np.s_[:, : width // 2], np.s_[:, width // 2 :], np.s_[: height // 2], np.s_[height // 2 :])[seed % 4]
    mine[part] = True
    return train & mine


SPLITS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {"random 3 %": randomly, "halves": halves}


def scene(at: Path, name: str, cube: np.ndarray, gt: np.ndarray, classes: list[str]) -> str:
    """Write a scene with the labels of a part of the pixels; return its URL."""
    np.savez(at / f"{name}.npz", cube=cube, gt=gt)
    file = str(at / f"{name}.npz")
    given = {"variable": "cube", "labels": f"{file}:gt", "ignore_label": 0, "class_names": ",".join(classes)}
    api.ingest(file, at / f"{name}.zarr", **given)
    return str(at / f"{name}.zarr")


def table(at: Path, spectra: np.ndarray, of: np.ndarray, classes: tuple[str, ...]) -> str:
    """Write spectra as a table; return its URL."""
    group = zarr.create_group(str(at))
    group.create_array("cube", data=spectra.astype(np.float32), dimension_names=("spectrum", "band"))
    group.create_array("class", data=of.astype(np.uint8), dimension_names=("spectrum",))
    group["class"].attrs.update(class_attrs(classes))
    return str(at)


def gaussians(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a draw for each spectrum from the Gaussian of its class in the space of the first components."""
    mean = x.mean(axis=0)
    _, _, axes = np.linalg.svd(x - mean, full_matrices=False)
    scores = (x - mean) @ axes[:10].T
    drawn = np.empty_like(scores)
    for number in np.unique(y):
        own = scores[y == number]
        spread = np.cov(own.T) if len(own) > 1 else np.zeros((scores.shape[1],) * 2)
        drawn[y == number] = rng.multivariate_normal(own.mean(axis=0), spread, len(own), method="eigh")
    return mean + drawn @ axes[:10]


def mixtures(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a mixture of each spectrum with another one of its class."""
    partner = np.concatenate([rng.choice(np.flatnonzero(y == number), 1) for number in y])
    share = rng.uniform(size=(len(x), 1))
    return share * x + (1 - share) * x[partner]


def disturbed(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return each spectrum with a gain of 0.9 to 1.1, and noise of a hundredth of the range (DeepHyperX: radiation)."""
    del y
    return x * rng.uniform(0.9, 1.1, (len(x), 1)) + rng.normal(0, 0.01 * np.ptp(x), x.shape)


PLAIN = {"gaussians": gaussians, "mixtures": mixtures, "gain and noise": disturbed}


def run(at: Path, cube: np.ndarray, gt: np.ndarray, train: np.ndarray, options: argparse.Namespace, seed: int) -> Any:
    """Return the overall accuracies of all classifiers with all augmentations, and how good the generators are."""
    names = [f"class_{k}" for k in range(1, int(gt.max()) + 1)]
    learned = scene(at, "train", cube, np.where(train, gt, 0).astype(np.uint8), names)
    judged = scene(at, "test", cube, np.where(train, 0, gt).astype(np.uint8), names)
    opened = Scene.open(learned)
    labels = opened.labels()
    x, y = opened.read(opened.roi)[labels != 255], labels[labels != 255]
    rng, tables = np.random.default_rng([seed, 2]), {"none": None}
    quality = {}
    for name, settings in GANS.items():
        overrides = {"data.scene": learned, "train.steps": options.steps, "train.seed": seed}
        overrides |= {"train.batch": options.batch, **settings}
        api.train(f"preset:{options.preset}", at / name, overrides=overrides)
        api.synth(at / name, at / f"{name}.filled", labels=learned, seed=seed)
        filled = Scene.open(str(at / f"{name}.filled"))
        tables[name] = table(at / f"{name}.table", filled.read(filled.roi)[labels != 255], y, opened.classes())
        found = api.evaluate(tables[name], learned)
        quality[name] = {key: found[key] for key in ("spread_ratio", "collapsed", "svm", "neighbour_ratio", "copies")}
    for name, made in PLAIN.items():
        tables[name] = table(at / f"{name}.table", made(x, y, rng), y, opened.classes())
    accuracies: dict[str, dict[str, float]] = {}
    for method in METHODS:
        for name, url in tables.items():
            out = at / f"{method} {name}"
            api.baseline(method, learned, out, recipe="", synthetic=url, seed=seed)
            accuracies.setdefault(method, {})[name] = api.evaluate(out, judged)["oa"]
    return {"oa": accuracies, "generators": quality, "train_pixels": int(train.sum())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", choices=list(SETS), default="indian_pines")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--preset", default="audebert2018")
    parser.add_argument("--split", choices=list(SPLITS), action="append", help="one of the splits; given twice, both")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    cube, gt = SETS[options.set](options.data)
    runs: dict[str, Any] = {}
    for split in options.split or SPLITS:
        for seed in range(options.seeds):
            at = Path(tempfile.mkdtemp())
            try:
                found = run(at, cube, gt, SPLITS[split](gt, seed), options, seed)
            finally:
                shutil.rmtree(at)
            runs.setdefault(split, []).append(found)
            print(json.dumps({split: {seed: found}}), flush=True)
    summary = {
        split: {
            method: {
                name: [float(f([one["oa"][method][name] for one in each])) for f in (np.mean, np.std)]
                for name in each[0]["oa"][method]
            }
            for method in METHODS
        }
        for split, each in runs.items()
    }
    print(json.dumps(summary, indent=1))
    if options.out:
        chosen = {key: value for key, value in vars(options).items() if key not in ("data", "out")}
        kept = {**chosen, "summary": summary, "runs": runs}
        options.out.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
