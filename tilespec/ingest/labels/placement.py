"""Placement: a layer of another file is laid on the pixels of a scene by the georeferences of both, or refused."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, final

import numpy as np
from jaxtyping import Float64, Int64

from tilespec.core.errors import UserError
from tilespec.core.types import Cube
from tilespec.ingest.readers.georeference import crs_of, displacement
from tilespec.ingest.readers.source import Facts, Source

NEAR: Final = 0.01
"""The largest distance in pixels, anywhere in the scene, that is no difference of two grids."""
EDGE: Final = 1e-6
"""The share of a pixel by which a centre may lie before the edge of a pixel and still belong to it."""

Matrix = Float64[np.ndarray, "3 3"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class PlacedSource:
    """A source on the grid of a scene: each pixel is the one of the file at its centre; NaN outside the file."""

    facts: Facts
    """The facts, with the scene's rows and columns."""
    inner: Source
    """The source on its own grid."""
    rows: Int64[np.ndarray, " y"]
    """The row of the file for each row of the scene; -1 outside the file."""
    cols: Int64[np.ndarray, " x"]
    """The column of the file for each column of the scene; -1 outside the file."""

    def read_rows(self, y0: int, y1: int) -> Cube:
        """Return rows of the scene's grid as ``y, x, band``."""
        rows = self.rows[y0:y1]
        out = np.full((y1 - y0, *self.facts.shape[1:]), np.nan if self.facts.dtype.kind == "f" else 0, self.facts.dtype)
        there, across = rows >= 0, self.cols >= 0
        if there.any():
            first, last = int(rows[there].min()), int(rows[there].max()) + 1
            block = self.inner.read_rows(first, last)[rows[there] - first]
            out[np.ix_(there, across)] = block[:, self.cols[across]]
        return out


def lay_on_scene(where: str, source: Source, scene: Facts) -> Source:
    """Return a source on the rows and columns of a scene; one without a place of its own as it is.

    Files of the same CRS may be shifted, larger or smaller, upside down, or have pixels of another size.

    Raises:
        UserError: the file lies elsewhere, or in another CRS, or its grid is turned against that of the scene.
    """
    theirs, ours = source.facts.georef or {}, scene.georef or {}
    if "GeoTransform" not in theirs or "GeoTransform" not in ours:
        return source
    back = _inverse(where, _matrix(theirs))
    notes = _same_crs(where, theirs, ours, _matrix(ours), scene.shape[:2])
    across = back @ _matrix(ours)
    height, width = scene.shape[:2]
    if max(abs(across[0, 1]) * height, abs(across[1, 0]) * width) > NEAR:
        raise _elsewhere(where, "a grid that is turned against that of the scene")
    lines, samples = source.facts.shape[:2]
    rows = _index(across[1, 1], across[1, 2], height, lines)
    cols = _index(across[0, 0], across[0, 2], width, samples)
    if not (rows >= 0).any() or not (cols >= 0).any():
        raise _elsewhere(
            where, f"{_extent(theirs, source.facts.shape)}, beside the scene, {_extent(ours, scene.shape)}"
        )
    same = source.facts.shape[:2] == scene.shape[:2]
    if same and (rows == np.arange(height)).all() and (cols == np.arange(width)).all():
        shift = max(abs(across[k] @ [*at, 1.0] - at[k]) for at in ((0, 0), (width, height)) for k in (0, 1))
        notes += (
            (f"{where}: its grid is shifted by up to {shift:.2g} pixels: taken as the scene's",) if shift > NEAR else ()
        )
        return source if not notes else _with(source, notes)
    outside = height * width - int((rows >= 0).sum()) * int((cols >= 0).sum())
    return _laid(where, source, rows, cols, outside, notes)


def _laid(
    where: str,
    source: Source,
    rows: Int64[np.ndarray, " y"],
    cols: Int64[np.ndarray, " x"],
    outside: int,
    notes: tuple[str, ...],
) -> PlacedSource:
    """Return a source on another grid, of floats if pixels lie outside of it."""
    facts = source.facts
    lost = f", {outside} pixels lie outside of it" if outside else ""
    note = f"{where}: laid on the scene by its georeference (its grid differs from the scene's){lost}"
    wide = replace(
        facts,
        shape=(len(rows), len(cols), facts.shape[2]),
        dtype=np.dtype(np.float64) if outside else facts.dtype,
        notes=(*facts.notes, *notes, note),
    )
    return PlacedSource(facts=wide, inner=source, rows=rows, cols=cols)


def _with(source: Source, notes: tuple[str, ...]) -> Source:
    """Return a source on the same grid with more notes."""
    height, width = source.facts.shape[:2]
    facts = replace(source.facts, notes=(*source.facts.notes, *notes))
    return PlacedSource(facts=facts, inner=source, rows=np.arange(height), cols=np.arange(width))


def _matrix(georef: Mapping[str, Any]) -> Matrix:
    """Return the transform from columns and rows to coordinates."""
    c, a, b, f, d, e = (float(value) for value in str(georef["GeoTransform"]).split())
    return np.array([[a, b, c], [d, e, f], [0.0, 0.0, 1.0]])


def _inverse(where: str, matrix: Matrix) -> Matrix:
    """Return the transform from coordinates to columns and rows."""
    try:
        return np.linalg.inv(matrix)
    except np.linalg.LinAlgError as error:
        raise _elsewhere(where, "a transform without area") from error


def _index(step: float, start: float, count: int, size: int) -> Int64[np.ndarray, " _n"]:
    """Return the pixel of a file of ``size`` pixels that holds each of ``count`` centres; -1 outside."""
    at = np.floor(start + step * (np.arange(count) + 0.5) + EDGE)
    return np.where((at >= 0) & (at < size), at, -1).astype(np.int64)


def _same_crs(
    where: str, theirs: Mapping[str, Any], ours: Mapping[str, Any], matrix: Matrix, shape: tuple[int, int]
) -> tuple[str, ...]:
    """Return notes; refuse a CRS in which the corners of the scene have other coordinates than in the scene's own."""
    other, own = (crs_of(georef["crs_wkt"]) if georef.get("crs_wkt") else None for georef in (theirs, ours))
    if other is None or own is None:
        return () if other is own else (f"{where}: one of file and scene has no CRS: taken to be in the same",)
    c, a, b, f, d, e = (matrix[i, j] for i in (0, 1) for j in (2, 0, 1))
    if displacement(own, other, (c, a, b, f, d, e), shape) > NEAR:
        raise _elsewhere(where, f"the CRS {other.name}, where the scene has {own.name}")
    return ()


def _extent(georef: Mapping[str, Any], shape: tuple[int, ...]) -> str:
    """Return the coordinates that a grid covers, as text."""
    corners = _matrix(georef) @ np.array([[0, shape[1], 0, shape[1]], [0, 0, shape[0], shape[0]], [1, 1, 1, 1]], float)
    (x0, y0), (x1, y1) = corners[:2].min(axis=1), corners[:2].max(axis=1)
    return f"x {x0:.10g} to {x1:.10g}, y {y0:.10g} to {y1:.10g}"


def _elsewhere(where: str, found: str) -> UserError:
    return UserError(
        where,
        found=found,
        expected="the place and the CRS of the scene, or a file without a georeference",
        do="Lay it on the scene first, for example with gdalwarp -r near, or remove a georeference that is wrong.",
    )
