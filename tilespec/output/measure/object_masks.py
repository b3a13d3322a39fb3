"""Object masks: which pixels belong to which plant, polygon or region; asked strip by strip, on any worker."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, final, runtime_checkable

import numpy as np
import zarr
from jaxtyping import Int64

from tilespec.cluster.reduction import fold
from tilespec.core.errors import UserError
from tilespec.core.progress import Progress, Silent
from tilespec.core.types import Roi
from tilespec.ingest.labels.polygons import Polygons, read_polygons
from tilespec.output.measure.connected_regions import NOTHING, Parts, Strips, label
from tilespec.output.measure.object_sums import NONE
from tilespec.storage.group import open_group
from tilespec.storage.rasters import PlacedMap
from tilespec.storage.scene import Scene

Ids = Int64[np.ndarray, "_y _x"]


@runtime_checkable
class Objects(Protocol):
    """A value that a worker gets."""

    def prepared(self, strips: Sequence[Roi], client: Any, progress: Progress | None) -> "Objects":
        """Return the objects ready to be asked: regions are numbered now, by a pass over the prediction."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What to tell about them: plain data; ``notes`` among it where there are any."""

    @property
    def attributes(self) -> Mapping[str, list[Any]]:
        """Further columns of the table, for the objects 1, 2, ...; may be empty."""

    @property
    def count(self) -> int | None:
        """How many there are, numbered from 1, that are all to have a line; None: those that have a pixel."""

    def planes(self, roi: Roi, strip: int) -> Iterator[Ids]:
        """Yield the objects of a strip of the scene, `NONE` for none; several planes where objects overlap."""


@final
@dataclass(frozen=True, kw_only=True)
class ByLayer:
    """The values of a ``y, x`` layer of whole numbers."""

    url: str
    """The scene."""
    layer: str
    """Its layer."""
    none: int
    """The value of pixels of no object."""

    @classmethod
    def of(cls, scene: Scene, layer: str) -> "ByLayer":
        """Return the objects of a layer: a class map's classes, or plant numbers from 1.

        Raises:
            UserError: there is no such layer, or it holds no whole numbers.
        """
        array = open_group(scene.url).get(layer) if layer in scene.layers else None
        if not isinstance(array, zarr.Array) or array.dtype.kind not in "iu":
            raise UserError(
                "--by",
                found=f"{layer!r}; layers are {', '.join(scene.layers) or 'none'}",
                expected="a layer of whole numbers, such as `plant`",
                do="Name another layer, or measure --polygons FILE or --regions CLASS.",
            )
        none = array.attrs.get("nodata", 255) if "flag_values" in array.attrs else 0
        return cls(url=scene.url, layer=layer, none=int(none))

    def prepared(self, strips: Sequence[Roi], client: Any, progress: Progress | None) -> "ByLayer":
        """Return itself."""
        del strips, client, progress
        return self

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return the layer's name."""
        return {"by": self.layer}

    @property
    def attributes(self) -> Mapping[str, list[Any]]:
        """Return nothing."""
        return {}

    @property
    def count(self) -> int | None:
        """Return None."""
        return None

    def planes(self, roi: Roi, strip: int) -> Iterator[Ids]:
        """Yield the layer."""
        del strip
        values = Scene.open(self.url).layer(self.layer, roi).astype(np.int64)
        yield np.where(values == self.none, NONE, values)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ByRegions:
    """The connected regions of a class, numbered."""

    pred: str
    """The class map."""
    value: int
    """The class."""
    least: int
    """Pixels of the smallest region that counts."""
    numbers: tuple[Parts, ...] = field(default=(), repr=False)
    """For each strip the region of each of its parts; 0 where a region is too small."""
    dropped: tuple[int, int] = (0, 0)
    """Regions that are too small, and their pixels."""

    def prepared(self, strips: Sequence[Roi], client: Any, progress: Progress | None) -> "ByRegions":
        """Return the numbered regions: one pass over the prediction."""
        say = progress or Silent()
        say.start("regions", len(strips), "strips")
        joined: Strips = fold(strips, partial(_parts, self.pred, self.value), client=client, progress=say)
        say.finish()
        numbers, kept = joined.numbered(self.least)
        total = int(joined.pixels[np.unique(joined.root)].sum())
        return replace(self, numbers=tuple(numbers), dropped=(joined.regions - len(kept), total - int(kept.sum())))

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return what was left out."""
        return {"min_area": self.least, "small_regions": self.dropped[0], "small_regions_pixels": self.dropped[1]}

    @property
    def attributes(self) -> Mapping[str, list[Any]]:
        """Return nothing."""
        return {}

    @property
    def count(self) -> int | None:
        """Return None."""
        return None

    def planes(self, roi: Roi, strip: int) -> Iterator[Ids]:
        """Label the strip again, by the same rule, and yield the regions of its parts."""
        parts, _ = label(class_map(self.pred).read(roi) == self.value)
        numbers = np.append(self.numbers[strip], 0)  # the part `NOTHING` is the last
        assert NOTHING == -1
        found = numbers[parts]
        yield np.where(found == 0, NONE, found)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ByPolygons:
    """Polygons, numbered from 1 in the order of their file; each is measured whole, whatever lies over it."""

    polygons: Polygons
    """In pixels of the scene."""

    @classmethod
    def of(cls, scene: Scene, path: str, *, pixels: bool) -> "ByPolygons":
        """Read the polygons of a file; ``pixels``: its coordinates are columns and rows."""
        return cls(polygons=read_polygons(Path(path), scene.shape[:2], scene.georef, pixels=pixels))

    def prepared(self, strips: Sequence[Roi], client: Any, progress: Progress | None) -> "ByPolygons":
        """Return itself."""
        del strips, client, progress
        return self

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return how many there are, and what was assumed."""
        return {"polygons": len(self.polygons.shapes), "notes": list(self.polygons.notes)}

    @property
    def attributes(self) -> Mapping[str, list[Any]]:
        """Return the attributes of the polygons."""
        shapes = self.polygons.shapes
        return {name: [shape.values.get(name) for shape in shapes] for name in self.polygons.attributes}

    @property
    def count(self) -> int | None:
        """Return how many there are."""
        return len(self.polygons.shapes)

    def planes(self, roi: Roi, strip: int) -> Iterator[Ids]:
        """Yield the polygons of the strip, those that overlap on planes of their own."""
        del strip
        planes: list[Ids] = []
        for number, polygon in enumerate(self.polygons.shapes, 1):
            window = polygon.window(roi)
            if window is None:
                continue
            mask, part = polygon.mask(window), _within(window, roi)
            free = next((plane for plane in planes if (plane[part][mask] == NONE).all()), None)
            if free is None:
                planes.append(free := np.full(roi.shape, NONE))
            free[part][mask] = number
        yield from planes


def class_map(url: str) -> PlacedMap:
    """Open what is measured: a prediction, or the labels of a scene."""
    return PlacedMap.open(url, "prediction", "labels")


def class_of(names: tuple[str, ...], text: str, flag: str) -> int:
    """Return the class of a name or number.

    Raises:
        UserError: there is none.
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


def _parts(pred: str, value: int, strip: Roi) -> Strips:
    """Return the parts of one strip."""
    return Strips.of(class_map(pred).read(strip) == value, strip.y0)


def _within(window: Roi, roi: Roi) -> tuple[Any, Any]:
    """Return what indexes a window in an array of ``roi``."""
    return (
        slice(window.y0 - roi.y0, window.y1 - roi.y0),
        slice(window.x0 - roi.x0, window.x1 - roi.x0),
    )
