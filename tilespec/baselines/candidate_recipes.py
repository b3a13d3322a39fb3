"""Candidate recipes: the recipe before a method, or those that a method chooses from by cross-validation."""

from collections.abc import Sequence
from typing import Any

from tilespec.baselines.options import AUTO, BaselineOptions
from tilespec.core.errors import UserError
from tilespec.core.types import Roi
from tilespec.spectra.bands import Bands
from tilespec.spectra.fit import fit_steps
from tilespec.spectra.recipe import Recipe
from tilespec.spectra.steps import STEPS, from_user_steps, parse, plan
from tilespec.storage.scene import Scene
from tilespec.storage.selection import ALL, PixelSelection


def recipes_of(options: BaselineOptions, method: Any, scenes: Sequence[Scene], client: Any) -> tuple[Recipe, ...]:
    """Return the recipe in a folder, one fitted on the region, or those that the method chooses from."""
    recipe, candidates = options.recipe, getattr(method, "RECIPES", ())
    if AUTO in {recipe, method.STEPS if recipe is None else None} and candidates:
        where = _where(options, scenes)
        bands = Bands(count=scenes[0].shape[2], axis=scenes[0].spectral)
        return tuple(
            fit_steps(steps, where, seed=options.seed, client=client) for steps in candidates if _possible(steps, bands)
        )
    steps = (method.STEPS or "") if recipe is None else from_user_steps(recipe)
    if method.STEPS is None and recipe is not None:
        raise UserError(
            "--recipe",
            found=recipe,
            expected="no recipe: an index is a ratio of reflectances",
            do="Leave --recipe out for this method.",
        )
    if recipe and recipe.split(",")[0].split("=")[0] not in STEPS:
        fitted = Recipe.load(recipe)
        for scene in scenes:
            fitted.check(scene.shape[2], scene.spectral, scene.url)
        return (fitted,)
    choice = PixelSelection(mask=options.mask or options.samples_layer) if options.references else ALL
    return (fit_steps(steps, _where(options, scenes), seed=options.seed, client=client, choice=choice),)


def _where(options: BaselineOptions, scenes: Sequence[Scene]) -> list[tuple[Scene, Roi]]:
    """Return the region of each scene."""
    return [(scene, Roi.of(scene.shape, options.rows, options.cols)) for scene in scenes]


def _possible(steps: str, bands: Bands) -> bool:
    """Return whether a scene has the bands for some steps."""
    try:
        plan(parse(steps), bands)
    except UserError:
        return False
    return True
