"""Adopt: the verb ``adopt`` makes a model folder of a fitted estimator of scikit-learn."""

from typing import Any, Final

import numpy as np
import torch

from tilespec.core.errors import OccupiedError, UserError
from tilespec.core.options import with_options
from tilespec.core.progress import Progress
from tilespec.core.types import UNLABELLED
from tilespec.models.adopt.options import AdoptOptions
from tilespec.models.model import Model
from tilespec.models.nets.adopted import ANSWERS, load_estimator
from tilespec.spectra.recipe import Recipe
from tilespec.storage.backends.paths import store_path
from tilespec.storage.scene import Scene

TASKS: Final = {True: "segment", False: "reconstruct"}
"""The task of an estimator, by whether it is a classifier."""
LARGEST: Final = 1 << 32
"""The largest file in bytes."""


@with_options(AdoptOptions)
def adopt(file: str, out: str, options: AdoptOptions, progress: Progress) -> dict[str, Any]:
    """Make the model folder ``out`` of a fitted classifier or regressor of scikit-learn, which then predicts pixels.

    Args:
        file: What ``skops.io.dump(estimator, file)`` wrote.
        out: Model folder.
        options: The scene that it suits, its task, and its recipe; given by name.
        progress: Where it is said what the estimator is.

    Returns:
        ``model, estimator, task, channels, classes``.

    Raises:
        UserError: the file is no estimator, holds a type that is not trusted, or does not suit the scene.
    """
    scene = Scene.open(options.like)
    recipe = Recipe.empty(scene.shape[2], scene.spectral) if options.recipe is None else Recipe.load(options.recipe)
    recipe.check(scene.shape[2], scene.spectral, scene.url)
    data = _read(file)
    estimator = load_estimator(data, file)
    net, classes, channels = _described(file, estimator, scene, recipe.bands_out)
    task = _task(file, options.task, classes, channels)
    folder = str(out)
    progress.say(
        f"{type(estimator).__name__}: {recipe.bands_out} bands to {channels} {'classes' if classes else 'values'}"
    )
    facts = {"model": folder, "estimator": type(estimator).__name__, "task": task["name"], "classes": list(classes)}
    if options.dry_run:
        return facts | {"dry_run": True}
    model = Model(
        net={"name": "adopted", "size": len(data), **net},
        task=task,
        channels=(recipe.bands_out, channels),
        classes=classes,
        recipe=recipe,
        weights={"estimator": torch.frombuffer(bytearray(data), dtype=torch.uint8)},
        provenance={"method": type(estimator).__name__, "train_regions": []},
    )
    if (store_path(folder) / "model.json").exists() and Model.load(folder).digest != model.digest:
        raise OccupiedError(folder, found="another model", expected="a free place", do="Give another OUT.")
    model.save(folder)
    return facts | {"channels": channels}


def _read(file: str) -> bytes:
    """Return the bytes of a file, which must not be absurdly large."""
    try:
        size = store_path(file).size()
        if size <= LARGEST:
            return store_path(file).read_bytes()
    except OSError as error:
        raise UserError(file, found=str(error), expected="a file of skops", do="Check the path.") from error
    raise UserError(file, found=f"{size} bytes", expected=f"at most {LARGEST}", do="Fit a smaller estimator.")


def _described(file: str, estimator: Any, scene: Scene, bands: int) -> tuple[dict[str, Any], tuple[str, ...], int]:
    """Return parameters of the net, the names of the classes, and the number of channels of an estimator."""
    wanted = getattr(estimator, "n_features_in_", None)
    if wanted != bands or not hasattr(estimator, "predict"):
        raise UserError(
            file,
            found=f"{type(estimator).__name__} for {wanted} features",
            expected=f"a fitted classifier or regressor for {bands}, the bands that it would read of {scene.url}",
            do="Fit it on such spectra; name the recipe before it with --recipe.",
        )
    known = getattr(estimator, "classes_", None)
    if known is None:
        probe = estimator.predict(np.zeros((1, bands), np.float32))
        return {"answer": "predict"}, (), int(np.asarray(probe).size)
    answer = next(name for name in ANSWERS if name == "votes" or hasattr(estimator, name))
    names, columns = _classes(file, np.asarray(known), scene.classes())
    return {"answer": answer, "columns": columns}, names, len(names)


def _classes(file: str, known: np.ndarray, named: tuple[str, ...]) -> tuple[tuple[str, ...], list[int]]:
    """Return the names of all classes and the number of each class that the estimator knows."""
    if known.dtype.kind in "iub" and known.min() >= 0 and known.max() < UNLABELLED:
        count = max(len(named), int(known.max()) + 1, 2)
        return tuple(named[i] if i < len(named) else f"class_{i}" for i in range(count)), known.astype(int).tolist()
    texts = [str(each) for each in known.tolist()]
    if known.dtype.kind not in "OUS" or not set(texts) <= set(named or texts):
        raise UserError(
            file,
            found=f"classes {', '.join(texts[:6])}",
            expected=f"numbers 0 to {UNLABELLED - 1}, or names among {', '.join(named) or 'any'}",
            do="Fit it on the numbers or the names of the scene's classes.",
        )
    names = named or tuple(texts)
    return names, [names.index(text) for text in texts]


def _task(file: str, name: str | None, classes: tuple[str, ...], channels: int) -> dict[str, Any]:
    """Return the task of the model card."""
    suits = TASKS[bool(classes)]
    if name not in (None, suits):
        raise UserError(
            "--task", found=repr(name), expected=f"{suits}, which suits {file}", do="Leave it out, or correct it."
        )
    if classes:
        return {"name": suits, "classes": len(classes), "head": "tanh"}
    return {"name": suits, "channels": channels, "low": 0.0, "high": 1.0, "head": "linear"}
