"""Audit: what the ledger of a product says, and whether the stored bytes are still those that were written.

`status` reads records, and sizes of objects; it may be asked while a run writes. `verify` reads every byte. Neither
changes anything; `tilespec.workflows.repair.repair` does.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from tilespec.core.errors import UserError
from tilespec.core.memory import Peak
from tilespec.core.progress import Progress, Silent
from tilespec.storage.backends.base import Place
from tilespec.storage.backends.paths import at
from tilespec.storage.files import read_json
from tilespec.storage.ledger import Ledger
from tilespec.storage.lock import holder
from tilespec.storage.product import Product
from tilespec.storage.stored_objects import entry_of, place

THREADS = 4
"""Objects that are read and hashed at once: one block of each is in memory."""
AHEAD = 256
"""Objects that wait for a thread."""
ROOT = "zarr.json"


@final
@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a record says of one object."""

    key: str
    """Where it lies in the store."""
    row: int | None
    """Row of objects; None for metadata and constants, which belong to all rows."""
    panel: int
    """Panel of the row."""
    size: int
    """Bytes."""
    hash: str
    """Of the encoded bytes."""


def status(out: str | Path) -> dict[str, Any]:
    """Return what is done of a product, by its ledger, and who is writing it; reads no pixels and changes nothing.

    ``panels`` lists, for each panel, how many rows of objects are done, and which are missing, in flight (begun and
    not recorded), or hold poison tiles. Whatever a run is just writing, or a killed run left, is told and never an
    error.

    Raises:
        UserError: nothing was ever begun at ``out``.
    """
    url = str(out)
    ledger = _ledger(url)
    records = ledger.records()
    product = _product(url, ledger)
    panels = [] if product is None else [_panel(product, panel) for panel in range(product.panels)]
    rows = 0 if product is None else product.rows * product.panels
    missing = rows - sum(panel["done"] for panel in panels)
    return {
        "out": url,
        "status": _said(at(url)),
        "fingerprint": ledger.key,
        "rows": rows if product else None,
        "rows_done": rows - missing if product else len(records),
        "rows_missing": missing if product else None,
        "rows_in_flight": len(ledger.in_flight()),
        "panels": panels,
        "poison": sorted({tile for record in records.values() for tile in record.get("poison", ())}),
        "bytes": sum(claim.size for claim in _claims(records, {})),
        "lock": holder(url),
        "command": ledger.noted("command"),
        "last_run": _last_run(ledger),
        "settings": ledger.noted("settings"),
    }


def verify(out: str | Path, *, progress: Progress | None = None) -> dict[str, Any]:
    """Return which stored objects of a product are no longer what was written, by hashing all of them again.

    ``damaged`` names each object that is missing, or has another size, or other bytes, with its row of objects;
    ``metadata`` the same for metadata and coordinates; ``unrecorded`` lists files that no record speaks of (rows in
    flight, or strangers). ``intact`` says that nothing is damaged, ``whole`` that all rows are there too.

    Raises:
        UserError: there is no record to compare with.
    """
    url, say = str(out), progress or Silent()
    ledger = _ledger(url)
    layout, records = ledger.noted("layout"), ledger.records()
    if layout is None or "metadata" not in layout:
        raise UserError(
            url,
            found="a product without records of its objects",
            expected="records of size and hash, which ingest, simulate, transform and predict write",
            do="Compare it with a copy; or remove it with its .tilespec folder and write it again.",
        )
    claims = list(_claims(records, layout["metadata"]))
    with Peak() as peak:
        say.start("verify", sum(claim.size for claim in claims), "B")
        found = list(_compared(at(url), claims, say))
        say.finish()
    product = _product(url, ledger)
    missing = 0 if product is None else sum(len(product.missing(panel)) for panel in range(product.panels))
    damaged = [_named(claim, what) for claim, what in found if what is not None and claim.row is not None]
    metadata = [_named(claim, what) for claim, what in found if what is not None and claim.row is None]
    metadata += _root(at(url), layout["metadata"])
    return {
        "out": url,
        "status": _said(at(url)),
        "objects": len(claims),
        "bytes": sum(claim.size for claim in claims),
        "damaged": damaged,
        "metadata": metadata,
        "unrecorded": _unrecorded(at(url), {ROOT, *(claim.key for claim in claims)}),
        "rows_missing": missing,
        "intact": not damaged and not metadata,
        "whole": not damaged and not metadata and missing == 0,
        "seconds": peak.seconds,
        "peak_memory": peak.bytes,
    }


