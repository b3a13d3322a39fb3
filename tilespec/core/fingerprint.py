"""Fingerprint: the hash of settings, and the settings that differ by name."""

import hashlib
import json
from typing import Any, Final

ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=str)
"""The one text of plain data."""


def fingerprint(settings: Any) -> str:
    """Return the hash of plain data as a hexadecimal text; the order of keys does not matter."""
    digest = hashlib.blake2b(digest_size=16)
    for piece in ENCODER.iterencode(settings):  # the text of a million objects is never in memory as a whole
        digest.update(piece.encode())
    return digest.hexdigest()


def difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Return the names of the settings that differ, as dotted keys with both values."""
    old, new = _flat(before), _flat(now)
    keys = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    return "; ".join(f"{key} was {_short(old.get(key))}, is {_short(new.get(key))}" for key in keys)


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as a flat dictionary with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
