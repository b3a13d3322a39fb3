"""Draws: random numbers of a patch as pure functions of the seed, the kind and the patch's position in the stream.

Single numbers come from NumPy, on the CPU; fields of them from SplitMix64 (Steele, Lea and Flood 2014), whose i-th
number is a function of key and i alone, computed on the device of the patches, with the same integers on every device.
"""

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor

TAG = 0x617567
"""The tag that separates these numbers from those of the sampling and of dropout."""
PIECE = 1 << 18
"""The number of keyed numbers that are drawn at once, which bounds the memory of a field."""

GAMMA = 0x9E3779B97F4A7C15 - (1 << 64)
MIXERS = (0xBF58476D1CE4E5B9 - (1 << 64), 0x94D049BB133111EB - (1 << 64))
"""The constants of SplitMix64 as torch's signed integers; products and sums wrap around."""


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
    """Return ``2 * count`` normal numbers from keyed numbers ``first`` and following (Box and Muller 1958)."""
    bits = splitmix(key, first, count, device)
    radius, angle = ((half & 0xFFFFFF).float().add(0.5).mul(2.0**-24) for half in (bits >> 40, bits >> 8))
    radius = radius.log().mul(-2).sqrt()
    angle = angle.mul(2 * math.pi)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1).flatten()


def splitmix(key: int, first: int, count: int, device: torch.device) -> Int64[Tensor, " number"]:
    """Return the numbers ``first`` to ``first + count`` of the SplitMix64 stream with key ``key``."""
    z = torch.arange(first + 1, first + count + 1, device=device).mul(GAMMA).add(key)
    for shift, mixer in zip((30, 27), MIXERS, strict=True):
        z = (z ^ _right(z, shift)) * mixer
    return z ^ _right(z, 31)


def _right(z: Int64[Tensor, " number"], bits: int) -> Int64[Tensor, " number"]:
    """Return the bits shifted to the right and filled with zeros; torch alone would repeat the sign."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)
