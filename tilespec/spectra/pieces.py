"""Pieces: operators run over spectra in pieces with one fixed, padded number of rows.

The bits of a BLAS product depend on its number of rows, so a pixel would depend on how its neighbours were divided; in
padded pieces it does not: tiles equal the scene bit for bit. A piece of 186 bands (1.5 MB) also remains in the
processor's cache from step to step and for the statistic that uses it (a PCA's moments), so a scene is read from memory
only once.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Bool, Float32

from tilespec.core.types import PIECE, Spectra
from tilespec.spectra.numerics.rowwise import rowwise
from tilespec.spectra.operators import Normalise, Operator, Project, Take

Transformed = Float32[np.ndarray, "pixel out"]


def transform(operators: tuple[Operator, ...], x: Spectra, width: int, *, own: bool = False) -> Transformed:
    """Return ``x`` after ``operators``, whose result has ``width`` bands; an invalid pixel is NaN in all of them.

    With ``own`` it may overwrite ``x``.
    """
    out = np.empty((len(x), width), np.float32)
    start = 0
    for piece in pieces(operators, x, own=own):
        out[start : start + len(piece)] = piece
        start += len(piece)
    return out


def pieces(operators: tuple[Operator, ...], x: Spectra, *, own: bool = False) -> Iterator[Transformed]:
    """Yield ``x`` after ``operators``, piece by piece; a piece may be overwritten and is valid until the next.

    A pixel is invalid when a band that the operators use is NaN or infinite, or when they cannot map it.

    Args:
        operators: The fitted steps in their order.
        x: The spectra, ``pixel band``.
        own: Whether ``x`` may be overwritten: full pieces are then processed in place. The bits are the same.
    """
    first = next((i for i, op in enumerate(operators) if not isinstance(op, Take)), len(operators))
    buffers, after = np.empty((PIECE, 0), np.float32), _fused(operators[first:])
    for start in range(0, len(x), PIECE):
        piece = x[start : start + PIECE]
        for take in operators[:first]:
            piece = take.apply(piece)
        if not (own and len(piece) == PIECE and piece.flags.c_contiguous and piece.flags.writeable):
            buffers = buffers if buffers.shape[1] == piece.shape[1] else np.empty((PIECE, piece.shape[1]), np.float32)
            buffers[: len(piece)] = piece
            buffers[len(piece) :] = 0
            yield _through(after, buffers, len(piece))
        else:
            yield _through(after, piece, PIECE)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class _Scores:
    """A normalisation and the projection after it: the few scores are divided instead of the many bands."""

    normalise: Normalise
    project: Project
    mean: Float32[np.ndarray, " component"]
    """The scores of the mean spectrum, summed in float64."""

    def apply(self, x: Any) -> Any:
        """Return the scores ``pixel component``."""
        centred, deviation = self.normalise.centred(x)
        scores = rowwise(centred, self.project.loadings.T)
        scores /= deviation[:, None]
        scores -= self.mean
        return scores


def _fused(operators: tuple[Operator, ...]) -> tuple[Any, ...]:
    """Return equivalent operators at less cost, when a projection follows a normalisation."""
    match operators:
        case (Normalise() as first, Project() as second, *others):
            mean = (second.loadings.astype(np.float64) @ second.mean).astype(np.float32)
            return _Scores(normalise=first, project=second, mean=mean), *others
        case _:
            return operators


def _through(operators: tuple[Any, ...], full: Float32[np.ndarray, "_whole _band"], n: int) -> Transformed:
    """Return the first ``n`` rows of a full piece after ``operators``, which overwrite it."""
    with np.errstate(invalid="ignore", over="ignore"):
        # a normalised spectrum is NaN in all bands if one band was NaN or infinite, because its mean is
        invalid = None if operators and isinstance(operators[0], Normalise | _Scores) else _invalid(full)[:n]
        for operator in operators:
            full = operator.apply(full)
    out = full[:n]
    if invalid is not None and invalid.any():
        out[invalid] = np.nan
    return out


def _invalid(x: Float32[np.ndarray, "_whole _band"]) -> Bool[np.ndarray, " _whole"]:
    """Return which spectra have a band that is NaN or infinite, without a mask of the size of the spectra."""
    return ~np.isfinite(x @ np.ones(x.shape[1], np.float32))
