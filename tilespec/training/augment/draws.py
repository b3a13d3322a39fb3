"""Draws: random numbers of a patch as pure functions of the seed, the kind and the patch's position in the stream.

Single numbers come from NumPy, on the CPU; fields of them are keyed numbers, computed on the device of the patches.
"""

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from tilespec.models.keyed_numbers import box_muller, splitmix

TAG = 0x617567
"""The tag that separates these numbers from those of the sampling and of dropout."""
PIECE = 1 << 18
"""The number of keyed numbers that are drawn at once, which bounds the memory of a field."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Draws:
    """The random draws of one kind for the patches of a batch."""

    chosen: Bool[Tensor, " batch"]
    """Whether each patch is changed."""
    streams: tuple[np.random.Generator, ...]
    """The random generator of each patch, from which each number is drawn once."""

    @classmethod
    def of(cls, seed: int, kind: str, ids: tuple[int, ...], odds: float, device: torch.device) -> "Draws":
        """Return the draws of a kind for patches at ``ids`` of the stream, each chosen with probability ``odds``."""
        streams = tuple(np.random.default_rng([seed, TAG, zlib.crc32(kind.encode()), i]) for i in ids)
        chosen = torch.tensor([stream.random() < odds for stream in streams], dtype=torch.bool)
        return cls(chosen=chosen.to(device), streams=streams)

    def each(self, draw: Callable[[np.random.Generator], Any]) -> Float32[Tensor, "batch *shape"]:
        """Return the draw of each patch: a number, or an array of one shape."""
        drawn = np.stack([np.asarray(draw(stream), np.float32) for stream in self.streams])
        return torch.from_numpy(drawn).to(self.chosen.device)

    def normals(self, shape: tuple[int, ...]) -> Float32[Tensor, "batch *shape"]:
        """Return standard normal numbers, a field of ``shape`` for each patch."""
        keys = [int(stream.integers(1 << 63)) for stream in self.streams]
        size, device = math.prod(shape), self.chosen.device
        fields = [
            torch.cat([_normals(key, first, min(PIECE, -(-size // 2) - first), device) for first in _pieces(size)])
            for key in keys
        ]
        return torch.stack([field[:size].reshape(shape) for field in fields])


def _pieces(size: int) -> range:
    """Return the starts of the pieces whose pairs of numbers make a field of ``size``."""
    return range(0, -(-size // 2), PIECE)


def _normals(key: int, first: int, count: int, device: torch.device) -> Float32[Tensor, " number"]:
    """Return ``2 * count`` normal numbers from keyed numbers ``first`` and following."""
    return box_muller(splitmix(key, first, count, device)).flatten()
