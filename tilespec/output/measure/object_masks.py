"""Object masks: the pixels of each plant, polygon or region, computed strip by strip on any worker."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, final, runtime_checkable

import numpy as np
import zarr
from jaxtyping import Int64

from tilespec.cluster.reduction import reduce_blocks
from tilespec.core.errors import UserError
from tilespec.core.progress import Progress, Silent
from tilespec.core.types import Roi
from tilespec.ingest.labels.polygons import Polygons, read_polygons
from tilespec.ingest.remote_sources import copies
from tilespec.output.measure.connected_regions import NOTHING, Parts, RegionStrips, label
from tilespec.output.measure.object_sums import NONE
from tilespec.storage.group import open_group
from tilespec.storage.rasters import ClassRaster
from tilespec.storage.scene import Scene
from tilespec.storage.selection import is_class_map, selected

Ids = Int64[np.ndarray, "_y _x"]


@runtime_checkable
class ObjectMasks(Protocol):
    """The objects of a measurement, a value that workers receive."""

    def prepared(self, strips: Sequence[Roi], client: Any, progress: Progress | None) -> "ObjectMasks":
        """Return the objects with all preparations: regions are numbered by a pass over the prediction."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """The facts of the objects as plain data, with ``notes`` if there are any."""

    def attributes(self, ids: Sequence[int]) -> Mapping[str, list[Any]]:
        """The further columns of the table for the objects of these numbers, possibly none."""

    @property
    def count(self) -> int | None:
        """The number of objects, each with a line, numbered from 1; None: objects with a pixel have a line."""

    def planes(self, roi: Roi, strip: int, around: Roi) -> Iterator[Ids]:
        """Yield the object of each pixel of ``around``, `NONE` for none, in several planes if objects overlap.

        ``around`` is the strip ``roi`` with rows above and below it, if there are any. There only the numbers of
        objects count that touch the strip.
        """


@final
@dataclass(frozen=True, kw_only=True)
class ByLayer:
    """The objects by the values of a ``y, x`` layer of integers."""

    url: str
    """The URL of the scene."""
    layer: str
    """The name of the layer."""
    names: tuple[str, ...] = ()
    """The names of the values 0, 1, ... of a class map."""

    @classmethod
    def of(cls, scene: Scene, layer: str) -> "ByLayer":
        """Return the objects of a layer: a class map's classes, or its numbers but 0; no data is no object.

        Raises:
            UserError: the layer does not exist, or it does not hold integers.
        """
        array = open_group(scene.url).get(layer) if layer in scene.layers else None
        if not isinstance(array, zarr.Array) or array.dtype.kind not in "iu":
            raise UserError(
                "--by",
                found=f"{layer!r}; layers are {', '.join(scene.layers) or 'none'}",
                expected="a layer of whole numbers, such as `plant`",
                do="Name another layer, or measure --polygons FILE or --regions CLASS.",
            )
        return cls(url=scene.url, layer=layer, names=scene.classes(layer) if is_class_map(array.attrs) else ())

    def prepared(self, strips: Sequence[Roi], client: Any, progress: Progress | None) -> "ByLayer":
        """Return the objects themselves."""
        del strips, client, progress
        return self

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return the layer's name."""
        return {"by": self.layer}

    def attributes(self, ids: Sequence[int]) -> Mapping[str, list[Any]]:
        """Return the names of classes, of a class map."""
        known = dict(enumerate(self.names))
        return {"class": [known.get(number) for number in ids]} if known else {}

    @property
    def count(self) -> int | None:
        """Return None: objects with a pixel have a line."""
        return None

    def planes(self, roi: Roi, strip: int, around: Roi) -> Iterator[Ids]:
        """Yield the values of the layer."""
        del roi, strip
        layer = Scene.open(self.url).plane(self.layer)
        yield np.where(selected(layer, around), layer.read(around).astype(np.int64), NONE)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ByRegions:
    """The objects that are the connected regions of a class, numbered."""

    pred: str
    """The URL of the class map."""
    value: int
    """The number of the class."""
    least: int
    """The size in pixels of the smallest region that counts."""
    numbers: tuple[Parts, ...] = field(default=(), repr=False)
    """The region of each part, for each strip; 0 for a region that is too small."""
    dropped: tuple[int, int] = (0, 0)
    """The number of regions that are too small, and the sum of their pixels."""

    def prepared(self, strips: Sequence[Roi], client: Any, progress: Progress | None) -> "ByRegions":
        """Return the numbered regions, from one pass over the prediction."""
        say = progress or Silent()
        say.start("regions", len(strips), "strips")
        joined: RegionStrips = reduce_blocks(
            strips, partial(_parts, self.pred, self.value), client=client, progress=say
        )
        say.finish()
        numbers, sizes = joined.numbered(self.least)
        total = int(joined.pixels[np.unique(joined.root)].sum())
        return replace(self, numbers=tuple(numbers), dropped=(joined.regions - len(sizes), total - int(sizes.sum())))

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return the number of regions that were left out."""
        return {"min_area": self.least, "small_regions": self.dropped[0], "small_regions_pixels": self.dropped[1]}

    def attributes(self, ids: Sequence[int]) -> Mapping[str, list[Any]]:
        """Return no further columns."""
        del ids
        return {}

    @property
    def count(self) -> int | None:
        """Return None: objects with a pixel have a line."""
        return None

    def planes(self, roi: Roi, strip: int, around: Roi) -> Iterator[Ids]:
        """Yield the regions of the parts of a strip, which is labelled again by the same rule.

        A pixel of the class outside the strip belongs to the region of the pixels that it is connected with.
        """
        mask = class_map(self.pred).read(around) == self.value
        rows = slice(roi.y0 - around.y0, roi.y1 - around.y0)
        parts, _ = label(mask[rows])
        numbers = np.append(self.numbers[strip], 0)  # the index `NOTHING` is the last entry
        assert NOTHING == -1
        ids = np.full(mask.shape, NONE)
        inner = numbers[parts]
        ids[rows] = np.where(inner == 0, NONE, inner)
        if around == roi:
            yield ids
            return
        joined, count = label(mask)
        table = np.full(count + 1, NONE)  # the last entry is that of `NOTHING`
        np.maximum.at(table, joined[rows], ids[rows])
        yield table[joined]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ByPolygons:
    """The objects that are polygons, numbered from 1 in the order of their file; each is measured completely."""

    polygons: Polygons
    """The polygons in pixels of the scene."""

    @classmethod
    def of(cls, scene: Scene, path: str, *, pixels: bool) -> "ByPolygons":
        """Return the polygons of a file; with ``pixels`` its coordinates are columns and rows."""
        with copies() as opened:
            return cls(polygons=read_polygons(Path(opened.of(path)), scene.shape[:2], scene.georef, pixels=pixels))

    def prepared(self, strips: Sequence[Roi], client: Any, progress: Progress | None) -> "ByPolygons":
        """Return the objects themselves."""
        del strips, client, progress
        return self

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return the number of polygons, and the assumptions that were made."""
        return {"polygons": len(self.polygons.shapes), "notes": list(self.polygons.notes)}

    def attributes(self, ids: Sequence[int]) -> Mapping[str, list[Any]]:
        """Return the attributes of the polygons."""
        shapes = [self.polygons.shapes[number - 1] for number in ids]
        return {name: [shape.values.get(name) for shape in shapes] for name in self.polygons.attributes}

    @property
    def count(self) -> int | None:
        """Return the number of polygons."""
        return len(self.polygons.shapes)

    def planes(self, roi: Roi, strip: int, around: Roi) -> Iterator[Ids]:
        """Yield the polygons of the strip, with overlapping ones on separate planes."""
        del roi, strip
        planes: list[Ids] = []
        for number, polygon in enumerate(self.polygons.shapes, 1):
            window = polygon.window(around)
            if window is None:
                continue
            mask, part = polygon.mask(window), _within(window, around)
            free = next((plane for plane in planes if (plane[part][mask] == NONE).all()), None)
            if free is None:
                planes.append(free := np.full(around.shape, NONE))
            free[part][mask] = number
        yield from planes


def class_map(url: str) -> ClassRaster:
    """Return the opened class map: a prediction, or the labels of a scene."""
    return ClassRaster.open(url, "prediction", "labels")


def class_of(names: tuple[str, ...], text: str, flag: str) -> int:
    """Return the class of a name or number.

    Raises:
        UserError: the class does not exist.
    """
    number = names.index(text) if text in names else int(text) if text.isdecimal() else -1
    if not 0 <= number < len(names):
        raise UserError(
            flag,
            found=repr(text),
            expected=f"one of {', '.join(names)}, or 0 to {len(names) - 1}",
            do="Name a class of the prediction.",
        )
    return number


def _parts(pred: str, value: int, strip: Roi) -> RegionStrips:
    """Return the parts of one strip."""
    return RegionStrips.of(class_map(pred).read(strip) == value, strip.y0)


def _within(window: Roi, roi: Roi) -> tuple[Any, Any]:
    """Return the slices of a window in an array of ``roi``."""
    return (
        slice(window.y0 - roi.y0, window.y1 - roi.y0),
        slice(window.x0 - roi.x0, window.x1 - roi.x0),
    )
