"""Shared blocks: arrays that ranks of one machine share; one rank fills an array, and the others read it."""

import math
import mmap
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import final

import numpy as np

from tilespec.training.ranks.group import Ranks
from tilespec.training.ranks.shared_memory import ALIGNED, common

Kind = tuple[tuple[int, ...], np.dtype]
"""The shape and the data type of an array."""
Arrays = tuple[np.ndarray, ...]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SharedBlocks:
    """Shared memory for arrays by key: a flag for each key that its arrays are filled, and then all arrays."""

    kinds: Mapping[Hashable, Sequence[Kind]]
    """The shapes and data types at each key, the same in all ranks and in the same order."""
    offsets: Mapping[Hashable, int]
    """The offset of the arrays of each key in bytes."""
    signs: Mapping[Hashable, int]
    """The offset of the flag of each key."""
    memory: mmap.mmap
    """The memory of all ranks, zero at first."""
    fence: threading.Lock = field(default_factory=threading.Lock)
    """A lock that orders memory accesses: writes before its use are visible before writes after it."""

    @classmethod
    def of(cls, ranks: Ranks, kinds: Mapping[Hashable, Sequence[Kind]], budget: int) -> "SharedBlocks | None":
        """Return the shared memory; all ranks must call this at the same point.

        None for a single rank, for ranks of several machines, for more than ``budget`` bytes, and without shared
        memory.
        """
        sizes = [_up(len(kinds)), *(sum(_up(_bytes(kind)) for kind in each) for each in kinds.values())]
        *starts, whole = accumulate(sizes)
        memory = common(ranks, whole) if whole <= budget else None
        if memory is None:
            return None
        offsets, signs = dict(zip(kinds, starts, strict=True)), {key: i for i, key in enumerate(kinds)}
        return cls(kinds=kinds, offsets=offsets, signs=signs, memory=memory)

    def take(self, key: Hashable, make: Callable[[Arrays], object]) -> Arrays:
        """Return the arrays of a key, which ``make`` fills if no rank has.

        Two ranks may fill the same arrays at the same time with the same bits; no rank waits for another, which may be
        lost.
        """
        arrays, sign = self._arrays(key), self.signs[key]
        filled = self.memory[sign]
        self._ordered()  # the flag is read before the arrays
        if not filled:
            make(arrays)
            self._ordered()  # and is set after them
            self.memory[sign] = 1
        return arrays

    def _arrays(self, key: Hashable) -> Arrays:
        """Return the arrays of a key as views of the memory."""
        arrays, at = [], self.offsets[key]
        for shape, dtype in self.kinds[key]:
            arrays.append(np.frombuffer(self.memory, dtype, math.prod(shape), at).reshape(shape))
            at += _up(_bytes((shape, dtype)))
        return tuple(arrays)

    def _ordered(self) -> None:
        """Order memory accesses, which processors other than x86 may reorder."""
        for _ in range(2):  # a release orders earlier accesses, an acquisition later ones
            with self.fence:
                pass


def _bytes(kind: Kind) -> int:
    """Return the size of an array in bytes."""
    shape, dtype = kind
    return math.prod(shape) * dtype.itemsize


def _up(size: int) -> int:
    """Return the next multiple of the alignment in bytes."""
    return -(-size // ALIGNED) * ALIGNED
