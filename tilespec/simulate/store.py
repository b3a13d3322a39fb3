"""A simulated scene as a Scene: reflectance and the layers of its truth, streamed and resumable."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, final

import numpy as np

from tilespec.core.progress import Progress
from tilespec.core.types import SpectralAxis
from tilespec.simulate.layout import EDGE, GridLayout
from tilespec.simulate.stripes import Arrays, Paint, painter
from tilespec.storage.layout import ArraySpec, constants, cube_spec
from tilespec.storage.product import Product

Write = Callable[[str, int, Progress], dict[str, Any]]
"""A function that writes a simulation at a place with so many threads, and returns what it counted."""


@final
@dataclass(frozen=True, kw_only=True)
class Simulation:
    """What a kind of simulation makes of its options."""

    layout: GridLayout
    """The size of the scene, and its grid of cells."""
    settings: Mapping[str, Any]
    """The verb with its version, and the options that decide the bytes."""
    facts: Mapping[str, Any]
    """What the plan says of this kind alone."""
    bytes: int
    """The number of bytes on disk."""
    itemsize: int
    """The number of bytes of a value of the cube."""
    write: Write
    """The function that writes it."""


@final
@dataclass(frozen=True, kw_only=True)
class SimulatedScene:
    """A scene that can be rendered block by block."""

    title: str
    """The title of the store."""
    layout: GridLayout
    """The size of the scene, and its grid of cells."""
    settings: Mapping[str, Any]
    """The verb with its version, and the options that decide the bytes."""
    spectral: SpectralAxis
    """The axis of the bands."""
    layers: tuple[ArraySpec, ...]
    """The layers of the truth."""
    paint: Paint
    """The function that renders the cube and the layers of a block."""
    count: Callable[[Arrays], dict[str, int]]
    """The function that counts pixels of a stripe."""

    @property
    def specs(self) -> list[ArraySpec]:
        """The arrays of the store: the cube, then the layers."""
        shape = (self.layout.rows, self.layout.cols, self.layout.bands)
        return [cube_spec(shape, "float32", spectral=self.spectral), *self.layers]

    @property
    def bytes(self) -> int:
        """The number of bytes of all arrays."""
        return sum(prod(spec.shape) * np.dtype(spec.dtype).itemsize for spec in self.specs)


def write_scene(scene: SimulatedScene, out: str, workers: int, progress: Progress) -> dict[str, Any]:
    """Write the scene at ``out``, or finish writing it, and return its counts of pixels."""
    settings, specs, cols = dict(scene.settings), scene.specs, scene.layout.cols
    attrs = {"title": scene.title, "simulation": settings}
    product = Product.open(out, specs, settings=settings, attrs=attrs, constants=constants(scene.spectral))
    options = {key: value for key, value in settings.items() if key not in ("verb", "version")}
    product.ledger.command("simulate", out=out, **options)
    assert product.edge in (EDGE, scene.layout.rows), "a stripe of blocks is a row of stored objects"
    missing = product.missing()
    progress.start("simulate", len(missing) * cols * product.edge / 1e6, "Mpixel")
    forms = {spec.name: (spec.dtype, spec.shape[2:]) for spec in specs}
    with painter(scene.layout, scene.paint, forms, workers) as stripe_of:
        for row in missing:
            stripe = stripe_of(row)
            product.write(row, stripe, scene.count(stripe))
            progress.advance(len(stripe["cube"]) * cols / 1e6)
    progress.finish()
    product.finish()
    return product.counts()