def _ledger(url: str) -> Ledger:
    """Return the ledger of the product; refuse a place where nothing was begun."""
    ledger = Ledger.found(url)
    if ledger is None:
        there = at(url).exists()
        raise UserError(
            url,
            found="a store without a ledger beside it" if there else "nothing",
            expected="a product that tilespec wrote, with its .tilespec folder",
            do="Check the path." + (" The folder OUT.tilespec belongs beside OUT when it is moved." if there else ""),
        )
    return ledger


def _product(url: str, ledger: Ledger) -> Product | None:
    """Return the product as its layout says; None before a run has come that far."""
    layout = ledger.noted("layout")
    if layout is None or "metadata" not in layout:
        return None
    sizes = {key: layout[key] for key in ("height", "width", "edge", "panel")}
    return Product(url=url, ledger=ledger, **sizes)


def _panel(product: Product, panel: int) -> dict[str, Any]:
    """Return what is done of a panel."""
    missing = product.missing(panel)
    poison = [row for row, record in product.ledger.done(panel).items() if record.get("poison")]
    flying = [row for row, of in product.ledger.in_flight() if of == panel]
    first, last = product.columns(panel)
    done = product.rows - len(missing)
    return {"columns": [first, last], "done": done, "missing": missing, "in_flight": flying, "poison": poison}


def _claims(records: dict[tuple[int, int], dict[str, Any]], metadata: dict[str, list[Any]]) -> Iterator[Claim]:
    """Return what the records and the layout say of every object."""
    for key, (size, digest) in metadata.items():
        yield Claim(key=key, row=None, panel=0, size=size, hash=digest)
    for (row, panel), record in records.items():
        for objects in record.get("objects", {}).values():
            for key, (size, digest) in objects.items():
                yield Claim(key=key, row=row, panel=panel, size=size, hash=digest)


def _compared(root: Place, claims: list[Claim], progress: Progress) -> Iterator[tuple[Claim, str | None]]:
    """Yield each claim with what is wrong with its object, None if nothing is; a few objects at once."""
    with ThreadPoolExecutor(THREADS) as pool:
        for first in range(0, len(claims), AHEAD):
            batch = claims[first : first + AHEAD]
            for claim, what in zip(batch, pool.map(lambda c: _wrong(root, c), batch), strict=True):
                progress.advance(claim.size)
                yield claim, what


def _wrong(root: Place, claim: Claim) -> str | None:
    """Return what is wrong with an object."""
    try:
        path = place(root, claim.key)
    except UserError:
        return "a place outside the store"
    try:
        if path.is_symlink():
            return "a link"
        size, digest = entry_of(path)
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except OSError as error:
        return f"unreadable ({error.strerror})"
    if size != claim.size:
        return f"{size} bytes instead of {claim.size}"
    return None if digest == claim.hash else "other bytes"


def _named(claim: Claim, what: str) -> dict[str, Any]:
    return {"object": claim.key, "row": claim.row, "panel": claim.panel, "found": what}


def _root(url: Place, recorded: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what is wrong with the root's metadata: attributes may change, the arrays it consolidates may not."""
    found = read_json(url / ROOT)
    if found is None:
        what = "missing" if not (url / ROOT).exists() else "JSON that ends early or is damaged"
        return [{"object": ROOT, "row": None, "panel": 0, "found": what}]
    kept = found.get("consolidated_metadata") or {}
    listed = kept.get("metadata", {}) if isinstance(kept, dict) else {}
    wrong = []
    for key in (key for key in recorded if key.endswith(f"/{ROOT}")):
        own = read_json(url / key)
        name = key.removesuffix(f"/{ROOT}")
        if own is not None and listed.get(name) != own:
            wrong.append({"object": ROOT, "row": None, "panel": 0, "found": f"other metadata of {name}"})
    if "tilespec_status" not in (found.get("attributes") or {}):
        wrong.append({"object": ROOT, "row": None, "panel": 0, "found": "no status"})
    return wrong


def _said(url: Place) -> str | None:
    """Return the status that the store itself states; None where there is no store yet."""
    if not (url / ROOT).exists():
        return None
    found = read_json(url / ROOT)
    return "damaged" if found is None else (found.get("attributes") or {}).get("tilespec_status")


def _unrecorded(root: Place, known: set[str]) -> list[str]:
    """Return the objects of a store that no record speaks of."""
    return sorted(set(root.sizes()) - known)


def _last_run(ledger: Ledger) -> dict[str, Any] | None:
    """Return what the verb that wrote the product last noted: seconds, memory, counts."""
    verb = (ledger.noted("command") or {}).get("verb")
    return None if not isinstance(verb, str) else ledger.noted(Path(verb).name)
