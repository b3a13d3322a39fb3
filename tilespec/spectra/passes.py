"""Passes: reading a sample of pixels from a region, or every pixel of it, through a recipe."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import chain, pairwise
from typing import Any

import numpy as np
from jaxtyping import Float32

from tilespec.cluster.reduction import reduce_blocks
from tilespec.core.arrays import beside, on_host
from tilespec.core.buffers import thread_buffers
from tilespec.core.cpu import one_blas_thread
from tilespec.core.device import ready
from tilespec.core.errors import UserError
from tilespec.core.progress import Progress, Silent
from tilespec.core.threads import in_order
from tilespec.core.types import Spectra
from tilespec.spectra.operators import Operator
from tilespec.spectra.pieces import pieces
from tilespec.spectra.statistics import NeighbourStatistic, Part, StreamedStatistic
from tilespec.spectra.tensors import apply_on_torch, steps_on
from tilespec.storage.blocks import GROUP, Block, scenes
from tilespec.storage.scene import Scene
from tilespec.storage.selection import ALL

SAMPLE = 512
"""The number of pixels in a sample."""
SPREAD = 32
"""The number of blocks that a sample comes from, because each is read completely for a few pixels."""
READERS = 2
"""The number of blocks of a sample that are read at the same time."""


def sample(
    where: Sequence[Block], *, seed: int, size: int = SAMPLE, scenes_by_url: Mapping[str, Scene] | None = None
) -> Spectra:
    """Return up to ``size`` valid pixels, a few from each of `SPREAD` blocks spread over the region.

    If blocks have too few valid pixels, further ones are read, so a scene that is mostly nodata is read until the
    sample is complete.

    Raises:
        UserError: no pixel of the region is valid.
    """
    order, by_url = _order(len(where), np.random.default_rng([seed, 2])), scenes_by_url or scenes(where)
    quota, samples, missing = -(-size // min(SPREAD, len(where))), [], size

    def taken_of(index: int, count: int = quota) -> Spectra:
        return some(by_url[where[index].url], where[index], count, np.random.default_rng([seed, 3, index]))

    with one_blas_thread(), ThreadPoolExecutor(READERS) as pool:
        first = (taken for _, taken in in_order(pool, taken_of, order[:SPREAD], READERS))
        for index, sampled in zip(order, chain(first, map(taken_of, order[SPREAD:])), strict=True):
            samples.append(sampled if len(sampled) <= missing else taken_of(index, missing))
            missing -= len(samples[-1])
            if missing == 0:
                break
    if missing == size:
        chosen = "" if where[0].choice == ALL else f", or left out by {where[0].choice}"
        raise UserError(
            where[0].url,
            found=f"no valid pixel in {len(where)} blocks: every one is nodata or NaN{chosen}",
            expected="a region with data",
            do="Choose other --rows and --cols, or check the nodata value and drop bands that are NaN throughout.",
        )
    return np.concatenate(samples)


def _order(n: int, rng: np.random.Generator) -> list[int]:
    """Return the numbers 0..n-1: first one from each of `SPREAD` equal parts, then the others."""
    edges = np.linspace(0, n, min(SPREAD, n) + 1).astype(int)
    first = [int(rng.integers(a, b)) for a, b in pairwise(edges)]
    return first + [int(i) for i in rng.permutation(n) if int(i) not in set(first)]


def some(scene: Scene, block: Block, count: int, rng: np.random.Generator) -> Spectra:
    """Return up to ``count`` valid pixels of a block, ``pixel band``."""
    values = scene.read(block.roi, thread_buffers()).reshape(-1, scene.shape[2])
    with np.errstate(invalid="ignore", over="ignore"):
        whole = np.isfinite(values @ np.ones(values.shape[1], np.float32))
    valid = whole if whole.all() else np.isfinite(values).any(axis=1)
    mask = block.choice.mask_of(scene, block.roi)
    index = np.flatnonzero(valid if mask is None else valid & mask.ravel())
    return values[np.sort(rng.choice(index, min(count, len(index)), replace=False))]


def reduce_scene(  # noqa: PLR0913 - keywords of a pass
    where: Sequence[Block],
    operators: tuple[Operator, ...],
    zero: Any,
    *,
    client: Any = None,
    progress: Progress | None = None,
    scenes_by_url: Mapping[str, Scene] | None = None,
    device: str | None = None,
) -> Any:
    """Return ``zero`` plus the contribution of every pixel after ``operators``, before `finish`; each is read once.

    A `StreamedStatistic` statistic gets all pieces of a task at once, with their weights; one with `NeighbourStatistic`
    gets complete blocks with a halo, for which the objects beside the block are read too. On a ``device`` the operators
    compute with tensors, and what a `StreamedStatistic` gets are tensors; the halo is the processor's.
    """
    tasks = [tuple(where[i : i + GROUP]) for i in range(0, len(where), GROUP)]
    say = progress or Silent()
    say.start(type(zero).__name__.lower(), len(tasks), "blocks")
    of = partial(_contribution, zero, operators, scenes_by_url or scenes(where), device)
    total = reduce_blocks(tasks, of, client=client, progress=say)
    say.finish()
    return total


def _contribution(
    zero: Any,
    operators: tuple[Operator, ...],
    scenes_by_url: Mapping[str, Scene],
    device: str | None,
    group: Sequence[Block],
) -> Any:
    """Return the contribution of a few blocks to a statistic."""
    read: Callable[..., Iterator[Part]] = parts if device is None else partial(_parts_on, device)
    if isinstance(zero, StreamedStatistic):
        return zero.over(part for block in group for part in read(scenes_by_url[block.url], operators, block))
    total = zero
    for block in group:
        if isinstance(zero, NeighbourStatistic):
            total = total + zero.of(haloed(scenes_by_url[block.url], operators, block, zero.halo), block.roi.shape)
        else:
            for part, _ in read(scenes_by_url[block.url], operators, block):
                total = total + zero.of(on_host(part), (block.roi.y0, block.roi.x0))
    return total


def parts(scene: Scene, operators: tuple[Operator, ...], block: Block) -> Iterator[Part]:
    """Yield the selected pixels of a block after ``operators``, piece by piece; each may be overwritten."""
    mask, weights = block.choice.mask_of(scene, block.roi), block.choice.weigh(scene, block.roi)
    y0 = 0
    for values in scene.lines(block.roi, thread_buffers()):
        spectra, rows = values.reshape(-1, scene.shape[2]), slice(y0, y0 + len(values))
        counted = None
        if mask is not None:
            spectra = spectra[mask[rows].ravel()]
            counted = None if weights is None else weights[rows][mask[rows]]
        start = 0
        for piece in pieces(operators, spectra, own=True):
            yield piece, None if counted is None else counted[start : start + len(piece)]
            start += len(piece)
        y0 = rows.stop


def _parts_on(device: str, scene: Scene, operators: tuple[Operator, ...], block: Block) -> Iterator[Part]:
    """Yield what `parts` yields of a block as one tensor on a device."""
    spectra = scene.read_on(ready(device), block.roi, thread_buffers()).reshape(-1, scene.shape[2])
    mask, weights = block.choice.mask_of(scene, block.roi), block.choice.weigh(scene, block.roi)
    if mask is not None:
        spectra = spectra[beside(spectra, mask.ravel())]
    counted = None if mask is None or weights is None else weights[mask]
    yield apply_on_torch(steps_on(operators, device), spectra), counted


def picked(scene: Scene, block: Block) -> Part:
    """Return the selected pixels of a block, in this thread's buffers, and their weights."""
    spectra = scene.read(block.roi, thread_buffers()).reshape(-1, scene.shape[2])
    mask, weights = block.choice.mask_of(scene, block.roi), block.choice.weigh(scene, block.roi)
    if mask is None:
        return spectra, None
    return spectra[mask.ravel()], None if weights is None else weights[mask]


def haloed(
    scene: Scene, operators: tuple[Operator, ...], block: Block, halo: tuple[int, int]
) -> Float32[np.ndarray, "y x band"]:
    """Return a block after ``operators``, with ``halo`` rows below and columns to the right if the region has them.

    Pixels that are not selected are NaN, like invalid ones.
    """
    edge = block.within or scene.roi
    roi = replace(block.roi, y1=min(block.roi.y1 + halo[0], edge.y1), x1=min(block.roi.x1 + halo[1], edge.x1))
    spectra = scene.read(roi, thread_buffers()).reshape(-1, scene.shape[2])
    mask = block.choice.mask_of(scene, roi)
    if mask is not None:
        spectra[~mask.ravel()] = np.nan
    return np.concatenate([part.copy() for part in pieces(operators, spectra, own=True)]).reshape(*roi.shape, -1)
