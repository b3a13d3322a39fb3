"""Spectra grid: a table whose spectra were measured at the points of a grid, such as a Raman map, as a scene."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, final

import numpy as np
from jaxtyping import Float64, Int64, Shaped

from tilespec.core.errors import UserError
from tilespec.core.types import Cube
from tilespec.ingest.readers.source import Facts, Source, SourceLayer
from tilespec.ingest.readers.spectra_text import layer_name
from tilespec.storage.packing import Packing
from tilespec.storage.selection import is_class_map

ALIKE: Final = 1e-6
"""The share of the extent below which two positions are the same."""
EMPTY: Final = 0.5
"""The largest share of a grid's points without a spectrum; beyond it positions are scattered, or those of a path."""
POSITIONS: Final = ("position_y", "position_x")
"""The names of the layers of positions; ``y`` and ``x`` are the dimensions of a scene."""

Index = Int64[np.ndarray, "y x"]
"""The number of the spectrum of each pixel, -1 for none."""
Levels = Float64[np.ndarray, " level"]
"""The positions of the lines of a grid."""


@final
@dataclass(frozen=True, kw_only=True)
class GridSpectra:
    """The spectra of a table, each at its pixel."""

    facts: Facts
    """The facts of the scene."""
    table: Source
    """The spectra in the order of the table."""
    index: Index
    """The number of the spectrum of each pixel."""

    def read_rows(self, y0: int, y1: int) -> Cube:
        """Return rows of pixels, those without a spectrum as no data."""
        none = np.nan if self.facts.nodata is None else self.facts.nodata
        return _spectra_at(self.index[y0:y1], self._spectra, self.facts.shape[2:], self.facts.dtype, none)

    def _spectra(self, first: int, last: int) -> Shaped[np.ndarray, "spectrum band"]:
        return self.table.read_rows(first, last)[:, 0]


def on_grid(table: Source, columns: str) -> GridSpectra:
    """Return a table as a scene: rows are the sorted numbers of the second of two columns, columns those of the first.

    Args:
        table: The table of spectra.
        columns: The names of two columns of numbers, ``X,Y``, by their headers or their names in a store.

    Raises:
        UserError: the source is no table, lacks a column of numbers, or its positions make no grid.
    """
    x, y = _columns(table.facts, columns)
    (rows, at_y), (cols, at_x) = (_levels(name, layer, table.facts.shape[0]) for name, layer in (y, x))
    points, count = len(rows) * len(cols), len(at_y)
    if points - count > EMPTY * points:
        found = f"{count} spectra at points of {len(rows)} x {len(cols)} lines"
        raise _no_grid(found, "positions on a grid", "Leave --grid out: spectra at scattered points are a table.")
    index = np.full((len(rows), len(cols)), -1)
    index[at_y, at_x] = np.arange(len(at_y))
    if len(at_y) != np.count_nonzero(index >= 0):
        number = int(np.flatnonzero(index[at_y, at_x] != np.arange(len(at_y)))[0])
        found = f"two spectra at {x[0]} {cols[at_x[number]]:g}, {y[0]} {rows[at_y[number]]:g}"
        raise _no_grid(found, "one spectrum at each point", "Keep one of them, or a column of repeats apart.")
    holes, names = points - count, _names(table.facts, y[1], x[1])
    layers = tuple(
        _gridded(replace(layer, name=name), index, whole=not holes)
        for layer, name in zip(table.facts.layers, names, strict=True)
    )
    note = f"--grid {columns}: {_extent(y[0], rows)} down, {_extent(x[0], cols)} across"
    filled = holes and table.facts.nodata is None
    facts = replace(
        table.facts,
        shape=(*index.shape, table.facts.shape[2]),
        dtype=np.result_type(table.facts.dtype, np.float32) if filled else table.facts.dtype,
        table=False,
        layers=layers,
        notes=(*table.facts.notes, note + (f", {holes} pixels without a spectrum" if holes else "")),
    )
    return GridSpectra(facts=facts, table=table, index=index)


