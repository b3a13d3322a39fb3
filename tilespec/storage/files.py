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
        found = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError, UnicodeDecodeError):
        return None
    return found if isinstance(found, dict) else None


def dump_json(data: Any) -> str:
    """Return plain data as JSON text with its keys in order."""
    return json.dumps(data, indent=1, sort_keys=True, default=str) + "\n"
