"""Shards: several chunks in one stored object, where objects would be too many for a bucket or a file system.

A shard is written at once and read by chunks. It is one chunk high unless asked for otherwise, so that rows of objects
and the memory they take stay what they are.
"""

import re
from dataclasses import replace
from math import prod
from typing import Final

import numpy as np

from tilespec.core.errors import UserError
from tilespec.storage.product import ArraySpec

OBJECTS: Final = 10_000
"""Chunks of a cube above which ``auto`` puts several into a shard."""
SHARD_BYTES: Final = 1 << 26
"""Of a shard that ``auto`` makes, before encoding: at most; it is in memory whole while it is written."""
AUTO, NONE = "auto", "none"


def sharded(specs: list[ArraySpec], asked: str | None) -> list[ArraySpec]:
    """Return the arrays of a product, the first deciding, with shards as asked for.

    Args:
        specs: Arrays whose chunks have one height and width.
        asked: ``ROWSxCOLS`` in pixels, multiples of a chunk; ``auto``: only where the chunks of the first array are
            more than `OBJECTS`; None or ``none``: a chunk is an object.

    Raises:
        UserError: no such form, or not a multiple of a chunk.
    """
    if asked in {None, NONE}:
        return specs
    found = _auto(specs[0]) if asked == AUTO else _given(str(asked), specs[0])
    return specs if found is None else [_with(spec, found) for spec in specs]


def _auto(spec: ArraySpec) -> tuple[int, int] | None:
    """Return the shards of an array of too many chunks: as wide as `SHARD_BYTES` allow, one chunk high."""
    counts = [-(-n // edge) for n, edge in zip(spec.shape, spec.chunks, strict=True)]
    wide = min(counts[1], SHARD_BYTES // (prod(spec.chunks) * np.dtype(spec.dtype).itemsize))
    return None if prod(counts) <= OBJECTS or wide <= 1 else (spec.chunks[0], wide * spec.chunks[1])


def _given(asked: str, spec: ArraySpec) -> tuple[int, int]:
    """Return rows and columns of a shard from text."""
    match, (height, width) = re.fullmatch(r"(\d+)x(\d+)", asked), spec.chunks[:2]
    rows, cols = (int(match[1]), int(match[2])) if match else (0, 0)
    if not rows or not cols or rows % height or cols % width:
        raise UserError(
            "--shards",
            found=repr(asked),
            expected=f"ROWSxCOLS, multiples of the chunk, {height} x {width}; or {AUTO}, or {NONE}",
            do=f"Try {height}x{8 * width}.",
        )
    return rows, cols


def _with(spec: ArraySpec, found: tuple[int, int]) -> ArraySpec:
    """Return an array in shards, none larger than what the array needs; axes after the plane stay whole."""
    whole = [-(-n // edge) * edge for n, edge in zip(spec.shape[:2], spec.chunks, strict=False)]
    edges = [max(edge, min(side, most)) for edge, side, most in zip(spec.chunks, found, whole, strict=False)]
    return replace(spec, shards=(*edges, *spec.chunks[2:]))
