"""Scratch scenes: a held-out region after the recipe, and its truth, which are written once and used for validations.

A prediction from scores equals that from the raw scene, bit for bit: recipes are pixelwise, and tiles, reflections and
norm statistics are relative to the corner of the region.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np

from tilespec.core.buffers import thread_buffers
from tilespec.core.errors import UserError
from tilespec.core.progress import Progress
from tilespec.core.types import Roi, SpectralAxis
from tilespec.spectra.recipe import Recipe
from tilespec.storage.blocks import blocks
from tilespec.storage.group import open_group
from tilespec.storage.inventory import digests
from tilespec.storage.layout import ArraySpec, constants, cube_spec
from tilespec.storage.ledger import sidecar
from tilespec.storage.lock import locked
from tilespec.storage.product import Product
from tilespec.training.data.training_set import TrainingRegion

Row = Callable[[Roi], np.ndarray]
"""A function that returns the stored values of some rows of a region."""


@final
@dataclass(frozen=True, kw_only=True)
class ValidationScene:
    """The stores of a validation."""

    scene: str
    """The URL of the scene."""
    truth: str
    """The URL of the truth."""
    region: Mapping[str, str | None]
    """The ``rows`` and ``cols`` of both."""


def as_is(region: TrainingRegion, *, recipe: bool) -> bool:
    """Return whether a scene is predicted itself: no ``recipe``, a known digest, and its own truth."""
    if recipe:
        return False
    truth = region.truth.store
    return "cube" not in open_group(truth) or digests(truth).cube == region.scene.digest


def source(
    held: TrainingRegion, recipe: Recipe, classes: tuple[str, ...], url: str, progress: Progress
) -> ValidationScene:
    """Return the stores for a held-out region: the scene itself, or its scores, written to ``url`` if missing.

    An interrupted writing is resumed. One row of objects, ``128 x`` the region's width, is in memory.
    """
    roi = held.roi
    if as_is(held, recipe=bool(recipe.steps)):
        region = {"rows": f"{roi.y0}:{roi.y1}", "cols": f"{roi.x0}:{roi.x1}"}
        return ValidationScene(scene=held.scene.url, truth=held.truth.store, region=region)
    scores = cube_spec((*roi.shape, recipe.bands_out), "float32", spectral=recipe.axis_out)
    settings: dict[str, Any] = {"scene": held.scene.digest, "region": str(roi), "recipe": recipe.digest}
    write_scene_once, plane = partial(_write_once, progress=progress), held.geometry.beneath(roi)
    write_scene_once(
        roi, url, scores, recipe.axis_out, settings, partial(_scores, held, recipe), recipe_digest=recipe.digest
    )
    truth = f"{url.removesuffix('.zarr')}-truth.zarr"
    settings = {"truth": held.truth.digest, "region": str(roi)}
    write_scene_once(plane, truth, held.truth.spec(plane.shape, classes), held.truth.axis, settings, held.truth.read)
    return ValidationScene(scene=url, truth=truth, region={"rows": None, "cols": None})


def remove(url: str) -> None:
    """Delete a scratch product and its ledger."""
    shutil.rmtree(url, ignore_errors=True)
    shutil.rmtree(Path(str(sidecar(url))), ignore_errors=True)


def _write_once(  # noqa: PLR0913 - what a product is
    roi: Roi,
    url: str,
    spec: ArraySpec,
    axis: SpectralAxis | None,
    settings: Mapping[str, Any],
    read: Row,
    *,
    progress: Progress,
    **attrs: Any,
) -> None:
    """Write the values from ``read`` for a region to ``url``, unless they exist already."""
    with locked(url):
        product = _product(url, spec, axis, settings, {"title": f"Held out: {roi}", **attrs})
        missing = product.missing()
        progress.start(f"{spec.name} to validate on", len(missing), "rows")
        for row in missing:
            y0, y1 = product.span(row)
            values = read(Roi(y0=roi.y0 + y0, y1=roi.y0 + y1, x0=roi.x0, x1=roi.x1))
            product.write(row, {spec.name: values})
            progress.advance(1)
        progress.finish()
        product.finish()


def _product(
    url: str, spec: ArraySpec, axis: SpectralAxis | None, settings: Mapping[str, Any], attrs: Mapping[str, Any]
) -> Product:
    """Open the scratch product of a region; another one, or a damaged one, at the same place is deleted."""
    opened: Any = partial(
        Product.open, url, [spec], settings=dict(settings), attrs=dict(attrs), constants=constants(axis)
    )
    try:
        return opened()
    except UserError:
        shutil.rmtree(url, ignore_errors=True)
        for path in Path(str(sidecar(url))).iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.suffix == ".json":  # except the lock, which this process holds
                path.unlink()
        return opened()


def _scores(region: TrainingRegion, recipe: Recipe, strip: Roi) -> np.ndarray:
    """Return the scores of some rows of a region, read in blocks of the store."""
    scores = np.empty((*strip.shape, recipe.bands_out), np.float32)
    for block in blocks(region.scene, strip):
        cube = region.scene.read(block.roi, thread_buffers())
        top, left = block.roi.y0 - strip.y0, block.roi.x0 - strip.x0
        into = scores[top : top + cube.shape[0], left : left + cube.shape[1]]
        into[...] = recipe.apply(cube.reshape(-1, cube.shape[2])).reshape(into.shape)
    return scores
