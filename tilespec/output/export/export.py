"""Export: a scene, a layer or a prediction is written to GeoTIFF, ENVI, NetCDF or PNG, streamed by rows of objects."""

import errno
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tilespec.core.errors import OccupiedError, UserError
from tilespec.core.memory import Peak
from tilespec.core.options import with_options
from tilespec.core.progress import Progress
from tilespec.core.registry import load, plugins
from tilespec.core.results import in_bytes
from tilespec.output.export.export_source import ExportSource, open_exported
from tilespec.output.export.options import ExportOptions
from tilespec.storage.backends.paths import free_bytes, local

WRITERS: Final = {
    ".tif": "tilespec.output.export.geotiff:write_geotiff",
    ".tiff": "tilespec.output.export.geotiff:write_geotiff",
    ".hdr": "tilespec.output.export.envi:write_envi",
    ".nc": "tilespec.output.export.netcdf:write_netcdf",
    ".png": "tilespec.output.export.png:write_png",
}
"""The writer for each ending of a name, a callable ``(exported, path, progress) -> files written``."""
WHOLE: Final = {".nc", ".hdr"}
"""The endings of files that hold every value as it is."""
SPARE: Final = 1 << 18
"""The bytes of metadata that a file may have besides its values."""


@with_options(ExportOptions)
def export(store: str | Path, out: str | Path, options: ExportOptions, progress: Progress) -> dict[str, Any]:
    """Write a store in the format that the end of ``out`` names; return the files and their sizes.

    Args:
        store: A scene or a prediction.
        out: ``.tif`` (values, CRS, wavelengths), ``.hdr`` (ENVI, with a ``.bil`` beside), ``.nc`` or ``.png``
            (false colour of a cube, colours of a class map).
        options: What is written; given by name.
        progress: Where progress is shown.

    Raises:
        UserError: no such store, layer or format; a file is there already; a type the format cannot hold.
    """
    path = local(out, "a file")
    suffix = path.suffix.lower()
    writers = {**WRITERS, **plugins("export")}
    if suffix not in writers:
        raise UserError(out, found=f"the end {suffix!r}", expected=", ".join(writers), do="Choose one of these.")
    if path.exists():
        raise OccupiedError(out, found="a file that is there already", expected="a free name", do="Remove it first.")
    exported = open_exported(str(store), options.layer, max_side=options.max_side, bands=options.bands)
    plan = {
        "store": str(store),
        "out": str(out),
        "array": exported.name,
        "shape": list(exported.shape),
        "dtype": exported.dtype.name,
    }
    if options.dry_run:
        return plan
    path.parent.mkdir(parents=True, exist_ok=True)
    _check_space(exported, path)
    with Peak() as peak, _whole(path):
        written = load(WRITERS, suffix, "export")(exported, path, progress)
    files = {str(file): file.stat().st_size for file in written}
    return plan | {"files": files, "seconds": peak.seconds, "peak_memory": peak.bytes}


def _check_space(exported: ExportSource, path: Path) -> None:
    """Refuse a file of values that the disk has no room for: HDF5 ends the process when a disk is full.

    Raises:
        OSError: the free space is smaller than the values.
    """
    needed = math.prod(exported.shape) * exported.dtype.itemsize if path.suffix.lower() in WHOLE else 0
    if free_bytes(str(path)) < needed + SPARE * bool(needed):
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {in_bytes(needed)} are needed", str(path))


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """Open a block that writes files beside ``path``; after an error nothing of them stays under a temporary name."""
    before = set(path.parent.glob("*.partial"))
    try:
        yield
    except BaseException:
        for left in set(path.parent.glob(f"{path.stem}.*partial")) - before:
            left.unlink(missing_ok=True)
        raise
