"""Layers: tiles of pictures of cubes, and of layers in the colours of their classes or numbers, as PNG."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, final

import numpy as np
from jaxtyping import Float32, Integer, Shaped, UInt8
from matplotlib import colormaps
from PIL import Image

from tilespec.core.cache import Cache
from tilespec.core.types import UNLABELLED, Roi
from tilespec.output.pictures import class_colours
from tilespec.output.report.maps import NO_DATA, NO_LABEL, VERDICTS, judge
from tilespec.output.view.stores import ERRORS, OpenStore, Stores
from tilespec.storage.layout import WRITING, numbers_among
from tilespec.storage.pyramid import EDGE

Rgba = UInt8[np.ndarray, "y x 4"]
Values = Shaped[np.ndarray, "y x *band"]

CACHED: Final = 1 << 27
"""The bytes of the values of tiles that stay in memory, so that another stretch reads nothing."""
INDEX: Final = (-0.2, 1.0)
"""The values of a normalised difference between which its colours lie."""
SAMPLES: Final = 9
"""The squares of a store that are read for a stretch as long as it has no coarser copy."""
MAPS: Final = {"index": "RdYlGn", "values": "viridis", "shares": "viridis", "band": "gray"}
"""The colour maps of numbers by their kind, dark to light but for an index."""


@final
@dataclass(frozen=True, kw_only=True)
class Look:
    """How numbers become colours."""

    mode: Literal["rgb", "natural", "srgb", "index", "band", "layer"] = "layer"
    """Three bands as colours: each stretched by itself, all by the same ends, or as they are; a normalised difference;
    one band; or the layer's own way."""
    bands: tuple[int, ...] = ()
    """The bands that are drawn."""
    stretch: tuple[float, float] = (2.0, 98.0)
    """The percentiles of the values that become the darkest and the lightest colour."""
    gamma: float = 1.0
    """The exponent is the inverse of this: above 1 dark parts become lighter."""


class NoTileError(LookupError):
    """The store, layer, band or tile of a request does not exist."""


