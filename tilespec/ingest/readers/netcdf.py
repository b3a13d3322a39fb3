"""NetCDF 4 by the CF conventions, and plain HDF5: axes by name, unpacked values, grid or swath.

CF 1.11 sections 2.5.1 (missing data), 5.6 (grid mappings), 5.2 (two-dimensional coordinates) and 8.1 (packed data).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

import h5py
import numpy as np

from tilespec.core.types import Cube, SpectralAxis
from tilespec.ingest.readers.cf_grid import mapped
from tilespec.ingest.readers.containers import ArraySource, Entry, axes_of, choose, from_entries
from tilespec.ingest.readers.hdf5 import (
    LATITUDE,
    LONGITUDE,
    arrays,
    attributes,
    dataset,
    entry,
    open_hdf5,
    plane,
    text,
    vector,
)
from tilespec.ingest.readers.source import Facts, Options, Source, SourceLayer
from tilespec.ingest.readers.wavelengths import NANOMETRES, WAVENUMBERS

PACKING: Final = ("scale_factor", "add_offset", "_FillValue", "missing_value")
NO_VARIABLE: Final = "This is a netCDF dimension but not a netCDF variable"
"""The text that NetCDF 4 writes into a dimension without a coordinate."""
MARKS: Final = ("good", "good_wavelengths", "bbl")
"""The names of vectors that are zero for bad bands."""
STANDARD: Final = {"radiation_wavelength", "radiation_wavenumber"}
"""CF's standard names of a spectral coordinate."""
SWATH: Final = {"lat": ("latitude", "degrees_north", LATITUDE), "lon": ("longitude", "degrees_east", LONGITUDE)}
"""The layers of a swath with CF's standard name, its unit, and the attributes in a scene."""


@final
@dataclass(frozen=True, kw_only=True)
class Unpacked:
    """Packed numbers with an offset as real values: ``stored * scale + offset``, NaN for no data."""

    facts: Facts
    """The facts of the values: floats, without scale and nodata."""
    inner: Source
    """The source of the packed numbers."""
    offset: float
    """The value of a stored 0."""

    def read_rows(self, y0: int, y1: int) -> Cube:
        """Return rows that are unpacked in float64 and rounded once."""
        packed, how = self.inner.read_rows(y0, y1), self.inner.facts
        values: np.ndarray = (packed * np.float64(how.scale) + self.offset).astype(self.facts.dtype)
        if how.nodata is not None:
            values[packed == how.nodata] = np.nan
        return values


def read_netcdf(path: Path, options: Options) -> Source:
    """Return an array of a NetCDF 4 or plain HDF5 file.

    ``scale_factor`` and ``_FillValue`` become facts of the integers; an ``add_offset``, which a scene cannot store, is
    applied.
    """
    with open_hdf5(path) as file:
        nodes = arrays(file)
        entries = {name: entry(node, _dims(node), _packing(node)) for name, node in nodes.items()}
        chosen = choose(path, entries, options)
        offset = float(entries[chosen].attrs.get("add_offset", 0.0))
        bare = {key: value for key, value in entries[chosen].attrs.items() if key != "add_offset"}
        axes = axes_of(f"{path}: {chosen}", entries[chosen], options)
        named = replace(options, wavelengths=options.wavelengths or _spectral_name(nodes, nodes[chosen], axes))
        georef, place_notes = mapped(path.name, file, nodes[chosen], axes)
        layers = _swath(path, nodes, nodes[chosen], axes)
        header = attributes(file) | _own(chosen, nodes[chosen])
        readers = {name: dataset(path, node) for name, node in nodes.items()}
        good = _good(nodes, entries[chosen].shape[axes.index("band")] if "band" in axes else 1)
    entries[chosen] = replace(entries[chosen], attrs=bare)
    source = from_entries(path, entries, readers.__getitem__, named)
    facts = replace(
        source.facts,
        georef=georef,
        layers=layers if options.kind == "cube" else (),
        header=header,
        spectral=_marked(source.facts.spectral, good),
        notes=(*source.facts.notes, *place_notes, *_missing(path.name, entries[chosen])),
    )
    return _unpacked(source, facts, offset)


def _unpacked(source: ArraySource, facts: Facts, offset: float) -> Source:
    """Return the source itself, or its values when they are packed with an offset."""
    if offset == 0:
        return replace(source, facts=facts)
    wide = facts.dtype.itemsize > 4 or facts.dtype in (np.dtype("i4"), np.dtype("u4"))
    values = replace(facts, dtype=np.dtype("f8" if wide else "f4"), scale=1.0, nodata=None)
    return Unpacked(facts=values, inner=source, offset=offset)


