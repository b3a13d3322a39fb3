"""Buffers: memory that is used again and again, a set for each thread."""

import threading
from math import prod
from typing import Any, final

import numpy as np

_mine = threading.local()


@final
class Room:
    """Memory that is lent again and again, for one caller at a time; it grows to the largest that was asked for."""

    def __init__(self) -> None:
        self._kept: dict[str, np.ndarray] = {}

    def bytes(self, name: str, size: int) -> np.ndarray:
        """Return ``size`` bytes; what was lent under this name before is lost."""
        if name not in self._kept or self._kept[name].size < size:
            self._kept[name] = np.empty(size, np.uint8)
        return self._kept[name][:size]

    def array(self, name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Return an array of any values; what was lent under this name before is lost."""
        kind = np.dtype(dtype)
        return self.bytes(name, prod(shape) * kind.itemsize).view(kind).reshape(shape)


def room() -> Room:
    """Return this thread's memory for what it reads."""
    if not hasattr(_mine, "room"):
        _mine.room = Room()
    found: Room = _mine.room
    return found
