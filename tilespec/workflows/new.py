"""New: a commented configuration that suits some data; what is not given is asked where somebody can answer."""

import sys
from collections.abc import Mapping
from typing import Any, Final

from tilespec.core.errors import UserError
from tilespec.core.options import with_options
from tilespec.core.progress import Progress
from tilespec.core.registry import load
from tilespec.core.types import TileClass
from tilespec.models.tasks import TASKS
from tilespec.storage.backends.paths import store_path
from tilespec.storage.files import write_atomic
from tilespec.training.config import resolve
from tilespec.training.data.kinds import kind_of
from tilespec.training.setup import Setup, prepared, reaching
from tilespec.workflows.config_file import Table, as_toml, check_free, plain_tables
from tilespec.workflows.options import NewOptions
from tilespec.workflows.proposal import RULES, DataFacts, proposed

HEAD: Final = """\
# Task {task}. Every value is a proposal with its reason: change what you know better.
# Tiles of this network: {tiles}.
#
#     tilespec preview  {file} preview.html
#     tilespec train    {file} --out model
#     tilespec predict  model {scene} prediction.zarr
#     tilespec evaluate prediction.zarr {truth}{rows}
"""
"""The lines before the tables."""
TILES: Final = {
    "pixelwise": "a pixel depends on no other one, so there are no seams",
    "exact": "each is read with the pixels around it that it depends on, so there are no seams",
    "approximate": "they overlap and are blended",
}
"""What users need to know of a tile class."""


@with_options(NewOptions)
def new(out: str = "tilespec.toml", *, options: NewOptions, progress: Progress) -> dict[str, Any]:
    """Write a commented configuration of a training to ``out`` (.toml); every setting has its reason beside it.

    Args:
        out: The file; one that is there is not replaced without ``overwrite``.
        options: The task and the stores; given by name. What is missing is asked where a person is at the terminal.
        progress: Labels are counted without it, in seconds.

    Returns ``out, task, config, parameters, patches, notes``.

    Raises:
        UserError: an answer is missing, the stores do not suit the task, or ``out`` exists.
    """
    del progress
    check_free(out)
    task = _answer("task", options.task, "What is to be predicted?", tuple(RULES))
    sources = _sources(task, options)
    tables = proposed(DataFacts.of(task, sources))
    values = plain_tables(tables)
    settings, training_set, plan = prepared(resolve(values), 1)
    reach = Setup.of(settings, reaching(settings, training_set).count).reach
    if not options.dry_run:
        store_path(out).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(store_path(out), _head(out, task, sources, tables, reach) + as_toml(tables))
    return {
        "out": out,
        "task": task,
        "config": values,
        **{key: plan[key] for key in ("parameters", "patches", "notes")},
    }


def _sources(task: str, options: NewOptions) -> dict[str, str]:
    """Return the stores by their keys in ``[data]``."""
    scene = _answer("scene", options.scene, "Which scene, or table of spectra, is learned from?")
    key, given = kind_of(load(TASKS, task, "task")).KEY, {"labels": options.labels, "target": options.target}
    for name, store in given.items():
        if store is not None and name != key:
            found, expected = f"{store}, for task {task}", f"nothing: that task learns from --{key}"
            raise UserError(f"--{name}", found=found, expected=expected, do="Leave it out, or choose another task.")
    if key == "target":
        return {"scene": scene, key: _answer(key, given[key], "Which store holds what is to be predicted of it?")}
    return {"scene": scene} | {name: store for name, store in given.items() if store is not None}


def _answer(name: str, given: str | None, question: str, choices: tuple[str, ...] = ()) -> str:
    """Return what was given, or what a person at the terminal answers.

    Raises:
        UserError: nothing was given, and nobody can be asked; or the answer is none of the choices.
    """
    known = ", ".join(choices)
    if given is None and sys.stdin is not None and sys.stdin.isatty():
        sys.stderr.write(f"{question}{f' ({known})' if known else ''} ")
        sys.stderr.flush()
        given = sys.stdin.readline().strip()
    if not given or (choices and given not in choices):
        expected = f"one of {known}" if known else question.lower().rstrip("?")
        raise UserError(f"--{name}", found=repr(given) if given else "nothing", expected=expected, do=f"Give --{name}.")
    return given


def _head(out: str, task: str, sources: Mapping[str, str], tables: Mapping[str, Table], reach: TileClass) -> str:
    """Return the lines before the tables."""
    held = tables.get("validate", {}).get("rows")
    return HEAD.format(
        task=task,
        tiles=TILES[reach.kind],
        file=out,
        scene=sources["scene"],
        truth=sources.get("target") or sources.get("labels") or sources["scene"],
        rows="" if held is None or task == "superres" else f" --rows {held.value}",
    )
