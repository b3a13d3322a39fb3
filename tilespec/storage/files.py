"""Files: small files and JSON beside a product, which are replaced completely or not at all."""

import json
from pathlib import Path
from typing import Any

from tilespec.storage.backends.base import StorePath
from tilespec.storage.backends.paths import store_path


def write_atomic(path: Path | StorePath, text: str) -> None:
    """Replace the file or the object at ``path`` completely or not at all."""
    store_path(path).write_bytes(text.encode())


def read_json(path: Path | StorePath) -> dict[str, Any] | None:
    """Return the JSON object in a file, or None when there is no complete one."""
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
    """Return plain data as JSON text with sorted keys."""
    return json.dumps(data, indent=1, sort_keys=True, default=str) + "\n"
