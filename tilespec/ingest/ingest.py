"""Ingest: conversion of any format to a scene, streamed in bounded memory and resumable; and the verb `info`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tilespec.core.options import values_of, with_options
from tilespec.core.progress import Progress
from tilespec.ingest.datasets.ingest_dataset import ingest_dataset
from tilespec.ingest.flight_lines import ingest_lines
from tilespec.ingest.info import describe
from tilespec.ingest.options import IngestOptions, SceneOptions
from tilespec.ingest.readers.reader_table import READERS
from tilespec.ingest.remote_sources import prepared
from tilespec.ingest.request import Request
from tilespec.ingest.write import write
from tilespec.storage.backends.paths import store_path
from tilespec.storage.layout import AUTO

__all__ = ["READERS", "info", "ingest"]


@with_options(IngestOptions)
def ingest(
    src: str | Path | Sequence[str | Path], out: str | Path, options: IngestOptions, progress: Progress
) -> dict[str, Any]:
    """Write a cube of any format as a Scene; return what was written, counted and assumed (``notes``).

    Several sources become one scene each in the folder ``out``, named as the sources; a line that fails does not lose
    the others: the result's ``status`` is ``incomplete`` then, and ``failed`` says which and why.

    Args:
        src: ENVI header or data, GeoTIFF, .mat, .npy, .npz, NetCDF, HDF5, Zarr, PNG, JPEG; ``PATH:VARIABLE`` names
            an array. Or a table of spectra: text, or a folder of text files. Or a list of such: flight lines.
        out: The scene, a folder or ``s3://bucket/key``; an interrupted ingest of the same settings resumes.
        options: What decides the scene; given by name.
        progress: Where progress is shown.

    Raises:
        UserError: anything that would make the scene wrong.
    """
    shards = options.shards or (AUTO if store_path(out).on_disk is None else None)
    request = Request(**values_of(options, SceneOptions) | {"src": str(src), "shards": shards})
    how: dict[str, bool] = {"dry_run": options.dry_run, "join": options.join}
    if options.dataset is not None:
        return ingest_dataset(options.dataset, src, request, str(out), progress=progress, **how)
    if isinstance(src, Sequence) and not isinstance(src, str):
        return ingest_lines([str(one) for one in src], request, str(out), progress=progress, **how)
    with prepared(request, progress) as job:
        plan = {"src": str(src), "out": str(out), **job.plan()}
        return plan if options.dry_run else plan | write(job, str(out), progress, join=options.join)


def info(store: str | Path) -> dict[str, Any]:
    """Return the contents of a store (or of a file that can be ingested) without reading its pixels."""
    return describe(str(store))
