"""Placement: where the corners of pixels lie in the coordinates of a vector file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, final

import numpy as np
from jaxtyping import Float64, Integer

from tilespec.core.errors import UserError
from tilespec.ingest.readers.georeference import crs_of
from tilespec.output.export.export_source import ExportSource
from tilespec.storage.georeference import transform_of

Ring = Integer[np.ndarray, "_ 2"] | Float64[np.ndarray, "_ 2"]
Rings = list[Ring]
Matrix = Float64[np.ndarray, "2 3"]
DENSE: Final = 128
"""The pixels after which a long side gets a corner before it is projected, because a straight line becomes a curve."""
DIGITS: Final = 9
"""The decimal places of degrees in GeoJSON, a tenth of a millimetre."""
PIXELS: Final = {
    "crs": "pixel",
    "description": "Coordinates are columns and rows, from the outer corner of the first pixel: there is no CRS.",
}
"""The members of a GeoJSON in pixels, as `ingest --labels` and `measure --polygons` read them."""


@final
@dataclass(frozen=True, kw_only=True)
class Placement:
    """How corners of pixels become coordinates."""

    turn: Callable[[Integer[np.ndarray, "_ 2"]], Ring]
    """The coordinates x, y from columns and rows."""
    crs: str | None = None
    """The CRS as text."""
    matrix: Matrix | None = None
    """The transform from columns, rows and 1 to coordinates of the map."""
    members: Mapping[str, str] = field(default_factory=dict)
    """Further members of a GeoJSON."""


def map_placement(exported: ExportSource) -> Placement:
    """Return the placement in coordinates of the scene, in pixels where it has no transform, which is noted."""
    matrix = _matrix(exported)
    if matrix is None:
        exported.notes.append("the scene has no place: coordinates are columns and rows, and rows go down")
        return Placement(turn=lambda corners: corners)
    if not exported.georef.get("crs_wkt"):
        exported.notes.append("the scene has no CRS: coordinates are those of its transform")
    return Placement(
        turn=lambda corners: corners @ matrix[:, :2].T + matrix[:, 2],
        crs=exported.georef.get("crs_wkt"),
        matrix=matrix,
    )


def wgs84_placement(exported: ExportSource) -> Placement:
    """Return the placement in longitude and latitude, in pixels where the scene has no CRS, which is noted."""
    from pyproj import Transformer
    from pyproj.exceptions import ProjError

    matrix = _matrix(exported)
    crs = crs_of(exported.georef["crs_wkt"]) if exported.georef.get("crs_wkt") else None
    try:
        to_wgs84 = None if crs is None or matrix is None else Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
    except ProjError:  # a CRS of a workshop or a camera has no place on the Earth
        to_wgs84 = None
    if crs is None or to_wgs84 is None or matrix is None:
        exported.notes.append('GeoJSON: no CRS, so coordinates are columns and rows ("crs": "pixel")')
        return Placement(turn=lambda corners: corners, members=PIXELS, matrix=matrix)

    def turn(corners: Integer[np.ndarray, "_ 2"]) -> Ring:
        dense = corners if crs.is_geographic else densified(corners)
        x, y = to_wgs84.transform(*(dense @ matrix[:, :2].T + matrix[:, 2]).T)
        degrees: np.ndarray = np.round(np.stack([x, y], axis=1), DIGITS)
        if not np.isfinite(degrees).all():
            raise _nowhere(exported)
        if np.abs(np.diff(degrees[:, 0])).max() > 180.0:
            exported.notes.append("GeoJSON: regions cross 180 degrees of longitude and are not cut there")
        return degrees

    return Placement(turn=turn, crs="OGC:CRS84", matrix=matrix)


def densified(corners: Integer[np.ndarray, "_ 2"]) -> Integer[np.ndarray, "_ 2"]:
    """Return a closed ring with further corners on its long sides, at multiples of `DENSE`: neighbours share them."""
    sides = np.abs(np.diff(corners, axis=0)).max(axis=1)
    if sides.max() <= DENSE:
        return corners
    out = []
    for (x0, y0), (x1, y1) in zip(corners[:-1].tolist(), corners[1:].tolist(), strict=True):
        xs, ys = _between(x0, x1), _between(y0, y1)
        out.append(np.stack(np.broadcast_arrays(xs, ys), axis=1) if x0 == x1 or y0 == y1 else np.array([[x0, y0]]))
    return np.concatenate([*out, corners[-1:]])


def _between(start: int, stop: int) -> Integer[np.ndarray, " _"]:
    """Return the start of a side along an axis, and the multiples of `DENSE` before its end."""
    low, high = sorted((start, stop))
    inner = np.arange(low // DENSE + 1, -(-high // DENSE)) * DENSE
    return np.concatenate([[start], inner if start < stop else inner[::-1]]).astype(np.int64)


def _matrix(exported: ExportSource) -> Matrix | None:
    """Return the transform of the scene as a matrix."""
    transform = transform_of(exported.georef.get("GeoTransform"))
    if transform is None:
        return None
    c, a, b, f, d, e = transform
    return np.array([[a, b, c], [d, e, f]])


def _nowhere(exported: ExportSource) -> UserError:
    return UserError(
        exported.url,
        found="pixels that have no longitude and latitude in the scene's CRS",
        expected="a transform within the area of the CRS",
        do="Correct the CRS or the transform, or export .gpkg, which keeps the scene's coordinates.",
    )
