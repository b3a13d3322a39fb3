"""Source: a cube, a prediction or a layer to export, with all its facts."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, final

import numpy as np
import zarr

from tilespec.core.errors import UserError
from tilespec.core.types import UNLABELLED, Cube, Roi, SpectralAxis
from tilespec.output.export.options import ExportOptions
from tilespec.storage.columns import arrays_of, is_table
from tilespec.storage.georeference import georef_of
from tilespec.storage.group import check_complete, open_group
from tilespec.storage.layer import Layer
from tilespec.storage.layout import class_names
from tilespec.storage.packing import Packing
from tilespec.storage.scene import Scene
from tilespec.storage.source_header import fitting

CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
"""The characters that no format can hold as text."""


@final
@dataclass(frozen=True, kw_only=True)
class ExportSource:
    """A cube, or a class map as a cube of one band."""

    url: str
    """The URL of the store."""
    name: str
    """The name of the array."""
    shape: tuple[int, int, int]
    """The shape ``y, x, band``."""
    dtype: np.dtype[Any]
    """The data type of the written numbers."""
    edge: int
    """The height of a stored object in pixels."""
    spectral: SpectralAxis | None
    """The spectral axis of the bands."""
    scale: float
    """The factor from written numbers to values."""
    nodata: float | None
    """The written number for no data; NaN for floats."""
    classes: tuple[str, ...]
    """The names of the classes of a class map."""
    georef: dict[str, Any]
    """The attributes of ``spatial_ref``, empty without a georeference."""
    header: dict[str, str]
    """The other facts of the original source."""
    about: dict[str, str]
    """The title and the provenance of the store as text."""
    layer: Layer
    """The stored numbers."""
    packing: Packing | None
    """How stored numbers become values, if these are written in their place; None: numbers are written as stored."""
    layers: tuple[Layer, ...]
    """The ``y, x`` layers beside a cube, for formats that hold several arrays."""
    options: ExportOptions
    """The options of the verb."""
    pixel_size: float | None
    """The side of a pixel in metres, where the store says it."""
    bands: tuple[int, int, int] | None
    """The bands shown as red, green, blue; None: chosen by wavelength."""
    notes: list[str] = field(default_factory=list)
    """What the format cannot hold: a writer appends to it."""

    @property
    def plane(self) -> bool:
        """Whether the array is a layer or class map without bands."""
        return len(self.layer.shape) == 2

    @property
    def table(self) -> bool:
        """Whether it is a table of spectra, as a plane one pixel wide."""
        return is_table(self.array)

    @property
    def array(self) -> zarr.Array[Any]:
        """The stored array."""
        return self.layer.array

    @property
    def roi(self) -> Roi:
        """The whole plane."""
        return Roi(y0=0, y1=self.shape[0], x0=0, x1=self.shape[1])

    def values(self, block: Cube) -> Cube:
        """Return written numbers as values, with NaN for no data; classes, and numbers that are values, as they are."""
        plain = self.scale == 1 and (block.dtype.kind == "f" or self.nodata is None)
        if self.classes or plain:
            return block
        values: Cube = (block * self.scale).astype(np.float32)
        values[block == self.nodata] = np.nan
        return values

    def blocks(self) -> Iterator[tuple[int, Cube]]:
        """Yield the first row and the numbers of each row of objects."""
        for y0 in range(0, self.shape[0], self.edge):
            block = self.layer.read(Roi(y0=y0, y1=min(y0 + self.edge, self.shape[0]), x0=0, x1=self.shape[1]))
            block = block if self.packing is None else self.packing.values(block, self.dtype)
            yield y0, block.reshape(block.shape[0], *self.shape[1:])


def open_exported(url: str, layer: str | None, options: ExportOptions | None = None) -> ExportSource:
    """Return the cube, the prediction or a layer of a whole store.

    Raises:
        UserError: the array does not exist, or the store is not complete.
    """
    options = options or ExportOptions()
    group = open_group(url)
    arrays = arrays_of(group)
    check_complete(url, group.attrs)
    name = layer or next((n for n in ("cube", "prediction") if n in arrays), "cube")
    if name not in arrays or arrays[name].ndim not in (2, 3):
        raise UserError(
            url,
            found=f"arrays {sorted(arrays)}",
            expected=f"{name}(y, x) or {name}(y, x, band)",
            do="Name a layer that is there.",
        )
    array = arrays[name]
    scene = Scene.open(url) if array.ndim == 3 else None
    shown = bands_shown(options.bands, None if scene is None else scene.spectral, array.shape)
    layer_read, classes = Layer.of(url, array), class_names(array.attrs)
    packing, dtype = _packing(f"{url}: {name}", layer_read, classes)
    notes = packing.notes
    count = array.shape[2] if array.ndim == 3 else 1
    header, stale = fitting(_header(group), count) if scene is not None else (_header(group), ())
    if stale:
        notes += (f"header: {', '.join(stale)} are lists of another number of bands and are left out",)
    return ExportSource(
        url=url,
        name=name,
        shape=(*array.shape[:2], count),
        dtype=dtype or layer_read.dtype,
        edge=array.chunks[0],
        spectral=None if scene is None else scene.spectral,
        scale=packing.scale if dtype is None else 1.0,
        nodata=_nodata(packing, dtype or layer_read.dtype, classes),
        classes=classes,
        georef=georef_of(group, array) or {},
        header=header,
        about=_about(group.attrs),
        layer=layer_read,
        packing=None if dtype is None else packing,
        layers=() if scene is None else tuple(scene.planes.values()),
        options=options,
        pixel_size=group.attrs.get("pixel_size_m"),
        bands=shown,
        notes=list(notes),
    )


def bands_shown(
    bands: str | tuple[int, int, int] | None, axis: SpectralAxis | None, shape: tuple[int, ...]
) -> tuple[int, int, int] | None:
    """Return the bands of a picture by number, from numbers, or from a text of places on the axis or of numbers.

    Raises:
        UserError: they are not three, do not exist, or lie beyond the ends of the axis.
    """
    count = shape[2] if len(shape) == 3 else 1
    if bands is None:
        return None
    wanted = [_band(word.strip(), axis) for word in bands.split(",")] if isinstance(bands, str) else list(bands)
    there = [band for band in wanted if isinstance(band, int) and 0 <= band < count]
    if len(there) != 3 or len(wanted) != 3:
        span = (
            "" if axis is None else f"three places from {min(axis.values):g} to {max(axis.values):g} {axis.unit}, or "
        )
        expected = f"{span}three bands from #0 to #{count - 1}"
        raise UserError("--bands", found=bands, expected=expected, do="Write --bands 640,550,460, or #12,#7,#2.")
    red, green, blue = there
    return red, green, blue


def _band(word: str, axis: SpectralAxis | None) -> int | None:
    """Return the number of a band from ``#7``, or from a place on the axis; None if there is none."""
    try:
        if word.startswith("#") or axis is None:
            return int(word.removeprefix("#"))
        place = float(word)
    except ValueError:
        return None
    inside = min(axis.values) - 20 <= place <= max(axis.values) + 20
    return axis.nearest(place) if inside else None


