"""Draw: polygons and brush strokes with the names of classes become labels in a store of their own.

The shapes lie in ``OUT.shapes.json`` beside the store, which is written again from them whenever they are saved: the
scene is never changed, and what was drawn can be continued.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, final

import numpy as np
from jaxtyping import Bool, Float64

from tilespec.core.errors import OccupiedError
from tilespec.core.fingerprint import fingerprint
from tilespec.core.types import UNLABELLED, ClassMap, Roi
from tilespec.output.view.spectra import outlined
from tilespec.output.view.stores import OpenStore
from tilespec.storage.backends.base import StorePath
from tilespec.storage.backends.paths import absolute, store_path
from tilespec.storage.files import dump_json, read_json, write_atomic
from tilespec.storage.layout import constants, distinct, layer_spec
from tilespec.storage.lock import locked
from tilespec.storage.outputs import remove_output
from tilespec.storage.product import Product

Mask = Bool[np.ndarray, "_y _x"]
CORNERS: Final = 200_000
"""The largest number of points of all shapes together."""
LONGEST: Final = 100
"""The largest number of characters in the name of a class."""


@final
@dataclass(frozen=True, kw_only=True)
class DrawnShape:
    """A polygon, or a brush stroke."""

    number: int
    """The class inside the shape; `UNLABELLED` takes labels away."""
    points: Float64[np.ndarray, "point 2"]
    """The corners of the polygon, or the points of the stroke: ``x, y`` in pixels of the scene."""
    radius: float | None = None
    """The radius of the brush in pixels; None for a polygon."""

    @classmethod
    def of(cls, data: Any, classes: int) -> "DrawnShape":
        """Return a shape from plain data.

        Raises:
            ValueError, KeyError, TypeError: it is none.
        """
        number, radius = data["class"], data.get("radius")
        number = UNLABELLED if number is None else number
        points = np.array(data["points"], np.float64).reshape(-1, 2)
        sound = isinstance(number, int) and (0 <= number < classes or number == UNLABELLED)
        sound = sound and len(points) >= (3 if radius is None else 1) and bool(np.isfinite(points).all())
        if not sound or (radius is not None and not 0 < float(radius) <= 10_000):
            raise ValueError("Expected a class of the list, and a polygon of 3 corners or a stroke with a radius.")
        return cls(number=number, points=points, radius=None if radius is None else float(radius))

    @property
    def plain(self) -> dict[str, Any]:
        """The shape as plain data, as `of` takes it."""
        number = None if self.number == UNLABELLED else self.number
        return {"class": number, "points": self.points.tolist(), "radius": self.radius}

    def paint(self, labels: ClassMap, roi: Roi) -> None:
        """Set the class of the pixels of a region whose centre lies inside."""
        if self.radius is None:
            outline = outlined(self.points)
            self._set(labels, roi, outline.window(roi), outline.mask)
            return
        ends = np.concatenate([self.points[1:], self.points[-1:]]) if len(self.points) > 1 else self.points
        for segment in np.stack([self.points, ends], axis=1):
            reach = np.concatenate([segment - self.radius, segment + self.radius])
            near = partial(near_segment, segment, self.radius)
            self._set(labels, roi, outlined(reach).window(roi), near)

    def _set(self, labels: ClassMap, roi: Roi, window: Roi | None, mask: Callable[[Roi], Mask]) -> None:
        """Set the class of the pixels of a window of the region that a mask has."""
        if window is not None:
            part = labels[window.y0 - roi.y0 : window.y1 - roi.y0, window.x0 - roi.x0 : window.x1 - roi.x0]
            part[mask(window)] = self.number


def near_segment(ends: Float64[np.ndarray, "2 2"], radius: float, roi: Roi) -> Mask:
    """Return which pixels of a region have their centre within a radius around a segment."""
    (xa, ya), (xb, yb) = ends
    xs, ys = np.arange(roi.x0, roi.x1)[None, :] + 0.5 - xa, np.arange(roi.y0, roi.y1)[:, None] + 0.5 - ya
    length = (xb - xa) ** 2 + (yb - ya) ** 2
    share = np.clip((xs * (xb - xa) + ys * (yb - ya)) / length, 0.0, 1.0) if length > 0 else np.zeros((1, 1))
    near: Mask = (xs - share * (xb - xa)) ** 2 + (ys - share * (yb - ya)) ** 2 <= radius**2
    return near


@final
@dataclass(frozen=True, kw_only=True)
class Drawing:
    """The labels that a page draws, and their place."""

    out: str
    """The URL of the store of labels."""

    @classmethod
    def of(cls, out: str) -> "Drawing":
        """Return the drawing of a store, new or continued.

        Raises:
            OccupiedError: the store was not drawn.
        """
        drawing = cls(out=absolute(out))
        if store_path(drawing.out).exists() and not drawing.file.exists():
            raise OccupiedError(
                out,
                found="something that was not drawn",
                expected="a free name, or labels that `view` drew",
                do="Name another store.",
            )
        return drawing

    @property
    def file(self) -> StorePath:
        """The file of the shapes."""
        return store_path(f"{self.out.rstrip('/')}.shapes.json")

    def shapes(self) -> dict[str, Any]:
        """Return the classes and shapes that were saved last, as plain data."""
        return read_json(self.file) or {"classes": [], "shapes": []}

    def save(self, data: Any, store: OpenStore) -> dict[str, Any]:
        """Write the labels of classes and shapes on the plane of a store; return the pixels of each class.

        Raises:
            ValueError: the data are no classes and shapes.
            UserError: another process writes the store.
        """
        classes, shapes = _read(data)
        plain = {"classes": list(classes), "shapes": [shape.plain for shape in shapes]}
        with locked(self.out):
            write_atomic(self.file, dump_json(plain))
            if store_path(self.out).exists():
                remove_output(self.out, [])
            counts = self._write(classes, shapes, store, fingerprint(plain))
        return {"pixels": {name: int(counts[number]) for number, name in enumerate(classes)}}

    def _write(self, classes: tuple[str, ...], shapes: Sequence[DrawnShape], store: OpenStore, key: str) -> np.ndarray:
        """Write the store row by row; return the number of pixels of each class."""
        height, width = store.pyramid.shape
        georef = None if store.pyramid.scene is None else store.pyramid.scene.georef
        product = Product.open(
            self.out,
            [layer_spec("labels", (height, width), classes=classes)],
            settings={"drawn": key, "shape": [height, width]},
            attrs={"title": "Labels drawn by hand", "scene": store.name, "classes": list(classes)},
            constants=constants(None, georef, (height, width)),
        )
        counts = np.zeros(256, np.int64)
        for row in range(product.rows):
            y0, y1 = product.span(row)
            labels = np.full((y1 - y0, width), UNLABELLED, np.uint8)
            for shape in shapes:
                shape.paint(labels, Roi(y0=y0, y1=y1, x0=0, x1=width))
            counts += np.bincount(labels.ravel(), minlength=256)
            product.write(row, {"labels": labels})
        product.finish()
        return counts


def _read(data: Any) -> tuple[tuple[str, ...], list[DrawnShape]]:
    """Return the classes and the shapes of plain data.

    Raises:
        ValueError: they are none.
    """
    try:
        names, listed = data["classes"], data["shapes"]
        sound = 1 <= len(names) < UNLABELLED and all(
            isinstance(n, str) and 0 < len(n.strip()) <= LONGEST for n in names
        )
        if not sound or sum(len(each["points"]) for each in listed) > CORNERS:
            raise ValueError(f"Expected 1 to {UNLABELLED - 1} names of classes, and at most {CORNERS:,} points.")
        return distinct(tuple(names)), [DrawnShape.of(each, len(names)) for each in listed]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"Expected classes and shapes: {error}.") from error
