"""Inputs: the kind of each path that the user names, from its contents. No content is executed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from tilespec.core.errors import UserError
from tilespec.spectra.recipe import Recipe
from tilespec.storage.backends.base import StorePath
from tilespec.storage.backends.paths import store_path
from tilespec.storage.columns import layer_of
from tilespec.storage.group import open_group
from tilespec.storage.ledger import Ledger, read_note, sidecar
from tilespec.storage.rasters import ClassRaster, ValueRaster
from tilespec.storage.scene import Scene
from tilespec.storage.spectra_table import SpectraTable, is_spectra_table
from tilespec.training.validation import history

CHEMMAP: Final = "chemmap"
"""The task of predicted maps of quantities."""


@final
@dataclass(frozen=True, kw_only=True)
class PredictionRun:
    """A predicted class map, with its score if it was evaluated."""

    name: str
    """The name of the store, for readers."""
    map: ClassRaster
    """The class map."""
    scores: Mapping[str, Any] | None
    """The result that `evaluate` stored beside it."""
    failed: tuple[int, ...] = ()
    """The numbers of the tiles that failed and are nodata."""

    @property
    def method(self) -> str:
        """The name of the method."""
        return str(self.map.attrs.get("method") or self.name)


@final
@dataclass(frozen=True, kw_only=True)
class FieldRun:
    """Predicted channels, such as spectra from a picture, with their score if they were evaluated."""

    name: str
    """The name of the store, for readers."""
    map: ValueRaster
    """The predicted channels."""
    scores: Mapping[str, Any] | None
    """The result that `evaluate` stored beside them."""
    failed: tuple[int, ...] = ()
    """The numbers of the tiles that failed and are nodata."""

    @property
    def method(self) -> str:
        """The name of the method."""
        return str(self.map.attrs.get("method") or self.name)


@final
@dataclass(frozen=True, kw_only=True)
class ModelRun:
    """A model folder without its weights, because a report needs no network."""

    name: str
    """The name of the folder."""
    card: Mapping[str, Any]
    """The contents of ``model.json``, empty during the training."""
    log: tuple[Mapping[str, Any], ...]
    """The lines of ``log.jsonl``, none for methods without training steps."""
    validations: tuple[Mapping[str, Any], ...] = ()
    """The lines of ``validation.jsonl``."""
    metric: str = ""
    """The metric that is compared: from the settings, else the first."""


@final
@dataclass(frozen=True, kw_only=True)
class RecipeRun:
    """A fitted recipe, from its own folder or from a model's."""

    name: str
    """The name of its folder, or of its model."""
    recipe: Recipe
    """The fitted recipe."""


@final
@dataclass(frozen=True, kw_only=True)
class Runs:
    """All inputs of a report in the order of their names on the command line."""

    scenes: tuple[Scene, ...]
    """The scenes of the report."""
    predictions: tuple[PredictionRun, ...]
    """The predicted class maps."""
    fields: tuple[FieldRun, ...]
    """The predicted channels but those of maps of quantities."""
    chemmaps: tuple[FieldRun, ...]
    """The predicted maps of quantities."""
    models: tuple[ModelRun, ...]
    """The models of the report."""
    recipes: tuple[RecipeRun, ...]
    """The recipes with at least one step, each once."""
    tables: tuple[SpectraTable, ...]
    """The tables of synthetic spectra."""

    @property
    def predicted(self) -> tuple[PredictionRun | FieldRun, ...]:
        """The predicted class maps and channels."""
        return (*self.predictions, *self.fields, *self.chemmaps)

    @classmethod
    def open(cls, paths: Sequence[str]) -> "Runs":
        """Open all ``paths``.

        Raises:
            UserError: there is no path, or one is no scene, prediction, model or recipe.
        """
        if not paths:
            raise UserError("report", found="no RUN", expected="at least one", do="Name a scene, model or prediction.")
        items = [item for path in dict.fromkeys(paths) for item in _open(path)]
        fields = [run for run in items if isinstance(run, FieldRun)]
        recipes = {run.recipe.digest: run for run in reversed(items) if isinstance(run, RecipeRun) and run.recipe.steps}
        return cls(
            scenes=tuple(run for run in items if isinstance(run, Scene)),
            predictions=tuple(run for run in items if isinstance(run, PredictionRun)),
            fields=tuple(run for run in fields if run.map.attrs.get("task") != CHEMMAP),
            chemmaps=tuple(run for run in fields if run.map.attrs.get("task") == CHEMMAP),
            models=tuple(run for run in items if isinstance(run, ModelRun)),
            recipes=tuple(reversed(recipes.values())),
            tables=tuple(run for run in items if isinstance(run, SpectraTable)),
        )


