"""Determinism: whether a net's bits depend on the batch a tile is in, on its neighbours there, on threads.

A matrix product or a convolution may be split by the size of the batch, and sums that are split differently round
differently. Where bits agree, batches may be formed as tiles arrive; where they do not, batches must be canonical:
in the plan's order, of one size, the last one padded.
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
"""Evaluates a batch; the numbers of the tiles seed what is random in the net."""

SEED = 20240611
"""Of the random tiles: which ones does not matter, that they are always the same does."""


def batches_agree(net: Net, shape: tuple[int, int, int], batch: int) -> bool:
    """Return whether tiles get the same bits in any batch: in another order, fewer together, alone.

    Args:
        net: What predicts.
        shape: ``y, x, channel`` of one tile. Kernels are chosen by shape: give the one that will be used.
        batch: Tiles in the largest batch. About three times as many tiles are evaluated, fewer on disagreement.
    """
    tiles, expected = _reference(net, shape, batch)
    return all(_same(net, tiles, expected, picked) for _, picked in _batches(batch))


def agreement(net: Net, shape: tuple[int, int, int], batch: int, threads: int | None = None) -> dict[str, bool]:
    """Return for each way of evaluating the same tiles whether the bits are the same.

    Args:
        net: What predicts, with torch on this machine's CPU.
        shape: ``y, x, channel`` of one tile.
        batch: Tiles in the largest batch.
        threads: torch's threads to compare with one thread; default: all cores.

    Returns:
        ``repeated``: twice the same batch. ``order``: permuted. ``batch_sizes``: fewer together, and alone.
        ``neighbours``: the other tiles of the batch blank. ``threads``: one thread and ``threads`` of them.
    """
    tiles, expected = _reference(net, shape, batch)
    found = {"repeated": _same(net, tiles, expected, list(range(batch)))}
    for name, picked in _batches(batch):
        found[name] = found.get(name, True) and _same(net, tiles, expected, picked)
    found["neighbours"] = _same_among_blanks(net, tiles, expected)
    answers = []
    for number in (1, threads or cores()):
        with torch_threads(number):
            answers.append(net(tiles.copy(), list(range(batch))).tobytes())
    found["threads"] = answers[0] == answers[1]
    return found


def _reference(net: Net, shape: tuple[int, int, int], batch: int) -> tuple[Tiles, Answers]:
    """Return random tiles, and what the net makes of them together."""
    tiles = np.random.default_rng(SEED).standard_normal((batch, *shape), dtype=np.float32)
    return tiles, net(tiles.copy(), list(range(batch))).copy()


def _batches(batch: int) -> Iterator[tuple[str, list[int]]]:
    """Yield other batches of the same tiles, the cheapest first: alone, half of them, all in another order.

    All are turned by one place, so that no tile stays where it was; with the order settled, one tile alone speaks
    for the others.
    """
    if batch > 1:
        yield "batch_sizes", [batch // 2]
        yield "batch_sizes", list(range(batch))[-(batch // 2) :][::-1]
    yield "order", [*range(1, batch), 0]


def _same(net: Net, tiles: Tiles, expected: Answers, picked: list[int]) -> bool:
    """Return whether the tiles ``picked`` get in a batch of their own the bits that they got before."""
    return net(tiles[picked], picked).tobytes() == expected[picked].tobytes()


def _same_among_blanks(net: Net, tiles: Tiles, expected: Answers) -> bool:
    """Return whether the last tile keeps its bits when the others are blank, as in a padded batch."""
    blank = np.zeros_like(tiles)
    blank[-1] = tiles[-1]
    return net(blank, list(range(len(tiles))))[-1].tobytes() == expected[-1].tobytes()


@contextmanager
def torch_threads(number: int | None = None) -> Iterator[None]:
    """Compute on ``number`` of torch's threads inside, on as many as before outside, whatever is set inside.

    The number is one of the process, and of each of its threads: those that begin later take the number of the process.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
