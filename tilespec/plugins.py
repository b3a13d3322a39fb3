"""Tables of names: a plug-in is one small file and one line in a table, or a user's dotted path."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from tilespec.errors import UserError


def load(table: Mapping[str, str], name: str, kind: str) -> Any:
    """Return the object that ``table`` lists under ``name``, or that the dotted path ``package.module:Name`` is."""
    path = table.get(name, name)
    module, colon, attribute = path.partition(":")
    if not colon:
        raise UserError(
            f"{kind} {name!r}",
            found="an unknown name",
            expected=f"one of {', '.join(sorted(table))}, or a dotted path package.module:Name",
            do="Check the spelling.",
        )
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"{kind} {name!r}", found=str(error), expected=f"{attribute} in {module}", do="Check the dotted path."
        ) from error
