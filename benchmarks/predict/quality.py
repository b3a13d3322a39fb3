"""What the products say: is the identity exact, is a constant constant, do borders of tiles show?"""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import torch
import zarr
from job import Job
from net import Network, axes

from tilespec.models.model import Model
from tilespec.storage.scene import Scene
from tilespec.tiling.grid import Axis, reflect

NAMES = ("probability", "probabilities", "prediction")
"""What the planes are called in groups: the first one that is there."""


def planes(job: Job) -> np.ndarray:
    """Return a product as ``y, x, channel``."""
    stored = zarr.open(job.out, mode="r")
    if isinstance(stored, zarr.Group):
        stored = next(stored[name] for name in NAMES if name in stored)
    values = np.asarray(stored[:])
    values = values[0] if values.ndim == 4 else values
    last = Model.load(job.model).channels[1]
    return values if values.shape[-1] == last else np.moveaxis(values, 0, -1)


def identity(job: Job) -> dict[str, Any]:
    """Return how far the product of the identity is from the scene."""
    found, scene = planes(job), np.asarray(Scene.open(job.scene).array[:])
    return {"max_error": float(np.abs(found - scene).max()), "changed": float((found != scene).mean())}


def constant(job: Job) -> dict[str, Any]:
    """Return how far the product of a network that says one number is from that number."""
    found, truth = planes(job), Model.load(job.model).weights["affine.bias"].numpy()
    return {"max_error": float(np.abs(found - truth).max()), "changed": float((found != truth).mean())}


def reference(job: Job) -> dict[str, Any]:
    """Return how far a product is from its own definition: its tiles, weighted and divided in double precision."""
    network, scene = Network(job, job.threads), Scene.open(job.scene).array[:]
    count, window = DEFINED[job.way]
    starts = [[k * axis.step for k in range(count(axis))] for axis in axes(job)]
    ends = [some[-1] + job.tile for some in starts]
    inside = [reflect(np.arange(end), axis.length) for end, axis in zip(ends, axes(job), strict=True)]
    held, rise = scene[np.ix_(*inside)], window(job)
    weight = rise[:, None] * rise
    total, sums = np.zeros(ends), np.zeros((*ends, network.channels[1]))
    for y, x in product(*starts):
        box = (slice(y, y + job.tile), slice(x, x + job.tile))
        tile = torch.from_numpy(np.ascontiguousarray(held[box])).permute(2, 0, 1)[None]
        sums[box] += weight[..., None] * network(tile)[0].permute(1, 2, 0).double().numpy()
        total[box] += weight
    height, width = scene.shape[:2]
    off = np.abs(planes(job) - (sums / total[..., None])[:height, :width])
    return {"max_error": float(off.max())}


def _cosine(job: Job) -> np.ndarray:
    """Return a raised cosine over the overlap, at both ends."""
    rise = np.ones(job.tile)
    ramp = np.sin((np.arange(job.overlap) + 0.5) / job.overlap * np.pi / 2) ** 2
    rise[: job.overlap] *= ramp
    rise[job.tile - job.overlap :] *= ramp[::-1]
    return rise


def _mean(job: Job) -> np.ndarray:
    """Return the window of a plain average."""
    return np.ones(job.tile)


DEFINED: dict[str, tuple[Callable[[Axis], int], Callable[[Job], np.ndarray]]] = {
    "tilespec-planes": (lambda axis: axis.count, _cosine),
    "konfai": (lambda axis: axis.count, _cosine),
    "monai-zarr": (lambda axis: axis.count, _mean),
    "tiatoolbox": (lambda axis: -(-axis.length // axis.step), _mean),
    "tiatoolbox-disk": (lambda axis: -(-axis.length // axis.step), _mean),
}
"""How many tiles a way lays along an axis, from pixel 0 on, and its window: of those that reflect at the edges."""


def seams(job: Job) -> dict[str, Any]:
    """Return the mean jump across lines where tiles may end, over the mean jump elsewhere: the worst family of lines.

    Tiles begin and end at multiples of the step; those that are cropped or cut end in the middle of the overlap.
    """
    found = planes(job).astype(np.float64)
    step = job.tile - job.overlap
    families = {offset: _jump(found, offset, step) for offset in (0, job.overlap // 2)}
    return {"seam_ratio": max(families.values())}


def _jump(found: np.ndarray, offset: int, step: int) -> float:
    """Return the jump across the lines ``offset + k step`` over that across all lines nowhere near tile borders."""
    ratios = []
    for axis in (0, 1):
        jump = np.abs(np.diff(found, axis=axis)).mean(axis=tuple({0, 1, 2} - {axis}))  # jump[i]: from i to i + 1
        line = np.arange(1, found.shape[axis]) % step
        near = [np.isin(line, (centre - 1, centre % step, centre + 1)) for centre in (step, step // 2)]
        ratios.append(jump[line == offset % step].mean() / jump[~(near[0] | near[1])].mean())
    return float(np.mean(ratios))