def _header(group: zarr.Group) -> dict[str, str]:
    """Return the source's unknown keys, without characters that no format can hold."""
    header: Any = group.attrs.get("header", {})
    pairs = ((CONTROL.sub("", str(key)).strip(), CONTROL.sub("", str(value))) for key, value in dict(header).items())
    return {key: value for key, value in pairs if key}


def _about(attrs: Mapping[str, Any]) -> dict[str, str]:
    """Return the title and the provenance of a store as text."""
    title, made = attrs.get("title"), attrs.get("provenance")
    texts = {"title": title, "provenance": json.dumps(made, ensure_ascii=False) if made else None}
    return {key: CONTROL.sub("", str(text)) for key, text in texts.items() if text}


def _packing(where: str, layer: Layer, classes: tuple[str, ...]) -> tuple[Packing, np.dtype[Any] | None]:
    """Return the packing of an array, and the data type of its values if these are written in place of its numbers.

    No format knows several numbers for no data, or both NaN and a number.
    """
    packing = Packing.of(where, layer.attrs, layer.dtype)
    as_stored = packing.simple(layer.dtype) and not (layer.dtype.kind == "f" and packing.fills)
    if as_stored or classes:
        return packing, None
    exact = layer.dtype.itemsize > 4 or (layer.dtype.kind in "iu" and layer.dtype.itemsize > 2)
    return packing, np.dtype(np.float64 if exact else np.float32)


def _nodata(packing: Packing, dtype: np.dtype[Any], classes: tuple[str, ...]) -> float | None:
    """Return the written number for no data; that of a class map is 255 if it names none."""
    if dtype.kind == "f":
        return float("nan")
    default = UNLABELLED if classes and dtype == np.uint8 else None
    value = next(iter(packing.fills), default)
    return None if value is None else float(value)
