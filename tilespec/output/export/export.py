"""Export: a scene, a layer or a prediction is written to GeoTIFF, ENVI, NetCDF or PNG, streamed by rows of objects."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from tilespec.core.errors import OccupiedError, UserError
from tilespec.core.memory import Peak
from tilespec.core.options import with_options
from tilespec.core.progress import Progress
from tilespec.core.registry import load, plugins
from tilespec.output.export.export_source import ExportSource, open_exported
from tilespec.output.export.options import ExportOptions
from tilespec.storage.backends.base import StorePath
from tilespec.storage.backends.paths import free_bytes, store_path

WRITERS: Final = {
    ".tif": "tilespec.output.export.geotiff:write_geotiff",
    ".tiff": "tilespec.output.export.geotiff:write_geotiff",
    ".hdr": "tilespec.output.export.envi:write_envi",
    ".nc": "tilespec.output.export.netcdf:write_netcdf",
    ".csv": "tilespec.output.export.text:write_text",
    ".mat": "tilespec.output.export.arrays:write_matlab",
    ".npy": "tilespec.output.export.arrays:write_npy",
    ".png": "tilespec.output.export.png:write_png",
}
"""The writer for each ending of a name, a callable ``(exported, path, progress) -> files written``."""
UNCOMPRESSED: Final = (".hdr", ".nc", ".npy")
"""The endings of the formats whose files are as large as the values."""


@with_options(ExportOptions)
def export(store: str | Path, out: str | Path, options: ExportOptions, progress: Progress) -> dict[str, Any]:
    """Write a store in the format that the end of ``out`` names; return the files, their sizes and notes.

    Args:
        store: A scene or a prediction.
        out: ``.tif`` (values, CRS, wavelengths), ``.hdr`` (ENVI, with a ``.bil`` beside), ``.nc``, ``.csv`` or ``.mat``
            (tables of spectra), ``.npy`` (values alone) or ``.png`` (false colour of a cube, colours of a class map).
            The names of classes lie in ``OUT.aux.xml`` beside.
        options: What is written; given by name.
        progress: Where progress is shown.

    Raises:
        UserError: no such store, layer or format; a file is there already; a type the format cannot hold.
    """
    place = store_path(out)
    suffix = Path(place.name).suffix.lower()
    writers = {**WRITERS, **plugins("export")}
    if suffix not in writers:
        raise UserError(out, found=f"the end {suffix!r}", expected=", ".join(writers), do="Choose one of these.")
    if place.exists():
        raise OccupiedError(out, found="a file that is there already", expected="a free name", do="Remove it first.")
    exported = open_exported(str(store), options.layer, max_side=options.max_side, bands=options.bands)
    if options.bands is not None and suffix != ".png":
        exported.notes.append("--bands choose the colours of a picture: this file has all bands")
    plan = {
        "store": str(store),
        "out": str(out),
        "array": exported.name,
        "shape": list(exported.shape),
        "dtype": exported.dtype.name,
    }
    if options.dry_run:
        return plan
    place.parent.mkdir(parents=True, exist_ok=True)
    with Peak() as peak, _file_for(place) as path:
        _check_space(exported, path, suffix)
        written = load(WRITERS, suffix, "export")(exported, path, progress)
        if place.on_disk is None:
            for file in written:
                (place.parent / file.name).put_file(file)
        files = {str(place.parent / file.name): file.stat().st_size for file in written}
    notes = list(dict.fromkeys(exported.notes))
    return plan | {"files": files, "notes": notes, "seconds": peak.seconds, "peak_memory": peak.bytes}


@contextmanager
def _file_for(place: StorePath) -> Iterator[Path]:
    """Yield the path of a file on this machine: ``place``, or its name in a temporary folder."""
    with nullcontext() if place.on_disk else TemporaryDirectory(prefix="tilespec-") as folder:
        yield place.on_disk or Path(str(folder), place.name)


def _check_space(exported: ExportSource, path: Path, suffix: str) -> None:
    """Refuse to begin a file that is not compressed on a disk with too little space."""
    free, size = free_bytes(path.parent), prod(exported.shape) * exported.dtype.itemsize
    if suffix in UNCOMPRESSED and size > free:
        raise UserError(
            path,
            found=f"{free:,} bytes free",
            expected=f"{size:,} for the file",
            do="Free space, or choose another place.",
        )
