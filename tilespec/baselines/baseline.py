"""Baseline: the verb ``baseline`` fits a classical method as a model with a pixelwise net and predicts a scene.

Baselines are listed beside a network in the table of results, because only the comparison shows whether context helps.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tilespec.baselines.base import FitInput, FittedBaseline
from tilespec.baselines.diagnostics import diagnose
from tilespec.baselines.options import BaselineOptions, unused
from tilespec.cluster.connect import connect
from tilespec.core.errors import OccupiedError, UserError
from tilespec.core.memory import Peak
from tilespec.core.options import with_options
from tilespec.core.progress import Progress
from tilespec.core.registry import from_user, load
from tilespec.core.types import Roi
from tilespec.models.model import Model
from tilespec.predict.predict import predict
from tilespec.spectra.fit import fit_steps
from tilespec.spectra.recipe import Recipe
from tilespec.spectra.steps import STEPS, from_user_steps
from tilespec.storage.backends.paths import local
from tilespec.storage.files import read_json
from tilespec.storage.scene import Scene

BASELINES = {
    "ndvi": "tilespec.baselines.ndvi:Fixed",
    "ndvi-otsu": "tilespec.baselines.ndvi:Otsu",
    "plsda": "tilespec.baselines.plsda:PlsDa",
    "sam": "tilespec.baselines.sam:SpectralAngle",
    "svm": "tilespec.baselines.linear_classifiers:Svm",
    "logistic": "tilespec.baselines.linear_classifiers:Logistic",
    "kmeans": "tilespec.baselines.kmeans:KMeans",
    "mlp": "tilespec.baselines.mlp:Perceptron",
    "linear": "tilespec.baselines.least_squares:LinearRegression",
    "polynomial": "tilespec.baselines.least_squares:PolynomialRegression",
    "rbf": "tilespec.baselines.least_squares:RbfRegression",
}
"""The methods by name, each a class with ``STEPS`` (its default recipe, or None), ``USES`` (options), ``fit(on)``.

