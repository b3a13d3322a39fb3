"""Results: what is done, one line of JSON for each run, written when it ends."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from tilespec.storage.files import write_atomic


@final
@dataclass(frozen=True, kw_only=True)
class Results:
    """The lines of a study, by the fingerprint of everything that decides them."""

    path: Path
    """The file."""

    def lines(self) -> dict[str, dict[str, Any]]:
        """Return the newest line of each key; a torn one was no result."""
        return {line["key"]: line for line in self._all()}

    def done(self) -> dict[str, dict[str, Any]]:
        """Return the lines of the runs that came to an end, not to an error."""
        return {key: line for key, line in self.lines().items() if "error" not in line}

    def keep(self, line: Mapping[str, Any]) -> None:
        """Add a line; it takes the place of an older one of its key."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = {**self.lines(), line["key"]: dict(line)}
        write_atomic(self.path, "".join(json.dumps(one) + "\n" for one in kept.values()))

    def _all(self) -> Iterator[dict[str, Any]]:
        if self.path.exists():
            for text in self.path.read_text().splitlines():
                line = parsed(text)
                if line is not None and "key" in line:
                    yield line


def parsed(text: str) -> dict[str, Any] | None:
    """Return a JSON object; None of anything else, such as a line that a killed run left."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
