"""Repair: damaged objects are written again by the command that wrote them, and no others."""

import inspect
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import zarr

from tilespec import api
from tilespec.core.errors import UserError
from tilespec.core.memory import Peak
from tilespec.core.options import with_options
from tilespec.core.progress import Progress
from tilespec.core.registry import only_named_before
from tilespec.storage.audit import product_of, status, verify
from tilespec.storage.backends.paths import absolute, store_path
from tilespec.storage.columns import arrays_of
from tilespec.storage.files import read_json, write_atomic
from tilespec.storage.inventory import PUBLISHED, ROOT
from tilespec.storage.ledger import Ledger, sidecar
from tilespec.storage.lock import locked
from tilespec.storage.product import MEND, Product, consolidate
from tilespec.storage.stored_objects import place, size_and_hash
from tilespec.workflows.options import RepairOptions

WRITERS = ("simulate", "ingest", "transform", "render", "predict", "synth")
"""The verbs that write products; a record with any other verb is refused."""


@with_options(RepairOptions)
def repair(out: str | Path, options: RepairOptions, progress: Progress) -> dict[str, Any]:
    """Write the damaged objects of a product again, and what is missing of it; return what was found and done.

    Every object is compared with its record; the rows of objects with damage lose their records, and the command
    that wrote the product runs again: it deletes and writes exactly those rows. The unit is the row of objects (of a
    panel), for that is what a record speaks of; ``rows_recomputed`` counts them. Then all is compared once more.

    Args:
        out: The product.
        options: How the command is run; given by name.
        progress: Where progress is shown.

    Raises:
        UserError: another run writes the product; the command is not known; its sources, or its model, are gone or
            have changed. Nothing is lost then that was whole.
    """
    url = absolute(out)
    if options.dry_run:
        return _plan(url, progress) | {"dry_run": True}
    with Peak() as peak, locked(url):
        plan = _plan(url, progress)
        again = partial(_again, plan=plan, workers=options.workers, progress=progress)
        done = plan["whole"] or (not options.accept and _restore_root(url, plan))
        result = None if done else (_accept if options.accept else again)(url)
        after = plan if plan["whole"] else verify(url, progress=progress)
    return plan | {
        "rows_recomputed": len(plan["rows"]),
        "command_result": result,
        "damaged_after": [] if plan["whole"] else [*after["damaged"], *after["metadata"]],
        **{key: after[key] for key in ("status", "intact", "whole")},
        "seconds": peak.seconds,
        "peak_memory": peak.bytes,
    }


def _plan(url: str, progress: Progress) -> dict[str, Any]:
    """Return the damage, the rows of objects to write again, and the command that does it."""
    verdict = verify(url, progress=progress)
    ledger = Ledger.find(url)
    assert ledger is not None, "verify refuses a product without a ledger"
    rows = {(entry["row"], entry["panel"]) for entry in verdict["damaged"]}
    rows |= {(row, of) for of, panel in enumerate(status(url)["panels"]) for row in panel["missing"]}
    keys = ("out", "status", "damaged", "metadata", "unrecorded", "intact", "whole")
    return {
        **{key: verdict[key] for key in keys},
        "rows": [{"row": row, "panel": panel} for row, panel in sorted(rows)],
        "command": ledger.read_note("command"),
    }


def _restore_root(url: str, plan: dict[str, Any]) -> bool:
    """Write the root's metadata again as they were published; return whether nothing else is damaged.

    No source and no model is needed for that.
    """
    published = sidecar(url) / PUBLISHED
    if read_json(published) is None or {entry["object"] for entry in plan["metadata"]} != {ROOT}:
        return False
    write_atomic(store_path(url) / ROOT, published.read_text())
    return not plan["damaged"] and not plan["rows"]


def _accept(url: str) -> dict[str, Any]:
    """Record the objects and the metadata of a complete product as they are now; each must be there and decode."""
    ledger, root = Ledger.find(url), store_path(url)
    product = None if ledger is None else product_of(url, ledger)
    if ledger is None or product is None or not _decodes(url, product):
        raise UserError(
            url,
            found="objects that are missing or damaged",
            expected="a complete store, to record it as it is",
            do="`tilespec repair` without --accept writes them again; see `tilespec verify` for their names.",
        )
    for (row, panel), record in ledger.records().items():
        objects = {name: {key: size_and_hash(place(root, key)) for key in of} for name, of in record["objects"].items()}
        ledger.record(row, {**record, "objects": objects}, panel)
    layout = ledger.read_layout()
    described = {key: size_and_hash(place(root, key)) for key in layout["metadata"]}
    ledger.note("layout", {**layout, "metadata": described})
    consolidate(url)
    return {"digest": product.finish()}


