"""Arrays: .npy by rows through a memory map, .npz unpacked completely, Zarr by chunks."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from tilespec.core.errors import UserError
from tilespec.ingest.readers.containers import ORDER, ArraySource, Entry, from_entries, guard
from tilespec.ingest.readers.gaps import Gapped, with_gaps
from tilespec.ingest.readers.source import Facts, Options, Source, SourceLayer
from tilespec.storage.group import check_complete, open_group
from tilespec.storage.scene import Scene


def read_npy(path: Path, options: Options) -> ArraySource:
    """Return the array of a .npy file, read by rows through a memory map."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise UserError(
            path, found=str(error), expected="a whole .npy array of numbers", do="Save it again."
        ) from error
    name = path.stem
    entries = {name: Entry(shape=array.shape, dtype=array.dtype)}
    return from_entries(path, entries, {name: array}.__getitem__, options)


def read_npz(path: Path, options: Options) -> ArraySource:
    """Return an array of a .npz file, which is unpacked completely."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {n.removesuffix(".npy"): _npz_entry(archive, n) for n in archive.namelist()}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(path, found=str(error), expected="a whole .npz file", do="Save it again.") from error

    def read(name: str) -> np.ndarray:
        guard(f"{path}: {name}", entries[name])
        with np.load(path, allow_pickle=False) as archive:
            array: np.ndarray = archive[name]
        return array

    return from_entries(path, entries, read, options)


def _npz_entry(archive: zipfile.ZipFile, name: str) -> Entry:
    """Return the shape and the type of one member without unpacking it."""
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = reader(file)
    return Entry(shape=shape, dtype=dtype)


def read_zarr(path: Path, options: Options) -> Source:
    """Return a scene of tilespec, or the one suitable array of another Zarr store (v2 or v3)."""
    try:
        root = zarr.open(str(path), mode="r")
    except (FileNotFoundError, ValueError) as error:
        raise UserError(path, found=str(error), expected="a Zarr store", do="Check the path.") from error
    arrays = {path.stem: root} if isinstance(root, zarr.Array) else dict(root.arrays())
    if "tilespec_status" in root.attrs and (Path(path) / "zarr.json").exists():
        check_complete(str(path), root.attrs)
    if "cube" in arrays and options.kind != "labels" and options.variable in (None, "cube"):
        return _scene(path)
    entries = {
        name: Entry(shape=a.shape, dtype=np.dtype(a.dtype), dims=_dims(a), attrs=dict(a.attrs))
        for name, a in arrays.items()
    }
    return from_entries(path, entries, arrays.__getitem__, options)


def _scene(path: Path) -> Source:
    """Return the cube of a scene of tilespec with all its facts; pixels that are not valid have no data."""
    scene = Scene.open(str(path))
    group = open_group(str(path))
    names = [name for name in scene.layers if group[name].dtype.kind == "f" and name != "valid"]
    planes = [_plane(name, group[name]) for name in names]
    carried = {plane.name for plane in planes} | {"valid"}
    facts = Facts(
        shape=scene.shape,
        dtype=scene.dtype,
        spectral=scene.spectral,
        georef=None if scene.georef is None else dict(scene.georef),
        nodata=scene.nodata,
        scale=scene.scale,
        colour_space=scene.attrs.get("colour_space"),
        header={key: str(value) for key, value in scene.attrs.get("header", {}).items()},
        layers=tuple(planes),
        notes=tuple(
            f"{path.name}: its layer {name} is not taken along" for name in scene.layers if name not in carried
        ),
        files=(path / "zarr.json",),
        read_bytes=scene.chunks[0] * scene.shape[1] * scene.shape[2] * scene.dtype.itemsize,
    )
    source = ArraySource(facts=facts, array=scene.array, axes=ORDER)
    if "valid" not in scene.layers:
        return source
    valid = group["valid"]
    return Gapped(facts=with_gaps(facts), inner=source, known=lambda y0, y1: np.asarray(valid[y0:y1]) != 0)


def _plane(name: str, array: Any) -> SourceLayer:
    """Return a measured layer, such as the latitude of each pixel."""
    return SourceLayer(
        name=name, dtype=array.dtype, read=lambda y0, y1: np.asarray(array[y0:y1]), attrs=dict(array.attrs)
    )


def _dims(array: Any) -> tuple[str, ...] | None:
    """Return the names of dimensions: Zarr v3's own, or xarray's attribute in Zarr v2."""
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    return None if not names or None in names else tuple(names)