@final
class TileLayers:
    """The pictures of all stores of a page; threads may ask at the same time."""

    def __init__(self, stores: Stores) -> None:
        self.stores = stores
        self._values: Cache[Values] = Cache(CACHED)
        self._ends: dict[tuple[Any, ...], tuple[tuple[float, float], ...]] = {}

    def tile(self, index: int, name: str, square: tuple[int, int, int], look: Look) -> bytes:
        """Return a tile as PNG.

        Args:
            index: The number of the store.
            name: The layer.
            square: The zoom (0 is the coarsest), the column and the row of the tile.
            look: The colours.

        Raises:
            NoTileError: there is no such tile.
        """
        store, (z, x, y) = self._store(index), square
        level = store.pyramid.levels - z
        height, width = store.pyramid.at(max(level, 0))
        if level < 0 or z < 0 or not (0 <= x * EDGE < width and 0 <= y * EDGE < height):
            raise NoTileError(f"tile {z}/{x}/{y}")
        roi = Roi(y0=y * EDGE, y1=min((y + 1) * EDGE, height), x0=x * EDGE, x1=min((x + 1) * EDGE, width))
        if name == ERRORS:
            return png(self._errors(store, level, roi))
        _check(store, name, look)
        key = (index, store.tag, name, look.bands, level, roi)
        size = 4 * roi.shape[0] * roi.shape[1] * max(1, len(look.bands))
        if store.status == WRITING or not store.pyramid.complete(level):
            return png(self._coloured(store, name, store.pyramid.read(name, level, roi, look.bands or None), look))
        with self._values.lent(key, size, lambda: store.pyramid.read(name, level, roi, look.bands or None)) as values:
            return png(self._coloured(store, name, values, look))

    def ends(self, index: int, name: str, look: Look) -> tuple[tuple[float, float], ...]:
        """Return the values of each drawn band that become the darkest and the lightest colour.

        Raises:
            NoTileError: there is no such layer.
        """
        store = self._store(index)
        _check(store, name, look)
        return self._limits(store, name, look)

    def _store(self, index: int) -> OpenStore:
        """Return a store by its number."""
        try:
            return self.stores[index]
        except KeyError as error:
            raise NoTileError(f"store {index}") from error

    def _coloured(self, store: OpenStore, name: str, values: Values, look: Look) -> Rgba:
        """Return values in the colours of a look."""
        each = store.pyramid.layers[name]
        if each.categorical:
            return class_tile(values, each.none, named=bool(store.classes(name)) or name in ("labels", "prediction"))
        if look.mode == "index":
            with np.errstate(divide="ignore", invalid="ignore"):
                values = (values[..., 0] - values[..., 1]) / (values[..., 0] + values[..., 1])
            return mapped(values, INDEX, "index", look.gamma)
        ends = self._limits(store, name, look)
        if look.mode in ("rgb", "natural", "srgb"):
            return stretched(values, ends, look.gamma)
        plane = values[..., 0] if values.ndim == 3 else values
        return mapped(plane, ends[0], "band" if look.mode == "band" else "values", look.gamma)

    def _limits(self, store: OpenStore, name: str, look: Look) -> tuple[tuple[float, float], ...]:
        """Return the ends of the colours of each band: of the coarsest copy, or of some squares if there is none."""
        if look.mode in ("srgb", "index") or name == "probability":
            return ((INDEX if look.mode == "index" else (0.0, 1.0)),) * max(1, len(look.bands))
        whole = store.pyramid.complete(store.pyramid.levels)
        key = (store.index, store.tag, name, look.mode, look.bands, look.stretch, whole)
        if key not in self._ends:
            values = _overview(store, name, look.bands, whole=whole)
            ends = tuple(_percentiles(plane, look.stretch) for plane in values.T)
            common = (min(low for low, _ in ends), max(high for _, high in ends))
            self._ends[key] = (common,) * len(ends) if look.mode == "natural" else ends
        return self._ends[key]

    def _errors(self, store: OpenStore, level: int, roi: Roi) -> Rgba:
        """Return where a predicted class map and its truth differ, in the colours of the report."""
        other = self.stores.truth_of(store)
        if other is None:
            raise NoTileError(ERRORS)
        x, y = (int(v) >> level for v in store.place[:2])
        height, width = other.pyramid.at(level) if level <= other.pyramid.levels else (0, 0)
        there = Roi(y0=roi.y0 + y, y1=min(roi.y1 + y, height), x0=roi.x0 + x, x1=min(roi.x1 + x, width))
        truth = np.full(roi.shape, UNLABELLED, np.uint8)
        read = other.pyramid.read("labels", level, there)
        truth[: read.shape[0], : read.shape[1]] = np.clip(read, 0, UNLABELLED)
        predicted = np.clip(store.pyramid.read("prediction", level, roi), 0, UNLABELLED).astype(np.uint8)
        known, names = store.classes("prediction"), other.classes("labels")
        table = np.full(256, UNLABELLED, np.uint8)
        for number, target in enumerate(numbers_among(names, known, max(len(names), len(known), 1))):
            table[number] = target if target >= 0 else UNLABELLED
        table = np.arange(256, dtype=np.uint8) if not (names and known) else table
        verdicts = judge(table[truth], predicted, max(len(known), len(names)))
        colours = np.zeros((len(VERDICTS), 4), np.uint8)
        for number, (_, colour) in VERDICTS.items():
            colours[number] = (*colour, 0 if number in (NO_LABEL, NO_DATA) else 255)
        return colours[verdicts]


def class_tile(classes: Integer[np.ndarray, "y x"], none: int | None, *, named: bool) -> Rgba:
    """Return classes in their colours; unlabelled pixels, and the id 0 of a map of ids, are transparent."""
    table = np.full((256, 4), 255, np.uint8)
    table[:255, :3] = class_colours(255)
    table[255] = 0
    numbers = classes.astype(np.int64)
    codes = np.where(numbers < UNLABELLED, numbers, numbers % 239 + 16) if named else numbers % 239 + 16
    codes = np.where((numbers < 0) | (numbers == (none if named else 0)) | (numbers == none), 255, codes)
    return table[codes]


