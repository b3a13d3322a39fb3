"""The ledger: what is done, kept beside a product in ``OUT.tilespec/``, one atomic record per row of objects.

"The file exists" is never "done": a record is written after the objects it speaks of, and it is keyed by a
fingerprint of everything that decides their bytes. The ledger needs nothing of its storage but get, put, put-if-absent
and list: a folder, or a prefix of a bucket.

What survives a power cut: records are flushed to the disk, the bulk objects they speak of are not (that would cost
more than writing them). So a record may outlive the bytes of its objects. A resumed run compares every object's size
with its record, which finds what file systems leave behind then, files of no length, without reading one; `verify`
reads everything, and finds the rest.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from tilespec.core.errors import UserError
from tilespec.core.fingerprint import difference, fingerprint
from tilespec.storage.backends.base import Place
from tilespec.storage.backends.paths import at, several
from tilespec.storage.files import dump_json, read_json, write_atomic

STEM = re.compile(r"row-(\d+)(?:-panel-(\d+))?")
"""Name of a record or a marker; panel 0 stands for a plane without panels too."""


@final
@dataclass(frozen=True, kw_only=True)
class Ledger:
    """Records of the rows of one product under one fingerprint."""

    folder: Place
    """``OUT.tilespec``."""
    key: str
    """Fingerprint of the settings."""

    @classmethod
    def open(cls, product: str, settings: dict[str, Any]) -> "Ledger":
        """Return the ledger of ``product``; refuse when it was begun with other settings, naming the difference."""
        ledger = cls(folder=beside(product), key=fingerprint(settings))
        kept = ledger.noted("settings")
        if kept is not None and fingerprint(kept) != ledger.key:
            raise UserError(
                product,
                found="a product of other settings: " + difference(kept, json.loads(dump_json(settings))),
                expected="the same settings, to resume it",
                do="Give another OUT, or remove the old product and its .tilespec folder first.",
            )
        if kept is None and (ledger.folder / "settings.json").exists():
            raise UserError(
                ledger.folder / "settings.json",
                found="JSON that ends early or is damaged",
                expected="the settings that the product was begun with",
                do="Restore the file from a copy, or remove the product and its .tilespec folder and start again.",
            )
        ledger.rows.mkdir(parents=True, exist_ok=True)
        if kept is None:
            ledger.note("settings", settings)
        return ledger

    @classmethod
    def found(cls, product: str) -> "Ledger | None":
        """Return the ledger that lies beside ``product``, if a run has begun one."""
        settings = noted(beside(product), "settings")
        return None if settings is None else cls(folder=beside(product), key=fingerprint(settings))

    @property
    def rows(self) -> Place:
        """Folder of the records and markers."""
        return self.folder / self.key

    def done(self, panel: int = 0) -> dict[int, dict[str, Any]]:
        """Return the records of a panel by row."""
        return {row: record for (row, of), record in self.records().items() if of == panel}

    def records(self) -> dict[tuple[int, int], dict[str, Any]]:
        """Return all records by row and panel; one that cannot be read records nothing."""
        listed = self._listed(".json")
        paths = [path for _, path in listed]
        read = several(read_json, paths) if self.folder.on_disk is None else map(read_json, paths)
        found = {where: record for (where, _), record in zip(listed, read, strict=True)}
        return {where: record for where, record in found.items() if record is not None}

    def in_flight(self) -> list[tuple[int, int]]:
        """Return rows and panels that were begun and not recorded: somebody writes them, or was killed doing so."""
        done = self.records()
        return [where for where, _ in self._listed(".writing") if where not in done]

    def forget(self) -> None:
        """Drop all records: the objects they speak of are gone."""
        self.rows.clear()

    def begin(self, row: int, panel: int = 0) -> bool:
        """Mark ``row`` as in flight: its objects may be torn until it is recorded. Return whether it was already."""
        return not self._path(row, panel, ".writing").claim(b"")

    def record(self, row: int, facts: dict[str, Any], panel: int = 0) -> None:
        """Say that ``row`` is done."""
        write_atomic(self._path(row, panel, ".json"), dump_json(facts))
        self._path(row, panel, ".writing").unlink(missing_ok=True)

    def drop(self, row: int, panel: int = 0) -> None:
        """Say that ``row`` is not done."""
        self._path(row, panel, ".json").unlink(missing_ok=True)

    def settle(self) -> None:
        """Drop markers of rows that are done: a second worker began them and was ended."""
        for _, path in self._listed(".writing"):
            path.unlink(missing_ok=True)

    def note(self, name: str, facts: dict[str, Any]) -> None:
        """Keep facts that vary between runs (seconds, hosts, memory) beside the product, never in it."""
        write_atomic(self.folder / f"{name}.json", dump_json(facts))

    def noted(self, name: str) -> dict[str, Any] | None:
        """Return the facts kept as ``name``, if there are any."""
        return noted(self.folder, name)

    def command(self, verb: str, **options: Any) -> None:
        """Keep the command that writes the product, so that `repair` can run it again."""
        self.note("command", {"verb": verb, "options": options, "folder": str(Path.cwd())})

    def _path(self, row: int, panel: int, suffix: str) -> Place:
        return self.rows / (f"row-{row:06d}" + (f"-panel-{panel:04d}" if panel else "") + suffix)

    def _listed(self, suffix: str) -> list[tuple[tuple[int, int], Place]]:
        """Return row, panel and path of the records or markers, ascending; none where no run has begun."""
        named = [(STEM.fullmatch(path.stem), path) for path in self.rows.glob(f"row-*{suffix}")]
        return sorted(((int(m[1]), int(m[2] or 0)), path) for m, path in named if m is not None)


def beside(product: str) -> Place:
    """Return the folder beside a product, where its ledger lies."""
    return at(f"{product.rstrip('/')}.tilespec")


def noted(folder: Path | Place, name: str) -> dict[str, Any] | None:
    """Return the facts kept as ``name`` in the folder beside a product, if there are any."""
    return read_json(folder / f"{name}.json")
