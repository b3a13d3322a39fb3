"""Info of folders that are no stores: models, trainings and recipes, from their JSON files; no weight is read."""

import json
from typing import Any

from tilespec.core.errors import UserError
from tilespec.core.types import SpectralAxis
from tilespec.spectra.recipe import Recipe
from tilespec.storage.backends.base import StorePath
from tilespec.storage.files import parse_json

CARD, RECIPE, LOG = "model.json", "recipe.json", "log.jsonl"


def is_described(folder: StorePath) -> bool:
    """Return whether a folder holds a model, a training or a recipe."""
    return any((folder / name).exists() for name in (CARD, RECIPE, LOG))


def of_folder(folder: StorePath) -> dict[str, Any]:
    """Return the facts of a model, of a training without a model yet, or of a recipe.

    Raises:
        UserError: its card or its recipe is damaged.
    """
    if (folder / CARD).exists():
        return _model(folder)
    return _recipe(folder) if (folder / RECIPE).exists() else {"training": str(folder), **_history(folder)}


def axis_facts(axis: SpectralAxis | None) -> dict[str, Any] | None:
    """Return the first and the last value of a spectral axis."""
    if axis is None:
        return None
    return {
        "name": axis.name,
        "unit": axis.unit,
        "first": axis.values[0],
        "last": axis.values[-1],
        "count": len(axis.values),
        "bad": 0 if axis.good is None else axis.good.count(False),
    }


def _model(folder: StorePath) -> dict[str, Any]:
    """Return what a model takes and predicts, and where it comes from."""
    card = _card(folder / CARD)
    inner, out = Recipe.load(str(folder / "recipe")), card.get("spectral_out")
    facts = {
        "model": str(folder),
        "method": card["provenance"].get("method"),
        "task": card["task"],
        "net": card["net"],
        "classes": card["classes"],
        "channels_out": card["channels"][1],
        "spectral_out": None if out is None else axis_facts(SpectralAxis.from_json(out)),
        "takes": {"bands": inner.bands_in, "spectral": axis_facts(inner.axis_in)},
        "recipe": {"steps": inner.text, "bands_out": inner.bands_out, "digest": inner.digest},
        "tile": card["tile"],
        "parameters": _parameters(folder / "model.safetensors"),
        "trained_on": card["provenance"].get("train_regions", []),
        "digest": card["digest"],
    }
    more = {key: value for key, value in card["provenance"].items() if key not in {"method", "train_regions"}}
    return facts | {"provenance": more} | _history(folder)


def _recipe(folder: StorePath) -> dict[str, Any]:
    """Return the steps of a recipe, with the bands that it takes and makes."""
    recipe = Recipe.load(str(folder))
    steps = recipe.text.split(",") if recipe.text else []
    return {
        "recipe": str(folder),
        "steps": recipe.text,
        "takes": {"bands": recipe.bands_in, "spectral": axis_facts(recipe.axis_in)},
        "makes": {"bands": recipe.bands_out, "spectral": axis_facts(recipe.axis_out)},
        "fitted": dict(zip(steps, recipe.facts, strict=False)),
        "digest": recipe.digest,
    }


def _history(folder: StorePath) -> dict[str, Any]:
    """Return the steps that were taken, and the last validation, of a training."""
    lines = {name: _last(folder / name) for name in (LOG, "validation.jsonl")}
    log, validation = lines[LOG], lines["validation.jsonl"]
    steps = {} if log is None else {"steps_taken": int(log.get("step", -1)) + 1}
    return steps | ({} if validation is None else {"last_validation": validation})


def _last(path: StorePath) -> dict[str, Any] | None:
    """Return the last whole line of a file of JSON lines."""
    lines = path.read_text().splitlines() if path.exists() else []
    whole = (found for line in reversed(lines) if (found := parse_json(line)))
    return next(whole, None)


def _card(path: StorePath) -> dict[str, Any]:
    """Return the card of a model with the entries that are shown."""
    card = parse_json(path.read_bytes().decode(errors="replace"))
    wanted = {"net", "task", "classes", "channels", "tile", "digest", "provenance"}
    if card is None or wanted - set(card) or not isinstance(card["provenance"], dict):
        raise UserError(
            path,
            found="a damaged card",
            expected=f"a JSON object with {', '.join(sorted(wanted))}",
            do="Copy the folder again.",
        )
    return card


def _parameters(path: StorePath) -> int | None:
    """Return the number of weights, from the head of a safetensors file; None without a readable one."""
    try:
        start = next(iter(path.blocks(1 << 24)), b"")
        head = json.loads(start[8 : 8 + int.from_bytes(start[:8], "little")])
        shapes = [entry["shape"] for name, entry in head.items() if name != "__metadata__"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return sum(_product(shape) for shape in shapes)


def _product(shape: list[int]) -> int:
    total = 1
    for edge in shape:
        total *= int(edge)
    return total
