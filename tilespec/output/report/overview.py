"""Overview: one pass over a scene, of which every n-th pixel is used for the report.

Objects hold all bands of 128 x 128 pixels, so any picture of the whole scene needs one reading of it; therefore one
pass gives false colour, recipe scores, NDVI and spectra by class.
"""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from typing import Any, final

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8

from tilespec.core.indices import near_bands
from tilespec.core.progress import Progress
from tilespec.core.results import in_bytes
from tilespec.core.types import UNLABELLED, Reflectance, Roi
from tilespec.output.pictures import picture_bands
from tilespec.spectra.recipe import Recipe
from tilespec.storage.layout import CHUNK
from tilespec.storage.scene import Scene

SIDE = 720
"""The largest number of pixels on the longer side of a picture."""
RED, NIR, NEAR = 670.0, 800.0, 30.0
"""The wavelengths (nm) of NDVI, and how far from them a band may lie."""

Plane = Float32[np.ndarray, "y x channel"]
Measure = Callable[[Reflectance], Plane]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ClassSpectra:
    """Sums of spectra by class, with an additional class for pixels without a label; they add."""

    count: Int64[np.ndarray, " class"]
    """The number of pixels."""
    sums: Float64[np.ndarray, "class band"]
    """The sum of their spectra."""
    squares: Float64[np.ndarray, "class band"]
    """The sum of the squares of their spectra."""

    @classmethod
    def of(cls, values: Reflectance, labels: UInt8[np.ndarray, "y x"], classes: int) -> "ClassSpectra":
        """Return the sums of a block, without pixels that have no data."""
        spectra, which = values.reshape(-1, values.shape[2]), np.minimum(labels.ravel(), classes)
        finite = np.isfinite(spectra.sum(axis=1))
        spectra = np.where(finite[:, None], spectra, np.float32(0))
        member = ((which[:, None] == np.arange(classes + 1)) & finite[:, None]).astype(np.float32)
        return cls(
            count=member.sum(axis=0, dtype=np.int64),
            sums=(member.T @ spectra).astype(np.float64),
            squares=(member.T @ np.square(spectra)).astype(np.float64),
        )

    def __add__(self, other: "ClassSpectra") -> "ClassSpectra":
        return ClassSpectra(
            count=self.count + other.count, sums=self.sums + other.sums, squares=self.squares + other.squares
        )

    def finish(self) -> tuple[Float64[np.ndarray, "class band"], Float64[np.ndarray, "class band"]]:
        """Return the mean and the deviation by class, NaN for a class without a pixel."""
        n = np.where(self.count > 0, self.count, np.nan)[:, None]
        mean = self.sums / n
        return mean, np.sqrt(np.maximum(self.squares / n - mean**2, 0.0))


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Overview:
    """The result of one pass over a scene, on every ``stride``-th pixel."""

    scene: Scene
    """The scene of the pass."""
    stride: int
    """The distance in pixels between used pixels."""
    planes: Mapping[str, Plane]
    """The pictures by name: ``rgb``, ``ndvi`` if its bands exist, and a recipe's digest for its scores."""
    labels: UInt8[np.ndarray, "y x"] | None
    """The labels at the same pixels."""
    spectra: ClassSpectra
    """The spectra by class."""


