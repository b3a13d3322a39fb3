"""Rowwise: matrix products in which a row's bits do not depend on the position of the row.

Some BLAS kernels treat the last rows of a block in another order than the first (OpenBLAS's for AVX2 do; those for
AVX-512 do not), and then a pixel would depend on its position in a piece. This is tested on the machine once for each
shape; if rows differ, the product is computed with so few columns at a time that a single kernel computes them all.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import numpy as np

FEW: Final = 4
"""The number of matrix columns that every known kernel processes at once."""


def rowwise(x: Any, matrix: Any) -> Any:
    """Return ``x @ matrix`` for spectra ``pixel band`` and a matrix or vector; torch tensors pass to torch."""
    return _way(x.shape, matrix.shape)(x, matrix) if isinstance(x, np.ndarray) else x @ matrix


def _whole(x: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return x @ matrix


def _by_few(x: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    out = np.empty((len(x), *matrix.shape[1:]), np.result_type(x, matrix))
    for start in range(0, matrix.shape[1], FEW):
        out[:, start : start + FEW] = x @ matrix[:, start : start + FEW]
    return out


def _summed(x: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return np.einsum("ij,j...->i...", x, matrix)


WAYS: Final = (_whole, _by_few, _summed)
"""The ways to compute the product, from the fastest to the one that always gives equal rows."""


@lru_cache(maxsize=256)
def _way(shape: tuple[int, int], by: tuple[int, ...]) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return the fastest way in which equal rows have equal results."""
    rng = np.random.default_rng(0)
    x = np.tile(rng.random(shape[1], np.float32), (shape[0], 1))
    matrix = rng.random(by, np.float32)
    ways = WAYS if len(by) > 1 else (_whole, _summed)
    return next((way for way in ways[:-1] if _equal(way(x, matrix))), ways[-1])


def _equal(rows: np.ndarray) -> bool:
    return bool((rows == rows[:1]).all())
