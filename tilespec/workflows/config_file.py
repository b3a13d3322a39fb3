"""Config file: a configuration of a training as TOML, each setting with its reason beside it."""

import json
from dataclasses import dataclass
from typing import Any, final

from tilespec.core.errors import OccupiedError, UserError
from tilespec.storage.backends.paths import store_path


@final
@dataclass(frozen=True, kw_only=True)
class Setting:
    """A value with its reason."""

    value: Any
    """The value, as TOML can hold it."""
    why: str
    """The reason in a few words; empty where the value says it all."""


Table = dict[str, Setting]
"""The settings of a table of a configuration by their keys."""


def plain_tables(tables: dict[str, Table]) -> dict[str, dict[str, Any]]:
    """Return the values of all tables without their reasons; the table ``net.inner`` lies in ``net``."""
    plain: dict[str, dict[str, Any]] = {}
    for name, table in tables.items():
        place = plain
        for part in name.split("."):
            place = place.setdefault(part, {})
        place.update({key: one.value for key, one in table.items()})
    return plain


def check_free(out: str) -> None:
    """Refuse a name of another kind, and a file that is there: somebody may have edited it.

    Raises:
        UserError: ``out`` is no free path ``NAME.toml``.
    """
    if not out.endswith(".toml"):
        raise UserError("OUT", found=repr(out), expected="a file NAME.toml", do="Give it that ending.")
    if store_path(out).exists():
        raise OccupiedError(out, found="a file", expected="a free path", do="Name another one.")


def as_toml(tables: dict[str, Table]) -> str:
    """Return tables as TOML, with the reasons as comments."""
    return "".join(map(_lines, tables, tables.values()))


def _lines(name: str, table: Table) -> str:
    """Return a table as TOML."""
    lines = (f"{key} = {_value(one.value)}{f' # {one.why}' if one.why else ''}" for key, one in table.items())
    return "\n".join(("", f"[{name}]", *lines, ""))


def _value(value: Any) -> str:
    """Return a value as TOML writes it: as JSON does, but for tables inside of tables."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(one)}" for key, one in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)
