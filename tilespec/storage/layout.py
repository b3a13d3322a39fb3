"""Layout: how the arrays of a store are laid out: shapes, chunks, shards, codecs and attributes.

A shard is several chunks in one stored object, where objects would be too many for a bucket or a file system. It is
written at once and read by chunks. It is one chunk high by default, so that the rows of objects and their memory remain
the same.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Final, final

import numpy as np
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

from tilespec.core.errors import UserError
from tilespec.core.types import UNLABELLED, SpectralAxis
from tilespec.storage.georeference import coordinates

ENCODED, ENCODING_BYTES = 10, 1 << 25
"""The largest number of objects that are encoded at once, and the largest sum of their bytes."""
COMPLETE, WRITING, INCOMPLETE = "complete", "writing", "incomplete"

Constants = Mapping[str, tuple[tuple[str, ...], Any, dict[str, Any]]]

CHUNK = 128
TABLE: Final = 4096
"""The height of a chunk of a plane one pixel wide, a table of spectra."""
CODES: Final = (np.dtype(np.uint8), np.dtype(np.uint16), np.dtype(np.uint32))
"""The data types of class maps: of classes that are learned the first alone."""
STANDARD_NAMES = {"wavelength": "radiation_wavelength", "wavenumber": "radiation_wavenumber"}

OBJECTS: Final = 10_000
"""The number of chunks of a cube above which ``auto`` combines several in a shard."""
SHARD_BYTES: Final = 1 << 26
"""The largest size in bytes of a shard that ``auto`` makes, before encoding; it is in memory completely while written.
"""
AUTO, NONE = "auto", "none"


@final
@dataclass(frozen=True, kw_only=True)
class ArraySpec:
    """The description of an array of a product; an array whose first dimension is ``y`` is written by rows."""

    name: str
    """The name of the array at the root of the store."""
    shape: tuple[int, ...]
    """The shape of the whole array."""
    dtype: str
    """The NumPy data type."""
    dims: tuple[str, ...]
    """The names of the dimensions, ``y, x`` first."""
    chunks: tuple[int, ...]
    """The shape of a chunk, which is encoded and read at once."""
    attrs: Mapping[str, Any] = field(default_factory=dict)
    """The attributes of the array, as xarray and CF read them."""
    fill: Any = 0
    """The fill value, which Zarr returns for elements that were never written."""
    shards: tuple[int, ...] | None = None
    """The shape of an object of several chunks; None: each chunk is an object."""

    @property
    def objects(self) -> tuple[int, ...]:
        """The shape of a stored object, the unit of writing; all arrays of a product share its height."""
        return self.shards or self.chunks


def encoding(size: int) -> int:
    """Return how many objects of a size in bytes are encoded at once; each takes its size in memory three times."""
    return max(2, min(ENCODED, ENCODING_BYTES // max(size, 1)))


def compressors(dtype: str) -> list[Any]:
    """Return the codecs of a data type; they always include a checksum, so that a flipped bit is an error."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return [Crc32cCodec()]  # measured noise does not compress: 4 % for 5 times the time
    if kind.itemsize == 1:
        return [ZstdCodec(level=3, checksum=True)]
    # 4 points larger than Zstandard at level 3, encoded 4 and decoded 2.5 times as fast (benchmarks/README.md)
    return [BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle", typesize=kind.itemsize), Crc32cCodec()]


def cube_spec(
    shape: tuple[int, int, int],
    dtype: str,
    *,
    spectral: SpectralAxis | None,
    scale: float = 1.0,
    nodata: float | None = None,
    georeferenced: bool = False,
) -> ArraySpec:
    """Return the description of ``cube(y, x, band)``; an integer cube has its stored type, with a CF scale factor."""
    coordinates = [] if spectral is None else [spectral.name]
    if spectral is not None:
        coordinates += [key for key in ("fwhm", "good") if getattr(spectral, key) is not None]
    attrs: dict[str, Any] = {"coordinates": " ".join(coordinates)} if coordinates else {}
    if scale != 1.0:
        attrs["scale_factor"] = scale
    if nodata is not None and np.dtype(dtype).kind in "iu":
        attrs["_FillValue"] = int(nodata)
    if georeferenced:
        attrs["grid_mapping"] = "spatial_ref"
    return ArraySpec(
        name="cube",
        shape=shape,
        dtype=dtype,
        dims=("y", "x", "band"),
        chunks=(min(height_of(shape), shape[0]), min(CHUNK, shape[1]), shape[2]),
        attrs=attrs,
        fill=float("nan") if np.dtype(dtype).kind == "f" else 0,
    )


def height_of(shape: Sequence[int]) -> int:
    """Return the height of a chunk of a plane."""
    return CHUNK if shape[1] > 1 else TABLE


def layer_spec(
    name: str,
    shape: tuple[int, int],
    dtype: str = "uint8",
    *,
    classes: tuple[str, ...] = (),
    chunk: int | None = None,
) -> ArraySpec:
    """Return the description of a ``y, x`` layer; a class map has flags and 255 as nodata, but no `_FillValue`."""
    attrs: dict[str, Any] = {}
    if classes:
        attrs = class_attrs(classes)
    fill = UNLABELLED if classes else 0  # a lost object reads as no class
    chunks = (min(chunk or height_of(shape), shape[0]), min(chunk or CHUNK, shape[1]))
    return ArraySpec(name=name, shape=shape, dtype=dtype, dims=("y", "x"), chunks=chunks, attrs=attrs, fill=fill)


def class_attrs(classes: tuple[str, ...]) -> dict[str, Any]:
    """Return the attributes of a class map: CF flags, and 255 (`unlabelled`) for unlabelled or nodata."""
    names, none = distinct(classes), unlabelled(code_type(len(classes)))
    words = _words(names)
    exact = {} if words == names else {"class_names": list(names)}
    return {"nodata": none, "flag_values": list(range(len(names))), "flag_meanings": " ".join(words), **exact}


def code_type(count: int) -> np.dtype[Any]:
    """Return the data type of a map of ``count`` classes: uint8, or a wider one for a column of many texts."""
    return next(kind for kind in CODES if count <= unlabelled(kind))


def unlabelled(dtype: np.dtype[Any]) -> int:
    """Return the number for unlabelled or nodata in a class map of a data type, its largest; that of uint8 is 255."""
    return int(np.iinfo(dtype).max)


def class_names(attrs: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the classes of a map from its attributes.

    CF's ``flag_meanings`` are single words; ``class_names`` are the names themselves, as long as they belong together.
    """
    words, exact = tuple(str(attrs.get("flag_meanings", "")).split()), attrs.get("class_names")
    exact = exact.tolist() if isinstance(exact, np.ndarray) else exact
    whole = isinstance(exact, list | tuple) and all(isinstance(name, str) for name in exact)
    return tuple(exact) if exact and whole and _words(tuple(exact)) == words else words


def numbers_among(classes: Sequence[str], known: Sequence[str], count: int) -> tuple[int, ...]:
    """Return the number among ``known`` of each class 0 to ``count - 1``, -1 for none.

    Classes are matched by name; by number where one side has no names.
    """
    if not (classes and known):
        return tuple(range(count))
    names = [*classes, *[None] * (count - len(classes))][:count]
    return tuple(known.index(name) if name in known else -1 for name in names)


def distinct(classes: Sequence[str]) -> tuple[str, ...]:
    """Return one name for each class: ``class_3`` for an empty one, and its number behind one that was there before."""
    names: dict[str, None] = {}
    for i, name in enumerate(" ".join(name.split()) for name in classes):
        other = name or f"class_{i}"
        while other in names:
            other = f"{other}_{i}"
        names[other] = None
    return tuple(names)


def _words(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return a single word for each name, no two the same."""
    return distinct(tuple(name.replace(" ", "_") for name in names))


def constants(
    spectral: SpectralAxis | None, georef: Mapping[str, Any] | None = None, plane: Sequence[int] = ()
) -> dict[str, tuple[tuple[str, ...], Any, dict[str, Any]]]:
    """Return the small arrays of a scene: its spectral coordinate, its georeference, and coordinates of its ``plane``.

    Args:
        spectral: The axis of the bands.
        georef: The attributes of the grid mapping.
        plane: The height and the width in pixels; on a grid that is not rotated a plane has coordinates ``y``, ``x``.
    """
    out: dict[str, tuple[tuple[str, ...], Any, dict[str, Any]]] = {}
    if spectral is not None:
        attrs = {"units": spectral.unit}
        if spectral.name in STANDARD_NAMES:
            attrs["standard_name"] = STANDARD_NAMES[spectral.name]
        out[spectral.name] = (("band",), np.asarray(spectral.values, np.float64), attrs)
        if spectral.fwhm is not None:
            out["fwhm"] = (("band",), np.asarray(spectral.fwhm, np.float64), {"units": spectral.unit})
        if spectral.good is not None:
            out["good"] = (("band",), np.asarray(spectral.good, bool), {"long_name": "band is usable"})
    if georef is not None:
        out["spatial_ref"] = ((), np.int64(0), dict(georef))
    return out | coordinates(georef, plane)


def sharded(specs: list[ArraySpec], text: str | None) -> list[ArraySpec]:
    """Return the arrays of a product with the requested shards; the first array decides.

    Args:
        specs: Arrays whose chunks have one height and width.
        text: The shape ``ROWSxCOLS`` in pixels, multiples of a chunk; ``auto``: only where the chunks of the first
            array are more than `OBJECTS`; None or ``none``: a chunk is an object.

    Raises:
        UserError: the text has another form, or the shape is no multiple of a chunk.
    """
    if text in {None, NONE}:
        return specs
    size = _auto(specs[0]) if text == AUTO else _parse_shards(str(text), specs[0])
    return specs if size is None else [_with(spec, size) for spec in specs]


def _auto(spec: ArraySpec) -> tuple[int, int] | None:
    """Return the shards of an array of too many chunks: as wide as `SHARD_BYTES` permit, one chunk high."""
    counts = [-(-n // edge) for n, edge in zip(spec.shape, spec.chunks, strict=True)]
    wide = min(counts[1], SHARD_BYTES // (prod(spec.chunks) * np.dtype(spec.dtype).itemsize))
    return None if prod(counts) <= OBJECTS or wide <= 1 else (spec.chunks[0], wide * spec.chunks[1])


def _parse_shards(text: str, spec: ArraySpec) -> tuple[int, int]:
    """Return the rows and the columns of a shard from their text."""
    match, (height, width) = re.fullmatch(r"(\d+)x(\d+)", text), spec.chunks[:2]
    rows, cols = (int(match[1]), int(match[2])) if match else (0, 0)
    if not rows or not cols or rows % height or cols % width:
        raise UserError(
            "--shards",
            found=repr(text),
            expected=f"ROWSxCOLS, multiples of the chunk, {height} x {width}; or {AUTO}, or {NONE}",
            do=f"Try {height}x{8 * width}.",
        )
    return rows, cols


def _with(spec: ArraySpec, size: tuple[int, int]) -> ArraySpec:
    """Return an array with shards, none larger than the array needs; the axes after ``y, x`` are not divided."""
    whole = [-(-n // edge) * edge for n, edge in zip(spec.shape[:2], spec.chunks, strict=False)]
    edges = [max(edge, min(side, most)) for edge, side, most in zip(spec.chunks, size, whole, strict=False)]
    return replace(spec, shards=(*edges, *spec.chunks[2:]))
