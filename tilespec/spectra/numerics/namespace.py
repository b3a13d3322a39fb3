"""Namespace: the array module of operators, NumPy or torch, chosen by the array."""

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

STRIP = 1 << 21
"""The size in bytes of one float64 array of a strip, so that a few of them fit the processor's cache."""


def namespace(x: Any) -> Any:
    """Return the module whose functions take ``x``; torch is imported already if ``x`` is a tensor."""
    return np if isinstance(x, np.ndarray) else sys.modules["torch"]


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
