"""What peers are given: the weights of VSN, its arithmetic in plain NumPy, patches at the same places."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import zarr
from stage_job import Stage

from tilespec.spectra.recipe import Recipe
from tilespec.storage.layout import CHUNK, compressors

COMPONENTS = 4
BEGIN, END = 10, 176
"""Bands that the work `preprocess` keeps."""


def vsn(job: Stage) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights of the mean and of the deviation, as tilespec fitted them on a sample."""
    step = next(step for step in Recipe.load(job.recipe).steps if hasattr(step, "weights"))
    return step.weights, step.scale


def normalised(x: np.ndarray, weights: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return spectra (last axis) less their weighted mean, over their weighted deviation."""
    centred = x - (x @ weights)[..., None]
    centred /= np.sqrt((centred * centred) @ (scale * scale))[..., None]
    return centred


def loadings(job: Stage) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and loadings of the fitted recipe."""
    step = next(step for step in Recipe.load(job.recipe).steps if hasattr(step, "loadings"))
    return step.mean, step.loadings


def save(job: Stage, components: np.ndarray) -> None:
    """Keep loadings beside the product, for the check."""
    np.save(Path(job.out).with_name("loadings.npy"), components)


def cube(job: Stage) -> zarr.Array:
    """Return the stored cube."""
    return zarr.open_group(job.source, mode="r")["cube"]


def create(job: Stage, shape: tuple[int, int, int]) -> zarr.Array:
    """Return a new array with the chunks and the codecs of tilespec's own scenes."""
    chunks = (min(CHUNK, shape[0]), min(CHUNK, shape[1]), shape[2])
    group = zarr.create_group(job.out)
    return group.create_array("cube", shape=shape, chunks=chunks, dtype="float32", compressors=compressors("float32"))


def objects(array: zarr.Array) -> Iterator[tuple[slice, slice]]:
    """Yield the regions of the objects of an array, row by row."""
    for y in range(0, array.shape[0], array.chunks[0]):
        for x in range(0, array.shape[1], array.chunks[1]):
            yield slice(y, min(y + array.chunks[0], array.shape[0])), slice(x, min(x + array.chunks[1], array.shape[1]))


def in_ram(job: Stage) -> np.ndarray:
    """Return the whole scene after VSN, normalised object by object, so that it is in memory once."""
    array, weights = cube(job), vsn(job)
    values = np.empty(array.shape, array.dtype)
    for where in objects(array):
        values[where] = normalised(np.asarray(array[where]), *weights)
    return values


def corners(job: Stage, shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return where the patches lie, anywhere in the scene, the same for everyone."""
    rng = np.random.default_rng(0)
    return [tuple(int(rng.integers(n - job.side + 1)) for n in shape[:2]) for _ in range(job.patches)]


def amplification(job: Stage, array: zarr.Array) -> float:
    """Return pixels of the objects that patches touch, over pixels of patches: what is decoded without a cache."""
    edges = array.chunks[:2]
    touched = [
        math.prod(-(-(at + job.side) // edge) - at // edge for at, edge in zip(corner, edges, strict=True))
        for corner in corners(job, array.shape)
    ]
    return sum(touched) * math.prod(edges) / (job.patches * job.side**2)
