"""Overview: one pass over a scene that keeps every n-th pixel of what the report shows.

Objects hold all bands of 128 x 128 pixels, so a picture of the whole scene costs one reading of the scene, whatever
it shows; therefore false colour, recipe scores, NDVI and spectra by class come out of the same pass.
"""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from typing import Any, final

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8

from tilespec.core.progress import Progress
from tilespec.core.types import UNLABELLED, Reflectance, Roi
from tilespec.output.pictures import picture_bands
from tilespec.spectra.recipe import Recipe
from tilespec.storage.layout import CHUNK
from tilespec.storage.scene import Scene

SIDE = 720
"""Pixels on the longer side of a picture, at most."""
RED, NIR = 670.0, 800.0
"""Wavelengths (nm) of NDVI."""

Plane = Float32[np.ndarray, "y x channel"]
Measure = Callable[[Reflectance], Plane]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ClassSpectra:
    """Sums of spectra by class, a last class for pixels without a label; they add."""

    count: Int64[np.ndarray, " class"]
    """Pixels."""
    sums: Float64[np.ndarray, "class band"]
    """Sum of their spectra."""
    squares: Float64[np.ndarray, "class band"]
    """Sum of their squares."""

    @classmethod
    def of(cls, values: Reflectance, labels: UInt8[np.ndarray, "y x"], classes: int) -> "ClassSpectra":
        """Return the sums of a block; pixels without data count nowhere."""
        spectra, which = values.reshape(-1, values.shape[2]), np.minimum(labels.ravel(), classes)
        known = np.isfinite(spectra.sum(axis=1))
        spectra = np.where(known[:, None], spectra, np.float32(0))
        member = ((which[:, None] == np.arange(classes + 1)) & known[:, None]).astype(np.float32)
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
        """Return mean and deviation by class, NaN for a class without a pixel."""
        n = np.where(self.count > 0, self.count, np.nan)[:, None]
        mean = self.sums / n
        return mean, np.sqrt(np.maximum(self.squares / n - mean**2, 0.0))


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Overview:
    """What one pass over a scene found, on every ``stride``-th pixel."""

    scene: Scene
    """The scene."""
    stride: int
    """Pixels from one to the next."""
    planes: Mapping[str, Plane]
    """Pictures by name: ``rgb``, ``ndvi`` where its bands exist, and a recipe's digest for its scores."""
    labels: UInt8[np.ndarray, "y x"] | None
    """Labels at the same pixels."""
    spectra: ClassSpectra
    """Spectra by class."""


def overview(scene: Scene, recipes: Mapping[str, Recipe], progress: Progress, side: int = SIDE) -> Overview:
    """Return the overview of ``scene``, with the scores of every recipe that takes its bands."""
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
        seen = list(pool.map(look, strips))
    progress.finish()
    return Overview(
        scene=scene,
        stride=stride,
        planes={name: np.concatenate([planes[name] for planes, _, _ in seen]) for name in measures},
        labels=np.concatenate([labels for _, labels, _ in seen]) if classes else None,
        spectra=reduce(ClassSpectra.__add__, (spectra for _, _, spectra in seen)),
    )


def ndvi_bands(scene: Scene) -> tuple[int, int] | None:
    """Return the bands of red and near infrared, None where the scene does not reach them."""
    axis = scene.spectral
    if axis is None or axis.name != "wavelength" or not min(axis.values) <= RED < NIR <= max(axis.values):
        return None
    return axis.nearest(RED), axis.nearest(NIR)


def takes(recipe: Recipe, scene: Scene) -> bool:
    """Whether a recipe fits the bands of a raw scene."""
    if scene.attrs.get("recipe_digest") is not None:
        return False
    try:
        recipe.check(scene.shape[2], scene.spectral, scene.url)
    except ValueError:
        return False
    return True


def _measures(scene: Scene, recipes: Mapping[str, Recipe]) -> dict[str, Measure]:
    """Return what to compute of a block of spectra, by name."""
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
    """Return what applies a recipe to a block."""
    return lambda values: recipe.apply(values.reshape(-1, values.shape[2])).reshape(*values.shape[:2], -1)


def _ndvi(values: Reflectance, red: int, nir: int) -> Plane:
    """Return (nir - red) / (nir + red), NaN where it is 0 / 0."""
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
    """Return what a reader wants to know of a scene, as text by name."""
    height, width, bands = scene.shape
    size = height * width * bands * scene.dtype.itemsize
    axis = scene.spectral
    out = {"size": f"{height} × {width} pixels, {bands} bands", "stored as": f"{scene.dtype}, {size / 1e9:.2f} GB"}
    if axis is not None:
        unit = "" if axis.unit == "1" else f" {axis.unit}"
        out[axis.name] = f"{min(axis.values):g} to {max(axis.values):g}{unit}"
    out["origin"] = "simulated" if simulated(scene) else "measured, or of unknown origin"
    if scene.georef is not None:
        out["coordinates"] = (str(scene.georef.get("crs_wkt", "")).split('"')[1:2] or ["yes"])[0]
    return out | ({"digest": scene.digest} if scene.digest else {})


def simulated(scene: Scene) -> bool:
    """Whether a scene says of itself that it was simulated."""
    return "simulat" in repr(dict(scene.attrs)).lower()
