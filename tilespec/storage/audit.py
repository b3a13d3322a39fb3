"""Audit: the state of a product by its ledger, and whether its stored bytes are still those that were written.

`status` reads records and sizes of objects only, and may run while another run writes. `verify` reads every byte.
Neither changes anything; `tilespec.workflows.repair.repair` does.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, final

from tilespec.core.errors import UserError
from tilespec.core.fingerprint import difference
from tilespec.core.memory import Peak
from tilespec.core.progress import Progress, Silent
from tilespec.storage.backends.base import StorePath
from tilespec.storage.backends.paths import store_path
from tilespec.storage.columns import SPECTRUM
from tilespec.storage.files import read_json
from tilespec.storage.inventory import PUBLISHED, ROOT, fault_of
from tilespec.storage.ledger import Ledger
from tilespec.storage.lock import holder
from tilespec.storage.product import Product
from tilespec.storage.throughput import throughput

THREADS = 4
"""The number of objects that are read and hashed at the same time; one block of each is in memory."""
AHEAD = 256
"""The number of objects that wait for a thread."""


@final
@dataclass(frozen=True, kw_only=True)
class Claim:
    """The size and the hash that a record states for one object."""

    key: str
    """The key of the object in the store."""
    row: int | None
    """The row of objects that it belongs to; None for metadata and constants, which belong to all rows."""
    panel: int
    """The panel of the row."""
    size: int
    """The size of the object in bytes."""
    hash: str
    """The hash of the encoded bytes."""


def status(out: str | Path) -> dict[str, Any]:
    """Return which rows of a product are done, by its ledger, and which process writes it.

    No pixel is read and nothing is changed. ``panels`` lists, for each panel, how many rows of objects are done, and
    which are missing, in flight (begun and not recorded), or contain poison tiles. Rows that a run is just writing, or
    that a killed run left, are reported and are no error.

    Raises:
        UserError: no product was ever begun at ``out``.
    """
    url = str(out)
    ledger = _ledger(url)
    product, held = product_of(url, ledger), _Held.of(ledger)
    panels = [] if product is None else _panels(product, held)
    rows = 0 if product is None else product.rows * product.panels
    missing = rows - sum(panel["done"] for panel in panels)
    writer = holder(url)
    return {
        "out": url,
        "status": _stated_status(store_path(url)),
        "fingerprint": ledger.key,
        "rows": rows if product else None,
        "rows_done": rows - missing if product else held.rows,
        "rows_missing": missing if product else None,
        "rows_in_flight": len(held.in_flight),
        "panels": panels,
        "poison": sorted(held.tiles),
        "bytes": held.bytes,
        "lock": writer,
        "throughput": throughput(ledger, rows, running=writer is not None),
        "command": ledger.read_note("command"),
        "last_run": _last_run(ledger),
        "settings": ledger.read_note("settings"),
    }


def verify(out: str | Path, *, progress: Progress | None = None) -> dict[str, Any]:
    """Return which stored objects of a product differ from what was written, by hashing all of them again.

    ``damaged`` names each object that is missing, or has another size, or other bytes, with its row of objects;
    ``metadata`` the same for metadata and coordinates; ``unrecorded`` lists files that are in no record (rows in
    flight, or foreign files). ``intact`` is true when nothing is damaged, ``whole`` when all rows exist too.

    Raises:
        UserError: there is no record to compare with.
    """
    url, say = str(out), progress or Silent()
    ledger = _ledger(url)
    product, records = product_of(url, ledger), ledger.records()
    if product is None and not (store_path(url) / ROOT).exists():
        raise UserError(
            url,
            found="a product without records of its objects",
            expected="records of size and hash, which ingest, simulate, transform and predict write",
            do="Compare it with a copy; or remove it with its .tilespec folder and write it again.",
        )
    described = {} if product is None else ledger.read_layout()["metadata"]
    claims = list(_claims(records, described))
    with Peak() as peak:
        say.start("verify", sum(claim.size for claim in claims), "B")
        comparisons = list(_compared(store_path(url), claims, say))
        say.finish()
    missing = 0 if product is None else sum(map(len, product.missing_by_panel()))
    damaged = [_named(claim, what) for claim, what in comparisons if what is not None and claim.row is not None]
    metadata = [_named(claim, what) for claim, what in comparisons if what is not None and claim.row is None]
    metadata += _root(store_path(url), described, read_json(ledger.folder / PUBLISHED))
    beside = {"layout.json": product, "settings.json": ledger.read_note("settings")}
    found = "missing or damaged"
    metadata += [{"object": key, "row": None, "panel": 0, "found": found} for key, it in beside.items() if it is None]
    return {
        "out": url,
        "status": _stated_status(store_path(url)),
        "objects": len(claims),
        "bytes": sum(claim.size for claim in claims),
        "damaged": damaged,
        "metadata": metadata,
        "unrecorded": _unrecorded(store_path(url), {ROOT, *(claim.key for claim in claims)}),
        "rows_missing": missing,
        "intact": not damaged and not metadata,
        "whole": not damaged and not metadata and missing == 0,
        "seconds": peak.seconds,
        "peak_memory": peak.bytes,
    }


def _ledger(url: str) -> Ledger:
    """Return the ledger of the product; refuse a location where no product was begun."""
    ledger = Ledger.find(url)
    if ledger is None:
        there = store_path(url).exists()
        raise UserError(
            url,
            found="a store without a ledger beside it" if there else "nothing",
            expected="a product that tilespec wrote, with its .tilespec folder",
            do="Check the path." + (" The folder OUT.tilespec belongs beside OUT when it is moved." if there else ""),
        )
    return ledger


def product_of(url: str, ledger: Ledger) -> Product | None:
    """Return the product as its layout describes it, or None: the layout is not written yet, or is damaged."""
    layout, root = ledger.read_layout(), read_json(store_path(url) / ROOT) or {}
    listed = ((root.get("consolidated_metadata") or {}).get("metadata") or {}).values()
    planes = [plane for plane in map(_plane, listed) if len(plane) == 2]
    sizes: dict[str, Any] = {key: layout.get(key) for key in ("height", "width", "edge", "panel")}
    if not layout or (planes and [sizes["height"], sizes["width"]] not in planes):
        return None
    return Product(url=url, ledger=ledger, **sizes)


@final
@dataclass(kw_only=True)
class _Held:
    """The sums over the records of a product, from one reading of them."""

    in_flight: list[tuple[int, int]]
    """The rows and panels that were begun and not recorded."""
    rows: int = 0
    """The number of records."""
    bytes: int = 0
    """The sum of the sizes of all objects."""
    tiles: set[int] = field(default_factory=set)
    """The numbers of the tiles in quarantine."""
    poison: list[tuple[int, int]] = field(default_factory=list)
    """The rows and panels with tiles in quarantine."""

    @classmethod
    def of(cls, ledger: Ledger) -> "_Held":
        """Return the sums of a ledger."""
        held = cls(in_flight=ledger.in_flight())
        for where, record in ledger.each():
            held.rows += 1
            held.bytes += sum(claim.size for claim in _claims({where: record}, {}))
            held.tiles |= {*record.get("poison", ())}
            held.poison += [where] if record.get("poison") else []
        return held


def _panels(product: Product, held: _Held) -> list[dict[str, Any]]:
    """Return which rows of each panel are done, missing, in flight or poison."""
    return [
        {
            "columns": list(product.columns(panel)),
            "done": product.rows - len(missing),
            "missing": missing,
            "in_flight": [row for row, of in held.in_flight if of == panel],
            "poison": [row for row, of in held.poison if of == panel],
        }
        for panel, missing in enumerate(product.missing_by_panel())
    ]


def _claims(records: dict[tuple[int, int], dict[str, Any]], metadata: dict[str, list[Any]]) -> Iterator[Claim]:
    """Return the size and the hash of every object, from the records and the layout."""
    for key, (size, digest) in metadata.items():
        yield Claim(key=key, row=None, panel=0, size=size, hash=digest)
    for (row, panel), record in records.items():
        for objects in record.get("objects", {}).values():
            for key, (size, digest) in objects.items():
                yield Claim(key=key, row=row, panel=panel, size=size, hash=digest)


def _compared(root: StorePath, claims: list[Claim], progress: Progress) -> Iterator[tuple[Claim, str | None]]:
    """Yield each claim with the fault of its object, or None for an intact object; a few objects are read at once."""
    with ThreadPoolExecutor(THREADS) as pool:
        for first in range(0, len(claims), AHEAD):
            batch = claims[first : first + AHEAD]
            for claim, what in zip(batch, pool.map(partial(_fault, root), batch), strict=True):
                progress.advance(claim.size)
                yield claim, what


def _fault(root: StorePath, claim: Claim) -> str | None:
    return fault_of(root, claim.key, claim.size, claim.hash)


def _named(claim: Claim, what: str) -> dict[str, Any]:
    return {"object": claim.key, "row": claim.row, "panel": claim.panel, "found": what}


def _root(url: StorePath, recorded: dict[str, Any], published: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return the faults of the root's metadata: other attributes than published, or other arrays than there are."""
    metadata, found = read_json(url / ROOT), []
    if metadata is None:
        found = ["missing" if not (url / ROOT).exists() else "JSON that ends early or is damaged"]
    else:
        listed = (metadata.get("consolidated_metadata") or {}).get("metadata") or {}
        arrays = {key.removesuffix(f"/{ROOT}"): read_json(url / key) for key in recorded if key.endswith(f"/{ROOT}")}
        found = [f"other metadata of {name}" for name, own in arrays.items() if own not in (None, listed.get(name))]
        if published is not None and not found and metadata != published:
            found = [difference(*(root.get("attributes") or {} for root in (published, metadata))) or "other metadata"]
        if "tilespec_status" not in (metadata.get("attributes") or {}) and not found:
            found = ["no status"]
    return [{"object": ROOT, "row": None, "panel": 0, "found": what} for what in found]


def _plane(array: Mapping[str, Any]) -> list[int]:
    """Return the height and the width of an array by its metadata; a table of spectra is one pixel wide."""
    shape: list[int] = list(array.get("shape") or ())
    return [shape[0], 1] if (array.get("dimension_names") or [""])[0] == SPECTRUM else shape[:2]


def _stated_status(url: StorePath) -> str | None:
    """Return the status attribute of the store itself, or None when there is no store yet."""
    if not (url / ROOT).exists():
        return None
    metadata = read_json(url / ROOT)
    return "damaged" if metadata is None else (metadata.get("attributes") or {}).get("tilespec_status")


def _unrecorded(root: StorePath, recorded: set[str]) -> list[str]:
    """Return the keys of objects in a store that are in no record."""
    return sorted(set(root.sizes()) - recorded)


def _last_run(ledger: Ledger) -> dict[str, Any] | None:
    """Return the facts that the last verb noted: seconds, memory, counts."""
    verb = (ledger.read_note("command") or {}).get("verb")
    return None if not isinstance(verb, str) else ledger.read_note(Path(verb).name)
