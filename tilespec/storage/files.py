"""Files: small files and JSON beside a product, which are replaced completely or not at all."""

import json
import os
from pathlib import Path
from typing import Any

from tilespec.core.fingerprint import fingerprint
from tilespec.storage.backends.base import StorePath
from tilespec.storage.backends.paths import store_path


def write_atomic(path: Path | StorePath, text: str) -> None:
    """Replace the file or the object at ``path`` completely or not at all."""
    store_path(path).write_bytes(text.encode())


def scratch_folder(path: StorePath) -> Path:
    """Return a folder of this machine for data that can be computed again.

    It is the folder at ``path``, or one of this user's cache folder when ``path`` is in a bucket.
    """
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tilespec"
    return path.on_disk or caches / fingerprint([path.server, str(path)])


def read_table(path: str | Path) -> str:
    """Return the text of a file that a user wrote, in UTF-8, with or without the mark at its start.

    Raises:
        OSError: there is none, or it cannot be read.
        UnicodeDecodeError: it is no UTF-8.
    """
    return store_path(path).read_bytes().decode("utf-8-sig")


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