def _decodes(url: str, product: Product) -> bool:
    """Return whether every recorded object is there, and every row of objects can be read without its record."""
    root, records = store_path(url), product.ledger.records().values()
    keys = [key for record in records for of in record["objects"].values() for key in of]
    group = zarr.open_group(root.zarr_store(), mode="r", use_consolidated=False)
    planes = [array for array in arrays_of(group).values() if array.shape[:2] == (product.height, product.width)]
    try:
        for array in planes:
            for row in range(product.rows):
                array[slice(*product.span(row))]
    except (ValueError, RuntimeError, OSError):
        return False
    return len(records) == product.rows * product.panels and all((root / key).exists() for key in keys)


def _again(url: str, plan: dict[str, Any], workers: int | None, progress: Progress) -> dict[str, Any]:
    """Run the product's command again without the records of damaged rows; restore the records after a refusal."""
    ledger = Ledger.find(url)
    assert ledger is not None, "verify refuses a product without a ledger"
    verb, options, folder = _command(url, plan["command"], workers)
    with _inside(folder), only_named_before():
        _rehearse(url, verb, options)
        with _unrecorded(ledger, plan):
            return getattr(api, verb)(**options, progress=progress)


def _command(url: str, record: dict[str, Any] | None, workers: int | None) -> tuple[str, dict[str, Any], Path | None]:
    """Return the verb, the options and the working folder of the recorded command, for the product's present path."""
    verb, options = str((record or {}).get("verb")), (record or {}).get("options")
    parameters = inspect.signature(getattr(api, verb)).parameters if verb in WRITERS else {}
    if not parameters or not isinstance(options, dict):
        raise UserError(
            url,
            found=f"{verb!r} as the command that wrote it" if record else "no record of the command that wrote it",
            expected=f"{url.rstrip('/')}.tilespec/command.json with one of {', '.join(WRITERS)} and its options",
            do="Run the command that wrote it once more, with the same options: it keeps its record and resumes.",
        )
    options = {**options, "out": url}
    if workers is not None and "workers" in parameters:
        options |= {"workers": workers} | ({"cluster": None} if "cluster" in parameters else {})
    folder = Path(str((record or {}).get("folder", "")))
    return verb, options, folder if folder.is_absolute() and folder.is_dir() else None


def _rehearse(url: str, verb: str, options: dict[str, Any]) -> None:
    """Plan the command, and refuse before any change if it could not run."""
    try:
        getattr(api, verb)(**options, dry_run=True)
    except (UserError, OSError, TypeError) as error:
        raise UserError(
            url,
            found=f"that `{verb}`, which wrote it, cannot run: {error}",
            expected="its sources where they were",
            do="Bring them back, or restore the damaged objects from a copy.",
        ) from error


@contextmanager
def _inside(folder: Path | None) -> Iterator[None]:
    """Run in the working folder of the command, for its relative paths; without it only absolute paths are valid."""
    with chdir(folder or Path.cwd()):
        yield


@contextmanager
def _unrecorded(ledger: Ledger, plan: dict[str, Any]) -> Iterator[None]:
    """Remove the records of damaged rows, and request new metadata if those are damaged.

    If the command is refused, the records of rows that were not written again are restored.
    """
    records, mend = ledger.records(), ledger.folder / MEND
    dropped = {(entry["row"], entry["panel"]) for entry in plan["rows"]} & records.keys()
    for row, panel in dropped:
        ledger.drop(row, panel)
    if plan["metadata"]:
        ledger.note("mend", {"metadata": [entry["object"] for entry in plan["metadata"]]})
    try:
        yield
    except UserError:
        mend.unlink(missing_ok=True)
        for row, panel in dropped - ledger.records().keys():
            ledger.record(row, records[row, panel], panel)
        raise
