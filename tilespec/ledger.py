"""The ledger: what is done, kept beside a product in ``OUT.tilespec/``, one atomic record per row of objects.

"The file exists" is never "done": a record is written after the objects it speaks of, and it is keyed by a
fingerprint of everything that decides their bytes. The ledger needs nothing of its storage but get, put and list.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from tilespec.errors import UserError


def fingerprint(settings: Any) -> str:
    """Return the hash of plain data, independent of the order of keys."""
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def write_atomic(path: Path, text: str) -> None:
    """Replace the file at ``path`` whole, or not at all."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with partial.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


@final
@dataclass(frozen=True, kw_only=True)
class Ledger:
    """Records of the rows of one product under one fingerprint."""

    folder: Path
    """``OUT.tilespec``."""
    key: str
    """Fingerprint of the settings."""

    @classmethod
    def open(cls, product: str, settings: dict[str, Any]) -> "Ledger":
        """Return the ledger of ``product``; refuse when it was begun with other settings, naming the difference."""
        ledger = cls(folder=Path(f"{product.rstrip('/')}.tilespec"), key=fingerprint(settings))
        ledger._rows.mkdir(parents=True, exist_ok=True)
        kept = ledger.folder / "settings.json"
        if kept.exists():
            before = json.loads(kept.read_text())
            if fingerprint(before) != ledger.key:
                raise UserError(
                    product,
                    found="a product of other settings: " + difference(before, json.loads(_dumps(settings))),
                    expected="the same settings, to resume it",
                    do="Give another OUT, or remove the old product and its .tilespec folder first.",
                )
        else:
            write_atomic(kept, _dumps(settings))
        return ledger

    @property
    def _rows(self) -> Path:
        return self.folder / self.key

    def done(self) -> dict[int, dict[str, Any]]:
        """Return the records by row."""
        return {
            int(path.stem.removeprefix("row-")): json.loads(path.read_text())
            for path in sorted(self._rows.glob("row-*.json"))
        }

    def forget(self) -> None:
        """Drop all records: the objects they speak of are gone."""
        for path in self._rows.iterdir():
            path.unlink()

    def begin(self, row: int) -> None:
        """Mark ``row`` as in flight: its objects may be torn until it is recorded."""
        self._marker(row).touch()

    def record(self, row: int, facts: dict[str, Any]) -> None:
        """Say that ``row`` is done."""
        write_atomic(self._rows / f"row-{row:06d}.json", _dumps(facts))
        self._marker(row).unlink(missing_ok=True)

    def note(self, name: str, facts: dict[str, Any]) -> None:
        """Keep facts that vary between runs (seconds, hosts, memory) beside the product, never in it."""
        write_atomic(self.folder / f"{name}.json", _dumps(facts))

    def _marker(self, row: int) -> Path:
        return self._rows / f"row-{row:06d}.writing"


def _dumps(data: Any) -> str:
    return json.dumps(data, indent=1, sort_keys=True, default=str) + "\n"


def difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Name the settings that differ, by dotted keys."""
    old, new = _flat(before), _flat(now)
    keys = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    return "; ".join(f"{key} was {_short(old.get(key))}, is {_short(new.get(key))}" for key in keys)


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
