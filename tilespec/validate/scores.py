"""Scores: a held-out region after the recipe, written once as a scratch scene that `predict` takes as it is.

A prediction from scores equals that from the raw scene, bit for bit: recipes are pixelwise, and tiles, reflections and
norm statistics count from the corner of the region.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np

from tilespec.corpus import Ground
from tilespec.errors import UserError
from tilespec.ledger import beside
from tilespec.lock import locked
from tilespec.passes import blocks, room
from tilespec.product import Product
from tilespec.progress import Progress
from tilespec.recipe import Recipe
from tilespec.scene import constants, cube_spec, layer_spec
from tilespec.types import Roi


@final
@dataclass(frozen=True, kw_only=True)
class Source:
    """What is predicted and judged."""

    scene: str
    """The scene."""
    truth: str
    """The store whose labels count."""
    region: Mapping[str, str | None]
    """``rows`` and ``cols`` of both."""


def as_is(ground: Ground, *, recipe: bool) -> bool:
    """Whether a scene is predicted itself: without a ``recipe``, and with a digest that spares reading all of it."""
    return not recipe and ground.scene.digest is not None


def source(ground: Ground, recipe: Recipe, classes: tuple[str, ...], url: str, progress: Progress) -> Source:
    """Return what is predicted of a held-out region: itself, or its scores, which are written to ``url`` if need be.

    What an interrupted run left there is gone on with. One row of objects, ``128 x`` the region's width, is in memory.
    """
    roi = ground.roi
    if as_is(ground, recipe=bool(recipe.steps)):
        region = {"rows": f"{roi.y0}:{roi.y1}", "cols": f"{roi.x0}:{roi.x1}"}
        return Source(scene=ground.scene.url, truth=ground.store, region=region)
    with locked(url):
        product = _product(ground, recipe, classes, url)
        missing = product.missing()
        progress.start("scores to validate on", len(missing), "rows")
        for row in missing:
            product.write(row, _row(ground, recipe, product.span(row)))
            progress.advance(1)
        progress.finish()
        product.finish()
    return Source(scene=url, truth=url, region={"rows": None, "cols": None})


def remove(url: str) -> None:
    """Remove a scratch product and all that is beside it."""
    shutil.rmtree(url, ignore_errors=True)
    shutil.rmtree(Path(str(beside(url))), ignore_errors=True)


def _product(ground: Ground, recipe: Recipe, classes: tuple[str, ...], url: str) -> Product:
    """Open the scratch scene of a region; what lies there and is another one, or is damaged, makes way."""
    plane, axis = ground.roi.shape, recipe.axis_out
    cube = cube_spec((*plane, recipe.bands_out), "float32", spectral=axis)
    opened: Any = partial(
        Product.open,
        url,
        [cube, layer_spec("labels", plane, classes=classes)],
        settings={
            "scene": ground.scene.digest or ground.scene.url,
            "labels": ground.store,
            "region": str(ground.roi),
            "recipe": recipe.digest,
        },
        attrs={"title": f"Held out: {ground.roi}", "recipe_digest": recipe.digest},
        constants=constants(axis),
    )
    try:
        return opened()
    except UserError:
        shutil.rmtree(url, ignore_errors=True)
        for path in Path(str(beside(url))).iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.suffix == ".json":  # not the lock, which is ours
                path.unlink()
        return opened()


def _row(ground: Ground, recipe: Recipe, span: tuple[int, int]) -> dict[str, np.ndarray]:
    """Return scores and labels of some rows of a region, read in blocks as the store holds them."""
    roi = ground.roi
    strip = Roi(y0=roi.y0 + span[0], y1=roi.y0 + span[1], x0=roi.x0, x1=roi.x1)
    scores = np.empty((*strip.shape, recipe.bands_out), np.float32)
    for block in blocks(ground.scene, strip):
        cube = ground.scene.read(block.roi, room())
        top, left = block.roi.y0 - strip.y0, block.roi.x0 - strip.x0
        into = scores[top : top + cube.shape[0], left : left + cube.shape[1]]
        into[...] = recipe.apply(cube.reshape(-1, cube.shape[2])).reshape(into.shape)
    return {"cube": scores, "labels": ground.labels(strip)}
