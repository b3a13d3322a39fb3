"""Fit: a recipe is fitted on pixels of scenes, or an older recipe is updated with more pixels."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tilespec.cluster.connect import connect, elsewhere
from tilespec.core.cpu import one_blas_thread
from tilespec.core.device import device_of
from tilespec.core.errors import OccupiedError, UserError
from tilespec.core.memory import Peak
from tilespec.core.options import with_options
from tilespec.core.progress import Progress
from tilespec.core.types import Roi, Spectra
from tilespec.spectra.bands import Bands
from tilespec.spectra.fit_pass import FitPass
from tilespec.spectra.operators import Operator
from tilespec.spectra.options import FitOptions
from tilespec.spectra.passes import sample
from tilespec.spectra.recipe import Recipe, Stored
from tilespec.spectra.scale_check import brightness, check_encoding, check_scale, quick_sample, same_scale
from tilespec.spectra.steps import from_user_steps, needs_pass, parse, passes, plan
from tilespec.spectra.steps.absorbance import LinearLight
from tilespec.spectra.steps.base import Fitting, Step, declares
from tilespec.storage.backends.paths import store_path
from tilespec.storage.blocks import blocks
from tilespec.storage.scene import Scene
from tilespec.storage.selection import ALL, PixelSelection, mask_named, mask_notes

DEFAULT = "vsn,pca=4"
"""The steps of a fit by default."""


def chosen_steps(wanted: str | None, before: str | None) -> str:
    """Return the steps of a fit: the requested steps, those of the recipe to update, or the default."""
    if wanted is not None and before is not None and wanted != before:
        raise UserError(
            "--steps",
            found=f"{wanted!r} with --update",
            expected=f"the steps of the recipe to update, {before!r}",
            do="Leave --steps out, or fit a new recipe without --update.",
        )
    return wanted if wanted is not None else before if before is not None else DEFAULT


def counts_weights(steps: Sequence[Step], weights: str | None) -> None:
    """Refuse weights if no step uses them, or if one step cannot use them."""
    counted = any(declares(step, "counts_weights") for step in steps)
    if weights is not None and (not counted or any(declares(step, "refuses_weights") for step in steps)):
        raise UserError(
            "--weights",
            found=f"steps {', '.join(type(step).__name__.lower() for step in steps)}",
            expected="pca among them, and no mnf: only a PCA's mean and covariance count weights",
            do="Leave --weights out (--mask chooses pixels for every step), or use pca.",
        )


def renewed(steps: Sequence[Step], moments: Stored, text: str) -> int:
    """Return the index of the step that another scene is added to.

    Raises:
        UserError: no step has stored moments; or a later step was fitted on pixels that would have to be read again.
    """
    number = min(moments, default=-1)
    later = range(number + 1, len(steps))
    if number < 0 or any(steps[n].kind == "sampled" or needs_pass(steps, n) for n in later):
        raise UserError(
            "--update",
            found=f"a recipe of steps {text!r}" + (" without stored moments" if number < 0 else ""),
            expected="a pca or an mnf, with no step after it that is fitted on pixels (scale just after pca is none)",
            do="Fit on all scenes together: `tilespec.api.fit([SCENE, SCENE2], OUT, steps=...)`.",
        )
    return number


def fit_steps(  # noqa: PLR0913 - keywords of a pass
    steps: str,
    where: Sequence[tuple[Scene, Roi]],
    *,
    seed: int = 0,
    client: Any = None,
    progress: Progress | None = None,
    choice: PixelSelection = ALL,
    update: Recipe | None = None,
    device: str | None = None,
) -> Recipe:
    """Return the recipe of ``steps`` fitted on regions of scenes of the same bands, as one set of pixels.

    Each folded step reads the regions once, in addition to the sample. No array of a cube's size is in memory.

    Args:
        steps: The steps as in ``--steps``.
        where: The blocks of the scenes and regions.
        seed: The seed of the sample and of VSN's draws.
        client: The ``distributed.Client``; None uses this process. The bits are the same.
        progress: The progress that counts the blocks of every pass.
        choice: The selection of pixels, and their weights in a PCA.
        update: A recipe of the same steps; its PCA (or MNF) is fitted on the pixels of these scenes together with those
            it was fitted on before; the earlier steps do not change.
        device: The device of the passes (`tilespec.core.device`); the sample is the processor's.
    """
    parsed = parse(steps)
    bands = Bands(count=where[0][0].shape[2], axis=where[0][0].spectral)
    recipe = replace(Recipe.empty(bands.count, bands.axis), text=steps)
    for scene, _ in where:
        (update or recipe).check(scene.shape[2], scene.spectral, scene.url)
        choice.check(scene)
        check_encoding(scene, decodes=any(isinstance(step, LinearLight) for step in parsed))
    plan(parsed, bands)
    same_scale(where)
    if update is not None:
        for scene, roi in where:
            check_scale(update.level, scene, roi, of="as the recipe to update was fitted on")
    first = 0 if update is None else renewed(parsed, update.moments, update.text)
    if update is not None:
        recipe = replace(update, steps=update.steps[:first], facts=update.facts[:first], moments={})
    parts = [block for scene, roi in where for block in blocks(scene, roi, choice)]
    looks = any(step.kind != "plain" for step in parsed)
    opened = {scene.url: scene for scene, _ in where}
    pixels = sample(parts, seed=seed, scenes_by_url=opened) if looks else quick_sample(*where[0])
    recipe = replace(recipe, level=recipe.level if update else brightness(pixels))
    for number, step in enumerate(parsed[first:], start=first):
        old = None if update is None else update.moments.get(number)
        over = FitPass(parts, recipe.steps, old, client, progress, opened, device)
        recipe = _fitted(recipe, step, pixels, over, seed)
    return recipe


def _fitted(recipe: Recipe, step: Step, pixels: Spectra, over: FitPass, seed: int) -> Recipe:
    """Return a recipe with one more step, which is fitted on sampled pixels and a pass."""
    through = recipe.apply(pixels)
    on = Fitting(
        bands=Bands(count=recipe.bands_out, axis=recipe.axis_out),
        sample=through[np.isfinite(through[:, 0])],
        reduce=over,
        before=recipe.steps,
        seed=seed,
    )
    if step.kind != "plain" and not len(on.sample):
        raise _all_invalid(over.where[0].url, recipe.steps)
    with one_blas_thread():  # bits must not depend on the machine's number of cores
        fitted = step.fit(on)
    moments = {**recipe.moments, len(recipe.steps): over.moments} if over.moments else recipe.moments
    notes = [*fitted.facts.get("notes", ()), *over.facts.get("notes", ())]
    facts = fitted.facts | over.facts | ({"notes": notes} if notes else {})
    return replace(recipe, steps=(*recipe.steps, fitted.operator), facts=(*recipe.facts, facts), moments=moments)


@with_options(FitOptions)
def fit(scene: str | Sequence[str], out: str, options: FitOptions, progress: Progress) -> dict[str, Any]:
    """Fit a recipe on a scene, or on several as one set of pixels, and save it in the folder ``out``.

    Args:
        scene: URL of a scene, or a list of them.
        out: Folder for the recipe.
        options: What is fitted, and on which pixels; given by name.
        progress: Where each pass is reported.

    Returns:
        ``pixels``, ``invalid_pixels``, ``explained_variance_ratio``, ``self_check`` (the relative error of sampled
        moments against float64), ``seconds``, ``peak_memory`` and facts of steps.
    """
    urls = [scene] if isinstance(scene, str) else list(scene)
    where = [
        (source, Roi.of(source.shape, options.rows, options.cols)) for source in (Scene.open(url).raw() for url in urls)
    ]
    _free(out)
    from_user_steps(options.steps or "")
    before = None if options.update is None else Recipe.load(options.update)
    text = chosen_steps(options.steps, None if before is None else before.text)
    choice = PixelSelection(mask=options.mask, weights=options.weights)
    counts_weights(parse(text), options.weights)
    if before is not None:
        renewed(parse(text), before.moments, before.text)
    for opened, _ in where:
        choice.check(opened)
    pixels = {"mask": options.mask, "weights": options.weights, "update": options.update}
    planned = _plan(text, where) | {key: value for key, value in pixels.items() if value is not None}
    masks = [] if choice.mask is None else [mask_named(opened, choice.mask).attrs for opened, _ in where]
    planned["notes"] = list(dict.fromkeys(note for attrs in masks for note in mask_notes(str(choice.mask), attrs)))
    if options.dry_run:
        same_scale(where)
        return planned | {"out": out, "dry_run": True}
    device = device_of(options.device, elsewhere=elsewhere(options.cluster))
    began = time.monotonic()
    with connect(options.workers, options.cluster) as client, Peak() as peak:
        startup = time.monotonic() - began
        pass_options: dict[str, Any] = {"client": client, "progress": progress, "device": device}
        recipe = fit_steps(text, where, seed=options.seed, choice=choice, update=before, **pass_options)
    for opened, _ in where:
        opened.check_unchanged()
    _free(out, recipe)
    recipe.save(out)
    fitted = _fit_facts(recipe)
    return (
        planned
        | fitted
        | {
            "notes": [*planned["notes"], *fitted["notes"]],
            "out": out,
            "seconds": peak.seconds,
            "startup_seconds": startup,
            "peak_memory": peak.bytes,
        }
    )


def _free(out: str, recipe: Recipe | None = None) -> None:
    """Refuse an output folder that holds anything but the same recipe."""
    folder = store_path(out)
    ours = (folder / "recipe.json").exists()
    if (folder.exists() and not ours) or (ours and recipe is not None and Recipe.load(out).digest != recipe.digest):
        raise (OccupiedError if ours else UserError)(
            out,
            found="another recipe" if ours else "something that is no recipe",
            expected="a free place, or the same recipe",
            do="Give another OUT, or remove it first: models and products may have been made with it.",
        )


def _plan(steps: str, where: Sequence[tuple[Scene, Roi]]) -> dict[str, Any]:
    """Return the plan of a fit: steps, passes, pixels, bands in and out, bytes to read."""
    parsed, first = parse(steps), where[0][0]
    after = plan(parsed, Bands(count=first.shape[2], axis=first.spectral))
    pixels = sum(roi.shape[0] * roi.shape[1] for _, roi in where)
    return {
        "steps": steps,
        "passes": passes(parsed),
        "region": [{"scene": scene.url, "rows": [roi.y0, roi.y1], "cols": [roi.x0, roi.x1]} for scene, roi in where],
        "pixels": pixels,
        "bands_in": first.shape[2],
        "bands_out": after.count,
        "bytes_to_read": passes(parsed) * pixels * first.shape[2] * first.dtype.itemsize,
    }


def _fit_facts(recipe: Recipe) -> dict[str, Any]:
    """Return the facts of all fitted steps; a later step's value replaces an earlier one."""
    facts: dict[str, Any] = {"digest": recipe.digest}
    notes: list[str] = []
    for step_facts in recipe.facts:
        facts |= {key: value for key, value in step_facts.items() if key != "notes"}
        notes += step_facts.get("notes", [])
    return facts | {"notes": notes}


def _all_invalid(url: str, before: tuple[Operator, ...]) -> UserError:
    """Return the error for a region in which no pixel is valid after the earlier steps."""
    return UserError(
        url,
        found=f"no valid pixel after {', '.join(step.name for step in before) or 'reading'}",
        expected="pixels that are finite in every band that is used, and not constant",
        do="Drop bands that are NaN throughout (drop=FROM:TO), or choose another region.",
    )
