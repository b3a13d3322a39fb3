"""Config: the configuration of a training from TOML, as typed models that refuse unknown keys."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from tilespec.core.errors import UserError
from tilespec.core.registry import from_user
from tilespec.core.values import plain
from tilespec.spectra.steps import from_user_steps
from tilespec.storage.files import read_table
from tilespec.training.presets import preset
from tilespec.training.settings import Config

Place = tuple[int | str, ...]


def resolve(config: str | Path | Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> Config:
    """Return the checked configuration of a TOML file, of ``preset:NAME`` or of a mapping.

    Args:
        config: The source of the settings.
        overrides: The changed settings, such as ``{"train.steps": "100"}``: dotted keys to values, or to
            texts of TOML; other text is a string.

    Raises:
        UserError: the file or the preset does not exist or is no TOML, a key is unknown, or a value has the wrong type
            or is out of range.
    """
    where, tables = _read(config)
    overrides = overrides or {}
    if {"recipe.steps", "recipe.path"} & set(overrides):
        tables["recipe"] = {}  # one replaces the other
    for key, text in overrides.items():
        _set(tables, key, plain(text))
    try:
        resolved = Config.model_validate(tables)
    except ValidationError as error:
        raise _explain(where, error) from None
    _name_plugins(tables)
    from_user_steps(resolved.recipe.steps or "")
    return resolved


def _name_plugins(table: Mapping[str, Any]) -> None:
    """Permit the plug-ins that a configuration names, because the user wrote it."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            _name_plugins(value)
        elif key == "name" and isinstance(value, str):
            from_user(value)
        from_user(key)  # augmentations of the user's own are keys


def _read(config: str | Path | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return a name for messages, and a copy of the tables."""
    if isinstance(config, Mapping):
        return "configuration", plain(config)
    if str(config).startswith("preset:"):
        return str(config), tomllib.loads(preset(str(config).removeprefix("preset:")))
    try:
        return str(config), tomllib.loads(read_table(config))
    except OSError as error:
        raise UserError(
            config,
            found=error.strerror or "nothing readable",
            expected="a TOML file, or preset:NAME",
            do="Check the path; `preset:tiny` trains in seconds.",
        ) from error
    except ValueError as error:
        raise UserError(config, found=f"no TOML: {error}", expected="TOML", do="Correct that line.") from error


def _set(tables: dict[str, Any], key: str, text: Any) -> None:
    """Set the dotted ``key`` to a value, or to that of a text."""
    *path, last = key.split(".")
    for name in path:
        tables = tables.setdefault(name, {})
    if not path or not isinstance(tables, dict):
        raise UserError(
            f"--set {key}={text}",
            found="a key without its table",
            expected="table.key=value, such as train.steps=100",
            do=f"The tables are {', '.join(_known(()))}.",
        )
    tables[last] = _scalar(text)


def _scalar(text: Any) -> Any:
    """Return the TOML value of ``text``; text that is no boolean, number, string or list of TOML is a string."""
    if not isinstance(text, str):
        return text
    try:
        value = tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text
    return value if isinstance(value, bool | int | float | str | list | dict) else text


def _explain(where: str, error: ValidationError) -> UserError:
    """Return the first mistake as one message: its key, the value found, and the known keys or values."""
    mistakes = error.errors(include_url=False)
    first = next((one for one in mistakes if one["type"] == "extra_forbidden"), mistakes[0])
    key = ".".join(str(part) for part in first["loc"])
    table = ".".join(str(part) for part in first["loc"][:-1])
    if first["type"] == "extra_forbidden":
        names = ", ".join(_known(first["loc"][:-1]))
        expected = f"keys of [{table}]: {names}" if table else f"the tables {names}"
        return UserError(f"{where}: {key}", found="an unknown key", expected=expected, do="Check the spelling.")
    if first["type"] == "missing":
        do = f"Give it in the file, or with --set {key}=..."
        return UserError(f"{where}: {key}", found="nothing", expected="a value", do=do)
    message = first["msg"][:1].lower() + first["msg"][1:]
    return UserError(f"{where}: {key}", found=repr(first["input"]), expected=message, do="Change that value.")


def _known(place: Place) -> list[str]:
    """Return the known keys of a table."""
    model: type[BaseModel] = Config
    for name in place:
        inner = _fields(model)[str(name)].annotation
        assert isinstance(inner, type), "tables are models"
        model = inner
    return list(_fields(model))


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    """Return the fields of a table by the names in the configuration."""
    return {field.alias or name: field for name, field in model.model_fields.items()}
