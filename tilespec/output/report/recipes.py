"""Recipes: VSN weights, loadings and score pictures of fitted recipes."""

import numpy as np
from jaxtyping import Float32

from tilespec.core.types import SpectralAxis
from tilespec.output.report import plots
from tilespec.output.report.inputs import RecipeRun
from tilespec.output.report.overview import Overview
from tilespec.output.report.page_parts import Key, Picture, Row, Section, plain
from tilespec.spectra.bands import Bands
from tilespec.spectra.operators import Normalise, Project

SCORES = 8
"""The largest number of score pictures of a recipe."""
UNSAID = ("explained_variance", "explained_variance_ratio", "notes")
"""The facts of a fit that are drawn and not listed."""


def of_recipe(run: RecipeRun, view: Overview | None) -> Section:
    """Return VSN weights, loadings, shares of variance and score pictures of a recipe."""
    bands = Bands(count=run.recipe.bands_in, axis=run.recipe.axis_in)
    rows: list[Row] = []
    for name, step in zip(run.recipe.text.split(","), run.recipe.steps, strict=False):
        if isinstance(step, Normalise) and name.startswith("vsn"):
            rows.append(_weights(step, bands.axis))
        if isinstance(step, Project):
            rows.append(_loadings(step, bands.axis))
        bands = step.out(bands)
    if view is not None and run.recipe.digest in view.planes:
        rows.append(_scores(view.planes[run.recipe.digest], bands.axis))
    facts = {
        key.replace("_", " "): plain(v)
        for step_facts in run.recipe.facts
        for key, v in step_facts.items()
        if key not in UNSAID
    }
    notes = " ".join(note for step_facts in run.recipe.facts for note in step_facts.get("notes", ()))
    return Section(
        key=f"recipe-{run.name}",
        title=f"Preprocessing: {run.recipe.text}",
        lead=f"Recipe “{run.name}”, fitted once and applied pixel by pixel. {notes}",
        rows=tuple(rows),
        facts=(("digest", run.recipe.digest), *facts.items()),
    )


def _weights(step: Normalise, axis: SpectralAxis | None) -> Row:
    """Return the weights of VSN along the bands."""
    relative = step.weights / max(float(step.weights.max()), 1e-30)
    plot = plots.filled(axis, relative, ylabel="weight, relative to the largest")
    caption = "How often each band obeys pure scatter between pairs of spectra: heavy bands decide offset and gain."
    return Row(pictures=(Picture(source=plot, title="VSN weights", caption=caption, plot=True),), columns=1)


def _loadings(step: Project, axis: SpectralAxis | None) -> Row:
    """Return loadings along the bands, with the share of variance of each component."""
    shares = [100 * float(v) for v in step.ratio]
    keys = tuple(
        Key.of(_colour(i), f"component {i + 1}: {share:.2f} % of the variance") for i, share in enumerate(shares)
    )
    plot = plots.lines(axis, list(step.loadings), ylabel="loading", zero=True)
    caption = f"What the components are made of; together they hold {sum(shares):.2f} % of the variance."
    picture = Picture(source=plot, title="PCA loadings", caption=caption, plot=True)
    return Row(pictures=(picture,), legend=keys, columns=1)


def _scores(planes: Float32[np.ndarray, "y x channel"], axis: SpectralAxis | None) -> Row:
    """Return the channels of a scene after a recipe as grey pictures."""
    kind = "Component" if axis is not None and axis.name == "component" else "Channel"
    shown = range(min(planes.shape[2], SCORES))
    pictures = tuple(Picture(source=plots.grey(planes[..., i]), title=f"{kind} {i + 1}", caption="") for i in shown)
    note = "each stretched from its 1st to its 99th percentile"
    return Row(pictures=pictures, title="What the recipe makes", note=note, columns=4)


def _colour(index: int) -> str:
    return plots.COLOURS[index % len(plots.COLOURS)]
