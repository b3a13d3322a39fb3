"""Pieces: operators run over spectra in pieces of one fixed, padded number of rows.

BLAS changes bits with the row count, so a pixel would depend on how its neighbours were split; in padded pieces it
does not: tiles equal the scene bit for bit. A piece of 186 bands (1.5 MB) also stays in the cache from step to step.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32

from tilespec.spectra.operators import Operator, Take
from tilespec.types import Spectra

Transformed = Float32[np.ndarray, "pixel out"]

PIECE = 2048
"""Rows of a piece; a multiple of every BLAS kernel's row block."""


def transform(operators: tuple[Operator, ...], x: Spectra, width: int) -> Transformed:
    """Return ``x`` after ``operators``, which leave ``width`` bands; an invalid pixel is NaN in all of them."""
    out = np.empty((len(x), width), np.float32)
    start = 0
    for piece in pieces(operators, x):
        out[start : start + len(piece)] = piece
        start += len(piece)
    return out


def pieces(operators: tuple[Operator, ...], x: Spectra) -> Iterator[Transformed]:
    """Yield ``x`` after ``operators``, piece by piece; each piece may be overwritten.

    A pixel is invalid when a band that the operators look at is NaN or infinite, or when they cannot map it.
    """
    taken = next((i for i, op in enumerate(operators) if not isinstance(op, Take)), len(operators))
    for start in range(0, len(x), PIECE):
        piece = x[start : start + PIECE]
        for take in operators[:taken]:
            piece = take.apply(piece)
        yield _padded(operators[taken:], piece)


def _padded(operators: tuple[Operator, ...], piece: Spectra) -> Transformed:
    """Return one piece after ``operators``."""
    n = len(piece)
    full = np.empty((PIECE, piece.shape[1]), np.float32)
    full[:n] = piece
    full[n:] = 0
    with np.errstate(invalid="ignore", over="ignore"):
        invalid = ~np.isfinite(full @ np.ones(piece.shape[1], np.float32))[:n]
        for operator in operators:
            full = operator.apply(full)
    out = full[:n]
    if invalid.any():
        out[invalid] = np.nan
    return out
