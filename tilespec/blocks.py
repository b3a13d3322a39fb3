"""Blocks: scores and labels of a scene, decoded once and kept in bounded memory."""

import threading
from collections import OrderedDict
from itertools import product
from typing import final

import numpy as np

from tilespec.corpus import Ground
from tilespec.recipe import Recipe
from tilespec.types import ClassMap, Reflectance, Roi

BLOCK = 512
"""Largest side of a block that is decoded at once."""


@final
class Blocks:
    """Scores and labels of whole blocks, decoded once; the least recently used are dropped first.

    Memory stays below ``budget`` bytes (but one block is always kept). Safe to call from many threads.
    """

    def __init__(self, grounds: tuple[Ground, ...], recipe: Recipe, budget: int) -> None:
        self._grounds, self._recipe, self._budget = grounds, recipe, budget
        self._kept: OrderedDict[tuple[int, int, int], tuple[Reflectance, ClassMap]] = OrderedDict()
        self._lock = threading.Lock()
        self._bytes = 0
        self.decoded = 0
        """Pixels decoded so far."""
        self.used = 0
        """Pixels handed out so far; ``decoded / used`` is the read amplification."""

    def read(self, scene: int, roi: Roi) -> tuple[Reflectance, ClassMap]:
        """Return scores ``y, x, band`` (NaN where there is no data) and labels of a region of a scene."""
        scores = np.empty((*roi.shape, self._recipe.bands_out), np.float32)
        labels = np.empty(roi.shape, np.uint8)
        high, wide = _edges(self._grounds[scene])
        rows = range(roi.y0 // high, -(-roi.y1 // high))
        cols = range(roi.x0 // wide, -(-roi.x1 // wide))
        for row, col in product(rows, cols):
            block = self._block(scene, row, col)
            inner, outer = _shared(roi, row * high, col * wide, block[1].shape)
            scores[outer], labels[outer] = block[0][inner], block[1][inner]
        self.used += labels.size
        return scores, labels

    def _block(self, scene: int, row: int, col: int) -> tuple[Reflectance, ClassMap]:
        """Return one block, from memory or from the store."""
        key = (scene, row, col)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        block = self._decode(*key)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = block
                self._bytes += _size(block)
            while self._bytes > self._budget and len(self._kept) > 1:
                self._bytes -= _size(self._kept.popitem(last=False)[1])
        return block

    def _decode(self, scene: int, row: int, col: int) -> tuple[Reflectance, ClassMap]:
        """Return one block, read and run through the recipe."""
        ground = self._grounds[scene]
        (high, wide), (height, width) = _edges(ground), ground.scene.shape[:2]
        y0, x0 = row * high, col * wide
        roi = Roi(y0=y0, y1=min(y0 + high, height), x0=x0, x1=min(x0 + wide, width))
        cube = ground.scene.read(roi)
        scores = self._recipe.apply(cube.reshape(-1, cube.shape[2])).reshape(*roi.shape, -1)
        self.decoded += scores.shape[0] * scores.shape[1]
        return scores, ground.labels(roi)


def _edges(ground: Ground) -> tuple[int, int]:
    """Return height and width of a block: those of a stored object, within reason."""
    high, wide, _ = ground.scene.chunks
    return min(high, BLOCK), min(wide, BLOCK)


def _shared(roi: Roi, y0: int, x0: int, shape: tuple[int, ...]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return what a block at ``y0, x0`` shares with a region: the slices of the block, and of the region."""
    top, bottom = max(roi.y0, y0), min(roi.y1, y0 + shape[0])
    left, right = max(roi.x0, x0), min(roi.x1, x0 + shape[1])
    inner = slice(top - y0, bottom - y0), slice(left - x0, right - x0)
    outer = slice(top - roi.y0, bottom - roi.y0), slice(left - roi.x0, right - roi.x0)
    return inner, outer


def _size(block: tuple[Reflectance, ClassMap]) -> int:
    """Return the bytes of a block."""
    return block[0].nbytes + block[1].nbytes