A method with ``TARGET = True`` is a regression onto the spectra of another scene, and needs no labels.
"""


@with_options(BaselineOptions)
def baseline(name: str, scene: str, out: str, options: BaselineOptions, progress: Progress) -> dict[str, Any]:
    """Fit a classical method on a region, keep it as the model ``OUT.model``, and predict the whole scene into OUT.

    Args:
        name: A method of `BASELINES`, or a dotted path.
        scene: A raw scene, with labels for the methods that learn from them.
        out: Prediction store.
        options: How it is fitted; given by name.
        progress: Where progress is shown.

    Returns:
        What `predict` returns, with ``model``, ``fit_seconds``, ``predict_seconds`` and what the method found out.

    Raises:
        UserError: an option that the method cannot follow, labels or bands that it needs and the scene has not, a
            target of another size, or a product of other settings in ``out``.
    """
    method, opened = load(BASELINES, from_user(name), "baseline"), Scene.open(scene).raw()
    notes, target = _suited(method, options), _target(method, opened, options.target)
    roi = Roi.of(opened.shape, options.rows, options.cols)
    folder = f"{local(out, 'a model beside its prediction')}.model"
    planned = {
        "method": name,
        "model": folder,
        "region": {"rows": [roi.y0, roi.y1], "cols": [roi.x0, roi.x1]},
        "recipe": options.recipe or method.STEPS or "",
        "notes": notes,
    }
    if options.dry_run:
        return planned | {"out": out, "dry_run": True}
    fit_settings = _fit_settings(name, options, method, opened, roi)
    _free_of_others(folder, fit_settings)
    began = time.monotonic()
    with connect(options.workers, options.cluster) as client, Peak() as peak:
        startup = time.monotonic() - began
        fitted = _recipe(options, method, opened, roi, client)
        on = FitInput(
            scene=opened,
            roi=roi,
            recipe=fitted,
            options=options,
            seed=options.seed,
            client=client,
            progress=progress,
            target=target,
        )
        learned = method.fit(on)
        opened.check_unchanged()
        model = _model(name, on, learned, options.opening)
        model = replace(model, provenance={**model.provenance, "fit_settings": fit_settings})
        _free(folder, model)
        _save(folder, model, learned)
        extra = _extra(out, on, model, learned)
    predicted = predict(folder, scene, out, workers=options.workers, cluster=options.cluster, progress=progress)
    spent = {
        "fit_seconds": peak.seconds - extra.get("diagnostics_seconds", 0.0),
        "predict_seconds": predicted["seconds"],
        "seconds": peak.seconds + predicted["seconds"],
        "startup_seconds": startup + predicted["startup_seconds"],
        "peak_memory": max(peak.bytes, predicted["peak_memory"]),
    }
    said = {"notes": [*notes, *learned.notes, *_absent(learned), *predicted.get("notes", [])]}
    return predicted | planned | learned.facts | extra | spent | said


def _absent(fitted: FittedBaseline) -> list[str]:
    """Return a note on the classes that have no pixel in the region."""
    names = fitted.facts.get("absent_classes") or []
    return [f"never predicted, for want of labelled pixels in the region: {', '.join(names)}"] if names else []


def _suited(method: Any, options: BaselineOptions) -> list[str]:
    """Return notes on options that the method does not use; refuse options that exclude each other."""
    uses = getattr(method, "USES", None)
    if options.diagnostics and (uses is None or "diagnostics" not in uses):
        raise UserError(
            "--diagnostics",
            found="a method that has neither Q nor T2",
            expected="plsda",
            do="Leave --diagnostics out, or use plsda.",
        )
    if options.opening and options.max_angle is not None:
        raise UserError(
            "--opening",
            found=f"{options.opening} together with --max-angle",
            expected="one of them: an opening leaves no pixel without a class",
            do="Leave one of them out.",
        )
    if options.opening and getattr(method, "TARGET", False):
        raise UserError(
            "--opening", found=f"{options.opening}, of spectra", expected="classes to open", do="Leave --opening out."
        )
    return [] if uses is None else unused(options, uses)


def _target(method: Any, scene: Scene, target: str | None) -> Scene | None:
    """Return the target scene of a regression; None for classifiers, which have none."""
    wants = getattr(method, "TARGET", False)
    if wants != (target is not None):
        raise UserError(
            "--target",
            found="none" if wants else target,
            expected="a scene whose spectra the regression answers" if wants else "none: this method answers classes",
            do="Give --target SCENE, on the same plane." if wants else "Leave --target out.",
        )
    if target is None:
        return None
    answer = Scene.open(target)
    if answer.shape[:2] != scene.shape[:2]:
        raise UserError(
            target,
            found=f"{answer.shape[0]} x {answer.shape[1]} pixels",
            expected=f"{scene.shape[0]} x {scene.shape[1]}, the size of {scene.url}",
            do="The target must lie on the scene pixel by pixel: resample one of them, or cut both alike.",
        )
    return answer


def _save(folder: str, model: Model, fitted: FittedBaseline) -> None:
    """Write the model folder; the card is written last, so a folder with a card is complete."""
    if fitted.arrays:
        Path(folder).mkdir(parents=True, exist_ok=True)
        np.savez(Path(folder) / "arrays.npz", **fitted.arrays)  # type: ignore[arg-type]
    model.save(folder)


def _extra(out: str, on: FitInput, model: Model, fitted: FittedBaseline) -> dict[str, Any]:
    """Write the requested products beside the prediction."""
    if not on.options.diagnostics:
        return {}
    assert fitted.residuals is not None, "the method says that it uses diagnostics"
    began = time.monotonic()
    diagnostics = diagnose(out, on.scene, model, fitted.residuals, client=on.client, progress=on.progress)
    return diagnostics | {"diagnostics_seconds": time.monotonic() - began}


def _recipe(options: BaselineOptions, method: Any, scene: Scene, roi: Roi, client: Any) -> Recipe:
    """Return the recipe in a folder, or a recipe fitted on the region."""
    recipe = options.recipe
    steps = (method.STEPS or "") if recipe is None else from_user_steps(recipe)
    if method.STEPS is None and recipe is not None:
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
    return fit_steps(steps, [(scene, roi)], seed=options.seed, client=client)


def _fit_settings(name: str, options: BaselineOptions, method: Any, scene: Scene, roi: Roi) -> dict[str, Any]:
    """Return what decides a fit, as plain data."""
    uses = getattr(method, "USES", ())
    given = {each: str(getattr(options, each)) for each in uses if each != "diagnostics"}
    chosen = {key: getattr(options, key) for key in ("recipe", "target", "opening", "seed")}
    return {"method": name, **given, **chosen, "scene": scene.digest, "region": str(roi)}


def _free_of_others(folder: str, wanted: Mapping[str, Any]) -> None:
    """Refuse a place where other settings made a model, before anything is fitted."""
    card = read_json(Path(folder) / "model.json") or {}
    before = (card.get("provenance") or {}).get("fit_settings")
    if before is not None and before != wanted:
        changed = ", ".join(key for key in wanted if before.get(key) != wanted[key]) or "settings"
        raise _other(folder, f"the model of a product of other settings ({changed})")


def _free(folder: str, model: Model) -> None:
    """Refuse to replace another model, because a prediction of it may exist."""
    if (Path(folder) / "model.json").exists() and Model.load(folder).digest != model.digest:
        raise _other(folder, "the model of a product of other settings")


def _other(folder: str, found: str) -> OccupiedError:
    return OccupiedError(
        folder,
        found=found,
        expected="a free place, or the same model",
        do="Give another OUT, or remove the old product, its .tilespec and its .model folder first.",
    )


def _model(name: str, on: FitInput, fitted: FittedBaseline, opening: int) -> Model:
    """Return the model for the predictor."""
    net, weights, head = fitted.net, fitted.weights, fitted.head
    if opening:
        net = {"name": "opened", "radius": opening, "inner": net}
        weights = {f"inner.{key}": value for key, value in weights.items()}
        head = "tanh"
    region = {"rows": [on.roi.y0, on.roi.y1], "cols": [on.roi.x0, on.roi.x1]}
    return Model(
        net=net,
        task=_task(on, fitted, head),
        channels=(on.recipe.bands_out, len(fitted.classes) if on.target is None else on.target.shape[2]),
        classes=fitted.classes,
        recipe=on.recipe,
        weights=weights,
        tile=None,
        spectral_out=None if on.target is None else on.target.spectral,
        provenance={
            "method": f"{name}, opened by {opening}" if opening else name,
            "opening": opening,
            "seed": on.seed,
            "train_regions": [{"scene": Path(on.scene.url).name, "digest": on.scene.digest, **region}],
            **fitted.facts,
        },
    )


def _task(on: FitInput, fitted: FittedBaseline, head: str) -> dict[str, Any]:
    """Return the task: classes, or the target's values."""
    if on.target is not None:
        return {"name": "reconstruct", "channels": on.target.shape[2], "low": 0.0, "high": 1.0, "head": head}
    rejects = {} if fitted.least is None else {"least": fitted.least}
    return {"name": "segment", "classes": len(fitted.classes), "head": head, **rejects}
