"""Write: a prepared ingest is written one row of objects at a time, and can be resumed.

The lines of a row are read once, into one buffer, in the order of the file; the objects are made from there, a few
lines at a time. There is no transposed copy of the scene, or of a row of it.
"""

from collections import Counter
from typing import Any

import numpy as np

from tilespec.cluster.shares import finish, write_rows
from tilespec.core.buffers import Buffers
from tilespec.core.errors import UserError
from tilespec.core.memory import Peak
from tilespec.core.progress import Progress
from tilespec.ingest.encode import ConstantBands, Counts, Piece
from tilespec.ingest.request import IngestJob
from tilespec.ingest.row_writer import Fill, Lines, RowWriter
from tilespec.storage.backends.paths import free_bytes, store_path
from tilespec.storage.lock import Hold, locked
from tilespec.storage.product import Product


def write(job: IngestJob, out: str, progress: Progress, *, join: bool = False, patient: bool = True) -> dict[str, Any]:
    """Write the missing rows of the scene at ``out``; return counts, seconds, memory and the scene's digest.

    Args:
        job: The prepared ingest.
        out: The place of the scene.
        progress: The progress that counts rows of objects.
        join: Whether other runs that join may write rows too.
        patient: Whether to wait while these write all that is missing.

    Raises:
        OthersWriteError: they do, and the run would not wait.
    """
    _check_space(job, out)
    with locked(out, join=join, patient=patient) as hold:
        with Peak() as peak:
            with hold.alone("create"):
                product = Product.open(
                    out,
                    job.specs,
                    settings=job.settings,
                    attrs=job.attrs,
                    constants=job.constants,
                    table=job.source.facts.table,
                )
            product.ledger.command("ingest", out=out, **job.settings["options"])
            written, constants = _rows(job, product, hold, progress)
            digest = finish(product, hold)
        facts = _facts(job, product, written, constants) | {
            "digest": digest,
            "seconds": peak.seconds,
            "peak_memory": peak.bytes,
        }
        if written or not join:
            product.ledger.note("ingest", facts)
    return facts


def _facts(job: IngestJob, product: Product, written: int, constants: np.ndarray) -> dict[str, Any]:
    """Return the counts of a scene of which this run wrote so many rows of objects."""
    whole = written == product.rows
    facts: dict[str, Any] = {
        **product.counts(),
        "constant_bands": int(np.isfinite(constants).sum()) if whole else None,
        "empty_bands": int(np.isnan(constants).sum()) if whole else None,
        "rows_of_objects": product.rows,
        "resumed": product.rows - written,
    }
    if job.labels is not None:
        facts |= {"label_counts": list(job.labels.counts), "unlabelled": job.labels.unlabelled}
    return facts


def _check_space(job: IngestJob, out: str) -> None:
    """Refuse to begin a scene of floats, which are not compressed, on a disk with too little space."""
    plan, free = job.plan(), free_bytes(out)
    if np.dtype(plan["dtype"]).kind == "f" and plan["bytes"] > free and not store_path(out).exists():
        raise UserError(
            out,
            found=f"{free} bytes free",
            expected=f"{plan['bytes']} for the scene",
            do="Free space, choose another place, or store --dtype uint16.",
        )


def _rows(job: IngestJob, product: Product, hold: Hold, progress: Progress) -> tuple[int, np.ndarray]:
    """Write the missing rows of objects; return the number that this run wrote, and what constant bands hold."""
    constants = ConstantBands(job.source.facts.shape[2], job.encoder.nodata)

    def of(product: Product, row: int) -> Counter[str]:
        y0, y1 = product.span(row)
        tiles.write(product, row, _fill(job, y0, y1, constants), layers(job, y0, y1))
        return Counter(rows=1)

    with RowWriter() as tiles:
        written = write_rows(product, of, "ingest", hold=hold, progress=progress, one_by_one=True)
    return written["rows"], constants.values


def layers(job: IngestJob, y0: int, y1: int) -> dict[str, np.ndarray]:
    """Return rows of all layers beside the cube."""
    labels = {} if job.labels is None else {"labels": job.labels.read_rows(y0, y1)}
    return labels | {plane.name: plane.read(y0, y1) for plane in job.layers}


def _fill(job: IngestJob, y0: int, y1: int, constants: ConstantBands) -> Fill:
    """Read the lines of one row of objects; return the function that makes objects of them."""
    raw = job.source.read_rows(y0, y1)

    def columns(cols: slice) -> Lines:
        terms = None if job.calibration is None else job.calibration.terms(cols, along=(raw.strides[1], raw.strides[2]))

        def fill(lines: slice, out: Piece, buffers: Buffers) -> Counts:
            counts = job.encoder.encode(raw[lines, cols], terms, out, buffers)
            constants.see(out)
            return counts

        return fill

    return columns
