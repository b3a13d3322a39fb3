"""What the products say: is the identity exact, is a constant constant, do borders of tiles show?"""

from typing import Any

import numpy as np
import zarr
from job import Job

from tilespec.models.model import Model
from tilespec.storage.scene import Scene


def planes(job: Job) -> np.ndarray:
    """Return a product as ``y, x, channel``."""
    stored = zarr.open(job.out, mode="r")
    if isinstance(stored, zarr.Group):
        stored = stored["probability" if "probability" in stored else "prediction"]
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
