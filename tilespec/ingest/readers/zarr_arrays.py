"""Zarr: a scene of tilespec, or an array of another store (v2 or v3) by its names, attributes and coordinates."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import zarr

from tilespec.core.errors import UserError
from tilespec.core.types import Roi
from tilespec.ingest.readers.cf import plane, read_cf
from tilespec.ingest.readers.containers import ArraySource, Container, Entry
from tilespec.ingest.readers.gaps import Gapped, with_gaps
from tilespec.ingest.readers.source import Facts, Options, Source, SourceLayer
from tilespec.ingest.readers.unpacked import unpack
from tilespec.storage.array_metadata import is_bare_array
from tilespec.storage.axes import ORDER, dims_of, in_order
from tilespec.storage.columns import is_table, layer_of
from tilespec.storage.group import check_complete, open_group
from tilespec.storage.layer import Layer
from tilespec.storage.packing import PACKING
from tilespec.storage.scene import Scene

STATUS: Final = "tilespec_status"
"""The root attribute of the stores that tilespec writes."""


def read_zarr(path: Path, options: Options) -> Source:
    """Return a scene of tilespec, or the one suitable array of another Zarr store (v2 or v3)."""
    root = _open(path)
    third = isinstance(root, zarr.Group) and root.metadata.zarr_format == 3
    if third and STATUS in root.attrs:
        check_complete(str(path), root.attrs)
    container = _container(path, root)
    wanted = "cube" in container.entries and options.kind != "labels" and options.variable in (None, "cube")
    if third and STATUS in root.attrs and wanted and _lies_in_order(root):
        if options.wavelength_unit is not None:
            raise UserError(
                "--wavelength-unit",
                found=f"{options.wavelength_unit} for {path.name}, a scene whose axis is in nm or cm-1 already",
                expected="no such option for a scene of tilespec",
                do="Leave it out, or ingest the scene's source again with it.",
            )
        return _scene(path, container)
    return read_cf(container, options)


def _lies_in_order(root: zarr.Group) -> bool:
    """Return whether the cube of a store is one of a table, or has its axes in the order of a scene."""
    cube = layer_of(root, "cube")
    return cube is not None and (is_table(cube) or in_order(dims_of(cube)))


def _open(path: Path) -> Any:
    """Open the root of a store."""
    if (path / "zarr.json").exists() and not is_bare_array(path):
        return open_group(str(path))
    return zarr.open(str(path), mode="r")


def _container(path: Path, root: Any) -> Container:
    """Return the arrays of a store, those of groups by their paths."""
    arrays = {path.stem: root} if isinstance(root, zarr.Array) else dict(_arrays(root, path))
    return Container(
        path=path,
        entries={name: _entry(array) for name, array in arrays.items()},
        read=arrays.__getitem__,
        attrs=dict(root.attrs) if isinstance(root, zarr.Group) else {},
    )


def _arrays(group: "zarr.Group", folder: Path, prefix: str = "") -> "Iterator[tuple[str, zarr.Array[Any]]]":
    """Yield the arrays of a group and of the groups in it; other files in the folder are passed over."""
    names = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    for name in names:
        node = group.get(name)
        if isinstance(node, zarr.Array):
            yield prefix + name, node
        elif isinstance(node, zarr.Group):
            yield from _arrays(node, folder / name, f"{prefix}{name}/")


def _entry(array: "zarr.Array[Any]") -> Entry:
    """Return an array as an entry of a container.

    In Zarr v2 xarray and GDAL keep the value for no data as the fill value of the array; in v3 among its attributes.
    """
    attrs, dims = dict(array.attrs), dims_of(array)
    if array.metadata.zarr_format == 2 and dims is not None and array.fill_value is not None:
        attrs.setdefault("_FillValue", array.fill_value)
    return Entry(shape=array.shape, dtype=np.dtype(array.dtype), dims=dims, attrs=attrs)


def _scene(path: Path, container: Container) -> Source:
    """Return the cube of a scene of tilespec with all its facts; pixels that are not valid have no data."""
    scene = Scene.open(str(path))
    names = (
        []
        if scene.table
        else [name for name in scene.layers if container.entries[name].dtype.kind == "f" and name != "valid"]
    )
    beside = _columns(scene) if scene.table else ()
    planes = [replace(plane(container, name, name, _bare(container.entries[name])), name=name) for name in names]
    carried = {*names, "valid", *(layer.name for layer in beside)}
    facts = Facts(
        shape=scene.shape,
        dtype=scene.dtype,
        spectral=scene.spectral,
        georef=None if scene.georef is None else dict(scene.georef),
        colour_space=scene.attrs.get("colour_space"),
        header={key: str(value) for key, value in scene.attrs.get("header", {}).items()},
        table=scene.table,
        layers=(*beside, *planes),
        notes=tuple(
            f"{path.name}: its layer {name} is not taken along" for name in scene.layers if name not in carried
        ),
        files=(path / "zarr.json",),
        read_bytes=scene.chunks[0] * scene.shape[1] * scene.shape[2] * scene.dtype.itemsize,
    )
    source = unpack(ArraySource(facts=facts, array=scene.array, axes=ORDER), facts, scene.packing)
    if "valid" not in scene.layers:
        return source
    valid = container.read("valid")
    return Gapped(facts=with_gaps(source.facts), inner=source, known=lambda y0, y1: np.asarray(valid[y0:y1]) != 0)


def _columns(scene: Scene) -> tuple[SourceLayer, ...]:
    """Return the columns of a table as they are stored."""
    columns = {name: column for name, column in scene.planes.items() if name != "valid"}
    return tuple(
        SourceLayer(name=name, dtype=column.dtype, read=partial(_rows, column), attrs=dict(column.attrs))
        for name, column in columns.items()
    )


def _rows(column: Layer, y0: int, y1: int) -> np.ndarray:
    return column.read(Roi(y0=y0, y1=y1, x0=0, x1=1))


def _bare(entry: Entry) -> dict[str, Any]:
    """Return the attributes of a layer without its packing, which is undone."""
    return {key: value for key, value in entry.attrs.items() if key not in PACKING}
