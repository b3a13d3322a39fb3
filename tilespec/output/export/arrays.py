"""Arrays: the values of a cube or a layer as .npy, streamed; a table of spectra with all it has as MATLAB's .mat."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import scipy.io

from tilespec.core.errors import UserError
from tilespec.core.limits import usable
from tilespec.core.progress import Progress
from tilespec.output.export.export_source import ExportSource
from tilespec.output.export.partial_file import whole_file
from tilespec.storage.columns import NAMES
from tilespec.storage.layout import class_names

LARGEST: Final = 1 << 31
"""The bytes of an array from which MATLAB 5 cannot hold it."""


def write_npy(exported: ExportSource, path: Path, progress: Progress) -> list[Path]:
    """Write the values of an array and return its path; those of a table are ``spectrum, band``."""
    kind = exported.values(np.empty((0, *exported.shape[1:]), exported.dtype)).dtype
    shape = tuple(n for n, axis in zip(exported.shape, "yxb", strict=True) if _has(exported, axis))
    exported.notes.append(f"{path.name} holds the values alone: no wavelengths, columns or place")
    progress.start("export", exported.shape[0], "lines")
    with whole_file(path) as partial:
        out = np.lib.format.open_memmap(partial, mode="w+", dtype=kind, shape=shape)
        for y0, block in exported.blocks():
            out[y0 : y0 + len(block)] = exported.values(block).reshape(len(block), *shape[1:])
            progress.advance(len(block))
        out.flush()
    progress.finish()
    return [path]


def _has(exported: ExportSource, axis: str) -> bool:
    """Return whether a file has an axis: a table has no x, and a layer no bands."""
    return not ((axis == "x" and exported.table) or (axis == "b" and exported.plane))


def write_matlab(exported: ExportSource, path: Path, progress: Progress) -> list[Path]:
    """Write a table as arrays ``cube`` (spectra by bands), its axis, and its columns; return the path.

    The names of the classes of a column lie in ``NAME_names``.

    Raises:
        UserError: the store has places, or is too large for a format that is written whole.
    """
    size = int(np.prod(exported.shape)) * 8
    if not exported.table or size > min(LARGEST, usable() // 2):
        raise UserError(
            exported.url,
            found=f"{size} bytes" if exported.table else f"a plane of {exported.shape[0]} x {exported.shape[1]} pixels",
            expected=f"a table of spectra of at most {min(LARGEST, usable() // 2)} bytes",
            do="Export it as .nc, which MATLAB reads with ncread, or as .tif or .hdr.",
        )
    progress.start("export", exported.shape[0], "spectra")
    blocks = [exported.values(block)[:, 0] for _, block in exported.blocks()]
    arrays: dict[str, Any] = {exported.name: np.concatenate(blocks)}
    if exported.spectral is not None:
        arrays[exported.spectral.name] = np.asarray(exported.spectral.values)
    for layer in exported.layers:
        name, texts = NAMES.get(layer.name, layer.name), class_names(layer.attrs)
        arrays[name] = layer.read(exported.roi)
        arrays |= {f"{name}_names": np.array(texts, object)} if texts else {}
    with whole_file(path) as partial:
        scipy.io.savemat(str(partial), arrays, appendmat=False, oned_as="column", long_field_names=True)
    progress.finish()
    return [path]
