"""Info: the contents of a store or a file as plain data."""

from pathlib import Path
from typing import Any

import numpy as np
import zarr

from tilespec.core.types import SpectralAxis
from tilespec.ingest.readers.reader_table import open_source
from tilespec.ingest.readers.source import Options
from tilespec.storage.georeference import georef_of
from tilespec.storage.group import open_group
from tilespec.storage.layout import COMPLETE, class_names
from tilespec.storage.scene import Scene


def describe(url: str) -> dict[str, Any]:
    """Return shape, data type, chunks, spectral axis, CRS, status, provenance and layers of a store or a file."""
    if "://" in url or (Path(url) / "zarr.json").exists():
        return _store(url)
    return _file(url)


def _store(url: str) -> dict[str, Any]:
    """Return the facts of a Zarr store, complete or not: a scene, or a prediction."""
    group = open_group(url)
    arrays = dict(group.arrays())
    main = next((name for name in ("cube", "prediction") if name in arrays), None)
    facts: dict[str, Any] = {
        "store": url,
        "status": group.attrs.get("tilespec_status", COMPLETE),
        "digest": group.attrs.get("tilespec_digest"),
        "title": group.attrs.get("title"),
        "provenance": group.attrs.get("provenance"),
        "layers": {name: _layer(a) for name, a in arrays.items() if a.ndim == 2},
        "bytes": int(sum(a.nbytes for a in arrays.values())),
    }
    if main is not None:
        facts |= {"array": main, **_array(arrays[main])}
    if main is not None and arrays[main].ndim == 3:
        scene = Scene.open(url, allow_partial=True)
        facts |= {"scale": scene.scale, "nodata": scene.nodata, "spectral": _axis(scene.spectral)}
    place = {} if main is None else georef_of(group, arrays[main]) or {}
    return facts | {"crs": _crs(place), "geotransform": place.get("GeoTransform")}


def _file(url: str) -> dict[str, Any]:
    """Return the facts of a file in another format, by its reader."""
    facts = open_source(url, Options()).facts
    place = facts.georef or {}
    return {
        "file": url,
        "shape": list(facts.shape),
        "dtype": facts.dtype.name,
        "scale": facts.scale,
        "nodata": facts.nodata,
        "spectral": _axis(facts.spectral),
        "crs": _crs(place),
        "geotransform": place.get("GeoTransform"),
        "classes": list(facts.classes),
        "layers": [layer.name for layer in facts.layers],
        "header": facts.header,
        "notes": list(facts.notes),
        "bytes": int(np.prod(facts.shape, dtype=object)) * facts.dtype.itemsize,
    }


def _array(array: zarr.Array[Any]) -> dict[str, Any]:
    return {"shape": list(array.shape), "dtype": str(array.dtype), "chunks": list(array.chunks)}


def _layer(array: zarr.Array[Any]) -> dict[str, Any]:
    """Return a layer's facts, with the names of its classes."""
    classes = list(class_names(array.attrs))
    return _array(array) | ({"classes": classes} if classes else {})


def _axis(axis: SpectralAxis | None) -> dict[str, Any] | None:
    """Return the first and the last value of a spectral axis."""
    if axis is None:
        return None
    return {
        "name": axis.name,
        "unit": axis.unit,
        "first": axis.values[0],
        "last": axis.values[-1],
        "count": len(axis.values),
        "bad": 0 if axis.good is None else axis.good.count(False),
    }


def _crs(place: dict[str, Any]) -> str | None:
    """Return the CRS as an authority's code, or else its name; None without a CRS."""
    if not place.get("crs_wkt"):
        return None
    from tilespec.ingest.readers.georeference import crs_of

    crs = crs_of(place["crs_wkt"])
    if crs is None:
        return str(place["crs_wkt"])[:80]
    authority = crs.to_authority(min_confidence=70)
    return ":".join(authority) if authority else str(crs.name)