def name_of(url: str) -> str:
    """Return the last part of a path without a store's suffix, because reports name no folders of a machine."""
    return url.rstrip("/").rsplit("/", 1)[-1].removesuffix(".zarr")


def _open(path: str) -> list[Any]:
    """Return the runs at ``path``: one run, or a model and its recipe."""
    folder = store_path(path)
    if any((folder / name).exists() for name in ("model.json", "log.jsonl")):
        return _model(folder)
    if (folder / "recipe.json").exists():
        return [RecipeRun(name=name_of(path), recipe=Recipe.load(path))]
    if (folder / "zarr.json").exists():
        return [_store(path)]
    raise UserError(
        path,
        found="nothing" if not folder.exists() else "none of the files zarr.json, model.json, recipe.json",
        expected="a scene, a prediction, a model folder or a recipe folder",
        do="Check the path.",
    )


def _store(url: str) -> Scene | PredictionRun | FieldRun | SpectraTable:
    """Return the scene, the class map, the predicted channels or the table of spectra in a store."""
    group = open_group(url)
    if is_spectra_table(url) and group.attrs.get("synthetic"):
        return SpectraTable.open(url)
    array = layer_of(group, "prediction")
    dimensions = 0 if array is None else array.ndim
    if dimensions not in (2, 3) or "cube" in group:
        return Scene.open(url)
    scores_file = sidecar(url) / "evaluation.json"
    scores = json.loads(scores_file.read_text()) if scores_file.exists() else None
    name, failed = name_of(url), _failed(url)
    if dimensions == 3:
        return FieldRun(name=name, map=ValueRaster.open(url), scores=scores, failed=failed)
    return PredictionRun(name=name, map=ClassRaster.open(url, "prediction"), scores=scores, failed=failed)


def _failed(url: str) -> tuple[int, ...]:
    """Return the tiles that failed, from the records of the run that wrote the store."""
    ledger = Ledger.find(url)
    records = [] if ledger is None else ledger.records().values()
    return tuple(sorted({int(tile) for record in records for tile in record.get("poison", ())}))


def _model(folder: StorePath) -> list[Any]:
    """Return a model, or one in training, and its recipe."""
    card, log = folder / "model.json", folder / "log.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    validations = history.read(folder)
    model = ModelRun(
        name=folder.name,
        card=json.loads(card.read_text()) if card.exists() else {},
        log=tuple(json.loads(line) for line in lines if line.strip().endswith("}")),
        validations=tuple(validations),
        metric=_metric(folder, validations),
    )
    if not (card.exists() or (folder / "recipe" / "recipe.json").exists()):
        return [model]  # it has no recipe, or a recipe in another folder
    return [model, RecipeRun(name=folder.name, recipe=Recipe.load(str(folder / "recipe")))]


def _metric(folder: StorePath, validations: Sequence[Mapping[str, Any]]) -> str:
    """Return the metric that is compared among a training's validations."""
    settings = (read_note(folder, "config") or {}).get("validate") or {}
    return settings.get("metric") or next((str(key) for line in validations for key in line if key != "step"), "")
