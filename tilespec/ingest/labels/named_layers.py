"""Named layers: further ``y, x`` layers of a scene from files of their own, such as plant numbers or a field's plots.

A file that names classes, and polygons, become class maps; any other file keeps its numbers.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np

from tilespec.core.errors import UserError
from tilespec.ingest.labels.class_map import Labels, survey
from tilespec.ingest.labels.placement import lay_on_scene
from tilespec.ingest.labels.polygons import is_vector
from tilespec.ingest.labels.rasterise import rasterise
from tilespec.ingest.readers.reader_table import open_source, split
from tilespec.ingest.readers.source import Facts, Options, Source, SourceLayer
from tilespec.storage.layout import class_attrs
from tilespec.storage.spectral_axis import NAMES

NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
TAKEN: Final = frozenset(
    (*NAMES, "cube", "labels", "prediction", "probability", "fwhm", "good", "spatial_ref", "band", "x", "y")
)
"""Names of arrays that mean something else in a scene."""


def named_layers(files: Mapping[str, str], facts: Facts, pixels: int) -> tuple[list[SourceLayer], list[Source]]:
    """Return the layers of ``NAME=FILE`` on the pixels of a scene, and the sources that they are read from.

    Args:
        files: The file of each layer, as ``PATH`` or ``PATH:VARIABLE``.
        facts: The facts of the cube before binning.
        pixels: The number of rows, and of columns, of a bin. A bin has the value of its middle pixel, since numbers of
            plants have no mean.

    Raises:
        UserError: a name cannot be that of a layer, or a file does not lie on the pixels of the scene.
    """
    here = {layer.name for layer in facts.layers}
    layers, sources = [], []
    for name, where in files.items():
        _check_name(name, here)
        path, attribute = split(where)
        polygons = rasterise(path, attribute, facts, None) if is_vector(path) else None
        source = polygons or lay_on_scene(where, open_source(where, Options(kind="labels", table=facts.table)), facts)
        layer = _classes(name, where, source, facts) if source.facts.classes else _numbers(name, where, source, facts)
        layers.append(layer if pixels == 1 else replace(layer, read=partial(_middles, layer, pixels, facts.shape[0])))
        sources.append(source)
    return layers, sources


def _check_name(name: str, here: set[str]) -> None:
    """Refuse a name that is none, or is that of another array."""
    if not NAME.fullmatch(name) or name in TAKEN or name in here:
        raise UserError(
            "--layer",
            found=repr(name),
            expected="a name of letters, digits and _ that no other array of the scene has",
            do="Write --layer plant=FILE; class labels come in with --labels FILE.",
        )


def _classes(name: str, where: str, source: Source, facts: Facts) -> SourceLayer:
    """Return a layer of classes, with their names."""
    labels: Labels = survey(where, source, facts.shape[:2], None)

    def read(y0: int, y1: int) -> np.ndarray:
        return labels.read_rows(y0, y1)

    return SourceLayer(name=name, dtype=np.dtype(np.uint8), read=read, attrs=class_attrs(labels.classes))


def _numbers(name: str, where: str, source: Source, facts: Facts) -> SourceLayer:
    """Return a layer of numbers as they are, with their nodata value and scale as attributes."""
    theirs = source.facts
    if theirs.shape[2] != 1 or theirs.shape[:2] != facts.shape[:2] or theirs.dtype.kind not in "biuf":
        size = f"{theirs.shape[0]} x {theirs.shape[1]}, {theirs.shape[2]} bands of {theirs.dtype.name}"
        raise UserError(
            f"--layer {name}={where}",
            found=size,
            expected=f"one band of numbers, {facts.shape[0]} x {facts.shape[1]} as the cube",
            do="Give a layer of the same rows and columns; name an array with PATH:VARIABLE.",
        )
    dtype = np.dtype(np.uint8) if theirs.dtype.kind == "b" else theirs.dtype.newbyteorder("=")
    attrs = {} if theirs.scale == 1.0 else {"scale_factor": theirs.scale}
    if theirs.nodata is not None and not np.isnan(theirs.nodata):
        attrs["nodata"] = int(theirs.nodata) if dtype.kind in "iu" else float(theirs.nodata)

    def read(y0: int, y1: int) -> np.ndarray:
        return np.asarray(source.read_rows(y0, y1))[..., 0].astype(dtype)

    return SourceLayer(name=name, dtype=dtype, read=read, attrs=attrs)


def _middles(layer: SourceLayer, pixels: int, height: int, y0: int, y1: int) -> np.ndarray:
    """Return rows of bins, each with the value of its middle pixel, or of its last in a bin that is cut off."""
    rows = layer.read(y0 * pixels, min(y1 * pixels, height))
    down, across = (np.minimum(np.arange(0, n, pixels) + pixels // 2, n - 1) for n in rows.shape)
    return rows[np.ix_(down, across)]
