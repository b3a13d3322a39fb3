"""Class map: a class map of any format as uint8, 255 = unlabelled, checked before anything is written."""

from dataclasses import dataclass, replace
from typing import Final, final

import numpy as np

from tilespec.core.errors import UserError
from tilespec.core.types import UNLABELLED, ClassMap, Cube
from tilespec.ingest.readers.source import Relabelled, Source, lines_per_read
from tilespec.storage.layout import distinct

LARGEST: Final = UNLABELLED - 1
"""The highest valid class number."""


@final
@dataclass(frozen=True, kw_only=True)
class Labels:
    """A class map as it is stored.

    Labels do not change, except that ignored ones become 255. When label 0 is ignored, the other labels and their names
    move down by one, so that classes start at 0.
    """

    source: Source
    """The source of the map, with one band."""
    ignore: float | None
    """The label (or the source's nodata value) that means unlabelled."""
    classes: tuple[str, ...]
    """The names of the classes 0, 1, ..."""
    counts: tuple[int, ...]
    """The number of pixels of each class."""
    unlabelled: int
    """The number of pixels without a class."""

    def read_rows(self, y0: int, y1: int) -> ClassMap:
        """Return rows of stored labels as ``y, x, 1``."""
        return encode(self.source.read_rows(y0, y1), self.ignore)


def survey(where: str, source: Source, shape: tuple[int, int], ignore: int | None) -> Labels:
    """Return the labels of a source after one pass over them.

    Raises:
        UserError: the size differs from the cube's, there are several bands, or labels are not classes from 0 to 254.
    """
    facts = source.facts
    _check_shape(where, facts.shape, shape)
    hidden = facts.nodata if ignore is None else float(ignore)
    counts = np.zeros(256, np.int64)
    step = lines_per_read(facts)
    for y0 in range(0, shape[0], step):
        rows = source.read_rows(y0, min(y0 + step, shape[0]))
        _check_values(where, rows, y0, hidden)
        counts += np.bincount(encode(rows, hidden).ravel(), minlength=256)
    used = np.flatnonzero(counts[:UNLABELLED])
    names = (facts.classes[1:] if hidden == 0 else facts.classes)[:UNLABELLED]
    total = max(int(used[-1]) + 1 if used.size else 0, len(names))
    classes = distinct((*names, *[""] * (total - len(names))))
    again = [i for i, name in enumerate(names) if name.strip() and " ".join(name.split()) != classes[i]]
    if again:
        text = ", ".join(f"{i} {classes[i]!r}" for i in again[:8])
        facts = replace(facts, notes=(*facts.notes, f"{where}: names of classes occur twice, told apart: {text}"))
        source = Relabelled(facts=facts, inner=source)
    return Labels(
        source=source,
        ignore=hidden,
        classes=classes,
        counts=tuple(counts[:total].tolist()),
        unlabelled=int(counts[UNLABELLED]),
    )


def encode(rows: Cube, ignore: float | None) -> ClassMap:
    """Return labels as uint8: the ignored one and NaN become 255; if 0 is ignored, the others move down by one."""
    plane = rows[..., 0]
    hidden = np.zeros(plane.shape, bool) if ignore is None else plane == ignore
    if plane.dtype.kind == "f":
        hidden |= np.isnan(plane)
    labels = np.where(hidden, 0, plane).astype(np.int64) - (1 if ignore == 0 else 0)
    labels[hidden] = UNLABELLED
    return labels.astype(np.uint8)


def _check_shape(where: str, size: tuple[int, int, int], shape: tuple[int, int]) -> None:
    """Refuse several bands, and a size that differs from the cube's."""
    if size[2] != 1:
        raise UserError(
            where,
            found=f"{size[2]} bands",
            expected="one band of class numbers",
            do="Save a mask as palette or grey image, not as colours; name an array with PATH:VARIABLE.",
        )
    if size[:2] != shape:
        raise UserError(
            where,
            found=f"{size[0]} x {size[1]} labels",
            expected=f"{shape[0]} x {shape[1]}, as the cube has",
            do="Give labels of the same rows and columns.",
        )


def _check_values(where: str, rows: Cube, y0: int, ignore: float | None) -> None:
    """Refuse labels that are not whole numbers from 0 to 254."""
    plane = rows[..., 0]
    labelled = plane != ignore if ignore is not None else np.ones(plane.shape, bool)
    if plane.dtype.kind == "f":
        labelled &= ~np.isnan(plane)
    wrong = labelled & ((plane < 0) | (plane > LARGEST) | (plane != np.floor(plane)))
    if not wrong.any():
        return
    row, column = np.argwhere(wrong)[0].tolist()
    value = float(plane[row, column])
    raise UserError(
        where,
        found=f"label {value:g} in row {y0 + row}, column {column}",
        expected=f"whole numbers from 0 to {LARGEST}",
        do=f"If {value:g} means unlabelled give --ignore-label {value:g}; else number the classes 0, 1, 2, ...",
    )
