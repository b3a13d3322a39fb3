"""Rasters: stored class maps and channels, and their position in a scene."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, final

import numpy as np

from tilespec.core.errors import UserError
from tilespec.core.types import UNLABELLED, Reflectance, Roi, SpectralAxis
from tilespec.storage.backends.paths import absolute
from tilespec.storage.columns import layer_of
from tilespec.storage.group import check_complete, open_group
from tilespec.storage.layer import Layer
from tilespec.storage.layout import COMPLETE, class_names
from tilespec.storage.packing import Packing
from tilespec.storage.scene import Scene


@final
@dataclass(frozen=True, kw_only=True)
class ClassRaster:
    """A stored class map and its position in a scene."""

    url: str
    """The URL of the store, which does not depend on the current folder."""
    layer: Layer
    """The class indices ``y, x``; 255 is unlabelled or nodata."""
    roi: Roi
    """The region of the scene that the map covers."""
    classes: tuple[str, ...]
    """The names of the classes, possibly empty."""
    attrs: Mapping[str, Any]
    """The root attributes of the store."""
    whole_scene: bool
    """Whether the store holds a cube too."""
    side: int = 1
    """The number of stored pixels along each side of a pixel of the raster, whose class is that of most of them."""

    @classmethod
    def open(cls, url: str, *names: str) -> "ClassRaster":
        """Open the first array of ``names`` in the store at ``url`` as a class map.

        Raises:
            UserError: the store or the array does not exist, it is no class map, or it is still being written.
        """
        group = open_group(url)
        array = next((array for array in (layer_of(group, name) for name in names) if array is not None), None)
        if array is None or array.ndim != 2 or array.dtype.kind not in "iu":
            raise UserError(
                url,
                found=f"arrays {sorted(group.array_keys())}",
                expected=f"a class map {names[0]}(y, x) of integers",
                do="Name a store that `tilespec predict` wrote, and a scene with labels.",
            )
        check_complete(url, group.attrs, partial=True)
        roi = _place(group.attrs, array.shape)
        named = group.attrs.get("classes") or class_names(array.attrs)
        classes = tuple(str(value) for value in named)
        return cls(
            url=absolute(url),
            layer=Layer.of(url, array),
            roi=roi,
            classes=classes,
            attrs=dict(group.attrs),
            whole_scene="cube" in group,
        )

    @property
    def status(self) -> str:
        """The status: ``complete``, or ``incomplete`` when tiles failed and are nodata."""
        return str(self.attrs.get("tilespec_status", COMPLETE))

    def reduced(self, side: int) -> "ClassRaster":
        """Return the raster of the classes of ``side x side`` pixels of a whole scene; cut ones are left out."""
        return replace(self, side=side, roi=_in_wholes(self.roi, side))

    def read(self, roi: Roi) -> np.ndarray:
        """Return the classes ``y, x`` of a region, given in pixels of the scene, or of the reduced one."""
        return majority(self.layer.read(in_parts(within(roi, self.roi), self.side)), self.side, self.url)


@final
@dataclass(frozen=True, kw_only=True)
class ValueRaster:
    """Stored channels, or one stored quantity, and their position in a scene."""

    url: str
    """The URL of the store, which does not depend on the current folder."""
    layer: Layer
    """The ``y, x`` layer of numbers, or the cube, or the prediction of several channels, with stored values."""
    scene: Scene | None
    """The scene of the cube; None for a ``y, x`` layer."""
    roi: Roi
    """The region of the scene that the channels cover."""
    attrs: Mapping[str, Any]
    """The root attributes of the store."""
    whole_scene: bool
    """Whether the store holds a cube too."""
    side: int = 1
    """The number of stored pixels along each side of a pixel of the raster, whose value is their mean."""

    @classmethod
    def open(cls, url: str, layer: str | None = None) -> "ValueRaster":
        """Open the prediction or the cube of a store, or one of its layers, as channels.

        Raises:
            UserError: the store or the array does not exist, it is not numeric, or it is still being written.
        """
        group = open_group(url)
        check_complete(url, group.attrs, partial=True)
        main = "cube" if "cube" in group else "prediction"
        name = layer or main
        array = layer_of(group, name)
        if array is None or array.dtype.kind not in "iuf" or (array.ndim != 2 and (array.ndim, name) != (3, main)):
            raise UserError(
                url,
                found=f"arrays {sorted(group.array_keys())}",
                expected=f"numbers {name}(y, x) or {name}(y, x, channel)",
                do="Name a store of the same kind as the prediction, or the truth's --layer.",
            )
        return cls(
            url=absolute(url),
            layer=Layer.of(url, array),
            scene=Scene.open(url, allow_partial=True) if array.ndim == 3 else None,
            roi=_place(group.attrs, array.shape[:2]),
            attrs=dict(group.attrs),
            whole_scene="cube" in group,
        )

    @property
    def channels(self) -> int:
        """The number of channels."""
        return 1 if self.scene is None else self.scene.shape[2]

    @property
    def axis(self) -> SpectralAxis | None:
        """The spectral axis of the channels, if they have one."""
        return None if self.scene is None else self.scene.spectral

    @property
    def status(self) -> str:
        """The status: ``complete``, or ``incomplete`` when tiles failed and are nodata."""
        return str(self.attrs.get("tilespec_status", COMPLETE))

    def reduced(self, side: int) -> "ValueRaster":
        """Return the raster of the means of ``side x side`` pixels of a whole scene; cut ones at its ends are left out.

        A mean is NaN where one of its pixels is.
        """
        return replace(self, side=side, roi=_in_wholes(self.roi, side))

    def stored(self, roi: Roi) -> Roi:
        """Return the stored pixels of a region, which is given in pixels of the scene, or of the reduced one."""
        return in_parts(within(roi, self.roi), self.side)

    def read(self, roi: Roi) -> Reflectance:
        """Return the values ``y, x, channel`` of a region, given in pixels of the scene; NaN is nodata."""
        here = self.stored(roi)
        if self.scene is not None:
            values = self.scene.read(here)
        else:
            packing = Packing.of(f"{self.url}: {self.layer.name}", self.layer.attrs, self.layer.dtype)
            values = packing.values(self.layer.read(here), np.float32)[..., None]
        if self.side == 1:
            return values
        height, width = roi.shape
        return values.reshape(height, self.side, width, self.side, -1).mean(axis=(1, 3), dtype=np.float64).astype("f4")


Raster = ClassRaster | ValueRaster


def check_labels(labels: np.ndarray, where: str) -> None:
    """Refuse numbers that are no classes.

    Raises:
        UserError: they are no whole numbers, or not 0 to 255.
    """
    if not labels.size or (labels.dtype.kind in "iub" and labels.min() >= 0 and labels.max() <= UNLABELLED):
        return
    raise UserError(
        where,
        found=f"labels of type {labels.dtype} from {labels.min()} to {labels.max()}",
        expected="whole numbers 0 to 254, and 255 for unlabelled",
        do="Number the classes 0, 1, ...",
    )


def majority(labels: np.ndarray, side: int, where: str) -> np.ndarray:
    """Return the class of most labelled pixels of each ``side x side`` pixels ``y, x``, the first of equals.

    It is 255 where more than half of them are unlabelled. With ``side`` 1 the labels are returned as they are.

    Raises:
        UserError: there is a number that is no class.
    """
    if side == 1:
        return labels
    check_labels(labels, where)
    height, width = (length // side for length in labels.shape)
    cells = labels.reshape(height, side, width, side).swapaxes(1, 2).reshape(height * width, side * side)
    numbered = cells.astype(np.int64) + (UNLABELLED + 1) * np.arange(len(cells))[:, None]
    counts = np.bincount(numbered.ravel(), minlength=len(cells) * (UNLABELLED + 1)).reshape(len(cells), -1)
    empty = 2 * counts[:, UNLABELLED] > side * side
    classes = np.where(empty, UNLABELLED, counts[:, :UNLABELLED].argmax(axis=1))
    return classes.reshape(height, width).astype(np.uint8)


def scale_of(attrs: Mapping[str, Any]) -> str:
    """Return the scale of a prediction: its number of pixels for one pixel of the scene, along each axis."""
    return str((attrs.get("grid") or {}).get("scale", 1))


def corner_of(attrs: Mapping[str, Any]) -> tuple[int, int]:
    """Return where the first pixel of a prediction lies, in output pixels from the corner of its scene.

    (0, 0), its own plane, where it lies between those pixels: `lies_on_pixels` says so.
    """
    y, x = _corner(attrs)
    return (int(y), int(x)) if lies_on_pixels(attrs) else (0, 0)


def lies_on_pixels(attrs: Mapping[str, Any]) -> bool:
    """Whether the pixels of a prediction are those of a truth of its scale on the whole scene."""
    return all(v.denominator == 1 for v in _corner(attrs))


def _corner(attrs: Mapping[str, Any]) -> tuple[Fraction, Fraction]:
    """Return the corner of a prediction, past its margin, in output pixels from the corner of its scene."""
    margin, scale = int((attrs.get("grid") or {}).get("origin", 0)), Fraction(scale_of(attrs))
    y, x = ((int(v) + margin) * scale for v in attrs.get("origin", (0, 0)))
    return y, x


def shift_georeference(
    georef: Mapping[str, Any] | None, corner: tuple[int, int], size: float = 1.0
) -> dict[str, Any] | None:
    """Return the georeference of a plane with the first pixel at ``corner`` (y, x) and pixels ``size`` wide."""
    if georef is None or "GeoTransform" not in georef or (corner, size) == ((0, 0), 1.0):
        return None if georef is None else dict(georef)
    a, b, c, d, e, f = (float(v) for v in str(georef["GeoTransform"]).split())
    y, x = corner
    values = (a + b * x + c * y, b * size, c * size, d + e * x + f * y, e * size, f * size)
    return {**georef, "GeoTransform": " ".join(repr(v) for v in values)}


def inside(inner: Roi, outer: Roi) -> bool:
    """Return whether ``inner`` is a part of ``outer``."""
    rows = outer.y0 <= inner.y0 and inner.y1 <= outer.y1
    return rows and outer.x0 <= inner.x0 and inner.x1 <= outer.x1


def asked_region(predicted: Roi, plane: tuple[int, int], rows: str | None, cols: str | None) -> Roi:
    """Return the region ``rows``, ``cols`` of a scene of ``plane`` (y, x), or the whole predicted region.

    Raises:
        UserError: a part of the region was not predicted.
    """
    region = Roi.of(plane, rows, cols)
    roi = Roi(
        y0=region.y0 if rows else predicted.y0,
        y1=region.y1 if rows else predicted.y1,
        x0=region.x0 if cols else predicted.x0,
        x1=region.x1 if cols else predicted.x1,
    )
    if not inside(roi, predicted):
        raise UserError(
            "region",
            found=str(roi),
            expected=f"a part of {predicted}, what was predicted",
            do="Give other --rows, --cols.",
        )
    return roi


def _in_wholes(roi: Roi, side: int) -> Roi:
    """Return the region of a whole scene in pixels that are ``side`` times as wide, without cut ones."""
    return Roi(y0=0, y1=roi.y1 // side, x0=0, x1=roi.x1 // side)


def in_parts(roi: Roi, side: int) -> Roi:
    """Return a region in the pixels of a finer grid, of which each pixel has ``side`` along each side."""
    return Roi(y0=roi.y0 * side, y1=roi.y1 * side, x0=roi.x0 * side, x1=roi.x1 * side)


def within(roi: Roi, plane: Roi) -> Roi:
    """Return a region of the scene in pixels of a part of the scene."""
    return Roi(y0=roi.y0 - plane.y0, y1=roi.y1 - plane.y0, x0=roi.x0 - plane.x0, x1=roi.x1 - plane.x0)


def _place(attrs: Any, shape: tuple[int, ...]) -> Roi:
    """Return the region of the scene that a store covers."""
    y0, x0 = corner_of(attrs)
    return Roi(y0=y0, y1=y0 + shape[0], x0=x0, x1=x0 + shape[1])