def stretched(values: Float32[np.ndarray, "y x 3"], ends: Sequence[tuple[float, float]], gamma: float) -> Rgba:
    """Return three bands as red, green and blue between their ends; pixels without data are transparent."""
    low, high = np.asarray(ends, np.float32).T
    shares = np.clip((values - low) / np.maximum(high - low, 1e-12), 0.0, 1.0)
    there = np.isfinite(values).all(axis=-1)
    out = np.zeros((*values.shape[:2], 4), np.uint8)
    with np.errstate(invalid="ignore"):
        out[..., :3] = np.rint(255.0 * (shares if gamma == 1.0 else shares ** (1.0 / gamma)))
    out[..., 3] = 255
    out[~there] = 0
    return out


def mapped(values: Float32[np.ndarray, "y x"], ends: tuple[float, float], kind: str, gamma: float) -> Rgba:
    """Return one band in the colours of a map between its ends; pixels without data are transparent."""
    there = np.isfinite(values)
    shares = np.clip((np.where(there, values, ends[0]) - ends[0]) / max(ends[1] - ends[0], 1e-12), 0.0, 1.0)
    out = lookup(kind)[np.rint(255.0 * shares ** (1.0 / gamma)).astype(np.uint8)]
    out[~there] = 0
    return out


def lookup(kind: str) -> UInt8[np.ndarray, "256 4"]:
    """Return the 256 colours of the numbers of a kind."""
    colours: np.ndarray = np.rint(255.0 * colormaps[MAPS[kind]](np.linspace(0.0, 1.0, 256))).astype(np.uint8)
    return colours


def png(picture: Rgba) -> bytes:
    """Return a picture as PNG, compressed little: the browser is on this machine."""
    file, opaque = io.BytesIO(), bool((picture[..., 3] == 255).all())
    Image.fromarray(picture[..., :3] if opaque else picture).save(file, format="PNG", compress_level=1)
    return file.getvalue()


def _check(store: OpenStore, name: str, look: Look) -> None:
    """Refuse a layer or a band that is not there.

    Raises:
        NoTileError: it is not there.
    """
    if name not in store.pyramid.layers:
        raise NoTileError(f"layer {name}")
    shape = store.pyramid.layers[name].layer.shape
    count = shape[2] if len(shape) == 3 else 0
    wanted = {"rgb": 3, "natural": 3, "srgb": 3, "index": 2, "band": 1, "layer": 1 if count else 0}[look.mode]
    if len(look.bands) != wanted or not all(0 <= band < count for band in look.bands):
        raise NoTileError(f"bands {look.bands} of {name}, which has {count}")


def _overview(store: OpenStore, name: str, bands: tuple[int, ...], *, whole: bool) -> Float32[np.ndarray, "pixel band"]:
    """Return values from all over a layer: all of its coarsest copy, or those of some squares."""
    pyramid, count = store.pyramid, max(1, len(bands))
    if whole:
        height, width = pyramid.at(pyramid.levels)
        roi = Roi(y0=0, y1=height, x0=0, x1=width)
        return pyramid.read(name, pyramid.levels, roi, bands or None).reshape(-1, count)
    (height, width), edge = pyramid.shape, EDGE // 2
    squares = [
        Roi(y0=y, y1=min(y + edge, height), x0=x, x1=min(x + edge, width))
        for y in np.unique(np.linspace(0, max(height - edge, 0), 3).astype(int) // edge * edge).tolist()
        for x in np.unique(np.linspace(0, max(width - edge, 0), 3).astype(int) // edge * edge).tolist()
    ]
    parts = [pyramid.read(name, 0, roi, bands or None)[::2, ::2].reshape(-1, count) for roi in squares[:SAMPLES]]
    return np.concatenate(parts)


def _percentiles(values: Float32[np.ndarray, " pixel"], stretch: tuple[float, float]) -> tuple[float, float]:
    """Return two percentiles of the values that are there; 0 and 1 when none are."""
    there = values[np.isfinite(values)]
    if not there.size:
        return 0.0, 1.0
    low, high = np.percentile(there, stretch).tolist()
    return low, high


def with_bands(look: Look, count: int) -> Look:
    """Return a look with the first band of a layer of several where it names none."""
    return replace(look, bands=(0,)) if count and look.mode == "layer" and not look.bands else look