def overview(scene: Scene, recipes: Mapping[str, Recipe], progress: Progress, side: int = SIDE) -> Overview:
    """Return the overview of ``scene``, with the scores of every recipe that fits its bands."""
    stride = max(1, -(-max(scene.shape[:2]) // side))
    measures = _measures(scene, recipes)
    classes = max(len(scene.classes()), 2) if "labels" in scene.layers else 0
    strips = _strips(scene)
    progress.start("report: read the scene", len(strips), "strips")

    def look(strip: Roi) -> tuple[dict[str, Plane], UInt8[np.ndarray, "y x"], ClassSpectra]:
        values, labels = _sample(scene, strip, stride)
        planes = {name: measure(values) for name, measure in measures.items()}
        progress.advance(1)
        return planes, labels, ClassSpectra.of(values, labels, classes)

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        parts = list(pool.map(look, strips))
    progress.finish()
    return Overview(
        scene=scene,
        stride=stride,
        planes={name: np.concatenate([planes[name] for planes, _, _ in parts]) for name in measures},
        labels=np.concatenate([labels for _, labels, _ in parts]) if classes else None,
        spectra=reduce(ClassSpectra.__add__, (spectra for _, _, spectra in parts)),
    )


def ndvi_bands(scene: Scene) -> tuple[int, int] | None:
    """Return the bands of red and near infrared, or None of a scene that has none near."""
    places = near_bands(scene.spectral, (RED, NIR), NEAR)
    return None if places is None else (places[0], places[1])


def takes(recipe: Recipe, scene: Scene) -> bool:
    """Return whether a recipe fits the bands of a raw scene."""
    if scene.attrs.get("recipe_digest") is not None:
        return False
    try:
        recipe.check(scene.shape[2], scene.spectral, scene.url)
    except ValueError:
        return False
    return True


def _measures(scene: Scene, recipes: Mapping[str, Recipe]) -> dict[str, Measure]:
    """Return the functions of a block of spectra by the names of their results."""
    bands = list(picture_bands(scene.spectral, scene.shape[2]))
    measures: dict[str, Measure] = {"rgb": lambda values: np.ascontiguousarray(values[..., bands])}
    pair = ndvi_bands(scene)
    if pair is not None:
        measures["ndvi"] = lambda values: _ndvi(values, *pair)
    for name, recipe in recipes.items():
        if takes(recipe, scene):
            measures[name] = _scores(recipe)
    return measures


def _scores(recipe: Recipe) -> Measure:
    """Return the function that applies a recipe to a block."""
    return lambda values: recipe.apply(values.reshape(-1, values.shape[2])).reshape(*values.shape[:2], -1)


def _ndvi(values: Reflectance, red: int, nir: int) -> Plane:
    """Return (nir - red) / (nir + red), NaN for 0 / 0."""
    near, far = values[..., nir], values[..., red]
    total = near + far
    return ((near - far) / np.where(total == 0, np.nan, total))[..., None].astype(np.float32)


def _strips(scene: Scene) -> list[Roi]:
    """Return rows of objects, at least `CHUNK` pixels high."""
    edge = -(-CHUNK // scene.chunks[0]) * scene.chunks[0]
    return scene.roi.cut(edge, scene.shape[1])


def _sample(scene: Scene, strip: Roi, stride: int) -> tuple[Reflectance, UInt8[np.ndarray, "y x"]]:
    """Return every ``stride``-th pixel of a strip and its labels, reading object by object."""
    edge = -(-CHUNK // scene.chunks[1]) * scene.chunks[1]
    blocks, skip = strip.cut(strip.y1, edge), -strip.y0 % stride
    parts = [scene.read(block)[skip::stride, -block.x0 % stride :: stride].copy() for block in blocks]
    values = np.concatenate(parts, axis=1)
    if "labels" not in scene.layers:
        return values, np.full(values.shape[:2], UNLABELLED, np.uint8)
    return values, scene.labels(strip)[skip::stride, ::stride]


def facts(scene: Scene) -> dict[str, Any]:
    """Return the facts of a scene for the reader, as text by name."""
    height, width, bands = scene.shape
    size = height * width * bands * scene.dtype.itemsize
    axis = scene.spectral
    out = {"size": f"{height} × {width} pixels, {bands} bands", "stored as": f"{scene.dtype}, {in_bytes(size)}"}
    if axis is not None:
        unit = "" if axis.unit == "1" else f" {axis.unit}"
        out[axis.name] = f"{min(axis.values):g} to {max(axis.values):g}{unit}"
    out["origin"] = "simulated" if simulated(scene) else "measured, or of unknown origin"
    if scene.georef is not None:
        out["coordinates"] = (str(scene.georef.get("crs_wkt", "")).split('"')[1:2] or ["yes"])[0]
    return out | ({"digest of the cube": scene.digest} if scene.digest else {})


def simulated(scene: Scene) -> bool:
    """Return whether the attributes of a scene say that it was simulated."""
    return "simulat" in repr(dict(scene.attrs)).lower()
