"""Determinism: whether a net's bits depend on a tile's batch, on the other tiles in it, or on threads.

A matrix product or a convolution may be split by the size of the batch, and sums that are split differently round
differently. If bits agree, batches may be formed in any way; if not, batches must be canonical: in the plan's order, of
one size, the last one padded.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float32

from tilespec.core.cpu import cores

Tiles = Float32[np.ndarray, "tile y x channel"]
Answers = Float32[np.ndarray, "tile y2 x2 channel2"]
Net = Callable[[Tiles, list[int]], Answers]
"""A function that evaluates a batch; the numbers of the tiles seed random layers of the net."""

SEED = 20240611
"""The seed of the random tiles, a constant, so that they are always the same."""


def batches_agree(net: Net, shape: tuple[int, int, int], batch: int) -> bool:
    """Return whether tiles get the same bits in any batch: in another order, fewer together, alone.

    Args:
        net: The function that evaluates a batch.
        shape: The shape ``y, x, channel`` of one tile, which must be the one in use, because libraries choose kernels
            by shape.
        batch: The number of tiles in the largest batch. About three times as many tiles are evaluated, fewer on
            disagreement.
    """
    tiles, expected = _reference(net, shape, batch)
    return all(_same(net, tiles, expected, picked) for _, picked in _batches(batch))


def agreement(net: Net, shape: tuple[int, int, int], batch: int, threads: int | None = None) -> dict[str, bool]:
    """Return, for each way to evaluate the same tiles, whether the bits are the same.

    Args:
        net: The function that evaluates a batch with torch on this machine's CPU.
        shape: The shape ``y, x, channel`` of one tile.
        batch: The number of tiles in the largest batch.
        threads: The number of torch's threads to compare with one thread; default: all cores.

    Returns:
        ``repeated``: twice the same batch. ``order``: permuted. ``batch_sizes``: fewer together, and alone.
        ``neighbours``: the other tiles of the batch blank. ``threads``: one thread and ``threads`` of them.
    """
    tiles, expected = _reference(net, shape, batch)
    results = {"repeated": _same(net, tiles, expected, list(range(batch)))}
    for name, picked in _batches(batch):
        results[name] = results.get(name, True) and _same(net, tiles, expected, picked)
    results["neighbours"] = _same_among_blanks(net, tiles, expected)
    answers = []
    for number in (1, threads or cores()):
        with torch_threads(number):
            answers.append(net(tiles.copy(), list(range(batch))).tobytes())
    results["threads"] = answers[0] == answers[1]
    return results


def _reference(net: Net, shape: tuple[int, int, int], batch: int) -> tuple[Tiles, Answers]:
    """Return random tiles, and the net's output for all of them in one batch."""
    tiles = np.random.default_rng(SEED).standard_normal((batch, *shape), dtype=np.float32)
    return tiles, net(tiles.copy(), list(range(batch))).copy()


def _batches(batch: int) -> Iterator[tuple[str, list[int]]]:
    """Yield other batches of the same tiles, the cheapest first: alone, half of them, all in another order.

    All are rotated by one position, so that each tile has a new one; when the order does not matter, one tile alone
    represents the others.
    """
    if batch > 1:
        yield "batch_sizes", [batch // 2]
        yield "batch_sizes", list(range(batch))[-(batch // 2) :][::-1]
    yield "order", [*range(1, batch), 0]


def _same(net: Net, tiles: Tiles, expected: Answers, picked: list[int]) -> bool:
    """Return whether the tiles ``picked`` have the same bits in a batch of their own as before."""
    return net(tiles[picked], picked).tobytes() == expected[picked].tobytes()


def _same_among_blanks(net: Net, tiles: Tiles, expected: Answers) -> bool:
    """Return whether the last tile has the same bits when the others are blank, as in a padded batch."""
    blank = np.zeros_like(tiles)
    blank[-1] = tiles[-1]
    return net(blank, list(range(len(tiles))))[-1].tobytes() == expected[-1].tobytes()


@contextmanager
def torch_threads(number: int | None = None) -> Iterator[None]:
    """Set torch's number of threads to ``number`` inside the block, and restore the previous number afterwards.

    The number belongs to the process and to each of its threads; a new thread takes the number of the process.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
