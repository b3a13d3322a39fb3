"""The folder of a training: its settings, its log, its result. Another training is not mixed into it."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

from tilespec.cast import Cast
from tilespec.config import Config
from tilespec.corpus import Corpus
from tilespec.errors import UserError
from tilespec.ledger import difference, fingerprint, write_atomic
from tilespec.model import Model
from tilespec.recipe import Recipe

CHECKPOINTS = "checkpoints"


def settle(folder: Path, config: Config, regions: list[dict[str, Any]]) -> None:
    """Keep the settings of a training in its folder, or compare them with those it was begun with.

    Raises:
        UserError: another training was begun there; the message names the settings that differ. Or something that is
            no training lies there.
    """
    settings = json.loads(json.dumps({**config.deciding(), "data.scenes": regions}))
    kept = folder / CHECKPOINTS / "settings.json"
    if kept.exists():
        before = json.loads(kept.read_text())
        if fingerprint(before) != fingerprint(settings):
            raise UserError(
                folder,
                found="a training begun with other settings: " + difference(before, settings),
                expected="the same settings, to resume it or to find it finished",
                do="Give another --out, or remove that folder first.",
            )
    elif folder.exists() and any(folder.iterdir()):
        raise UserError(folder, found="files that no training wrote", expected="a free place", do="Give another --out.")
    else:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / "config.json", config.model_dump_json(indent=1) + "\n")
        write_atomic(kept, json.dumps(settings, indent=1) + "\n")


def result(folder: Path) -> dict[str, Any] | None:
    """Return what the training in ``folder`` came to, if it has ended."""
    path = folder / CHECKPOINTS / "result.json"
    return json.loads(path.read_text()) if path.exists() else None


def conclude(folder: Path, facts: Mapping[str, Any]) -> None:
    """Keep what the training came to."""
    write_atomic(folder / CHECKPOINTS / "result.json", json.dumps(dict(facts), indent=1) + "\n")


def log(folder: Path, line: Mapping[str, Any]) -> None:
    """Append one line to ``log.jsonl``."""
    with (folder / "log.jsonl").open("a") as file:
        file.write(json.dumps(dict(line)) + "\n")


def rewind(folder: Path, step: int, *, write: bool) -> dict[str, float]:
    """Drop what ``log.jsonl`` says about ``step`` and later, for they are done again; return the losses before."""
    path = folder / "log.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    before = [line for line in lines if _step(line) < step]
    if write and len(before) < len(lines):
        write_atomic(path, "".join(line + "\n" for line in before))
    last = json.loads(before[-1]) if before else {}
    return {key: value for key, value in last.items() if key not in ("step", "rate", "seconds")}


def publish(  # noqa: PLR0913 - what a model is made of
    folder: Path,
    config: Config,
    *,
    corpus: Corpus,
    cast: Cast,
    recipe: Recipe,
    weights: dict[str, Tensor],
    source: str,
) -> None:
    """Write the model into the folder, alone enough to predict a raw scene."""
    Model(
        net=cast.net,
        task={"name": config.task.name, **(config.task.model_extra or {})},
        channels=cast.channels,
        classes=corpus.classes,
        recipe=recipe,
        weights=weights,
        tile=config.data.patch,
        provenance={
            "method": config.objective.name,
            "config": source.rpartition("/")[2],
            "seed": config.train.seed,
            "steps": config.train.steps,
            "train_regions": corpus.provenance(),
            "versions": {name: version(name) for name in ("tilespec", "torch", "numpy")},
        },
    ).save(str(folder))


def _step(line: str) -> float:
    """Return the step of a line; a torn line belongs to no step."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
