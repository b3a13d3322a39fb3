"""Info: the contents of a store or a file as plain data."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import zarr

from tilespec.ingest.info_folder import axis_facts, is_described, of_folder
from tilespec.ingest.remote_sources import facts_of
from tilespec.storage.backends.paths import store_path
from tilespec.storage.columns import arrays_of
from tilespec.storage.georeference import georef_of
from tilespec.storage.group import open_group
from tilespec.storage.layout import COMPLETE, class_names
from tilespec.storage.ledger import read_note, sidecar
from tilespec.storage.scene import Scene
from tilespec.storage.spectra_table import SpectraTable, is_spectra_table

MADE: Final = ("method", "task", "model_digest", "scene_digest", "train_regions", "origin", "grid")
"""What the attributes of a prediction say of its making."""
SCORES: Final = ("oa", "aa", "kappa", "miou", "iou_mean", "rmse", "rmse_pixel", "r2", "sam", "region", "truth")
"""The figures of an evaluation that are shown."""


def describe(url: str) -> dict[str, Any]:
    """Return shape, data type, chunks, spectral axis, CRS, status, provenance and layers of a store or a file.

    Of a model or a recipe: steps, bands, classes, training regions.
    """
    place = store_path(url)
    if is_described(place):
        return of_folder(place)
    return _store(url) if (place / "zarr.json").exists() else _file(url)


def _store(url: str) -> dict[str, Any]:
    """Return the facts of a Zarr store, complete or not: a scene, or a prediction."""
    group = open_group(url)
    arrays = arrays_of(group)
    main = next((name for name in ("cube", "prediction") if name in arrays), None)
    if main is None and "://" not in url and "tilespec_status" not in group.attrs:
        return _file(url)
    facts: dict[str, Any] = {
        "store": url,
        "status": group.attrs.get("tilespec_status", COMPLETE),
        "digest": group.attrs.get("tilespec_digest"),
        "cube_digest": group.attrs.get("tilespec_cube"),
        "title": group.attrs.get("title"),
        **_origin(dict(group.attrs)),
        "layers": {name: _layer(a) for name, a in arrays.items() if a.ndim in (2, 3) and name != main},
        "bytes": int(sum(a.nbytes for a in arrays.values())),
    }
    if main is not None:
        classes = _classes(arrays[main])
        facts |= {"array": main, **_array(arrays[main]), **classes}
    scores = read_note(sidecar(url), "evaluation")
    if scores is not None:
        facts["evaluated"] = {key: scores[key] for key in SCORES if scores.get(key) is not None}
    if main is not None and arrays[main].ndim == 3:
        scene = Scene.open(url, allow_partial=True)
        facts |= {"scale": scene.scale, "nodata": scene.nodata, "spectral": axis_facts(scene.spectral)}
    if facts["status"] == COMPLETE and is_spectra_table(url):
        return facts | _spectra(url, facts["layers"])
    place = {} if main is None else georef_of(group, arrays[main]) or {}
    return facts | {"crs": _crs(place), "geotransform": place.get("GeoTransform")}


def _spectra(url: str, layers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers of spectra of each class of a table, and whether they lie along a path."""
    if "labels" not in layers:
        return {"path": False}
    table = SpectraTable.open(url)
    names = {k: table.classes[k] if k < len(table.classes) else str(k) for k in dict.fromkeys(table.labels.tolist())}
    counts = {name: int((table.labels == number).sum()) for number, name in names.items()}
    return {"spectra": counts, "path": table.shares is not None}


def _origin(attrs: dict[str, Any]) -> dict[str, Any]:
    """Return where a scene comes from, or what made a prediction."""
    made = {key: attrs[key] for key in MADE if attrs.get(key)}
    provenance = attrs.get("provenance")
    recipe = {key: attrs[key] for key in ("recipe_steps", "recipe_digest") if key in attrs}
    if not made and not recipe:
        return {"provenance": provenance}
    return {"provenance": {**(provenance or {}), **made, **recipe}}


def _file(url: str) -> dict[str, Any]:
    """Return the facts of a file in another format, by its reader."""
    facts = facts_of(url)
    place = facts.georef or {}
    return {
        "file": url,
        "shape": list(facts.shape),
        "dtype": facts.dtype.name,
        "scale": facts.scale,
        "nodata": facts.nodata,
        "spectral": axis_facts(facts.spectral),
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
    return _array(array) | _classes(array)


def _classes(array: zarr.Array[Any]) -> dict[str, Any]:
    """Return the names of the classes of an array, if it has any."""
    classes = list(class_names(array.attrs))
    return {"classes": classes} if classes else {}


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
