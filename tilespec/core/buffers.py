"""Buffers: memory that each thread allocates once and uses again for every read."""

import threading
from collections.abc import Callable
from math import prod
from typing import Any, final

import numpy as np

_mine = threading.local()


@final
class Buffers:
    """Memory that one caller at a time uses again and again; it grows to the largest size that was requested."""

    def __init__(self, allocate: Callable[[int], np.ndarray] = lambda size: np.empty(size, np.uint8)) -> None:
        self._allocate = allocate
        self._memory: dict[str, np.ndarray] = {}

    def bytes(self, name: str, size: int) -> np.ndarray:
        """Return ``size`` bytes of memory; earlier contents under this name are overwritten."""
        if name not in self._memory or self._memory[name].size < size:
            self._memory[name] = self._allocate(size)
        return self._memory[name][:size]

    def array(self, name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Return an array with undefined values; earlier contents under this name are overwritten."""
        kind = np.dtype(dtype)
        return self.bytes(name, prod(shape) * kind.itemsize).view(kind).reshape(shape)


def thread_buffers() -> Buffers:
    """Return the buffers that this thread reads into."""
    if not hasattr(_mine, "room"):
        _mine.room = Buffers()
    buffers: Buffers = _mine.room
    return buffers
