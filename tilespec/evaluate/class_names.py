"""Class names: a class of the prediction is compared with the class of that name, which must have that number."""

import re
from collections.abc import Sequence
from typing import Final

from tilespec.core.errors import UserError

UNNAMED: Final = re.compile(r"class_\d+")
"""The name of a class that nobody named."""
CLUSTER: Final = re.compile(r"cluster_\d+")
"""The name of a group of pixels that stands for no class of its own."""


def common_classes(pred: str, ours: Sequence[str], truth: str, theirs: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the classes of a comparison, those of the truth first.

    A class that nobody named may be any. The truth may have further classes behind those of the prediction.

    Raises:
        UserError: the prediction has a class that the truth does not have, or has under another number.
    """
    known = {plain(name): number for number, name in enumerate(theirs) if not _unnamed(name)}
    for number, name in enumerate(ours):
        across = theirs[number] if number < len(theirs) else None
        if _unnamed(name) or (across is not None and plain(across) == plain(name)):
            continue
        if not known or (across is not None and _unnamed(across) and plain(name) not in known):
            continue
        where = known.get(plain(name))
        raise UserError(
            pred,
            found=f"classes {_listed(ours)}: class {number} is {name}",
            expected=f"the classes of {truth}: {_listed(theirs)}, "
            + ("which has none of that name" if where is None else f"where {name} is {where}"),
            do="Bring in labels with the classes of the model, in their order (`ingest --class-names`, "
            "--ignore-label), or evaluate a model that was taught these classes.",
        )
    named = [across if _unnamed(name) else name for name, across in zip(ours, theirs, strict=False)]
    return (*named, *theirs[len(ours) :], *ours[len(theirs) :])


def are_clusters(names: Sequence[str]) -> bool:
    """Return whether all classes of a prediction are clusters."""
    return bool(names) and all(CLUSTER.fullmatch(name) for name in names)


def plain(name: str) -> str:
    """Return a name as CF attributes hold it, without spaces."""
    return name.strip().replace(" ", "_")


def _unnamed(name: str) -> bool:
    return not name or UNNAMED.fullmatch(name) is not None


def _listed(names: Sequence[str]) -> str:
    """Return names for a message, the first ones of many."""
    return ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
