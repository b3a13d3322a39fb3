"""Column labels: the texts, or numbers, in a column of a table of spectra as its classes."""

from dataclasses import dataclass, replace
from functools import partial
from typing import final

import numpy as np

from tilespec.core.errors import UserError
from tilespec.core.types import UNLABELLED, Cube
from tilespec.ingest.readers.containers import Container
from tilespec.ingest.readers.source import Facts, Options, SourceLayer
from tilespec.ingest.readers.spectra_text import held, layer_of_texts
from tilespec.storage.layout import class_attrs, class_names, code_type, unlabelled
from tilespec.storage.packing import Packing
from tilespec.storage.selection import is_class_map


@final
@dataclass(frozen=True, kw_only=True)
class ColumnLabels:
    """The classes in a column as a class map."""

    facts: Facts
    """The facts, with the names of the classes."""
    column: SourceLayer
    """The column, a map of classes."""

    def read_rows(self, y0: int, y1: int) -> Cube:
        """Return the numbers of classes as ``y, x, 1``, NaN for none."""
        codes = self.column.read(y0, y1)
        return np.where(codes == self.column.attrs["nodata"], np.nan, codes)[..., None]


def column_labels(column: SourceLayer, plane: tuple[int, int]) -> ColumnLabels:
    """Return the classes in a column of such rows and columns; those of numbers are their texts, in numbers' order.

    Raises:
        UserError: it has more different texts than there can be classes.
    """
    if not is_class_map(column.attrs):
        column = _of_numbers(column, plane[0])
    names = class_names(column.attrs)
    if len(names) > UNLABELLED:
        raise UserError(
            f"--labels {column.name}",
            found=f"{len(names)} different texts, {', '.join(names[:4])}, ...",
            expected=f"at most {UNLABELLED} classes",
            do="Name a column that groups the spectra; a name of each spectrum is no class.",
        )
    facts = Facts(shape=(*plane, 1), dtype=np.dtype(np.float64), classes=names)
    return ColumnLabels(facts=facts, column=column)


def label_texts(container: Container, options: Options) -> ColumnLabels | None:
    """Return the texts in a container, one for each spectrum, as classes; None if it is numbers that are asked for."""
    entries = container.entries
    name = options.variable or next(iter(entries), "")
    texts = name in entries and not entries[name].numeric and (options.variable is not None or len(entries) == 1)
    if options.kind != "labels" or not options.table or not texts:
        return None
    held_cells = np.ravel(container.read(name)[...]).tolist()
    cells = [cell.decode() if isinstance(cell, bytes) else cell for cell in held_cells]
    if not all(isinstance(cell, str) for cell in cells):
        return None
    column = layer_of_texts(*held("labels", [cell.strip() or None for cell in cells]))
    return column_labels(replace(column, name=f"{container.path.name}:{name}"), (len(cells), 1))


def _of_numbers(column: SourceLayer, count: int) -> SourceLayer:
    """Return a column of numbers as a map of their texts."""
    cells = _values(column, 0, count)
    numbers = np.unique(cells[~np.isnan(cells)])
    texts = tuple(np.format_float_positional(number, trim="-") for number in numbers)
    read = partial(_places, column, numbers)
    return replace(column, dtype=code_type(len(numbers)), read=read, attrs=class_attrs(texts))


def _places(column: SourceLayer, numbers: np.ndarray, y0: int, y1: int) -> np.ndarray:
    """Return the place of each number among all, that of no class for NaN."""
    cells = _values(column, y0, y1)
    return np.where(np.isnan(cells), unlabelled(code_type(len(numbers))), np.searchsorted(numbers, cells))


def _values(column: SourceLayer, y0: int, y1: int) -> np.ndarray:
    """Return the numbers in a column, NaN for no data."""
    cells = column.read(y0, y1)
    return Packing.of(column.name, column.attrs, cells.dtype).values(cells)
