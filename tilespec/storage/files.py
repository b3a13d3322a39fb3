"""Files: small files and JSON beside a product, replaced whole or not at all."""

import json
from pathlib import Path
from typing import Any

from tilespec.storage.backends.base import Place
from tilespec.storage.backends.paths import at


def write_atomic(path: Path | Place, text: str) -> None:
    """Replace the file, or the object, at ``path`` whole, or not at all."""
    at(path).write_bytes(text.encode())


def read_json(path: Path | Place) -> dict[str, Any] | None:
    """Return the JSON object in a file; None where there is none that is whole."""
    try:
        return parse_json(path.read_text())
    except (OSError, UnicodeDecodeError):
        return None


def parse_json(text: str) -> dict[str, Any] | None:
    """Return the JSON object that a text is; None of anything else, such as a line that a killed run left."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def dump_json(data: Any) -> str:
    """Return plain data as JSON text with its keys in order."""
    return json.dumps(data, indent=1, sort_keys=True, default=str) + "\n"
