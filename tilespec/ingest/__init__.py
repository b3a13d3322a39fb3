"""Ingest: any format to a Scene, streamed in bounded memory, resumable; and what a store or a file holds."""

from pathlib import Path
from typing import Any

from tilespec.ingest.describe import describe
from tilespec.ingest.job import Request, prepare
from tilespec.ingest.readers import READERS
from tilespec.ingest.write import write
from tilespec.progress import Progress, Silent

__all__ = ["READERS", "info", "ingest"]


def ingest(  # noqa: PLR0913 - the verb's options, all by name
    src: str | Path,
    out: str | Path,
    *,
    white: str | Path | None = None,
    dark: str | Path | None = None,
    labels: str | Path | None = None,
    dtype: str | None = None,
    wavelengths: str | Path | None = None,
    variable: str | None = None,
    axes: str | None = None,
    ignore_label: int | None = None,
    repair: bool = True,
    reader: str | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write a cube of any format as a Scene; return what was written, counted and assumed (``notes``).

    Args:
        src: ENVI header or data, GeoTIFF, .mat, .npy, .npz, NetCDF, HDF5, Zarr; ``PATH:VARIABLE`` names an array.
        out: The scene; an interrupted ingest of the same settings resumes.
        white: White reference; counts become reflectance for each column and band.
        dark: Dark reference.
        labels: Class map of the same size, from any of these formats or a mask image.
        dtype: ``float32``, or ``uint16`` for steps of 1e-4 reflectance; None: the source's own, float32 calibrated.
        wavelengths: Text file of one wavelength a line, or the name of a vector beside the array.
        variable: Array of a container of several.
        axes: Order of the array's axes, such as ``band,y,x``.
        ignore_label: Label stored as 255, unlabelled; when it is 0 the other labels shift down by one.
        repair: Interpolate isolated dead detector elements along the bands.
        reader: Name in `READERS` or dotted path; None: by the file.
        dry_run: Check everything and return the plan, write nothing.
        progress: What is told on the way.

    Raises:
        UserError: anything that would make the scene wrong.
    """
    request = Request(
        src=str(src),
        white=_text(white),
        dark=_text(dark),
        labels=_text(labels),
        dtype=dtype,
        wavelengths=_text(wavelengths),
        variable=variable,
        axes=axes,
        ignore_label=ignore_label,
        repair=repair,
        reader=reader,
    )
    job = prepare(request)
    plan = {"src": str(src), "out": str(out), **job.plan()}
    return plan if dry_run else plan | write(job, str(out), progress or Silent())


def info(store: str | Path) -> dict[str, Any]:
    """Return what a store (or a file of any format that can be ingested) holds, without reading its pixels."""
    return describe(str(store))


def _text(path: str | Path | None) -> str | None:
    return None if path is None else str(path)
