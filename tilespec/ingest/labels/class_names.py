"""Class names of labels: those that the user gives, and a class 0 that only means that there is none."""

import csv
import re
from dataclasses import replace
from typing import Any, Final

from tilespec.core.errors import UserError
from tilespec.ingest.labels.class_map import Labels
from tilespec.storage.layout import distinct

NOTHING: Final = re.compile(
    r"(un|not[ _-]?|non[ _-]?)(label+ed|classified|defined|known|assigned|annotated)|background|none|nothing|void"
    r"|ignored?|no[ _-]?(data|label|class)|outside|empty|masked|bg",
    re.IGNORECASE,
)
"""Names of a class 0 that is often no class."""


def named(labels: Labels, text: str | None) -> Labels:
    """Return labels with the names in ``text``, separated by commas.

    Raises:
        UserError: there are fewer names than classes, or a name is empty or occurs twice.
    """
    if text is None:
        return labels
    names = tuple(name.strip() for name in next(csv.reader([text], skipinitialspace=True), []))
    used = max((i + 1 for i, count in enumerate(labels.counts) if count), default=0)
    if len(names) < used or not all(names) or distinct(names) != tuple(" ".join(name.split()) for name in names):
        raise UserError(
            "--class-names",
            found=f"{len(names)} names: {', '.join(names)[:80]}",
            expected=f"one name for each of the classes 0 to {used - 1} of the labels, each once",
            do="Name all classes in the order of their numbers; labels that are ignored have no name.",
        )
    counts = (*labels.counts[: len(names)], *[0] * (len(names) - len(labels.counts)))
    return replace(labels, classes=names, counts=counts)


def label_notes(request: Any, labels: Labels | None) -> list[str]:
    """Return a note on a class 0 whose name says that it is none; and on names without labels."""
    if labels is None:
        return ["--class-names name nothing: there are no labels"] if request.class_names is not None else []
    first = next(iter(labels.classes), "")
    if request.ignore_label is not None or not NOTHING.fullmatch(first.strip()):
        return []
    count = labels.counts[0] if labels.counts else 0
    return [f"0 is called {first!r} ({count} pixels) and counts as a class: --ignore-label 0 leaves it out"]
