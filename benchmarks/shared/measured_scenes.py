"""Measured scenes with classes: how each lies in its folder, and as a store."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tilespec import api


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


def scene(at: Path, cube: np.ndarray, gt: np.ndarray) -> str:
    """Write a scene with its labels, unless a run that was stopped has; return its URL."""
    file, out = str(at / "source.npz"), str(at / "scene.zarr")
    if not Path(file).exists():  # a new one would be another source of the store
        np.savez(file, cube=cube, gt=gt)
    names = ",".join(f"class_{k}" for k in range(1, int(gt.max()) + 1))
    api.ingest(file, out, variable="cube", labels=f"{file}:gt", ignore_label=0, class_names=names)
    return out
