"""Super-resolution of a measured scene: RCAN beside bicubic and nearest enlargement, by 2, 4 and 8.

    python benchmarks/superres/enlarge.py --data shared/data --seeds 3 --out benchmarks/results/superres.json

The scene is "chart and stuffed toy" of CAVE (512 x 512 pixels, 31 bands; reflectance, measured). Its coarse versions
are means of pixels. A small RCAN learns from the left half and is judged on the right half, as are all. PSNR and SSIM
have the peak 1, ERGAS the scale of the enlargement in its ratio, SAM is in degrees.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import interpolate

from tilespec import api

SCALES, SIDE = (2, 4, 8), 512
NET = {"name": "rcan", "width": 32, "groups": 2, "blocks": 4, "reduction": 8}
HALF = {"cols": f"{SIDE // 2}:{SIDE}"}
FIGURES = ("psnr", "ssim", "sam", "ergas")


def stored(at: Path, name: str, cube: np.ndarray, wavelengths: np.ndarray, **more: Any) -> str:
    """Write a cube as a scene; return its URL."""
    source, out = str(at / f"{name}.npz"), str(at / name)
    np.savez(source, cube=cube, wavelength=wavelengths)
    api.ingest(source, out, variable="cube", wavelengths="wavelength", wavelength_unit="nm", **more)
    return out


def judged(pred: str, truth: str, finer: int = 1) -> dict[str, float]:
    """Return the figures of the right half; a store that no model made does not say that it is ``finer``."""
    found = api.evaluate(pred, truth, patches=1, ssim=True, peak=1.0, **HALF)
    return {key: found[key] for key in FIGURES} | {"ergas": found["ergas"] / finer}


def enlarged(cube: np.ndarray, scale: int, mode: str) -> np.ndarray:
    """Return a cube ``y, x, band`` with ``scale`` times the pixels along each side."""
    planes = torch.from_numpy(cube).permute(2, 0, 1)[None]
    how = {} if mode == "nearest" else {"align_corners": False}
    return interpolate(planes, scale_factor=scale, mode=mode, **how)[0].permute(1, 2, 0).numpy()


def network(at: Path, coarse: str, fine: str, scale: int, seed: int, steps: int) -> dict[str, float]:
    """Train on the left half and predict all; return the figures of the right half."""
    patch = max(8, 64 // scale)
    settings = {
        "data": {"scene": coarse, "target": fine, "patch": patch, "cols": f"0:{SIDE // scale // 2}", "augment": True},
        "task": {"name": "superres", "scale": scale},
        "net": {"name": "residual", "inner": {**NET, "scale": scale}},
        "objective": {"name": "supervised", "loss": "l1"},
        "train": {"seed": seed, "steps": steps, "batch": 8, "rate": 1e-3, "warmup": 0, "schedule": "one_cycle"},
    }
    out, began = at / f"rcan-{scale}-{seed}", time.monotonic()
    api.train(settings, str(out))
    seconds = time.monotonic() - began
    api.predict(str(out), coarse, f"{out}.zarr")
    return {**judged(f"{out}.zarr", fine), "seconds": seconds}


def compared(at: Path, cube: np.ndarray, wavelengths: np.ndarray, scale: int, seeds: int, steps: int) -> dict[str, Any]:
    """Return the figures of all methods at one scale."""
    fine = stored(at, "fine", cube, wavelengths)
    means = cube.reshape(SIDE // scale, scale, SIDE // scale, scale, -1).mean(axis=(1, 3), dtype=np.float32)
    coarse = stored(at, "coarse", means, wavelengths)
    found: dict[str, Any] = {
        mode: judged(stored(at, mode, enlarged(means, scale, mode), wavelengths), fine, scale)
        for mode in ("nearest", "bicubic")
    }
    return found | {"RCAN": [network(at, coarse, fine, scale, seed, steps) for seed in range(seeds)]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--scale", type=int, action="append", choices=SCALES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    held = np.load(options.data / "cave_chart_and_stuffed_toy" / "chart_and_stuffed_toy_ms.npz")
    cube, wavelengths = held["cube"].astype(np.float32) / 65535, held["wavelength_nm"]
    rows: dict[int, Any] = {}
    for scale in options.scale or SCALES:
        with tempfile.TemporaryDirectory() as at:
            rows[scale] = compared(Path(at), cube, wavelengths, scale, options.seeds, options.steps)
        print(json.dumps({scale: rows[scale]}, indent=1), flush=True)
    if options.out:
        options.out.write_text(json.dumps({"steps": options.steps, "net": NET, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
