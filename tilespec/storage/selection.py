"""Selection: the pixels of a scene that enter a statistic, and their weights.

A mask is a ``y, x`` layer of the scene, or a vegetation index above or below a number: ``NDVI>0.3``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Bool, Float32

from tilespec.core.buffers import Buffers
from tilespec.core.errors import UserError
from tilespec.core.indices import INDICES, index_of, near_bands
from tilespec.core.types import Roi
from tilespec.storage.layer import Layer
from tilespec.storage.layout import CHUNK, class_names
from tilespec.storage.packing import Packing
from tilespec.storage.scene import Scene

_THRESHOLD = re.compile(r"\s*(?P<index>\w+)\s*(?P<side>[<>])\s*(?P<number>[-+]?(?:\d+\.?\d*|\.\d+))\s*")


@final
@dataclass(frozen=True, kw_only=True)
class PixelSelection:
    """The names of a mask and a weight layer; without them every pixel is used and has the same weight."""

    mask: str | None = None
    """The layer, or the threshold on an index, that selects pixels (`mask_named`)."""
    weights: str | None = None
    """The layer of pixel weights, finite and not negative; a pixel without a weight is left out."""

    def __str__(self) -> str:
        named = {"--mask": self.mask, "--weights": self.weights}
        return " ".join(f"{option} {name}" for option, name in named.items() if name is not None)

    def check(self, scene: Scene) -> None:
        """Refuse a scene that lacks one of the layers, or the bands of the index.

        Raises:
            UserError: a layer does not exist; the message names the layers that do.
        """
        corner = Roi(y0=0, y1=1, x0=0, x1=1)
        if self.mask is not None:
            mask_named(scene, self.mask).read(corner)
        if self.weights is not None:
            scene.layer(self.weights, corner)

    def mask_of(self, scene: Scene, roi: Roi) -> Bool[np.ndarray, "y x"] | None:
        """Return the selected pixels of a region as bool ``y, x``, or None for all of them."""
        mask = None
        if self.mask is not None:
            mask = mask_named(scene, self.mask).read(roi)
        if self.weights is not None:
            heavy = self._weights(scene, roi) > 0
            mask = heavy if mask is None else mask & heavy
        return mask

    def weigh(self, scene: Scene, roi: Roi) -> Float32[np.ndarray, "y x"] | None:
        """Return the weights of the pixels of a region ``y, x``, or None when all have the same weight."""
        return None if self.weights is None else self._weights(scene, roi)

    def _weights(self, scene: Scene, roi: Roi) -> Float32[np.ndarray, "y x"]:
        assert self.weights is not None
        layer = scene.plane(self.weights)
        packing = Packing.of(f"{scene.url}: {self.weights}", layer.attrs, layer.dtype)
        weights = np.nan_to_num(packing.values(layer.read(roi), np.float32), nan=0.0, posinf=np.inf)
        if (weights < 0).any() or np.isinf(weights).any():
            raise UserError(
                f"{scene.url}, layer {self.weights!r}",
                found=f"weights from {weights.min():g} to {weights.max():g} in {roi}",
                expected="finite weights, 0 or more (NaN counts as 0)",
                do="Correct the layer, or name another with --weights.",
            )
        return weights


def is_class_map(attrs: Mapping[str, Any]) -> bool:
    """Return whether a layer of these attributes holds classes, 0 among them, and a number for pixels without one.

    Flags of another store, such as 0 for bad and 1 for good, have no such number.
    """
    return "flag_values" in attrs and "nodata" in attrs


def selected(layer: Layer, roi: Roi) -> Bool[np.ndarray, "y x"]:
    """Return the pixels of a region, in pixels of the layer, that a mask selects.

    They have a label, where the layer is a class map. Else their value is not 0, and neither NaN nor the nodata value
    of the layer's attributes.
    """
    packing, stored = Packing.of(f"{layer.store}: {layer.name}", layer.attrs, layer.dtype), layer.read(roi)
    mask: np.ndarray = ~packing.missing(packing.typed(stored))
    return mask if is_class_map(layer.attrs) else mask & (stored != 0)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class LayerMask:
    """The pixels that a layer selects."""

    layer: Layer
    """The layer (`selected`)."""

    @property
    def store(self) -> str:
        """The URL of the store with the layer."""
        return self.layer.store

    @property
    def attrs(self) -> Mapping[str, Any]:
        """The attributes of the layer."""
        return self.layer.attrs

    def read(self, roi: Roi) -> Bool[np.ndarray, "y x"]:
        """Return the selected pixels of a region."""
        return selected(self.layer, roi)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class IndexMask:
    """The pixels whose vegetation index is above or below a number; none without data."""

    scene: Scene
    """The scene of reflectance."""
    index: str
    """A name of `tilespec.core.indices.INDICES`."""
    below: bool
    """Whether pixels below the number are selected, instead of those above it."""
    number: float
    """The threshold of the index."""

    @property
    def store(self) -> str:
        """The URL of the scene."""
        return self.scene.url

    @property
    def attrs(self) -> Mapping[str, Any]:
        """An index has no attributes."""
        return {}

    def read(self, roi: Roi) -> Bool[np.ndarray, "y x"]:
        """Return the selected pixels of a region."""
        values, room = np.empty(roi.shape), Buffers()
        for part in roi.cut(CHUNK, CHUNK):  # and not at once: a strip of a large cube is a gigabyte
            spectra = self.scene.read(part, room)
            own = index_of(self.index, spectra.reshape(-1, spectra.shape[2]), self.scene.spectral)
            place = slice(part.y0 - roi.y0, part.y1 - roi.y0), slice(part.x0 - roi.x0, part.x1 - roi.x0)
            values[place] = own.reshape(part.shape)
        mask: np.ndarray = values < self.number if self.below else values > self.number
        return mask


Mask = LayerMask | IndexMask


def mask_named(scene: Scene, name: str) -> Mask:
    """Return the mask of a name: a layer of the scene, or a threshold such as ``NDVI>0.3``.

    Raises:
        UserError: there is no such layer or index, or the scene lacks the bands of the index.
    """
    threshold = _THRESHOLD.fullmatch(name)
    if threshold is None or name in scene.layers:
        return LayerMask(layer=scene.plane(name))
    known = {each.lower(): each for each in INDICES}
    index = known.get(threshold["index"].lower())
    if index is None:
        raise UserError(
            f"mask {name}",
            found=f"an index {threshold['index']}",
            expected=f"one of {', '.join(INDICES)}",
            do="Name one of them, or a layer of the scene.",
        )
    at = INDICES[index].at
    if near_bands(scene.spectral, at, INDICES[index].near) is None:
        raise UserError(
            scene.url,
            found=f"no bands near {', '.join(f'{wanted:g}' for wanted in at)} nm",
            expected=f"the bands of {index}, for the mask {name}",
            do="Name another index or a layer of the scene.",
        )
    return IndexMask(scene=scene, index=index, below=threshold["side"] == "<", number=float(threshold["number"]))


def mask_notes(name: str, attrs: Mapping[str, Any]) -> list[str]:
    """Return a note on what a class map selects, which users of 0 for nothing may not expect."""
    first = next(iter(class_names(attrs)), "")
    return [f"{name} is a class map: its labelled pixels are taken, of class 0 ({first}) too"] * is_class_map(attrs)


ALL = PixelSelection()
"""The selection of every pixel with equal weights."""
