"""What every competitor is given: the same network, the same tiles, the same codecs for what it writes."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
import zarr
from job import Job

from tilespec.models.model import Model
from tilespec.models.tasks import task
from tilespec.storage.layout import compressors
from tilespec.storage.scene import Scene
from tilespec.tiling.grid import Axis, reflect

EDGE = 256
"""Side of a stored object of a product: divides the step of the tiles, for everyone."""


class Network:
    """The model's network in channels_last, with the activation of its task; counts tiles."""

    def __init__(self, job: Job, threads: int, *, activate: bool = True) -> None:
        torch.set_num_threads(threads)
        model = Model.load(job.model)
        self.module = model.module().to(memory_format=torch.channels_last)
        self.activate: Callable[[torch.Tensor], torch.Tensor] = task(model.task).activate if activate else lambda x: x
        self.channels = model.channels
        self.tiles = 0

    def __call__(self, tiles: torch.Tensor) -> torch.Tensor:
        """Return the prediction of ``batch, channel, y, x``."""
        self.tiles += len(tiles)
        with torch.inference_mode():
            return self.activate(self.module(tiles.contiguous(memory_format=torch.channels_last)))


def axes(job: Job) -> tuple[Axis, Axis]:
    """Return the tiles along y and x, as tilespec lays them."""
    height, width = Scene.open(job.scene).shape[:2]
    return tuple(Axis(length=n, tile=job.tile, overlap=job.overlap) for n in (height, width))  # type: ignore[return-value]


def corners(job: Job) -> list[tuple[int, int]]:
    """Return the upper left pixel of every tile, row by row."""
    y, x = axes(job)
    return [(j * y.step, i * x.step) for j in range(y.count) for i in range(x.count)]


def padded(job: Job) -> np.ndarray:
    """Return the whole scene in RAM, reflected to where the last tiles end."""
    y, x = axes(job)
    values = Scene.open(job.scene).array[:]
    return values[np.ix_(reflect(np.arange(y.end), y.length), reflect(np.arange(x.end), x.length))]


def read_tile(array: zarr.Array, corner: tuple[int, int], tile: int) -> np.ndarray:
    """Return one tile ``y, x, channel`` read from a store, reflected beyond the scene."""
    spans = [slice(start, min(start + tile, length)) for start, length in zip(corner, array.shape, strict=False)]
    values = np.asarray(array[spans[0], spans[1]])
    beyond = [(0, tile - n) for n in values.shape[:2]]
    return np.pad(values, [*beyond, (0, 0)], mode="reflect") if any(n for _, n in beyond) else values


def batches(items: list[tuple[int, int]], size: int) -> Iterator[list[tuple[int, int]]]:
    """Yield ``items``, ``size`` at a time."""
    for first in range(0, len(items), size):
        yield items[first : first + size]


def create(out: str, shape: tuple[int, ...], dtype: str, *, channel_first: bool = False) -> zarr.Array:
    """Return a new array with the codecs of tilespec's own products."""
    plane = (EDGE, EDGE) if len(shape) == 2 else (EDGE, EDGE, shape[-1])
    chunks = (shape[0], EDGE, EDGE) if channel_first else plane
    return zarr.create_array(out, shape=shape, chunks=chunks, dtype=dtype, compressors=compressors(dtype))


def save(job: Job, planes: np.ndarray) -> None:
    """Write ``channel, y, x`` as classes or as it is."""
    if job.product == "classes":
        classes = planes.argmax(axis=0).astype(np.uint8)
        create(job.out, classes.shape, "uint8")[:] = classes
    else:
        create(job.out, planes.shape, "float32", channel_first=True)[:] = planes
