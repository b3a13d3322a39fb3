"""Ingest: any format to a Scene, streamed in bounded memory, resumable; and what a store or a file holds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tilespec.core.progress import Progress, Silent
from tilespec.ingest.datasets.ingest_dataset import ingest_dataset
from tilespec.ingest.flight_lines import ingest_lines
from tilespec.ingest.info import describe
from tilespec.ingest.readers.table import READERS
from tilespec.ingest.request import Request, prepare
from tilespec.ingest.write import write
from tilespec.storage.backends.paths import at
from tilespec.storage.layout import AUTO

__all__ = ["READERS", "info", "ingest"]


def ingest(  # noqa: PLR0913 - the verb's options, all by name
    src: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    white: str | Path | None = None,
    dark: str | Path | None = None,
    panel: str | None = None,
    panel_reflectance: str | float | Path | None = None,
    targets: str | Path | None = None,
    labels: str | Path | None = None,
    dtype: str | None = None,
    wavelengths: str | Path | None = None,
    variable: str | None = None,
    axes: str | None = None,
    ignore_label: int | None = None,
    allow_truncated: bool = False,
    repair: bool = True,
    reader: str | None = None,
    bin: int = 1,  # noqa: A002 - the option's name
    bin_bands: int = 1,
    shards: str | None = None,
    rgb: bool = False,
    peak: float | None = None,
    dataset: str | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write a cube of any format as a Scene; return what was written, counted and assumed (``notes``).

    Several sources become one scene each in the folder ``out``, named as the sources; a line that fails does not lose
    the others: the result's ``status`` is ``incomplete`` then, and ``failed`` says which and why.

    Args:
        src: ENVI header or data, GeoTIFF, .mat, .npy, .npz, NetCDF, HDF5, Zarr, PNG, JPEG; ``PATH:VARIABLE`` names
            an array. Or a list of such: flight lines.
        out: The scene, a folder or ``s3://bucket/key``; an interrupted ingest of the same settings resumes.
        white: White reference; counts become reflectance for each column and band.
        dark: Dark reference.
        panel: White panel in the scene, ``A:B,C:D`` (rows, columns), in the place of a white reference.
        panel_reflectance: What the panel reflects: a number, or a text file of wavelength and reflectance.
        targets: CSV file with the columns name, rows, cols, reflectance: targets in the scene for the empirical line.
        labels: Class map of the same size, from any of these formats or a mask image.
        dtype: ``float32``, or ``uint16`` for steps of 1e-4 reflectance; None: the source's own, float32 calibrated.
        wavelengths: Text file of one wavelength a line, or the name of a vector beside the array.
        variable: Array of a container of several.
        axes: Order of the array's axes, such as ``band,y,x``.
        ignore_label: Label stored as 255, unlabelled; when it is 0 the other labels shift down by one.
        allow_truncated: Keep the whole lines of an ENVI file that ends early; the others have no data.
        repair: Interpolate isolated dead detector elements along the bands.
        reader: Name in `READERS` or dotted path; None: by the file.
        bin: Rows, and columns, of pixels that become one, their mean: after calibration, without pixels that have no
            data; labels by majority. 1: as they are.
        bin_bands: Adjacent bands that become one, their mean.
        shards: Several chunks in one stored object: ``ROWSxCOLS`` in pixels, ``auto`` where chunks are too many (the
            default in a bucket), or ``none``.
        rgb: Take three bands as red, green and blue of sRGB, as PNG, JPEG, BMP and plain TIFF are by themselves: their
            values are 0 to 1, and bins are means of light.
        peak: Stored value that is 1, such as 4095 for 12 bits; None: all that the data type holds for pictures, and
            values as they are for cubes.
        dataset: ``icvl``, ``cave`` or ``arad``: ``src`` is the folder of that data set, and each of its images
            becomes a scene, ``OUT/cube/NAME`` and ``OUT/rgb/NAME``.
        dry_run: Check everything and return the plan, write nothing.
        progress: What is told on the way.

    Raises:
        UserError: anything that would make the scene wrong.
    """
    request = Request(
        src=str(src),
        white=_text(white),
        dark=_text(dark),
        panel=panel,
        panel_reflectance=None if panel_reflectance is None else str(panel_reflectance),
        targets=_text(targets),
        allow_truncated=allow_truncated,
        labels=_text(labels),
        dtype=dtype,
        wavelengths=_text(wavelengths),
        variable=variable,
        axes=axes,
        ignore_label=ignore_label,
        repair=repair,
        reader=reader,
        bin=bin,
        bin_bands=bin_bands,
        shards=shards or (AUTO if at(out).on_disk is None else None),
        rgb=rgb,
        peak=peak,
    )
    told = progress or Silent()
    if dataset is not None:
        return ingest_dataset(dataset, src, request, str(out), dry_run=dry_run, progress=told)
    if isinstance(src, Sequence) and not isinstance(src, str):
        return ingest_lines([str(one) for one in src], request, str(out), dry_run=dry_run, progress=told)
    job = prepare(request)
    plan = {"src": str(src), "out": str(out), **job.plan()}
    return plan if dry_run else plan | write(job, str(out), told)


def info(store: str | Path) -> dict[str, Any]:
    """Return what a store (or a file of any format that can be ingested) holds, without reading its pixels."""
    return describe(str(store))


def _text(path: str | Path | None) -> str | None:
    return None if path is None else str(path)
