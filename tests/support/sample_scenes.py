"""Scenes of samples with known numbers: trays whose spectra are linear in what they hold."""

import numpy as np
from cube_scenes import write
from scipy.ndimage import gaussian_filter

from tilespec.core.types import SpectralAxis

BANDS = 24
AXIS = SpectralAxis(name="wavelength", unit="nm", values=tuple(np.linspace(900, 1360, BANDS).tolist()))
PLACES = np.linspace(0, 1, BANDS)
PURE = np.exp(-((PLACES - np.array([[0.25], [0.6], [0.85]])) ** 2) / 0.02)
"""What a percent of fat, water and the rest absorbs."""


def fields(rows, cols, seed, level, spread=4.0):
    """Return smooth maps of fat and water in percent, around a level of each."""
    rng = np.random.default_rng(seed)
    maps = np.stack([gaussian_filter(rng.normal(size=(rows, cols)), 3, mode="wrap") for _ in range(2)], axis=-1)
    return np.asarray(level) + spread * (maps - maps.mean(axis=(0, 1))) / maps.std(axis=(0, 1))


def absorbing(truth, seed, noise):
    """Return the spectra of maps of fat and water: linear in both, with noise."""
    rng = np.random.default_rng([seed, 1])
    share = np.concatenate([truth, 100 - truth.sum(axis=-1, keepdims=True)], axis=-1)
    cube = 0.3 + share @ PURE / 100
    return (cube + rng.normal(0, noise, cube.shape)).astype(np.float32)


def trays(folder, count=24, side=16, seed=0, noise=0.004, gap=2, columns=6, error=0.0):
    """Write a scene with ``count`` square samples in a layer of ids and their hidden truth; return it with its table.

    Returns:
        The path of the scene, that of the table, the ids ``y, x``, and the maps ``y, x, (fat, water)``.
    """
    rng = np.random.default_rng([seed, 2])
    step = side + gap
    rows, cols = -(-count // columns) * step, columns * step
    ids, truth = np.zeros((rows, cols), np.int32), np.full((rows, cols, 2), 30.0)
    for k in range(count):
        y, x = k // columns * step, k % columns * step
        part = slice(y, y + side), slice(x, x + side)
        ids[part], truth[part] = k + 1, fields(side, side, [seed, 3, k], rng.uniform([10, 35], [35, 60]))
    scene = write(folder / "trays", absorbing(truth, seed, noise), AXIS, layers={"sample": ids})
    means = np.array([truth[ids == k].mean(axis=0) for k in range(1, count + 1)])
    means += rng.normal(0, error, means.shape)
    lines = [f"{k},{fat!r},{water!r}" for k, (fat, water) in enumerate(means.tolist(), start=1)]
    table = folder / "references.csv"
    table.write_text("\n".join(["sample,fat [%],water [%]", *lines, ""]))
    return scene, str(table), ids, truth
