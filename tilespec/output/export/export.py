"""Export: a scene, a layer or a prediction is written to a file of another format, streamed by rows of objects."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, final

from tilespec.core.errors import UserError
from tilespec.core.memory import Peak
from tilespec.core.options import with_options
from tilespec.core.progress import Progress
from tilespec.core.registry import load, plugins
from tilespec.output.export.export_source import ExportSource, open_exported
from tilespec.output.export.options import ExportOptions
from tilespec.output.export.partial_file import check_free
from tilespec.output.export.stac import check_item, write_item
from tilespec.storage.backends.base import StorePath
from tilespec.storage.backends.paths import free_bytes, store_path

PICTURE: Final = ("bands", "max_side")
REGIONS: Final = ("only", "min_area")


@final
@dataclass(frozen=True, kw_only=True)
class ExportFormat:
    """A format by its writer and what sets it apart."""

    writer: str
    """The dotted path of a callable ``(exported, path, progress) -> files written``."""
    takes: tuple[str, ...] = ()
    """The options that only some formats obey, and this one does."""
    uncompressed: bool = False
    """Whether files are as large as the values."""


FORMATS: Final = {
    ".tif": ExportFormat(writer="tilespec.output.export.geotiff:write_geotiff"),
    ".tiff": ExportFormat(writer="tilespec.output.export.geotiff:write_geotiff"),
    ".hdr": ExportFormat(writer="tilespec.output.export.envi:write_envi", uncompressed=True),
    ".nc": ExportFormat(writer="tilespec.output.export.netcdf:write_netcdf", uncompressed=True),
    ".geojson": ExportFormat(writer="tilespec.output.export.polygons:write_geojson", takes=REGIONS),
    ".gpkg": ExportFormat(writer="tilespec.output.export.polygons:write_geopackage", takes=REGIONS),
    ".csv": ExportFormat(writer="tilespec.output.export.text:write_text"),
    ".mat": ExportFormat(writer="tilespec.output.export.arrays:write_matlab"),
    ".npy": ExportFormat(writer="tilespec.output.export.arrays:write_npy", uncompressed=True),
    ".png": ExportFormat(writer="tilespec.output.export.png:write_png", takes=PICTURE),
}
"""The format for each ending of a name."""
WRITERS: Final = {suffix: each.writer for suffix, each in FORMATS.items()}
"""The writer for each ending of a name."""
IGNORED: Final = {
    "bands": "--bands choose the colours of a picture: this file has all bands",
    "max_side": "--max-side is the size of a picture: this file has all pixels",
    "only": "--class chooses the regions of polygons: this file has all classes",
    "min_area": "--min-area is the size of polygons: this file has all pixels",
}
"""What is said of an option that a format does not obey."""


@with_options(ExportOptions)
def export(store: str | Path, out: str | Path, options: ExportOptions, progress: Progress) -> dict[str, Any]:
    """Write a store in the format that the end of ``out`` names; return the files, their sizes and notes.

    Args:
        store: A scene or a prediction.
        out: ``.tif`` (values, CRS, wavelengths), ``.hdr`` (ENVI, with a ``.bil`` beside), ``.nc``, ``.csv`` or ``.mat``
            (tables of spectra), ``.npy`` (values alone), ``.png`` (false colour of a cube, colours of a class map), or
            ``.geojson`` or ``.gpkg`` (polygons of the regions of a class map).
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
    check_free(place)
    kind = FORMATS.get(suffix, ExportFormat(writer=writers[suffix]))
    exported = open_exported(str(store), options.layer, options)
    exported.notes.extend(_ignored(kind, options))
    plan = {
        "store": str(store),
        "out": str(out),
        "array": exported.name,
        "shape": list(exported.shape),
        "dtype": exported.dtype.name,
    }
    if options.stac:
        check_item(exported, place)
    if options.dry_run:
        return plan
    place.parent.mkdir(parents=True, exist_ok=True)
    with Peak() as peak, _file_for(place) as path:
        if kind.uncompressed:
            _check_space(exported, path)
        written = load(WRITERS, suffix, "export")(exported, path, progress)
        if options.stac:
            written = [*written, write_item(exported, path, written)]
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


def _ignored(kind: ExportFormat, options: ExportOptions) -> list[str]:
    """Return notes of the options that were given and that a format does not obey."""
    usual = ExportOptions()
    given = [name for name in IGNORED if getattr(options, name) != getattr(usual, name)]
    return [IGNORED[name] for name in given if name not in kind.takes]


def _check_space(exported: ExportSource, path: Path) -> None:
    """Refuse to begin a file that is not compressed on a disk with too little space."""
    free, size = free_bytes(path.parent), prod(exported.shape) * exported.dtype.itemsize
    if size > free:
        raise UserError(
            path,
            found=f"{free:,} bytes free",
            expected=f"{size:,} for the file",
            do="Free space, or choose another place.",
        )
