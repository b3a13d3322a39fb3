"""Write a prepared ingest: row of objects by row of objects, one buffer, resumable."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from tilespec.errors import UserError
from tilespec.ingest.encode import Counts, narrow
from tilespec.ingest.job import Job
from tilespec.ingest.source import lines_per_read
from tilespec.lock import locked
from tilespec.memory import Peak
from tilespec.product import Product
from tilespec.progress import Progress
from tilespec.types import Cube


def write(job: Job, out: str, progress: Progress) -> dict[str, Any]:
    """Write what is missing of the scene at ``out``; return counts, seconds, memory and the scene's digest."""
    _check_space(job, Path(out))
    with locked(out), Peak() as peak:
        product = Product.open(out, job.specs, settings=job.settings, attrs=job.attrs, constants=job.constants)
        product.ledger.command("ingest", out=out, **job.settings["options"])
        missing = product.missing()
        known = _rows(job, product, missing, progress)
        digest = product.finish()
    whole = len(missing) == product.rows
    facts: dict[str, Any] = {
        **product.counts(),
        "constant_bands": int(np.isfinite(known).sum()) if whole else None,
        "empty_bands": int(np.isnan(known).sum()) if whole else None,
        "rows_of_objects": product.rows,
        "resumed": product.rows - len(missing),
        "digest": digest,
        "seconds": peak.seconds,
        "peak_memory": peak.bytes,
    }
    if job.labels is not None:
        facts |= {"label_counts": list(job.labels.counts), "unlabelled": job.labels.unlabelled}
    product.ledger.note("ingest", facts)
    return facts


def _check_space(job: Job, out: Path) -> None:
    """Refuse to begin a scene of floats, which do not compress, on a disk that cannot hold it."""
    plan = job.plan()
    folder = next(parent for parent in out.absolute().parents if parent.exists())
    free = shutil.disk_usage(folder).free
    if not out.exists() and np.dtype(plan["dtype"]).kind == "f" and plan["bytes"] > free:
        raise UserError(
            out,
            found=f"{free} bytes free",
            expected=f"{plan['bytes']} for the scene",
            do="Free space, choose another place, or store --dtype uint16.",
        )


def _rows(job: Job, product: Product, missing: list[int], progress: Progress) -> np.ndarray:
    """Write the missing rows of objects; return the one value of each band that has only one."""
    facts = job.source.facts
    room = np.empty((product.edge, *facts.shape[1:]), job.encoder.dtype)
    known = np.full(facts.shape[2], np.nan)
    progress.start("ingest", sum(y1 - y0 for y0, y1 in map(product.span, missing)), "lines")
    for row in missing:
        y0, y1 = product.span(row)
        block = room[: y1 - y0]
        counts = _fill(job, y0, block)
        known = narrow(known, block, job.encoder.nodata)
        blocks = {"cube": block}
        if job.labels is not None:
            blocks["labels"] = job.labels.read_rows(y0, y1)
        product.write(row, blocks, counts)
        progress.advance(y1 - y0)
    progress.finish()
    return known


def _fill(job: Job, y0: int, block: Cube) -> Counts:
    """Read and encode the lines of one row of objects; return what was counted."""
    total: Counts = {}
    step = lines_per_read(job.source.facts)
    for start in range(0, block.shape[0], step):
        part = block[start : start + step]
        raw = job.source.read_rows(y0 + start, y0 + start + part.shape[0])
        for key, value in job.encoder.encode(raw, part).items():
            total[key] = total.get(key, 0) + value
    return total
