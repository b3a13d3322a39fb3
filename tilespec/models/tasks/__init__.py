"""Tasks: each predicted quantity is one small file and one line in the table; a dotted path loads a user's own."""

from collections.abc import Mapping
from typing import Any

from tilespec.core.registry import check_options, load
from tilespec.models.tasks.base import Task

TASKS = {
    "segment": "tilespec.models.tasks.segment:Segment",
    "classify": "tilespec.models.tasks.classify:Classify",
    "reconstruct": "tilespec.models.tasks.reconstruct:Reconstruct",
    "denoise": "tilespec.models.tasks.denoise:Denoise",
    "superres": "tilespec.models.tasks.superres:Superres",
    "calibrate": "tilespec.models.tasks.calibrate:Calibrate",
    "chemmap": "tilespec.models.tasks.chemmap:ChemMap",
    "synthesize": "tilespec.models.tasks.synthesize:Synthesize",
}


def task(config: Mapping[str, Any]) -> Task:
    """Return the task ``{"name": ..., **options}``.

    Raises:
        UserError: the table does not have the task, or the task does not have an option.
    """
    options = {key: value for key, value in config.items() if key != "name"}
    kind = load(TASKS, config["name"], "task")
    built: Task = check_options(kind, options, "task")(**options)
    return built
