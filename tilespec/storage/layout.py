"""Layout: how the arrays of a store are laid out: shapes, chunks, shards, codecs and attributes.

A shard is several chunks in one stored object, where objects would be too many for a bucket or a file system. It is
written at once and read by chunks. It is one chunk high unless asked for otherwise, so that rows of objects and the
memory they take stay what they are.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Final, final

import numpy as np
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

from tilespec.core.errors import UserError
from tilespec.core.types import UNLABELLED, SpectralAxis

ENCODED, ENCODING_BYTES = 10, 1 << 25
"""Objects that are encoded at once, and their bytes: at most."""
COMPLETE, WRITING, INCOMPLETE = "complete", "writing", "incomplete"

Constants = Mapping[str, tuple[tuple[str, ...], Any, dict[str, Any]]]

CHUNK = 128
STANDARD_NAMES = {"wavelength": "radiation_wavelength", "wavenumber": "radiation_wavenumber"}

OBJECTS: Final = 10_000
"""Chunks of a cube above which ``auto`` puts several into a shard."""
SHARD_BYTES: Final = 1 << 26
"""Of a shard that ``auto`` makes, before encoding: at most; it is in memory whole while it is written."""
AUTO, NONE = "auto", "none"


@final
@dataclass(frozen=True, kw_only=True)
class ArraySpec:
    """An array of a product, before it exists. Arrays whose first dimension is ``y`` are written by rows."""

    name: str
    """Name at the store's root."""
    shape: tuple[int, ...]
    """Full shape."""
    dtype: str
    """NumPy data type."""
    dims: tuple[str, ...]
    """Dimension names, ``y, x`` first."""
    chunks: tuple[int, ...]
    """Shape of what is encoded, and read, at once."""
    attrs: Mapping[str, Any] = field(default_factory=dict)
    """Attributes as xarray and CF read them."""
    fill: Any = 0
    """Zarr's fill value: what was never written reads as this."""
    shards: tuple[int, ...] | None = None
    """Shape of an object of several chunks; None: a chunk is an object."""

    @property
    def objects(self) -> tuple[int, ...]:
        """Shape of a stored object, the unit of writing; arrays of one product share the height."""
        return self.shards or self.chunks


def encoding(size: int) -> int:
    """Return how many objects of so many bytes are encoded at once: few large ones, for each is in memory thrice."""
    return max(2, min(ENCODED, ENCODING_BYTES // max(size, 1)))


def compressors(dtype: str) -> list[Any]:
    """Return the codecs of a data type; a checksum always, so that a flipped bit is an error, not a value."""
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
    """Return how ``cube(y, x, band)`` is stored. Integer cubes keep their type, with a CF scale factor."""
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
        chunks=(min(CHUNK, shape[0]), min(CHUNK, shape[1]), shape[2]),
        attrs=attrs,
        fill=float("nan") if np.dtype(dtype).kind == "f" else 0,
    )


def layer_spec(
    name: str,
    shape: tuple[int, int],
    dtype: str = "uint8",
    *,
    classes: tuple[str, ...] = (),
    chunk: int = CHUNK,
) -> ArraySpec:
    """Return how a ``y, x`` layer is stored; a class map carries its flags and 255 as nodata, no `_FillValue`."""
    attrs: dict[str, Any] = {}
    if classes:
        attrs = class_attrs(classes)
    fill = UNLABELLED if classes else 0  # an object that is lost is no class
    chunks = (min(chunk, shape[0]), min(chunk, shape[1]))
    return ArraySpec(name=name, shape=shape, dtype=dtype, dims=("y", "x"), chunks=chunks, attrs=attrs, fill=fill)


def class_attrs(classes: tuple[str, ...]) -> dict[str, Any]:
    """Return the attributes of a class map: CF flags, and 255 for unlabelled or nodata."""
    meanings = " ".join(name.strip().replace(" ", "_") or f"class_{i}" for i, name in enumerate(classes))
    return {"nodata": UNLABELLED, "flag_values": list(range(len(classes))), "flag_meanings": meanings}


def constants(
    spectral: SpectralAxis | None, georef: Mapping[str, Any] | None = None
) -> dict[str, tuple[tuple[str, ...], Any, dict[str, Any]]]:
    """Return the small arrays of a scene: its spectral coordinate and its georeference."""
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
    return out


def sharded(specs: list[ArraySpec], asked: str | None) -> list[ArraySpec]:
    """Return the arrays of a product, the first deciding, with shards as asked for.

    Args:
        specs: Arrays whose chunks have one height and width.
        asked: ``ROWSxCOLS`` in pixels, multiples of a chunk; ``auto``: only where the chunks of the first array are
            more than `OBJECTS`; None or ``none``: a chunk is an object.

    Raises:
        UserError: no such form, or not a multiple of a chunk.
    """
    if asked in {None, NONE}:
        return specs
    found = _auto(specs[0]) if asked == AUTO else _given(str(asked), specs[0])
    return specs if found is None else [_with(spec, found) for spec in specs]


def _auto(spec: ArraySpec) -> tuple[int, int] | None:
    """Return the shards of an array of too many chunks: as wide as `SHARD_BYTES` allow, one chunk high."""
    counts = [-(-n // edge) for n, edge in zip(spec.shape, spec.chunks, strict=True)]
    wide = min(counts[1], SHARD_BYTES // (prod(spec.chunks) * np.dtype(spec.dtype).itemsize))
    return None if prod(counts) <= OBJECTS or wide <= 1 else (spec.chunks[0], wide * spec.chunks[1])


def _given(asked: str, spec: ArraySpec) -> tuple[int, int]:
    """Return rows and columns of a shard from text."""
    match, (height, width) = re.fullmatch(r"(\d+)x(\d+)", asked), spec.chunks[:2]
    rows, cols = (int(match[1]), int(match[2])) if match else (0, 0)
    if not rows or not cols or rows % height or cols % width:
        raise UserError(
            "--shards",
            found=repr(asked),
            expected=f"ROWSxCOLS, multiples of the chunk, {height} x {width}; or {AUTO}, or {NONE}",
            do=f"Try {height}x{8 * width}.",
        )
    return rows, cols


def _with(spec: ArraySpec, found: tuple[int, int]) -> ArraySpec:
    """Return an array in shards, none larger than what the array needs; axes after the plane stay whole."""
    whole = [-(-n // edge) * edge for n, edge in zip(spec.shape[:2], spec.chunks, strict=False)]
    edges = [max(edge, min(side, most)) for edge, side, most in zip(spec.chunks, found, whole, strict=False)]
    return replace(spec, shards=(*edges, *spec.chunks[2:]))
