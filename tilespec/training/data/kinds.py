"""Kinds: the classes of targets, by the name that a task gives."""

from typing import Any, Final

from tilespec.core.registry import load

KINDS: Final = {
    "classes": "tilespec.training.data.targets:LabelTarget",
    "field": "tilespec.training.data.targets:ValueTarget",
    "references": "tilespec.training.data.references:ReferenceTarget",
}
"""The classes of targets, by the name that a task gives."""


def target_of(task: Any) -> str:
    """Return the kind of target that a task, or its class, learns from: it is called ``target``, else ``truth``."""
    return str(getattr(task, "target", task.truth))


def kind_of(task: Any) -> Any:
    """Return the class of targets, a `Target`, that a task, or its class, learns from."""
    return load(KINDS, target_of(task), "target")
