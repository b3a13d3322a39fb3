"""Rasterise: polygons with a class each become a class map, which is read like any other source of labels."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

import numpy as np

from tilespec.core.errors import UserError
from tilespec.core.types import UNLABELLED, Cube, Roi
from tilespec.ingest.labels.polygons import Polygon, Polygons, read_polygons, shifted
from tilespec.ingest.readers.source import Facts, lines_per_read

NAMES: Final = ("class", "label")
"""The attributes that hold the class if the user names none."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class PolygonRaster:
    """Polygons on the pixels of a scene: the last polygon over a pixel gives its class; 255 means no polygon."""

    facts: Facts
    """The facts of a class map with one band."""
    shapes: tuple[Polygon, ...]
    """The polygons in the order of the file."""
    values: tuple[int, ...]
    """The class of each polygon."""

    def read_rows(self, y0: int, y1: int) -> Cube:
        """Return the classes of rows as ``y, x, 1``."""
        return self._rows(y0, y1, cover=False)[..., None]

    def covered(self) -> tuple[int, int]:
        """Return the numbers of pixels under a polygon and under several, from one pass."""
        some, several, step = 0, 0, lines_per_read(self.facts)
        for y0 in range(0, self.facts.shape[0], step):
            count = self._rows(y0, min(y0 + step, self.facts.shape[0]), cover=True)
            some, several = some + int((count > 0).sum()), several + int((count > 1).sum())
        return some, several

    def _rows(self, y0: int, y1: int, *, cover: bool) -> np.ndarray:
        """Return the classes of rows, or the number of polygons over each pixel."""
        from rasterio.enums import MergeAlg
        from rasterio.features import rasterize

        roi = Roi(y0=y0, y1=y1, x0=0, x1=self.facts.shape[1])
        here = [(s.geometry(), v) for s, v in zip(self.shapes, self.values, strict=True) if s.window(roi) is not None]
        kind, fill = ("int32", 0) if cover else ("uint8", UNLABELLED)
        if not here:
            return np.full(roi.shape, fill, kind)
        burnt: np.ndarray = rasterize(
            [(geometry, 1) for geometry, _ in here] if cover else here,
            out_shape=roi.shape,
            fill=fill,
            transform=shifted(roi),
            dtype=kind,
            merge_alg=MergeAlg.add if cover else MergeAlg.replace,
        )
        return burnt


def rasterise(path: Path, attribute: str | None, cube: Facts, ignore: int | None = None) -> PolygonRaster:
    """Return the class map of a file's polygons on the grid of a cube.

    Classes are whole numbers from 0 to 254, or names, which are numbered in alphabetical order. A polygon without a
    class (null) labels no pixel.

    Raises:
        UserError: the file cannot be transformed to the scene (`read_polygons`), the attribute has no valid classes, or
            a label to ignore is given.
    """
    if ignore is not None:
        raise UserError(
            "--ignore-label",
            found=f"{ignore} for the polygons of {path.name}",
            expected="no such option: what no polygon covers is unlabelled",
            do="Leave out the polygons that mean unlabelled, or make their class null.",
        )
    polygons = read_polygons(path, cube.shape[:2], cube.georef)
    key, notes = _attribute(path, polygons, attribute)
    classed = [(shape, shape.values.get(key)) for shape in polygons.shapes if not _null(shape.values.get(key))]
    if len(classed) < len(polygons.shapes):
        notes += (f"{path.name}: {len(polygons.shapes) - len(classed)} polygons without a class were left out",)
    numbers, names = _numbers(path, key, [value for _, value in classed])
    facts = Facts(
        shape=(*cube.shape[:2], 1),
        dtype=np.dtype("uint8"),
        nodata=UNLABELLED,
        classes=names,
        files=polygons.files,
    )
    whole = PolygonRaster(facts=facts, shapes=tuple(shape for shape, _ in classed), values=numbers)
    some, several = whole.covered()
    if not some:
        raise UserError(
            path,
            found=f"{len(classed)} polygons, none of which holds the centre of a pixel",
            expected="polygons larger than a pixel, on the scene",
            do="Check their coordinates.",
        )
    if several:
        notes += (f"{path.name}: {several} pixels lie under several polygons; the later polygon's class holds",)
    return replace(whole, facts=replace(facts, notes=(*polygons.notes, *notes)))


def _attribute(path: Path, polygons: Polygons, attribute: str | None) -> tuple[str, tuple[str, ...]]:
    """Return the attribute that holds the class, and a note if the user did not name it."""
    attributes = polygons.attributes
    if attribute in attributes:
        return attribute, ()
    likely: list[str] = [name for name in NAMES if name in attributes] or (
        list(attributes) if len(attributes) == 1 else []
    )
    if attribute is None and len(likely) == 1:
        return likely[0], (f"{path.name}: classes are those of the attribute {likely[0]!r}",)
    raise UserError(
        path,
        found=f"attributes {', '.join(attributes) or 'none'}",
        expected="the attribute that holds the class" if attribute is None else f"an attribute {attribute!r}",
        do=f"Give --labels {path.name}:ATTRIBUTE.",
    )


def _null(value: Any) -> bool:
    """Return whether an attribute is empty."""
    return value is None or value == "" or value != value  # noqa: PLR0124 - NaN


def _numbers(path: Path, key: str, values: list[Any]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return the class of each value, and the names of classes given by name."""
    if values and all(isinstance(value, str) for value in values):
        names = tuple(sorted(set(values)))
        if len(names) < UNLABELLED:
            return tuple(names.index(value) for value in values), names
    elif values and all(_whole(value) for value in values):
        return tuple(int(value) for value in values), ()
    odd = next((value for value in values if not _whole(value)), f"{len(set(map(str, values)))} classes")
    raise UserError(
        f"{path}: {key}",
        found=repr(odd),
        expected=f"whole numbers from 0 to {UNLABELLED - 1}, or at most {UNLABELLED - 1} names, not both",
        do="Correct the attribute, or name another with --labels FILE:ATTRIBUTE.",
    )


def _whole(value: Any) -> bool:
    """Return whether a value is a valid class number."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 <= value < UNLABELLED and value == int(value)
