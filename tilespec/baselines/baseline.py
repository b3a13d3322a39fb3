"""Baseline: the verb ``baseline`` fits a classical method as a model with a pixelwise net and predicts a scene.

Baselines are listed beside a network in the table of results, because only the comparison shows whether context helps.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from tilespec.baselines.base import FitInput, FittedBaseline
from tilespec.baselines.candidate_recipes import recipes_of
from tilespec.baselines.diagnostics import diagnose
from tilespec.baselines.options import BaselineOptions
from tilespec.baselines.requirements import labels_of, on_numbers, suited, target_of, with_defaults
from tilespec.baselines.sample_regression import samples_from, task_of
from tilespec.cluster.connect import connect
from tilespec.core.errors import OccupiedError
from tilespec.core.memory import Peak
from tilespec.core.options import with_options
from tilespec.core.progress import Progress
from tilespec.core.registry import from_user, load
from tilespec.core.types import Roi
from tilespec.models.model import Model
from tilespec.models.tasks import task
from tilespec.predict.predict import places_of, predict
from tilespec.storage.backends.paths import store_path
from tilespec.storage.files import read_json, write_atomic
from tilespec.storage.inventory import digests, inventory
from tilespec.storage.scene import Scene

BASELINES = {
    "ndvi": "tilespec.baselines.ndvi:Fixed",
    "ndvi-otsu": "tilespec.baselines.ndvi:Otsu",
    "plsr": "tilespec.baselines.plsr:PlsRegression",
    "ridge": "tilespec.baselines.plsr:RidgeRegression",
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

A method with ``TARGET = True`` is a regression onto the spectra of another scene, one with ``REFERENCES = True`` on
reference numbers of samples; neither needs labels. ``COMPONENTS`` and ``RECIPES`` are defaults of these options.
"""


@with_options(BaselineOptions)
def baseline(
    name: str, scene: str | Sequence[str], out: str, options: BaselineOptions, progress: Progress
) -> dict[str, Any]:
    """Fit a classical method on a region, keep it as the model ``OUT.model``, and predict the whole scene into OUT.

    Args:
        name: A method of `BASELINES`, or a dotted path.
        scene: A raw scene, with labels for the methods that learn from them; or several, for a regression on reference
            numbers of samples.
        out: Prediction store; of several scenes the folder of their predictions.
        options: How it is fitted; given by name.
        progress: Where progress is shown.

    Returns:
        What `predict` returns, with ``model``, ``fit_seconds``, ``predict_seconds`` and what the method found out.

    Raises:
        UserError: an option that the method cannot follow, labels, bands or numbers that it needs and the scene has
            not, a target of another size, or a product of other settings in ``out``.
    """
    method, single = load(BASELINES, from_user(name), "baseline"), isinstance(scene, str)
    scenes = tuple(Scene.open(url).raw() for url in ([scene] if isinstance(scene, str) else scene))
    opened, options = scenes[0], with_defaults(method, options)
    notes, target = suited(method, options, len(scenes)), target_of(method, opened, options)
    read = [inventory(url) for url in {*(each.url for each in scenes), labels_of(method, opened, options)}]
    references, samples = samples_from(scenes, options) if options.references and on_numbers(method) else (None, ())
    places = {opened.url: out} if single else places_of([each.url for each in scenes], out)
    roi = Roi.of(opened.shape, options.rows, options.cols)
    folder = f"{out}.model"
    planned = {
        "method": name,
        "model": folder,
        "region": {"rows": [roi.y0, roi.y1], "cols": [roi.x0, roi.x1]},
        "recipe": (method.STEPS or "") if options.recipe is None else options.recipe,
        "notes": notes,
        **({"sample_ids": [sample.id for sample in samples]} if samples else {}),
    }
    if options.dry_run:
        return planned | {"out": out, "dry_run": True}
    fit_settings = _fit_settings(name, options, method, scenes, roi)
    _free_of_others(folder, fit_settings)
    began = time.monotonic()
    with connect(options.workers, options.cluster) as client, Peak() as peak:
        startup = time.monotonic() - began
        recipes = recipes_of(options, method, scenes, client)
        on = FitInput(
            scene=opened,
            roi=roi,
            recipe=recipes[0],
            recipes=recipes,
            samples=samples,
            references=references,
            options=options,
            seed=options.seed,
            client=client,
            progress=progress,
            target=target,
        )
        learned = method.fit(on)
        for each in read:
            each.check_unchanged()
        model = _model(name, on, learned, options.opening)
        model = replace(model, provenance={**model.provenance, "fit_settings": fit_settings})
        _free(folder, model)
        _save(folder, model, learned)
        extra = _extra({place: Scene.open(url) for url, place in places.items()}, on, model, learned)
    predicted = predict(folder, scene, out, workers=options.workers, cluster=options.cluster, progress=progress)
    spent = _spent(peak, startup, extra, [predicted] if single else list(predicted["scenes"].values()))
    said = {"notes": [*notes, *learned.notes, *_absent(learned), *predicted.get("notes", [])]}
    return predicted | planned | learned.facts | extra | spent | said


