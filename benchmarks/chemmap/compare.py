"""Chemical maps from mean references on simulated trays whose maps are known: a valid U-Net beside PLS.

    python benchmarks/chemmap/compare.py --out benchmarks/results/chemmap.json [--seeds 3] [--steps 2000]
        [--set objective.smoothness=20 ...]

Both methods see the cube and the mean of each sample of one tray; both are judged on another tray. The maps of PLS are
judged at full size and as means of 2 x 2 pixels, the size of the maps of the net.
"""

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from tilespec import api
from tilespec.evaluate.metrics.variogram import LAGS, Variogram
from tilespec.storage.references import References

TRAY = {"kind": "samples", "samples": 24, "rows": 384, "cols": 576, "bands": 62}
COLUMN = "fat"


def layer(url: Path, name: str) -> np.ndarray:
    return np.asarray(zarr.open_group(str(url), mode="r")[name])


def halved(plane: np.ndarray) -> np.ndarray:
    """Return the means of 2 x 2 pixels, NaN where one is NaN."""
    height, width = (length // 2 for length in plane.shape)
    return plane[: 2 * height, : 2 * width].reshape(height, 2, width, 2).mean(axis=(1, 3))


def figures(predicted: np.ndarray, truth: np.ndarray, sample: np.ndarray, means: np.ndarray) -> dict[str, float]:
    """Return what a map is worth: its means, its pixels, its range and its variogram, over the pixels of samples."""
    hidden = np.isfinite(truth)
    inside = hidden & np.isfinite(predicted)
    numbers = [k for k in range(1, len(means) + 1) if (inside & (sample == k)).any()]
    errors = np.array([predicted[inside & (sample == k)].mean() - means[k - 1] for k in numbers])
    shares = []
    for k in numbers:
        plane = np.where(inside & (sample == k), predicted, np.nan)
        rows, columns = np.where(np.isfinite(plane).any(axis=1))[0], np.where(np.isfinite(plane).any(axis=0))[0]
        crop = plane[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        block = np.pad(crop, ((0, LAGS), (0, LAGS)), constant_values=np.nan)[None, :, :, None]
        pair = np.concatenate([block, block]).astype(np.float32)
        shares.append(Variogram.zero(1).of(pair).finish()["spatially_correlated_variance"])
    p, t = predicted[inside], truth[inside]
    return {
        "rmse_of_means": float(np.sqrt(np.mean(errors**2))),
        "bias_of_means": float(errors.mean()),
        "pixel_correlation": float(np.corrcoef(p, t)[0, 1]),
        "pixel_rmse": float(np.sqrt(np.mean((p - t) ** 2))),
        "out_of_range": float(np.mean((p < 0) | (p > 100))),
        "without_value": 1 - float(inside.sum() / hidden.sum()),
        "spatially_correlated_variance": float(np.mean(shares)),
    }


def run(seed: int, settings: dict[str, Any], at: Path) -> dict[str, Any]:
    """Return the figures of one pair of trays."""
    for name, number in (("fit", 2 * seed), ("test", 2 * seed + 1)):
        api.simulate(at / name, seed=number, **TRAY)
    references = f"{at / 'fit'}.references.csv"
    began = time.monotonic()
    fitted = api.baseline(
        "plsr", at / "fit", at / "fit-pls", references=references, samples_layer="sample", column=COLUMN, seed=seed
    )
    spent = {"pls_seconds": time.monotonic() - began}
    api.predict(at / "fit-pls.model", at / "test", at / "pls")
    began = time.monotonic()
    data = {"scene": str(at / "fit"), "references": references, "columns": [COLUMN], "samples": "sample"}
    overrides = settings | {f"data.{key}": value for key, value in data.items()} | {"train.seed": seed}
    api.train("preset:chemmap", at / "unet.model", overrides=overrides)
    spent["unet_seconds"] = time.monotonic() - began
    api.predict(at / "unet.model", at / "test", at / "unet")
    truth, sample = layer(at / "test", COLUMN), layer(at / "test", "sample")
    means = References.read(f"{at / 'test'}.references.csv", [COLUMN]).values[:, 0]
    pls, unet = (layer(at / name, "prediction")[..., 0] for name in ("pls", "unet"))
    half, number = halved(truth), sample[::2, ::2][: truth.shape[0] // 2, : truth.shape[1] // 2]
    return {
        "pls": figures(pls, truth, sample, means),
        "pls 2x2": figures(halved(pls), half, number, means),
        "unet": figures(unet[: half.shape[0], : half.shape[1]], half, number, means),
        "truth": figures(truth, truth, sample, means),
        "truth 2x2": figures(half, half, number, means),
        "components": fitted["regressions"][COLUMN]["components"],
        "recipe": fitted["recipe"],
        **spent,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    settings = dict(each.split("=", 1) for each in options.set) | {"train.steps": options.steps}
    results = {}
    for seed in range(options.seeds):
        at = Path(tempfile.mkdtemp())
        try:
            results[seed] = run(seed, settings, at)
        finally:
            shutil.rmtree(at)
        print(json.dumps({seed: results[seed]}, indent=1), flush=True)
    if options.out:
        options.out.write_text(json.dumps({"tray": TRAY, "settings": settings, "seeds": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
