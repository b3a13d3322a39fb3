"""Baselines: classical methods, fitted as models with pixelwise nets and predicted like every model.

They stand in the table beside a network: without them it is unproved that context helps.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch

from tilespec.cluster import connect
from tilespec.errors import UserError
from tilespec.infer import predict
from tilespec.memory import Peak
from tilespec.model import Model
from tilespec.plugins import load
from tilespec.progress import Progress, Silent
from tilespec.recipe import Recipe, fit_steps
from tilespec.scene import Scene
from tilespec.spectra.steps import STEPS
from tilespec.types import Roi

BASELINES = {
    "ndvi": "tilespec.baselines.ndvi:Fixed",
    "ndvi-otsu": "tilespec.baselines.ndvi:Otsu",
    "plsda": "tilespec.baselines.plsda:PlsDa",
    "mlp": "tilespec.baselines.mlp:Perceptron",
}
"""Methods by name: a class with ``STEPS`` (its default recipe) and ``fit(on)``."""


@final
@dataclass(frozen=True, kw_only=True)
class Training:
    """What a baseline is fitted on."""

    scene: Scene
    """A raw scene."""
    roi: Roi
    """The region to learn from."""
    recipe: Recipe
    """Fitted steps that the method's input goes through."""
    components: int
    """Latent variables."""
    samples: int | None
    """Labelled pixels; None is the method's own number."""
    threshold: float
    """Of the vegetation index."""
    seed: int
    """Of whatever is drawn."""
    client: Any
    """A `distributed.Client`, or None for this process."""
    progress: Progress
    """Told about passes."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Learned:
    """What a baseline learned."""

    net: dict[str, Any]
    """A pixelwise net by name, with its parameters."""
    weights: dict[str, torch.Tensor]
    """Its state."""
    classes: tuple[str, ...]
    """Names of the classes."""
    head: str
    """``tanh`` for scores that are used as they are, ``logits`` for logits."""
    facts: dict[str, Any]
    """Plain data for the result."""


def baseline(  # noqa: PLR0913 - the options of a verb
    name: str,
    scene: str,
    out: str,
    *,
    recipe: str | None = None,
    rows: str | None = None,
    cols: str | None = None,
    components: int = 6,
    samples: int | None = None,
    threshold: float = 0.69,
    opening: int = 0,
    seed: int = 0,
    workers: int = 0,
    cluster: str | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Fit a classical method on a region, keep it as the model ``OUT.model``, and predict the whole scene into OUT.

    Args:
        name: ``ndvi``, ``ndvi-otsu``, ``plsda``, ``mlp``, or a dotted path.
        scene: A raw scene, with labels for the methods that learn from them.
        out: Prediction store.
        recipe: A fitted recipe's folder, or steps to fit on the region; default: the method's own.
        rows: Fit on these rows only, "A:B".
        cols: Fit on these columns only, "A:B".
        components: Latent variables of PLS-DA.
        samples: Labelled pixels to learn from; default 3000 (half of them of each class) for PLS-DA, 200,000 for mlp.
        threshold: Of NDVI.
        opening: Radius in pixels of a morphological opening of the prediction; 0 for none.
        seed: Of samples and initial weights.
        workers: Processes on this machine; 0 stays in this one.
        cluster: Where workers run, as for `predict`.
        dry_run: Return the plan, write nothing.
        progress: Where progress goes.

    Returns:
        What `predict` returns, with ``model``, ``fit_seconds``, ``predict_seconds`` and what the method found out.
    """
    method, opened = load(BASELINES, name, "baseline"), Scene.open(scene).raw()
    roi = Roi.of(opened.shape, rows, cols)
    folder = f"{out.rstrip('/')}.model"
    planned = {
        "method": name,
        "model": folder,
        "region": {"rows": [roi.y0, roi.y1], "cols": [roi.x0, roi.x1]},
        "recipe": recipe or method.STEPS,
    }
    if dry_run:
        return planned | {"out": out, "dry_run": True}
    say = progress or Silent()
    began = time.monotonic()
    with connect(workers, cluster) as client, Peak() as peak:
        startup = time.monotonic() - began
        fitted = _recipe(recipe, method, opened, roi, seed=seed, client=client)
        on = Training(
            scene=opened,
            roi=roi,
            recipe=fitted,
            components=components,
            samples=samples,
            threshold=threshold,
            seed=seed,
            client=client,
            progress=say,
        )
        learned = method.fit(on)
        model = _model(name, on, learned, opening)
        _free(folder, model)
        model.save(folder)
    predicted = predict(folder, scene, out, workers=workers, cluster=cluster, progress=say)
    spent = {
        "fit_seconds": peak.seconds,
        "predict_seconds": predicted["seconds"],
        "seconds": peak.seconds + predicted["seconds"],
        "startup_seconds": startup + predicted["startup_seconds"],
        "peak_memory": max(peak.bytes, predicted["peak_memory"]),
    }
    return predicted | planned | learned.facts | spent


def _recipe(recipe: str | None, method: Any, scene: Scene, roi: Roi, *, seed: int, client: Any) -> Recipe:
    """Return the recipe in a folder, or steps fitted on the region."""
    steps = method.STEPS if recipe is None else recipe
    if method.STEPS == "" and recipe is not None:
        raise UserError(
            "--recipe",
            found=recipe,
            expected="no recipe: an index is a ratio of reflectances",
            do="Leave --recipe out for this method.",
        )
    if recipe is not None and recipe.split(",")[0].split("=")[0] not in STEPS:
        fitted = Recipe.load(recipe)
        fitted.check(scene.shape[2], scene.spectral, scene.url)
        return fitted
    return fit_steps(steps, [(scene, roi)], seed=seed, client=client)


def _free(folder: str, model: Model) -> None:
    """Refuse to replace another model: a prediction of it may lie beside."""
    if Path(folder).exists() and Model.load(folder).digest != model.digest:
        raise UserError(
            folder,
            found="the model of a product of other settings",
            expected="a free place, or the same model",
            do="Give another OUT, or remove the old product, its .tilespec and its .model folder first.",
        )


def _model(name: str, on: Training, learned: Learned, opening: int) -> Model:
    """Return the model that the predictor takes."""
    net, weights, head = learned.net, learned.weights, learned.head
    if opening:
        net = {"name": "opened", "radius": opening, "inner": net}
        weights = {f"inner.{key}": value for key, value in weights.items()}
        head = "tanh"
    region = {"rows": [on.roi.y0, on.roi.y1], "cols": [on.roi.x0, on.roi.x1]}
    return Model(
        net=net,
        task={"name": "segment", "classes": len(learned.classes), "head": head},
        channels=(on.recipe.bands_out, len(learned.classes)),
        classes=learned.classes,
        recipe=on.recipe,
        weights=weights,
        tile=None,
        provenance={
            "method": f"{name}, opened by {opening}" if opening else name,
            "opening": opening,
            "seed": on.seed,
            "train_regions": [{"scene": Path(on.scene.url).name, "digest": on.scene.digest, **region}],
            **learned.facts,
        },
    )
