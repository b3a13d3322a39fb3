"""Options of plug-ins, checked against what the plug-in's constructor takes."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from tilespec.core.errors import UserError


def checked(kind: Callable[..., Any], options: Mapping[str, Any], where: str) -> Callable[..., Any]:
    """Return ``kind``, having made sure that it takes the ``options`` by name.

    Raises:
        UserError: an option is unknown; the message lists the known ones.
    """
    known = options_of(kind)
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise UserError(
            f"{where}.{unknown[0]}",
            found="an unknown key",
            expected=f"keys of [{where}]: {', '.join(known)}",
            do="Check the spelling in the configuration.",
        )
    return kind


def options_of(kind: Callable[..., Any]) -> list[str]:
    """Return the names of the keyword-only parameters of a constructor."""
    parameters = inspect.signature(kind).parameters.values()
    return [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]


def filled(kind: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``options`` with the defaults of those left out, so that what is saved says everything."""
    parameters = inspect.signature(kind).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
    return {key: value for key, value in defaults.items() if value is not inspect.Parameter.empty} | dict(options)
