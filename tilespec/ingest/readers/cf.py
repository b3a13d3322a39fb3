"""CF: an array of a container with attributes (NetCDF, HDF5, Zarr): unpacked values, spectral axis, grid or swath.

CF 1.11 sections 2.5.1 (missing data), 5.6 (grid mappings), 5.2 (two-dimensional coordinates) and 8.1 (packed data).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from tilespec.ingest.readers.cf_grid import mapped
from tilespec.ingest.readers.column_labels import label_texts
from tilespec.ingest.readers.containers import Chosen, Container, chosen_array
from tilespec.ingest.readers.gaps import Gapped, with_gaps
from tilespec.ingest.readers.source import Options, Source, SourceLayer
from tilespec.ingest.readers.spectral_vectors import BandCount, axis_beside
from tilespec.ingest.readers.unpacked import unpack
from tilespec.storage.layout import class_names as class_names_of
from tilespec.storage.packing import PACKING, Packing

LATITUDE: Final = {"units": "degrees_north", "standard_name": "latitude"}
LONGITUDE: Final = {"units": "degrees_east", "standard_name": "longitude"}
SWATH: Final = {"lat": ("latitude", "degrees_north", LATITUDE), "lon": ("longitude", "degrees_east", LONGITUDE)}
"""The layers of a swath with CF's standard name (or the name of the array), its unit, and the attributes in a scene."""
LONGEST: Final = 4096
"""The largest number of values of an attribute that is copied to a scene's header."""
INNER: Final = PACKING | {
    *("DIMENSION_LIST", "REFERENCE_LIST", "CLASS", "NAME", "DIMENSION_LABELS", "coordinates", "grid_mapping"),
    *("_Netcdf4Dimid", "_Netcdf4Coordinates", "_NCProperties", "_nc3_strict", "_ARRAY_DIMENSIONS", "_CRS"),
    *("crs_wkt", "spatial_ref", "GeoTransform"),
}
"""The attributes that become facts of the scene, or that formats use internally."""
USED: Final = 8
"""The number of arrays that a note names."""


def read_container(container: Container, options: Options, **known: Any) -> Source:
    """Return the selected array of a container, with what the caller knows of it (fields of `Facts`).

    Without a spectral axis by the caller it is that of a vector in the container.
    """
    named = label_texts(container, options)
    if named is not None:
        return named
    chosen = chosen_array(container, options)
    facts = replace(chosen.source.facts, classes=class_names(container, options))
    if "spectral" not in known:
        spectral, notes = axis_beside(container, _bands(container, chosen), options)
        left = _left(container, chosen.name, options)
        facts = replace(facts, spectral=spectral, notes=(*facts.notes, *notes, *left))
    notes = (*facts.notes, *known.pop("notes", ()))
    return unpack(chosen.source, replace(facts, **known, notes=notes), chosen.packing)


def read_cf(container: Container, options: Options) -> Source:
    """Return the selected array of a container with attributes: its values, axis, place, layers and header."""
    named = label_texts(container, options)
    if named is not None:
        return named
    chosen = chosen_array(container, options)
    name, axes = chosen.name, chosen.source.axes
    placed = "x" in axes
    georef, place_notes = mapped(container, name, axes) if placed else (None, ())
    spectral, notes = axis_beside(container, _bands(container, chosen), options)
    layers = swath(container, name, axes) if placed and options.kind == "cube" else ()
    facts = replace(
        chosen.source.facts,
        spectral=spectral,
        georef=georef,
        layers=layers,
        classes=class_names(container, options) or _flags(container.entries[name].attrs, options),
        header=texts(container.attrs) | _own(name, container.entries[name].attrs),
        notes=(*chosen.source.facts.notes, *notes, *place_notes),
    )
    return _visible(container, chosen, unpack(chosen.source, facts, chosen.packing), options)


def _bands(container: Container, chosen: Chosen) -> BandCount:
    """Return what is known of the bands of the selected array."""
    y, x, band = chosen.source.facts.shape
    dims, axes = container.entries[chosen.name].dims, chosen.source.axes
    return BandCount(
        where=f"{container.path.name}: {chosen.name}",
        name=chosen.name,
        dim=dims[axes.index("band")] if dims is not None and "band" in axes else None,
        size={"y": y, "x": x, "band": band},
    )


def _left(container: Container, name: str, options: Options) -> tuple[str, ...]:
    """Return a note on arrays of two or three axes that are not taken."""
    others = [n for n, e in container.entries.items() if e.numeric and len(e.shape) > 1 and e.length is None]
    others = [f"{n} {container.entries[n].shape}" for n in others if n != name]
    if options.kind != "cube" or not others:
        return ()
    more = f" and {len(others) - USED} more" if len(others) > USED else ""
    return (f"{container.path.name}: not taken: {', '.join(others[:USED])}{more}",)


