"""Variants: the compared trainings: every combination of varied settings, and baselines."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, final

from tilespec.core.errors import UserError

Source = str | Path | Mapping[str, Any]
OPEN, CLOSE = "[{(", "]})"


@final
@dataclass(frozen=True, kw_only=True)
class Variant:
    """One line of the comparison."""

    name: str
    """The name in the table."""
    config: Source
    """The configuration of the training; for a baseline it names the data."""
    changes: Mapping[str, str] = field(default_factory=dict)
    """The dotted keys and TOML values that replace those of the configuration."""
    baseline: str | None = None
    """The name of a classical method that is fitted instead."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The options of the baseline."""
    generator: "Variant | None" = None
    """The training whose synthetic spectra the baseline learns from too."""
    predict: Mapping[str, Any] = field(default_factory=dict)
    """The options of the prediction, in addition to those common to all."""


def variants_of(
    configs: Sequence[Source],
    vary: Mapping[str, Sequence[Any]],
    baselines: Sequence[str],
    options: Mapping[str, Any],
    more: Sequence[Mapping[str, Any]] = (),
) -> tuple[Variant, ...]:
    """Return every configuration with every combination of varied values, then baselines, then complete variants.

    Args:
        configs: The configurations; with several, their names are in the table.
        vary: The dotted keys and their values.
        baselines: The names of classical methods, whose data are those of the first configuration.
        options: The options of all of them.
        more: The fields of further variants.

    Raises:
        UserError: a key has no values, or two variants have one name.
    """
    for key, values in vary.items():
        if not values:
            raise UserError(f"--vary {key}", found="no value", expected=f"--vary {key}=1,2,3", do="Give its values.")
    grid = [
        Variant(name=_name(config, pairs, several=len(configs) > 1), config=config, changes=dict(pairs))
        for config in configs
        for pairs in _combinations(vary)
    ]
    grid += [Variant(name=name, config=configs[0], baseline=name, options=options) for name in baselines]
    grid += [Variant(**{"config": configs[0], **_plain(one)}) for one in more]
    names = [one.name for one in grid]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError("variants", found=f"{twice[0]!r} twice", expected="names that differ", do="Rename one.")
    return tuple(grid)


def values_of(text: str) -> list[str]:
    """Return the values in ``1,2,3``, each as TOML text; commas within brackets or quotes do not separate values.

    ``["vsn,pca=4", "snv"]``, a list of TOML, is a list of the values; words without quotes are text, as for ``--set``.
    """
    text = text.strip()
    for array in (text, f"[{text}]"):
        values = plain(array)
        if isinstance(values, list):
            return [_toml(value) for value in values]
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in OPEN) - (letter in CLOSE)
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def toml(value: Any) -> str:
    """Return a plain value in TOML; text remains unchanged, as for ``--set``."""
    return value if isinstance(value, str) else _toml(value)


def plain(value: Any) -> Any:
    """Return the value of TOML text; other text and other values remain unchanged."""
    if not isinstance(value, str):
        return value
    try:
        return tomllib.loads(f"v = {value}")["v"]
    except tomllib.TOMLDecodeError:
        return value


def _toml(value: Any) -> str:
    """Return a plain value in TOML as it appears within other values."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_toml(str(key))} = {_toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return repr(value)


def _combinations(vary: Mapping[str, Sequence[Any]]) -> Iterator[tuple[tuple[str, str], ...]]:
    """Yield the keys with one value each, in every combination; the last key varies fastest."""
    for values in product(*vary.values()):
        yield tuple((key, toml(value)) for key, value in zip(vary, values, strict=True))


def _name(config: Source, pairs: Sequence[tuple[str, str]], *, several: bool) -> str:
    """Return the name of a variant, from its differences to the others."""
    parts = [f"{key.rpartition('.')[2]}={value}" for key, value in pairs]
    base = "configuration" if isinstance(config, Mapping) else Path(str(config).removeprefix("preset:")).stem
    return ", ".join([base, *parts] if several or not parts else parts)


def _plain(one: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a variant, its changes as TOML text."""
    changes = {key: toml(value) for key, value in one.get("changes", {}).items()}
    return {**one, "changes": changes}