def _dims(node: h5py.Dataset) -> tuple[str, ...] | None:
    """Return the names of the dimensions if all have one: from the scale, else from the label."""
    names = [dim[0].name.rpartition("/")[2] if len(dim) else dim.label for dim in node.dims]
    return tuple(names) if names and all(names) else None


def _spectral_name(nodes: Mapping[str, h5py.Dataset], cube: h5py.Dataset, axes: tuple[str, ...]) -> str | None:
    """Return the vector that CF marks as spectral coordinate, if none is called ``wavelength...``."""
    if "band" not in axes or any(_leaf(name).startswith("wavelength") for name in nodes):
        return None
    band = axes.index("band")
    fitting = {name: node for name, node in nodes.items() if node.shape == cube.shape[band : band + 1]}
    declared = [name for name, node in fitting.items() if text(node.attrs.get("standard_name", "")) in STANDARD]
    if declared or (dims := _dims(cube)) is None:
        return declared[0] if declared else None
    units = {name: text(node.attrs.get("units", "")).lower() for name, node in fitting.items()}
    candidates = [name for name in units if _leaf(name) == dims[band].lower() and _is_spectral(units[name])]
    return candidates[0] if candidates else None


def _leaf(name: str) -> str:
    """Return the last part of a name, in lower case."""
    return name.rpartition("/")[2].lower()


def _is_spectral(unit: str) -> bool:
    """Return whether a unit is one of wavelength or wavenumber (metres are a distance here)."""
    return unit not in ("m", "meter", "metre") and (unit in WAVENUMBERS or unit.removesuffix("s") in NANOMETRES)


def _packing(node: h5py.Dataset) -> dict[str, Any]:
    """Return the packing of a dataset, its units, and its nodata value (CF has two attributes for it)."""
    values = {key: float(np.ravel(node.attrs[key])[0]) for key in PACKING if key in node.attrs and _number(node, key)}
    if "missing_value" in values:
        values.setdefault("_FillValue", values["missing_value"])
    return values | ({"units": text(node.attrs["units"])} if "units" in node.attrs else {})


def _number(node: h5py.Dataset, key: str) -> bool:
    """Return whether an attribute is a number, because fill values of text are not."""
    value = node.attrs[key]
    return not isinstance(value, h5py.Empty) and np.asarray(value).dtype.kind in "iuf"


def _missing(where: str, chosen: Entry) -> tuple[str, ...]:
    """Return a note when two values mean no data, because a scene stores one."""
    values = [chosen.attrs.get(key) for key in ("_FillValue", "missing_value")]
    if None in values or values[0] == values[1] or np.isnan(np.asarray(values, np.float64)).all():
        return ()
    return (f"{where}: missing_value {values[1]:g} is kept as data, _FillValue {values[0]:g} counts",)


def _own(name: str, node: h5py.Dataset) -> dict[str, str]:
    """Return the attributes of the array under their own names."""
    texts = attributes(node, without=frozenset({*PACKING, "coordinates", "grid_mapping"}))
    return {f"{name.rpartition('/')[2]} {key}": value for key, value in texts.items()}


def _good(nodes: Mapping[str, h5py.Dataset], bands: int) -> list[bool] | None:
    """Return the marks of good bands, or None."""
    marks = [node for name, node in nodes.items() if name.rpartition("/")[2] in MARKS and node.shape == (bands,)]
    return [value != 0 for value in vector(marks[0])] if marks else None


def _marked(axis: SpectralAxis | None, good: list[bool] | None) -> SpectralAxis | None:
    """Return an axis with its marks."""
    return axis if axis is None or good is None or axis.good is not None else replace(axis, good=tuple(good))


def _swath(
    path: Path, nodes: Mapping[str, h5py.Dataset], cube: h5py.Dataset, axes: tuple[str, ...]
) -> tuple[SourceLayer, ...]:
    """Return two-dimensional latitude and longitude on the cube's own pixels as layers."""
    dims = _dims(cube)
    order = [name for axis, name in zip(axes, dims or (), strict=False) if axis in ("y", "x")]
    if dims is None or axes.index("y") > axes.index("x"):
        order.reverse()
    layers = []
    for layer, (standard, units, attrs) in SWATH.items():
        for node in nodes.values():
            attributes_of = (text(node.attrs.get("standard_name", "")), text(node.attrs.get("units", "")))
            there = list(_dims(node) or ()) if node.ndim == 2 else []
            if (standard == attributes_of[0] or units == attributes_of[1]) and order and sorted(there) == sorted(order):
                layers.append(plane(path, layer, node, attrs, turned=there != order))
                break
    return tuple(layers)
