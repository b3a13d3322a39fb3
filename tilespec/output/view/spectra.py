"""Spectra: the values of a pixel in all stores, and the mean and the deviation of a region that was drawn."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from jaxtyping import Float64

from tilespec.core.errors import UserError
from tilespec.core.types import Roi
from tilespec.ingest.labels.polygons import GRAIN, Polygon
from tilespec.output.measure.object_sums import NONE, ObjectBlock, ObjectSums
from tilespec.output.view.stores import OpenStore, Stores

LARGEST: Final = 1 << 22
"""The pixels of the rectangle around a region above which its mean is refused: 3 GB of a cube of 186 bands."""


def pixel(stores: Stores, index: int, x: float, y: float) -> dict[str, Any]:
    """Return the spectrum of the pixel of a store at a place of the scene, and what all layers say there.

    Args:
        stores: The open stores.
        index: The store of the spectrum.
        x: The place in pixels of the scene, from its left side.
        y: The same from its upper side.

    Raises:
        UserError: the place lies outside the store, or it has no cube.
    """
    store = stores[index]
    row, column = _place(store, x, y)
    scene = store.pyramid.scene
    height, width = store.pyramid.shape
    if scene is None or not (0 <= row < height and 0 <= column < width):
        raise UserError(
            store.name,
            found=f"column {column}, row {row}" if scene is not None else "a store without a cube",
            expected=f"a pixel of {width} x {height}",
            do="Click into the picture.",
        )
    values = scene.read(Roi(y0=row, y1=row + 1, x0=column, x1=column + 1))[0, 0]
    return {"x": column, "y": row, "values": _plain(values), "layers": list(_layers(stores, x, y))}


def _place(store: OpenStore, x: float, y: float) -> tuple[int, int]:
    """Return the row and the column of the pixel of a store at a place of the scene."""
    left, top, size = store.place
    return int(np.floor((y - top) / size)), int(np.floor((x - left) / size))


def _layers(stores: Stores, x: float, y: float) -> Iterator[dict[str, Any]]:
    """Yield what each layer of each store says at a place of the scene."""
    for index in range(len(stores.urls)):
        try:
            store = stores[index]
        except (UserError, OSError):
            continue
        row, column = _place(store, x, y)
        height, width = store.pyramid.shape
        if not (0 <= row < height and 0 <= column < width):
            continue
        for name, each in store.pyramid.layers.items():
            if len(each.layer.shape) == 2:
                value = store.pyramid.read(name, 0, Roi(y0=row, y1=row + 1, x0=column, x1=column + 1))[0, 0]
                yield {"store": index, "name": name, "text": _text_of(store, name, value)}


def _text_of(store: OpenStore, name: str, value: Any) -> str:
    """Return the value of a layer at a pixel as text: the name of its class, or its number."""
    each, classes = store.pyramid.layers[name], store.classes(name)
    if not each.categorical:
        return f"{float(value):.4g}" if np.isfinite(value) else "no data"
    if value == each.none:
        return "unlabelled"
    return classes[int(value)] if int(value) < len(classes) else str(int(value))


def region(store: OpenStore, polygon: Float64[np.ndarray, "vertex 2"]) -> dict[str, Any]:
    """Return the number of pixels with their centre inside a polygon, and the mean and the deviation of each band.

    Both are those of `measure`: values without data are left out, band by band, and the deviation is that of a sample.

    Args:
        store: A store with a cube.
        polygon: The corners ``x, y`` in pixels of the scene.

    Raises:
        UserError: the store has no cube, or the region has no pixel or too many.
    """
    scene = store.pyramid.scene
    (height, width), (left, top, size) = store.pyramid.shape, store.place
    corners = (polygon - (left, top)) / size
    (x0, y0), (x1, y1) = np.floor(corners.min(axis=0)), np.ceil(corners.max(axis=0))
    x0, y0, x1, y1 = (int(v) for v in (max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)))
    if scene is None or x0 >= x1 or y0 >= y1 or (y1 - y0) * (x1 - x0) > LARGEST:
        raise UserError(
            store.name,
            found=f"a region of {max(y1 - y0, 0)} x {max(x1 - x0, 0)} pixels",
            expected=f"a part of the picture of at most {LARGEST:,} pixels",
            do="Draw another region.",
        )
    outline, zero = outlined(corners), ObjectSums.zero(np.array([True, False]), scene.shape[2])
    total = zero
    for part in Roi(y0=y0, y1=y1, x0=x0, x1=x1).cut(*scene.chunks[:2]):
        ids = np.where(outline.mask(part), 0, NONE)
        if (ids != NONE).any():
            block = ObjectBlock(ids=ids, classes=np.zeros(part.shape, np.uint8), values=scene.read(part))
            total += zero.of(block, (part.y0, part.x0))
    (mean,), (deviation,) = (total if len(total.ids) else ObjectSums.zero(zero.wanted, scene.shape[2], 1)).finish()
    return {"pixels": int(total.pixels.sum()), "mean": _plain(mean), "deviation": _plain(deviation)}


def outlined(corners: Float64[np.ndarray, "vertex 2"]) -> Polygon:
    """Return what was drawn as a polygon of a scene, as those of files are: a pixel is inside if its centre is."""
    return Polygon(parts=((np.rint(corners * GRAIN) / GRAIN,),), values={})


def _plain(values: Sequence[float] | np.ndarray) -> list[float | None]:
    """Return numbers for JSON, which has none for no data."""
    return [float(value) if np.isfinite(value) else None for value in values]
