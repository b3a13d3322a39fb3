"""Ledger: one atomic record for each finished row of objects, beside a product in ``OUT.tilespec/``.

"The file exists" is never "done": a record is written after its objects, and it is keyed by a
fingerprint of everything that decides their bytes. The ledger needs four operations of its storage: get, put,
put-if-absent and list: a folder, or a prefix of a bucket.

After a power cut: records are flushed to the disk, but their objects are not (that would cost more than writing them).
So a record may outlive the bytes of its objects. A resumed run compares every object's size with its record, which
finds what file systems leave behind then, files of no length, without reading one; `verify` reads everything, and finds
the rest.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard, final

from tilespec.core.errors import OccupiedError, UserError
from tilespec.core.fingerprint import difference, fingerprint
from tilespec.storage.backends.base import StorePath
from tilespec.storage.backends.paths import map_concurrently, store_path
from tilespec.storage.files import dump_json, read_json, write_atomic

STEM = re.compile(r"row-(\d+)(?:-panel-(\d+))?")
"""The pattern of the name of a record or a marker; a plane without panels has panel 0."""
RECORD = re.compile(rf"[0-9a-f]{{32}}/{STEM.pattern}\.json")
"""The pattern of the key of a record below the folder of the ledger."""
WINDOW = 256
"""The number of records of a server that are in memory at once."""


@final
@dataclass(frozen=True, kw_only=True)
class Ledger:
    """The records of the finished rows of one product under one fingerprint."""

    folder: StorePath
    """The folder ``OUT.tilespec`` of the records."""
    key: str
    """The fingerprint of the settings."""

    @classmethod
    def open(cls, product: str, settings: dict[str, Any]) -> "Ledger":
        """Return the ledger of ``product``; refuse one that was begun with other settings, and name the difference.

        Damaged settings are written again if records lie under the fingerprint of ``settings``: they were begun so.
        """
        ledger = cls(folder=sidecar(product), key=fingerprint(settings))
        before = ledger.read_note("settings")
        if before is not None and fingerprint(before) != ledger.key:
            raise OccupiedError(
                product,
                found="a product of other settings: " + difference(before, json.loads(dump_json(settings))),
                expected="the same settings, to resume it",
                do="Give another OUT, or remove the old product and its .tilespec folder first.",
            )
        if before is None and (ledger.folder / "settings.json").exists() and not ledger.rows.exists():
            raise UserError(
                ledger.folder / "settings.json",
                found="JSON that ends early or is damaged",
                expected="the settings that the product was begun with",
                do="Restore the file from a copy, or remove the product and its .tilespec folder and start again.",
            )
        ledger.rows.mkdir(parents=True, exist_ok=True)
        if before is None:
            ledger.note("settings", settings)
        return ledger

    @classmethod
    def find(cls, product: str) -> "Ledger | None":
        """Return the ledger beside ``product``, or None when no run has begun one.

        If the settings are damaged, the name of the only folder of records is their fingerprint.
        """
        folder = sidecar(product)
        settings = read_note(folder, "settings")
        if settings is not None:
            return cls(folder=folder, key=fingerprint(settings))
        keys = {key.split("/")[0] for key in folder.sizes() if RECORD.fullmatch(key)}
        return cls(folder=folder, key=keys.pop()) if len(keys) == 1 else None

    @property
    def rows(self) -> StorePath:
        """The folder of the records and the markers."""
        return self.folder / self.key

    def done(self) -> dict[int, dict[str, Any]]:
        """Return the records of a plane without panels by row."""
        return {row: record for (row, panel), record in self.each() if panel == 0}

    def records(self) -> dict[tuple[int, int], dict[str, Any]]:
        """Return all records by row and panel; a damaged record counts as absent."""
        return dict(self.each())

    def each(self) -> Iterator[tuple[tuple[int, int], dict[str, Any]]]:
        """Yield row and panel with each record, in ascending order: few are in memory at once."""
        listed = self._listed(".json")
        for first in range(0, len(listed), WINDOW):
            some = listed[first : first + WINDOW]
            paths = [path for _, path in some]
            read = map_concurrently(read_json, paths) if self.folder.on_disk is None else map(read_json, paths)
            for (where, _), record in zip(some, read, strict=True):
                if _is_record(record):
                    yield where, record

    def read(self, row: int, panel: int = 0) -> dict[str, Any] | None:
        """Return the record of a row; None if there is none, or a damaged one."""
        record = read_json(self._path(row, panel, ".json"))
        return record if _is_record(record) else None

    def hashes(self) -> tuple[dict[str, str], set[str]]:
        """Return the hash of each object by its key, and the names of the arrays that every row has.

        They do not depend on rows, panels or the order of writing.
        """
        hashes: dict[str, str] = {}
        names: set[str] | None = None
        for _, record in self.each():
            names = {*record["objects"]} if names is None else names & {*record["objects"]}
            hashes |= {key: digest for of in record["objects"].values() for key, (_, digest) in of.items()}
        return hashes, names or set()

    def counts(self) -> dict[str, int]:
        """Return the sum of the counts of all records."""
        total: dict[str, int] = {}
        for _, record in self.each():
            for key, value in record["counts"].items():
                total[key] = total.get(key, 0) + value
        return total

    def is_older(self) -> bool:
        """Return whether there are records, and none of the present form."""
        return bool(self._listed(".json")) and next(self.each(), None) is None

    def recorded(self) -> list[tuple[int, int]]:
        """Return the rows and panels with a record, which is not read."""
        return [where for where, _ in self._listed(".json")]

    def in_flight(self) -> list[tuple[int, int]]:
        """Return rows and panels that were begun and not recorded: a process writes them, or was killed meanwhile."""
        return [where for where, _ in self._listed(".writing") if self.read(*where) is None]

    def forget(self) -> None:
        """Delete all records, because their objects no longer exist."""
        self.rows.clear()

    def begin(self, row: int, panel: int = 0) -> bool:
        """Mark ``row`` as in flight, because its objects may be incomplete; return whether it was marked already."""
        return not self._path(row, panel, ".writing").claim(b"")

    def record(self, row: int, facts: dict[str, Any], panel: int = 0) -> None:
        """Record that ``row`` is done."""
        write_atomic(self._path(row, panel, ".json"), dump_json(facts))
        self._path(row, panel, ".writing").unlink(missing_ok=True)

    def drop(self, row: int, panel: int = 0) -> None:
        """Delete the record of ``row``: it is not done."""
        self._path(row, panel, ".json").unlink(missing_ok=True)

    def settle(self) -> None:
        """Delete markers of rows that are done: a second worker began them and was ended."""
        for _, path in self._listed(".writing"):
            path.unlink(missing_ok=True)

    def note(self, name: str, facts: dict[str, Any]) -> None:
        """Store facts that differ between runs (seconds, hosts, memory) beside the product, never in it."""
        write_atomic(self.folder / f"{name}.json", dump_json(facts))

    def read_note(self, name: str) -> dict[str, Any] | None:
        """Return the facts that were stored as ``name``, if there are any."""
        return read_note(self.folder, name)

    def read_layout(self) -> dict[str, Any]:
        """Return the layout of the product: sizes, and its metadata with sizes and hashes; empty if it is damaged."""
        layout = self.read_note("layout") or {}
        sizes = [layout.get(key) for key in ("height", "width", "edge")]
        sound = all(isinstance(size, int) and size > 0 for size in sizes) and is_entries(layout.get("metadata"))
        return layout if sound and isinstance(layout.get("panel"), int | None) else {}

    def command(self, verb: str, **options: Any) -> None:
        """Store the command that writes the product, so that `repair` can run it again."""
        self.note("command", {"verb": verb, "options": options, "folder": str(Path.cwd())})

    def _path(self, row: int, panel: int, suffix: str) -> StorePath:
        return self.rows / (f"row-{row:06d}" + (f"-panel-{panel:04d}" if panel else "") + suffix)

    def _listed(self, suffix: str) -> list[tuple[tuple[int, int], StorePath]]:
        """Return row, panel and path of the records or markers in ascending order; none when no run has begun."""
        named = [(STEM.fullmatch(path.stem), path) for path in self.rows.glob(f"row-*{suffix}")]
        return sorted(((int(m[1]), int(m[2] or 0)), path) for m, path in named if m is not None)


def _is_record(record: dict[str, Any] | None) -> TypeGuard[dict[str, Any]]:
    """Return whether JSON has the form of a record: objects with size and hash, counts, and poison tiles."""
    if record is None or not all(isinstance(record.get(key, {}), dict) for key in ("objects", "counts")):
        return False
    arrays, poison = record.get("objects", {}).values(), record.get("poison", [])
    numbers = [*record.get("counts", {}).values(), *(poison if isinstance(poison, list) else [None])]
    return all(is_entries(objects) for objects in arrays) and all(isinstance(number, int | float) for number in numbers)


def is_entries(objects: Any) -> bool:
    """Return whether JSON has the form ``{key: [size, hash]}``."""
    entries = objects.values() if isinstance(objects, dict) else [None]
    return all(isinstance(e, list) and len(e) == 2 and isinstance(e[0], int) and isinstance(e[1], str) for e in entries)


def sidecar(product: str) -> StorePath:
    """Return the folder beside a product, which contains its ledger."""
    return store_path(f"{product.rstrip('/')}.tilespec")


def read_note(folder: Path | StorePath, name: str) -> dict[str, Any] | None:
    """Return the facts that were stored as ``name`` in the folder beside a product, if there are any."""
    return read_json(folder / f"{name}.json")
