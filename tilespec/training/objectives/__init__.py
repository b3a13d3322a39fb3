"""Objectives: each objective defines a training by the moves that it yields; the loop knows none by name.

For each move the loop clears the gradients of one player, draws the loss terms one after another, propagates each back,
and lets the player's optimiser step. Only that player's parameters receive gradients. The next move is drawn after the
step, so it is computed with the new weights.
"""

from collections.abc import Mapping
from typing import Any

from tilespec.core.registry import check_options, load
from tilespec.models.tasks.base import Task
from tilespec.training.objectives.base import Objective

OBJECTIVES = {
    "supervised": "tilespec.training.objectives.supervised:Supervised",
    "cgan": "tilespec.training.objectives.cgan:Cgan",
    "mean_reference": "tilespec.training.objectives.mean_reference:MeanReference",
    "wgan_gp": "tilespec.training.objectives.wgan_gp:WganGp",
}


def objective(config: Mapping[str, Any], task: Task) -> Objective:
    """Return the objective ``{"name": ..., **options}`` for a task.

    Raises:
        UserError: the table does not have the objective, or the objective does not have an option.
    """
    options = {key: value for key, value in config.items() if key != "name"}
    kind = load(OBJECTIVES, config["name"], "objective")
    built: Objective = check_options(kind, options, "objective")(task=task, **options)
    return built
