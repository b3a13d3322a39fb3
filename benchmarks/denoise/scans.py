"""Denoising of single NIR scans: a ResUNet beside Savitzky-Golay and PCA, on real noise.

    python benchmarks/denoise/scans.py --data shared/data --out benchmarks/results/denoise_scans.json [--seeds 3]

500 single scans of one plastic (228 channels, signal about 13 times the noise) are halved. Noise, scans minus their
mean, comes from the first half; shapes come from absorbance spectra of plums, peaches, milk powder and coffee,
stretched and scaled by chance. All methods learn, or are chosen, on such pairs; all are judged on the second half,
whose truth is the mean of all 500 scans. The plastic itself is in no training pair.
"""

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tilespec import api

SHAPES = ("NIRplums_brix_firmness", "peach_spectra_brix", "milk-powder", "coffee_classification")
WINDOWS, COMPONENTS = (9, 15, 21, 27, 35, 45, 55, 65), (2, 3, 4, 6, 8, 12, 16)
PAIRS, HALF = 4096, 250


def shapes(data: Path) -> list[np.ndarray]:
    """Return absorbance spectra from 0 to 1, without columns that are no bands."""
    found = []
    for name in SHAPES:
        table = pd.read_csv(data / "nirpy_food_nir" / f"{name}.csv").select_dtypes("number")
        spectra = table.to_numpy(np.float64)[:, -600:]
        low, high = spectra.min(axis=1, keepdims=True), spectra.max(axis=1, keepdims=True)
        found += list((spectra - low) / (high - low))
    return found


def pairs(data: Path, scans: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return clean spectra of foods in counts, and the same with the noise of the first half of the scans."""
    draw, library, bands = np.random.default_rng(seed), shapes(data), scans.shape[1]
    noise, level = scans[:HALF] - scans[:HALF].mean(axis=0), scans[:HALF].mean(axis=0)
    clean = np.empty((PAIRS, bands))
    for row in clean:
        shape = library[draw.integers(len(library))][:: draw.choice([-1, 1])]
        length = draw.integers(len(shape) // 3, len(shape))
        start = draw.integers(len(shape) - length + 1)
        stretched = np.interp(np.linspace(0, length - 1, bands), np.arange(length), shape[start : start + length])
        row[:] = level.min() + (level.max() - level.min()) * draw.uniform(0.3, 1.2) * stretched
    return clean, clean + noise[draw.integers(HALF, size=PAIRS)]


def table(at: Path, name: str, spectra: np.ndarray, wavelengths: np.ndarray) -> str:
    """Write spectra as a table; return its URL."""
    np.savez(at / f"{name}.npz", spectra=spectra.astype(np.float32), wavelength=wavelengths)
    source, out = str(at / f"{name}.npz"), str(at / name)
    api.ingest(source, out, variable="spectra", axes="spectrum,band", wavelengths="wavelength", wavelength_unit="nm")
    return out


def judged(pred: str, truth: str) -> dict[str, float]:
    found = api.evaluate(pred, truth, patches=1)
    return {key: found[key] for key in ("rmse", "snr", "sam")}


def by_recipe(at: Path, steps: str, learned: str, scans: str, *, restore: bool) -> str:
    """Fit a recipe on the training pairs and apply it; return the URL of the result."""
    name = steps.replace("=", "").replace(":", "_")
    recipe, out = at / f"{name}-recipe", at / f"{name}-{Path(scans).name}"
    if not recipe.exists():
        api.fit(learned, str(recipe), steps=steps)
    api.transform(str(recipe), scans, str(out), restore=restore)
    return str(out)


def chosen(at: Path, options: list[str], stores: dict[str, str], *, restore: bool) -> tuple[str, dict[str, Any]]:
    """Return the recipe that is best on the training pairs, and its figures on the scans."""
    rmse = {
        o: judged(by_recipe(at, o, stores["noisy"], stores["noisy"], restore=restore), stores["clean"]) for o in options
    }
    best = min(rmse, key=lambda option: rmse[option]["rmse"])
    return best, judged(by_recipe(at, best, stores["noisy"], stores["scans"], restore=restore), stores["mean"])


def network(at: Path, stores: dict[str, str], seed: int, steps: int) -> dict[str, float]:
    """Train a residual U-Net along the bands; return its figures on the scans."""
    settings = {
        "data": {"scene": stores["noisy"], "target": stores["clean"], "patch": 1, "patches": PAIRS},
        "recipe": {"steps": "minmax=shared"},
        "task": {"name": "denoise"},
        "net": {"name": "resunet", "dimensions": 1, "base_width": 8, "answer": "bands", "head": "linear"},
        "objective": {"name": "supervised", "loss": "l1"},
        "train": {"seed": seed, "steps": steps, "batch": 64, "rate": 2e-3, "warmup": 50, "schedule": "one_cycle"},
    }
    out, began = at / f"net-{seed}", time.monotonic()
    api.train(settings, str(out))
    seconds = time.monotonic() - began
    api.predict(str(out), stores["scans"], f"{out}.zarr")
    return {**judged(f"{out}.zarr", stores["mean"]), "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    held = np.load(options.data / "nir_repeated_scans" / "abs_plastic_500repeats.npz")
    scans, wavelengths = held["counts"].astype(np.float64), held["wavelength_nm"]
    at = Path(tempfile.mkdtemp())
    clean, noisy = pairs(options.data, scans, 0)
    truth = np.broadcast_to(scans.mean(axis=0), scans[HALF:].shape)
    cubes = {"clean": clean, "noisy": noisy, "scans": scans[HALF:], "mean": truth}
    stores = {name: table(at, name, cube, wavelengths) for name, cube in cubes.items()}
    rows: dict[str, Any] = {"single scan": judged(stores["scans"], stores["mean"])}
    smooth, rows["Savitzky-Golay"] = chosen(at, [f"sg={w}:2" for w in WINDOWS], stores, restore=False)
    project, rows["PCA"] = chosen(at, [f"pca={k}" for k in COMPONENTS], stores, restore=True)
    rows["ResUNet"] = [network(at, stores, seed, options.steps) for seed in range(options.seeds)]
    shutil.rmtree(at)
    result = {"steps": options.steps, "recipes": [smooth, project], "rows": rows}
    print(json.dumps(result, indent=1))
    if options.out:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
