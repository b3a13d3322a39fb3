"""Two measured pairs of RGB and spectra, each cut into halves that teach and are judged by turns."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from scipy.io import loadmat

from tilespec import api


@final
@dataclass(frozen=True, kw_only=True)
class Pair:
    name: str
    """Of the half."""
    rgb: str
    """Scene that is read: sRGB, 0 to 1."""
    cube: str
    """Scene that is the truth."""


def cave(source: Path, out: Path) -> list[Pair]:
    """Return the halves of a CAVE scene (Yasuma et al. 2008), 31 bands; RGB is rendered from the spectra."""
    cube = np.load(source)["cube"]
    axis = _axis(out, np.arange(400, 701, 10))
    pairs = []
    for name, half in _halves(cube).items():
        pair = Pair(name=name, rgb=str(out / f"{name}-rgb.zarr"), cube=str(out / f"{name}.zarr"))
        api.ingest(_saved(out / f"{name}.npy", half), pair.cube, wavelengths=axis, peak=65535.0)
        api.render(pair.cube, pair.rgb)
        pairs.append(pair)
    return pairs


def houston(source: Path, out: Path) -> list[Pair]:
    """Return the halves of the Houston 2018 subset: 48 bands of 380 to 1050 nm, and a camera's RGB averaged to them."""
    found = loadmat(source)
    axis = _axis(out, np.linspace(380, 1050, found["hyprImg"].shape[2]))
    pictures = _halves(found["rgbImg"])
    pairs = []
    for name, half in _halves(found["hyprImg"]).items():
        pair = Pair(name=name, rgb=str(out / f"{name}-rgb.zarr"), cube=str(out / f"{name}.zarr"))
        api.ingest(_saved(out / f"{name}.npy", half), pair.cube, wavelengths=axis)
        api.ingest(_saved(out / f"{name}-rgb.npy", pictures[name]), pair.rgb, rgb=True, bin=4)
        pairs.append(pair)
    return pairs


SCENES: dict[str, tuple[Callable[[Path, Path], list[Pair]], float]] = {"cave": (cave, 1.0), "houston": (houston, 19534)}
"""What makes the pairs, and the value that is 255 in the figures: white, or the largest count of the scene."""


def _halves(cube: np.ndarray) -> dict[str, np.ndarray]:
    middle = len(cube) // 2
    return {"upper": cube[:middle], "lower": cube[middle:]}


def _axis(out: Path, wavelengths: np.ndarray) -> str:
    """Write band centres, and return the file."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "wavelengths.txt"
    if not path.exists():
        path.write_text("".join(f"{value:.3f} nm\n" for value in wavelengths))
    return str(path)


def _saved(path: Path, values: np.ndarray) -> str:
    """Write an array once: a scene that was ingested from it is known by when it was written."""
    if not path.exists():
        np.save(path, np.ascontiguousarray(values))
    return str(path)
