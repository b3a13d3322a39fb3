"""Columns: spectra in the forms that operators with several float64 copies need, of NumPy or torch."""

from collections.abc import Iterator
from typing import Any

from tilespec.core.arrays import namespace

STRIP = 1 << 21
"""The size in bytes of one float64 array of a strip, so that a few of them fit the processor's cache."""


def columns(x: Any) -> Any:
    """Return spectra as float64 ``band pixel``, with the pixels of a band contiguous."""
    xp = namespace(x)
    turned = xp.empty((x.shape[1], x.shape[0]), dtype=xp.float64, device=x.device)
    turned[...] = x.T
    return turned


def strips(x: Any) -> Iterator[Any]:
    """Yield views of ``pixel band``, some hundred pixels each, for work that needs several float64 copies."""
    size = max(128, STRIP // (8 * x.shape[1]))
    for start in range(0, len(x), size):
        yield x[start : start + size]