def class_names(container: Container, options: Options) -> tuple[str, ...]:
    """Return the strings of an entry ``class_names``, for labels."""
    if options.kind != "labels":
        return ()
    entries = container.entries
    name = next((n for n in ("class_names", "classes") if n in entries and entries[n].dtype.kind in "US"), None)
    return () if name is None else tuple(str(v).strip() for v in np.ravel(container.read(name)[...]).tolist())


def _flags(attrs: Mapping[str, Any], options: Options) -> tuple[str, ...]:
    """Return the names of classes from CF's flags, where these are the classes 0, 1, 2, ..."""
    names = class_names_of(attrs)
    values = np.ravel(attrs.get("flag_values", [])).tolist()
    return names if options.kind == "labels" and names and values == list(range(len(names))) else ()


def text(value: Any) -> str:
    """Return text, a number or a list of them as text."""
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace").strip("\0 ")
    if isinstance(value, np.ndarray | list | tuple):
        return ", ".join(text(one) for one in np.ravel(np.asarray(value, object)).tolist())
    return str(value).strip("\0 ")


def texts(attrs: Mapping[str, Any]) -> dict[str, str]:
    """Return attributes as text, without those of the format itself."""
    kept = {key: value for key, value in sorted(attrs.items()) if key not in INNER and np.size(value) <= LONGEST}
    return {key: text(value) for key, value in kept.items()}


def _own(name: str, attrs: Mapping[str, Any]) -> dict[str, str]:
    """Return the attributes of the array under its own name."""
    return {f"{name.rpartition('/')[2]} {key}": value for key, value in texts(attrs).items()}


def _visible(container: Container, chosen: Chosen, source: Source, options: Options) -> Source:
    """Return a cube with gaps where an array ``valid`` of its plane is 0, as in a scene."""
    at, dims = container.beside(chosen.name, "valid"), container.entries[chosen.name].dims
    axes = [axis for axis in ("y", "x") if axis in chosen.source.axes]
    plane = [dims[chosen.source.axes.index(axis)] for axis in axes] if dims is not None else None
    if at is None or options.kind != "cube" or plane is None or list(container.entries[at].dims or ()) != plane:
        return source
    valid = container.read(at)
    return Gapped(facts=with_gaps(source.facts), inner=source, known=lambda y0, y1: np.asarray(valid[y0:y1]) != 0)


def swath(container: Container, name: str, axes: tuple[str, ...]) -> tuple[SourceLayer, ...]:
    """Return two-dimensional latitude and longitude on an array's own pixels as layers."""
    entry = container.entries[name]
    order = [axes.index(axis) for axis in ("y", "x")]
    shape = tuple(entry.shape[i] for i in order)
    dims = None if entry.dims is None else [entry.dims[i] for i in order]
    layers = []
    for layer, (standard, unit, attrs) in SWATH.items():
        for at, other in container.entries.items():
            turned = _lies(other.dims, other.shape, dims, shape)
            if other.dtype.kind in "iuf" and turned is not None and _is_position(at, other.attrs, standard, unit):
                layers.append(plane(container, at, layer, attrs, turned=turned))
                break
    return tuple(layers)


def _lies(
    there: tuple[str, ...] | None, shape: tuple[int, ...], dims: list[str] | None, plane: tuple[int, ...]
) -> bool | None:
    """Return whether a two-dimensional array lies turned on a plane; None when it does not lie on it."""
    if len(shape) != 2:
        return None
    if dims is None or there is None:
        return False if shape == plane else None
    names = [dim.rpartition("/")[2] for dim in there]
    return None if sorted(names) != sorted(dims) else names != dims


def _is_position(name: str, attrs: Mapping[str, Any], standard: str, unit: str) -> bool:
    """Return whether an array holds latitudes (longitudes), by its attributes, or by its name and a unit of degrees."""
    said, units = str(attrs.get("standard_name", "")), str(attrs.get("units", "")).lower()
    named = name.rpartition("/")[2].lower() in (standard, standard[:3])
    return standard == said or unit == units or (named and (units.startswith("deg") or not units))


def plane(
    container: Container, name: str, layer: str, attrs: Mapping[str, Any], *, turned: bool = False
) -> SourceLayer:
    """Return a ``y, x`` array (``turned``: stored ``x, y``) as a layer of unpacked floats, NaN for no data."""
    entry = container.entries[name]
    packing = Packing.of(f"{container.path.name}: {name}", entry.attrs, entry.dtype)
    wide = entry.dtype.itemsize > 4 or (entry.dtype.kind in "iu" and entry.dtype.itemsize == 4)
    kind = np.dtype("f8" if wide else "f4")
    stored = container.read(name)

    def read(y0: int, y1: int) -> np.ndarray:
        rows = np.asarray(stored[:, y0:y1]).T if turned else np.asarray(stored[y0:y1])
        values: np.ndarray = packing.values(rows, kind)
        return values

    return SourceLayer(name=layer, dtype=kind, read=read, attrs=dict(attrs))
