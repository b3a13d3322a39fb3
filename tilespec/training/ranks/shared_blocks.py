"""Shared blocks: arrays that ranks of one machine have in common; what one of them made, the others take as it is."""

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
"""Shape and data type of an array."""
Arrays = tuple[np.ndarray, ...]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Shelf:
    """Places for arrays, by key: a sign for each that says whether it was made, and then all arrays."""

    kinds: Mapping[Hashable, Sequence[Kind]]
    """What lies at each key, the same in all ranks and in the same order."""
    offsets: Mapping[Hashable, int]
    """Where it begins, in bytes."""
    signs: Mapping[Hashable, int]
    """Where its sign is."""
    memory: mmap.mmap
    """Of all ranks; zero at first."""
    fence: threading.Lock = field(default_factory=threading.Lock)
    """What is written before it was taken and let go of is seen before what is written after that."""

    @classmethod
    def of(cls, ranks: Ranks, kinds: Mapping[Hashable, Sequence[Kind]], budget: int) -> "Shelf | None":
        """Return a shelf, which all ranks ask for at the same point of what they do.

        None for a rank that is alone, for ranks of several machines, for more than ``budget`` bytes, and where there is
        no memory in common.
        """
        sizes = [_up(len(kinds)), *(sum(_up(_bytes(kind)) for kind in each) for each in kinds.values())]
        *starts, whole = accumulate(sizes)
        memory = common(ranks, whole) if whole <= budget else None
        if memory is None:
            return None
        offsets, signs = dict(zip(kinds, starts, strict=True)), {key: i for i, key in enumerate(kinds)}
        return cls(kinds=kinds, offsets=offsets, signs=signs, memory=memory)

    def take(self, key: Hashable, make: Callable[[Arrays], object]) -> Arrays:
        """Return the arrays of a key, which ``make`` fills when no rank has.

        Two ranks may fill the same ones at the same time, with the same bits; nobody waits for a rank that may be gone.
        """
        arrays, sign = self._arrays(key), self.signs[key]
        made = self.memory[sign]
        self._ordered()  # the sign is read first
        if not made:
            make(arrays)
            self._ordered()  # and is set last
            self.memory[sign] = 1
        return arrays

    def _arrays(self, key: Hashable) -> Arrays:
        """Return the arrays of a key as they lie in memory."""
        arrays, at = [], self.offsets[key]
        for shape, dtype in self.kinds[key]:
            arrays.append(np.frombuffer(self.memory, dtype, math.prod(shape), at).reshape(shape))
            at += _up(_bytes((shape, dtype)))
        return tuple(arrays)

    def _ordered(self) -> None:
        """Let no access to memory pass, which processors other than x86 may reorder."""
        for _ in range(2):  # to let go of a lock orders what was before, to take it again what comes after
            with self.fence:
                pass


def _bytes(kind: Kind) -> int:
    """Return the bytes of an array."""
    shape, dtype = kind
    return math.prod(shape) * dtype.itemsize


def _up(size: int) -> int:
    """Return the next multiple of what is aligned."""
    return -(-size // ALIGNED) * ALIGNED
