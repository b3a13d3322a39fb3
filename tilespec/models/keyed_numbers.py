"""Keyed numbers: random numbers as pure functions of a key and a position, on any device.

The i-th number of SplitMix64 (Steele, Lea and Flood 2014) is a function of its key and i alone, so that numbers of one
patch or pixel depend neither on the batch or tile that it is computed with, nor on the process.
"""

import math
import zlib

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

GAMMA = 0x9E3779B97F4A7C15 - (1 << 64)
MIXERS = (0xBF58476D1CE4E5B9 - (1 << 64), 0x94D049BB133111EB - (1 << 64))
"""The constants of SplitMix64 as torch's signed integers; products and sums wrap around."""
WHOLE = 64
"""The number of ids to a multiple of which they are padded, so that all are computed by one kind of instruction."""

Ids = Int64[Tensor, " id"]


def splitmix(key: int, first: int, count: int, device: torch.device) -> Int64[Tensor, " number"]:
    """Return the numbers ``first`` to ``first + count`` of the SplitMix64 stream with key ``key``."""
    return _mixed(torch.arange(first + 1, first + count + 1, device=device).mul(GAMMA).add(key))


def box_muller(bits: Int64[Tensor, "*shape"]) -> Float32[Tensor, "*shape 2"]:
    """Return two standard normal numbers for each number of 64 random bits (Box and Muller 1958)."""
    radius, angle = ((half & 0xFFFFFF).float().add(0.5).mul(2.0**-24) for half in (bits >> 40, bits >> 8))
    radius = radius.log().mul(-2).sqrt()
    angle = angle.mul(2 * math.pi)
    return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1)


def normals(seed: int, kind: str, ids: Ids, count: int) -> Float32[Tensor, "id number"]:
    """Return ``count`` standard normal numbers for each id: a function of the seed, the kind and the id alone."""
    pairs = box_muller(_bits(seed, kind, ids, -(-count // 2)))
    return pairs.flatten(1)[: len(ids), :count]


def uniforms(seed: int, kind: str, ids: Ids, count: int) -> Float32[Tensor, "id number"]:
    """Return ``count`` numbers between 0 and 1, never 0 or 1, for each id, as `normals` does."""
    bits = _bits(seed, kind, ids, count)
    return ((bits >> 40) & 0xFFFFFF).float().add(0.5).mul(2.0**-24)[: len(ids)]


def _bits(seed: int, kind: str, ids: Ids, count: int) -> Int64[Tensor, "padded number"]:
    """Return numbers of the streams whose keys are the numbers of one stream at the ids; ids are padded."""
    padded = torch.nn.functional.pad(ids, (0, -len(ids) % WHOLE))
    key = int(splitmix(seed, zlib.crc32(kind.encode()), 1, torch.device("cpu")))
    keys = _mixed((padded + 1).mul(GAMMA).add(key))
    return _mixed(torch.arange(1, count + 1, device=ids.device).mul(GAMMA).add(keys[:, None]))


def _mixed(z: Int64[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
    """Return SplitMix64's numbers of some states."""
    for shift, mixer in zip((30, 27), MIXERS, strict=True):
        z = (z ^ _right(z, shift)) * mixer
    return z ^ _right(z, 31)


def _right(z: Int64[Tensor, "*shape"], bits: int) -> Int64[Tensor, "*shape"]:
    """Return the bits shifted to the right and filled with zeros; torch alone would repeat the sign."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)
