"""Objectives: how a net learns. An objective yields moves; the loop knows no objective by name.

For each move the loop clears the gradients of one player, draws the loss terms one after another, sends each back,
and lets the player's optimiser step. Only that player's parameters receive gradients. The next move is asked for
after the step: what it computes, it computes with the new weights.
"""

from collections.abc import Mapping
from typing import Any

from tilespec.core.registry import checked, load
from tilespec.models.tasks.base import Task
from tilespec.training.objectives.base import Objective

OBJECTIVES = {
    "supervised": "tilespec.training.objectives.supervised:Supervised",
    "cgan": "tilespec.training.objectives.cgan:Cgan",
}


def objective(config: Mapping[str, Any], task: Task) -> Objective:
    """Return the objective ``{"name": ..., **options}`` for a task.

    Raises:
        UserError: the table has no such objective, or the objective no such option.
    """
    options = {key: value for key, value in config.items() if key != "name"}
    kind = load(OBJECTIVES, config["name"], "objective")
    built: Objective = checked(kind, options, "objective")(task=task, **options)
    return built