def _columns(facts: Facts, columns: str) -> list[tuple[str, SourceLayer]]:
    """Return the two columns that are named, with their names."""
    names = [name.strip() for name in columns.split(",")]
    numbers = {layer.name: layer for layer in facts.layers if not is_class_map(layer.attrs)}
    found = [numbers.get(name) or numbers.get(layer_name(name)) for name in names]
    chosen = [(name, layer) for name, layer in zip(names, found, strict=True) if layer is not None]
    if not facts.table:
        raise _no_grid("a source with places of its own", "a table of spectra", "Leave --grid out.")
    if len(names) != len(POSITIONS) or len({layer.name for _, layer in chosen}) != len(POSITIONS):
        expected = f"two columns of numbers X,Y, among {', '.join(numbers) or 'none in this table'}"
        raise _no_grid(columns, expected, "Name the column that runs along a row of pixels first.")
    return chosen


def _names(facts: Facts, y: SourceLayer, x: SourceLayer) -> list[str]:
    """Return the names of the layers in the scene, all different, and none that of a dimension."""
    positions = dict(zip((y.name, x.name), POSITIONS, strict=True))
    names: list[str] = []
    for layer in facts.layers:
        name = positions.get(layer.name, layer.name)
        while layer.name not in positions and (name in (*POSITIONS, "y", "x") or name in names):
            name = f"{name}_"
        names.append(name)
    return names


def _levels(name: str, column: SourceLayer, count: int) -> tuple[Levels, Int64[np.ndarray, " spectrum"]]:
    """Return the different numbers of a column in their order, and the place of each cell among them."""
    cells = column.read(0, count)
    values = Packing.of(column.name, column.attrs, cells.dtype).values(cells).astype(np.float64).reshape(-1)
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise _no_grid(f"no number in column {name} of spectrum {row}", "a position of each spectrum", "Fill it in.")
    order = np.argsort(values, kind="stable")
    apart = np.diff(values[order], prepend=values[order[0]]) > ALIKE * np.ptp(values)
    places = np.empty(count, np.int64)
    places[order] = np.cumsum(apart)
    return values[order][np.r_[True, apart[1:]]], places


def _extent(name: str, levels: Levels) -> str:
    """Return a text on the lines of a grid."""
    return f"{len(levels)} of {name} from {levels[0]:g} to {levels[-1]:g}"


def _gridded(column: SourceLayer, index: Index, *, whole: bool) -> SourceLayer:
    """Return a column as a layer of the scene; whole numbers become floats where a pixel has none."""
    classes = is_class_map(column.attrs)
    dtype = column.dtype if whole or classes or column.dtype.kind == "f" else np.dtype(np.float64)
    fill = column.attrs["nodata"] if classes else np.nan if dtype.kind == "f" else 0
    return replace(column, dtype=dtype, read=partial(_rows, column, index, dtype, fill))


def _rows(column: SourceLayer, index: Index, dtype: np.dtype[Any], fill: float, y0: int, y1: int) -> np.ndarray:
    """Return rows of a gridded column."""
    return _spectra_at(index[y0:y1], lambda first, last: column.read(first, last)[:, 0], (), dtype, fill)


def _spectra_at(index: Index, read: Any, more: tuple[int, ...], dtype: np.dtype[Any], fill: float) -> np.ndarray:
    """Return what ``read`` returns of each pixel's spectrum, ``fill`` for none; runs of spectra are read at once."""
    wanted = np.sort(index[index >= 0])
    runs = np.split(wanted, np.flatnonzero(np.diff(wanted) > 1) + 1) if len(wanted) else []
    out = np.full((*index.shape, *more), fill if len(wanted) < index.size else 0, dtype)
    flat = out.reshape(index.size, *more)
    pixel = np.argsort(index, axis=None, kind="stable")[index.size - len(wanted) :]
    start = 0
    for run in runs:
        flat[pixel[start : start + len(run)]] = read(int(run[0]), int(run[-1]) + 1)
        start += len(run)
    return out


def _no_grid(found: str, expected: str, do: str) -> UserError:
    return UserError("--grid", found=found, expected=expected, do=do)