def _spent(peak: Peak, startup: float, extra: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the time and the memory of a fit and of the predictions after it."""
    seconds = sum(run["seconds"] for run in runs)
    return {
        "fit_seconds": peak.seconds - extra.get("diagnostics_seconds", 0.0),
        "predict_seconds": seconds,
        "seconds": peak.seconds + seconds,
        "startup_seconds": startup + sum(run["startup_seconds"] for run in runs),
        "peak_memory": max(peak.bytes, *(run["peak_memory"] for run in runs)),
    }


def _absent(fitted: FittedBaseline) -> list[str]:
    """Return a note on the classes that have no pixel in the region."""
    names = fitted.facts.get("absent_classes") or []
    return [f"never predicted, for want of labelled pixels in the region: {', '.join(names)}"] if names else []


def _save(folder: str, model: Model, fitted: FittedBaseline) -> None:
    """Write the model folder; the card is written last, so a folder with a card is complete."""
    place, packed = store_path(folder), BytesIO()
    place.mkdir(parents=True, exist_ok=True)
    for name, text in fitted.tables.items():
        write_atomic(place / name, text)
    if fitted.arrays:
        np.savez(packed, **fitted.arrays)  # type: ignore[arg-type]
        (place / "arrays.npz").write_bytes(packed.getvalue())
    model.save(folder)


def _extra(places: Mapping[str, Scene], on: FitInput, model: Model, fitted: FittedBaseline) -> dict[str, Any]:
    """Write the requested products beside the predictions."""
    if not on.options.diagnostics:
        return {}
    assert fitted.residuals, "the method says that it uses diagnostics"
    began, where = time.monotonic(), {"client": on.client, "progress": on.progress}
    each = {place: diagnose(place, scene, model, fitted.residuals, **where) for place, scene in places.items()}
    diagnostics = next(iter(each.values())) if len(each) == 1 else {"diagnostics": each}
    return diagnostics | {"diagnostics_seconds": time.monotonic() - began}


def _fit_settings(
    name: str, options: BaselineOptions, method: Any, scenes: Sequence[Scene], roi: Roi
) -> dict[str, Any]:
    """Return what decides a fit, as plain data."""
    uses = getattr(method, "USES", ())
    given = {each: str(getattr(options, each)) for each in uses if each != "diagnostics"}
    chosen = {key: getattr(options, key) for key in ("recipe", "target", "opening", "seed")}
    contents = [scene.digest for scene in scenes]
    where = {"scene": contents if contents[1:] else contents[0], "region": str(roi)}
    if options.labels is not None:
        where["labels"] = digests(options.labels).store
    return {"method": name, **given, **chosen, **where}


def _free_of_others(folder: str, wanted: Mapping[str, Any]) -> None:
    """Refuse a place where other settings made a model, before anything is fitted."""
    card = read_json(store_path(folder) / "model.json") or {}
    before = (card.get("provenance") or {}).get("fit_settings")
    if before is not None and before != wanted:
        changed = ", ".join(key for key in wanted if before.get(key) != wanted[key]) or "settings"
        raise _other(folder, f"the model of a product of other settings ({changed})")


def _free(folder: str, model: Model) -> None:
    """Refuse to replace another model, because a prediction of it may exist."""
    if (store_path(folder) / "model.json").exists() and Model.load(folder).digest != model.digest:
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
    settings, recipe = _task(on, fitted, head), fitted.recipe or on.recipe
    return Model(
        net=net,
        task=settings,
        channels=(recipe.bands_out, task(settings).channels_out),
        classes=fitted.classes,
        recipe=recipe,
        weights=weights,
        tile=None,
        spectral_out=None if on.target is None else on.target.spectral,
        provenance={
            "method": f"{name}, opened by {opening}" if opening else name,
            "opening": opening,
            "seed": on.seed,
            "train_regions": _train_regions(on),
            **fitted.facts,
        },
    )


def _train_regions(on: FitInput) -> list[dict[str, Any]]:
    """Return the regions of the fit: of each sample, where the fit is on samples."""
    contents = {sample.scene.url: sample.scene.digest for sample in on.samples} or {on.scene.url: on.scene.digest}
    return [
        {
            "scene": Path(url).name,
            "digest": contents[url],
            "rows": [roi.y0, roi.y1],
            "cols": [roi.x0, roi.x1],
        }
        for url, roi in [(sample.scene.url, sample.roi) for sample in on.samples] or [(on.scene.url, on.roi)]
    ]


def _task(on: FitInput, fitted: FittedBaseline, head: str) -> dict[str, Any]:
    """Return the task: classes, the numbers of samples with intervals, or the target's values."""
    if on.references is not None:
        return task_of(on.references)
    if on.target is not None:
        return {"name": "reconstruct", "channels": on.target.shape[2], "low": 0.0, "high": 1.0, "head": head}
    rejects = {} if fitted.least is None else {"least": fitted.least}
    return {"name": "segment", "classes": len(fitted.classes), "head": head, **rejects}
