"""Text: a table of spectra as CSV, one spectrum a row: its columns, then the bands, headed by their centres."""

import csv
from pathlib import Path

from tilespec.core.errors import UserError
from tilespec.core.progress import Progress
from tilespec.core.types import Roi
from tilespec.output.export.export_source import ExportSource
from tilespec.output.export.partial_file import whole_file
from tilespec.storage.columns import NAMES
from tilespec.storage.layer import Layer
from tilespec.storage.layout import class_names


def write_text(exported: ExportSource, path: Path, progress: Progress) -> list[Path]:
    """Write a table of spectra and return its path.

    Raises:
        UserError: the store has places, which text has not.
    """
    if not exported.table:
        raise UserError(
            exported.url,
            found=f"a plane of {exported.shape[0]} x {exported.shape[1]} pixels",
            expected="a table of spectra",
            do="Export a scene as .tif, .hdr or .nc; `tilespec measure` writes tables of its objects.",
        )
    axis, beside = exported.spectral, exported.layers
    centres = range(exported.shape[2]) if axis is None else axis.values
    progress.start("export", exported.shape[0], "spectra")
    with whole_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        names = [NAMES.get(layer.name, layer.name) for layer in beside]
        writer.writerow([*names, *([exported.name] if exported.plane else centres)])
        for y0, block in exported.blocks():
            roi = Roi(y0=y0, y1=y0 + len(block), x0=0, x1=1)
            columns = [_cells(layer, roi) for layer in beside]
            spectra = exported.values(block)[:, 0]
            for row in zip(*columns, spectra.tolist(), strict=True):
                writer.writerow([*row[:-1], *map(repr, row[-1])])
            progress.advance(len(block))
    progress.finish()
    return [path]


def _cells(layer: Layer, roi: Roi) -> list[object]:
    """Return a column: the names of classes, empty for none, or numbers."""
    values, names = layer.read(roi)[:, 0].tolist(), class_names(layer.attrs)
    return [names[v] if v < len(names) else "" for v in values] if names else values
