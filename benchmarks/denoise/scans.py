"""Denoising of single NIR scans and of Raman spectra of cells: a ResUNet beside classical methods, on real noise.

    python benchmarks/denoise/scans.py --data shared/data --out benchmarks/results/denoise.json [--seeds 3]

Plastic: 500 single scans of one plastic (228 channels, signal about 13 times the noise) are halved, as
reflectance in percent of the lamp. Noise of the covariance of the first half's scans teaches: normal combinations of
scans minus their mean, because a net learns 250 noises by heart; shapes come from absorbance spectra of plums, peaches,
milk powder and coffee, stretched and scaled by chance. All methods learn, or are chosen, on such pairs; all are judged
on the second half, by the mean of all 500 scans. The plastic itself is in no training pair, but MNF is fitted on the
scans of the first half, because its estimate of noise needs neighbours that are alike.

Algae: 59 Raman spectra of single cells (three strains, two media, 1015 shifts), measured with little noise. The noise
of a hundredth of the time is simulated: shot noise of the gain that the spectra show. Mixtures of the cells of two
strains teach; cells of the third one are judged by what was measured. Every strain has its turn. MNF is fitted on two
such spectra of each cell that teaches, side by side.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.signal import savgol_filter

from tilespec import api

SHAPES = ("NIRplums_brix_firmness", "peach_spectra_brix", "milk-powder", "coffee_classification")
WINDOWS, COMPONENTS = (5, 9, 15, 21, 27, 35, 45, 55, 65), (1, 2, 3, 4, 6, 8, 12, 16)
STRAINS = ("CC_124", "CC_125", "CC_1373")
PAIRS, HALF, SMOOTH = 4096, 250, (21, 2)
TIME, REPEATS = 0.01, 8
NET = {
    "name": "residual",
    "inner": {"name": "resunet", "dimensions": 1, "base_width": 8, "norm": "none", "answer": "bands", "head": "linear"},
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """Spectra to learn from and to be judged on, ``spectrum band``."""

    axis: np.ndarray
    unit: str
    clean: np.ndarray
    noisy: np.ndarray
    """The clean ones with measured noise."""
    alike: np.ndarray
    """Measured spectra whose neighbours are alike, for MNF."""
    like: np.ndarray
    """What each of them is without noise, as far as is known."""
    scans: np.ndarray
    """Measured spectra that nothing has learned from."""
    truth: np.ndarray
    """What each of them is without noise, as far as is known."""


def shapes(data: Path) -> list[np.ndarray]:
    """Return absorbance spectra from 0 to 1, without columns that are no bands."""
    found = []
    for name in SHAPES:
        table = pd.read_csv(data / "nirpy_food_nir" / f"{name}.csv").select_dtypes("number")
        spectra = table.to_numpy(np.float64)[:, -600:]
        low, high = spectra.min(axis=1, keepdims=True), spectra.max(axis=1, keepdims=True)
        found += list((spectra - low) / (high - low))
    return found


def plastic(data: Path) -> Iterator[tuple[str, Case]]:
    """Yield the reflectance of the plastic in percent, with foods to learn from."""
    held = np.load(data / "nir_repeated_scans" / "black_foam_500repeats.npz")
    scans, axis = 100 * held["sample"] / held["reference"].mean(axis=0), held["wavelength_nm"]
    draw, library, bands = np.random.default_rng(0), shapes(data), scans.shape[1]
    level = scans[:HALF].mean(axis=0)
    clean = np.empty((PAIRS, bands))
    for row in clean:
        shape = library[draw.integers(len(library))][:: draw.choice([-1, 1])]
        length = draw.integers(len(shape) // 3, len(shape))
        start = draw.integers(len(shape) - length + 1)
        stretched = np.interp(np.linspace(0, length - 1, bands), np.arange(length), shape[start : start + length])
        row[:] = level.mean() * 10 ** (draw.normal(scale=0.1) - draw.uniform(0.0, 0.5) * (stretched - stretched.mean()))
    yield (
        "plastic",
        Case(
            axis=axis,
            unit="nm",
            clean=clean,
            noisy=clean + draw.normal(scale=HALF**-0.5, size=(PAIRS, HALF)) @ (scans[:HALF] - level),
            alike=scans[:HALF],
            like=np.broadcast_to(level, scans[:HALF].shape),
            scans=scans[HALF:],
            truth=np.broadcast_to(scans.mean(axis=0), scans[HALF:].shape),
        ),
    )


def algae(data: Path) -> Iterator[tuple[str, Case]]:
    """Yield the cells of each strain, with those of the two others to learn from."""
    held = np.load(data / "raman_algae_chlamydomonas" / "renishaw_qontor.npz")
    order = np.argsort(held["shift_cm1"])
    cells = {name: held[name][:, order].astype(np.float64) for name in held.files if name != "shift_cm1"}
    for strain in STRAINS:
        taught, judged = (
            np.concatenate([one for name, one in cells.items() if (f"_{strain}_" in name) == own])
            for own in (False, True)
        )
        draw = np.random.default_rng(0)
        residual = taught - savgol_filter(taught, *SMOOTH, axis=1)
        gain = float(np.median(residual.var(axis=1) / taught.mean(axis=1)))
        sides = {
            "noisy clean": draw.dirichlet([0.3] * len(taught), size=PAIRS) @ taught,
            "alike like": np.repeat(taught, 2, axis=0),
            "scans truth": np.repeat(judged, REPEATS, axis=0),
        }
        spectra: dict[str, np.ndarray] = {}
        for names, true in sides.items():
            shot = true + draw.normal(size=true.shape) * np.sqrt(gain * true / TIME)
            level, size = shot.mean(axis=1, keepdims=True), shot.std(axis=1, keepdims=True)
            spectra |= dict(zip(names.split(), ((shot - level) / size, (true - level) / size), strict=True))
        yield f"algae, {strain}", Case(axis=held["shift_cm1"][order], unit="cm-1", **spectra)


def table(at: Path, name: str, spectra: np.ndarray, case: Case) -> str:
    """Write spectra as a table; return its URL."""
    np.savez(at / f"{name}.npz", spectra=spectra.astype(np.float32), axis=case.axis)
    source, out = str(at / f"{name}.npz"), str(at / name)
    api.ingest(source, out, variable="spectra", axes="spectrum,band", wavelengths="axis", wavelength_unit=case.unit)
    return out


def judged(pred: str, truth: str) -> dict[str, float]:
    found = api.evaluate(pred, truth, patches=1)
    return {key: found[key] for key in ("rmse", "snr", "sam")}


def by_recipe(at: Path, steps: str, learned: str, scans: str) -> str:
    """Fit a recipe and apply it, components back to spectra; return the URL of the result."""
    name = steps.replace("=", "").replace(":", "_")
    recipe, out = at / f"{name}-recipe", at / f"{name}-{Path(scans).name}"
    if not recipe.exists():
        api.fit(learned, str(recipe), steps=steps)
    api.transform(str(recipe), scans, str(out), restore=not steps.startswith("sg"))
    return str(out)


def chosen(at: Path, options: list[str], stores: dict[str, str], learn: tuple[str, str]) -> dict[str, Any]:
    """Return the figures on the scans of the recipe that is best on what it was fitted on (noisy, and the truth)."""
    noisy, truth = (stores[name] for name in learn)
    rmse = {one: judged(by_recipe(at, one, noisy, noisy), truth)["rmse"] for one in options}
    best = min(rmse, key=lambda option: rmse[option])
    return {"recipe": best, **judged(by_recipe(at, best, noisy, stores["scans"]), stores["truth"])}


def network(at: Path, stores: dict[str, str], seed: int, steps: int) -> dict[str, float]:
    """Train a residual U-Net along the bands; return its figures on the scans."""
    settings = {
        "data": {"scene": stores["noisy"], "target": stores["clean"], "patch": 1, "patches": PAIRS},
        "task": {"name": "denoise", "low": 0.0, "high": 1.0},
        "net": NET,
        "objective": {"name": "supervised", "loss": "l1"},
        "train": {"seed": seed, "steps": steps, "batch": 64, "rate": 2e-3, "warmup": 50, "schedule": "one_cycle"},
    }
    out, began = at / f"net-{seed}", time.monotonic()
    api.train(settings, str(out))
    seconds = time.monotonic() - began
    api.predict(str(out), stores["scans"], f"{out}.zarr")
    return {**judged(f"{out}.zarr", stores["truth"]), "seconds": seconds}


def compared(at: Path, case: Case, seeds: int, steps: int) -> dict[str, Any]:
    """Return the figures of all methods."""
    names = ("clean", "noisy", "alike", "like", "scans", "truth")
    stores = {name: table(at, name, getattr(case, name), case) for name in names}
    pairs, cells = ("noisy", "clean"), ("alike", "like")
    return {
        "single scan": judged(stores["scans"], stores["truth"]),
        "Savitzky-Golay": chosen(at, [f"sg={w}:2" for w in WINDOWS], stores, pairs),
        "PCA": chosen(at, [f"pca={k}" for k in COMPONENTS], stores, pairs),
        "MNF": chosen(at, [f"mnf={k}:lower" for k in COMPONENTS], stores, cells),
        "ResUNet": [network(at, stores, seed, steps) for seed in range(seeds)],
    }


CASES = {"plastic": plastic, "algae": algae}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", choices=list(CASES), action="append", help="the default is both")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found: dict[str, Any] = {}
    for name in options.set or CASES:
        for which, case in CASES[name](options.data):
            with tempfile.TemporaryDirectory() as at:
                found[which] = compared(Path(at), case, options.seeds, options.steps)
            print(json.dumps({which: found[which]}, indent=1), flush=True)
    if options.out:
        options.out.write_text(json.dumps({"steps": options.steps, "rows": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
