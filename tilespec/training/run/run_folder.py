"""Run folder: the settings, the result and the model of a training in one folder, which refuses another training."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from torch import Tensor

from tilespec.core.errors import OccupiedError, UserError
from tilespec.core.fingerprint import difference, fingerprint
from tilespec.models.model import Model
from tilespec.models.tasks.base import generates
from tilespec.spectra.recipe import Recipe
from tilespec.storage.backends.base import StorePath
from tilespec.storage.files import read_json, write_atomic
from tilespec.training.data.sample_stream import held_ids
from tilespec.training.data.training_set import TrainingSet
from tilespec.training.run.checkpoint import newest, sweep
from tilespec.training.schedules import Rate
from tilespec.training.settings import Config, Data
from tilespec.training.setup import Setup

CHECKPOINTS = "checkpoints"


def settle(folder: StorePath, config: Config, regions: list[dict[str, Any]]) -> None:
    """Store the settings of a training in its folder, or compare them with those that it was begun with.

    With more steps the same training continues, unless the schedule depends on the last step; fewer steps are accepted
    too, if they are not done yet.

    Raises:
        UserError: another training was begun there; the message names the settings that differ. Or the folder holds
            something other than a training.
    """
    settings = json.loads(json.dumps({**config.deciding(), "data.scenes": regions}))
    file = folder / CHECKPOINTS / "settings.json"
    if file.exists():
        for place in (folder, file.parent):
            sweep(place)
        before = _completed(_stored(file), settings)
        if fingerprint(before) == fingerprint(settings):
            return
        _check_longer(folder, config, before, settings)
        (folder / CHECKPOINTS / "result.json").unlink(missing_ok=True)  # first, because it is the result of fewer steps
    elif not folder.is_empty():
        raise UserError(folder, found="files that no training wrote", expected="a free place", do="Give another --out.")
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "config.json", config.model_dump_json(indent=1) + "\n")
    write_atomic(file, json.dumps(settings, indent=1) + "\n")


def _completed(before: dict[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Return stored settings with the defaults of keys that did not exist at the time."""
    defaults = Config(data=Data(scene=("any",))).deciding()
    filled_in = {
        table: {key: defaults[table][key] for key in now[table] if key in defaults[table]} for table in defaults
    }
    return {**before, **{table: {**filled_in[table], **before.get(table, {})} for table in filled_in}}


def _check_longer(folder: StorePath, config: Config, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse settings that differ in more than the steps, or in the steps if these change the course."""
    total, done = config.train.steps, newest(folder / CHECKPOINTS)
    steps = {**before, "train": {**before["train"], "steps": total}}
    others = difference(steps, now)
    if others:
        problem, do = f"a training begun with other settings: {difference(before, now)}", ""
    elif Rate.of(config.train).ends:
        course = config.train.schedule.name
        problem = f"a training of {before['train']['steps']} steps, whose {course} schedule ends with the last one"
        do = f"So {total} steps are another course from the first step on; others, such as constant, can be prolonged. "
    elif total < done:
        problem, do = f"a training that has done {done} steps, more than {total}", ""
    else:
        return
    raise OccupiedError(
        folder,
        found=problem,
        expected="the same settings, to resume it or to find it finished",
        do=f"{do}Give another --out, or remove that folder first.",
    )


def result(folder: StorePath) -> dict[str, Any] | None:
    """Return the result of the training in ``folder``, if it has ended; a damaged one is written again at its end."""
    return read_json(folder / CHECKPOINTS / "result.json")


def _stored(file: StorePath) -> dict[str, Any]:
    """Return the settings that a training was begun with; refuse a damaged file."""
    settings = read_json(file)
    if settings is None:
        raise UserError(
            file,
            found="JSON that ends early or is damaged",
            expected="the settings that the training was begun with",
            do="Restore the file from a copy, or remove the folder and train again.",
        )
    return settings


def is_whole(folder: StorePath) -> bool:
    """Return whether the folder has a model that can be used."""
    try:
        Model.load(str(folder))
    except UserError:
        return False
    return True


def check_weights(folder: StorePath, facts: Mapping[str, Any], best: StorePath) -> None:
    """Refuse to publish a model again whose weights, those of the best validation, no longer exist.

    Raises:
        UserError: the last checkpoint has other weights than the model that was lost.
    """
    if facts["published_step"] != facts["steps"] and not best.exists():
        raise UserError(
            folder,
            found=f"a lost or damaged model of step {facts['published_step']}, whose weights no checkpoint has",
            expected="a copy of its files, or another training",
            do="Copy model.safetensors, model.json and recipe back, or remove the folder and train again.",
        )


def conclude(folder: StorePath, facts: Mapping[str, Any]) -> None:
    """Store the result of the training."""
    write_atomic(folder / CHECKPOINTS / "result.json", json.dumps(dict(facts), indent=1) + "\n")


def publish(  # noqa: PLR0913 - what a model is made of
    folder: StorePath,
    config: Config,
    *,
    training_set: TrainingSet,
    setup: Setup,
    recipe: Recipe,
    weights: dict[str, Tensor],
    source: str,
    step: int | None = None,
) -> Model:
    """Write the complete model into the folder; its weights are those after ``step``."""
    model = Model(
        net=setup.net,
        task={"name": config.task.name, **(config.task.model_extra or {})},
        channels=setup.channels,
        classes=training_set.classes,
        spectral_out=training_set.axis,
        recipe=recipe,
        weights=weights,
        tile=None
        if training_set.whole_samples
        else setup.task.geometry.plane((config.data.patch, config.data.patch))[0],
        provenance={
            "method": config.net.name if config.objective.name == "supervised" else config.objective.name,
            "config": source.rpartition("/")[2],
            "seed": config.train.seed,
            "steps": config.train.steps if step is None else step,
            "train_regions": training_set.provenance(),
            **({"held_out_samples": sorted(held_ids(config, training_set))} if training_set.whole_samples else {}),
            **({"labelled_pixels": training_set.facts["labelled_pixels"]} if generates(setup.task) else {}),
            "versions": {name: version(name) for name in ("tilespec", "torch", "numpy")},
        },
    )
    model.save(str(folder))
    return model
