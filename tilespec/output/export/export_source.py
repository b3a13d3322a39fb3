"""Source: a cube, a prediction or a layer to export, with all its facts."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import zarr

from tilespec.core.errors import UserError
from tilespec.core.types import UNLABELLED, Cube, SpectralAxis
from tilespec.storage.georeference import georef_of
from tilespec.storage.group import check_complete, open_group
from tilespec.storage.scene import Scene


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
    """The stored data type."""
    edge: int
    """The height of a stored object in pixels."""
    spectral: SpectralAxis | None
    """The spectral axis of the bands."""
    scale: float
    """The factor from stored values to values."""
    nodata: float | None
    """The stored value for no data; NaN for floats."""
    classes: tuple[str, ...]
    """The names of the classes of a class map."""
    georef: dict[str, Any]
    """The attributes of ``spatial_ref``, empty without a georeference."""
    header: dict[str, str]
    """The other facts of the original source."""
    max_side: int
    """The longer side of a picture in pixels."""
    bands: tuple[int, int, int] | None
    """The bands shown as red, green, blue; None: chosen by wavelength."""

    @property
    def plane(self) -> bool:
        """Whether the array is a layer or class map without bands."""
        return len(self.array.shape) == 2

    @property
    def array(self) -> zarr.Array[Any]:
        """The stored array."""
        return open_group(self.url)[self.name]

    def blocks(self) -> Iterator[tuple[int, Cube]]:
        """Yield the first row and the values of each row of objects."""
        array = self.array
        for y0 in range(0, self.shape[0], self.edge):
            block = np.asarray(array[y0 : y0 + self.edge])
            yield y0, block.reshape(block.shape[0], *self.shape[1:])


def open_exported(
    url: str, layer: str | None, *, max_side: int = 2048, bands: tuple[int, int, int] | None = None
) -> ExportSource:
    """Return the cube, the prediction or a layer of a whole store.

    Raises:
        UserError: the array does not exist, or the store is not complete.
    """
    group = open_group(url)
    arrays = dict(group.arrays())
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
    _check_bands(bands, array.shape)
    return ExportSource(
        url=url,
        name=name,
        shape=(*array.shape[:2], array.shape[2] if array.ndim == 3 else 1),
        dtype=np.dtype(array.dtype),
        edge=array.chunks[0],
        spectral=None if scene is None else scene.spectral,
        scale=1.0 if scene is None else scene.scale,
        nodata=_nodata(array),
        classes=tuple(str(array.attrs.get("flag_meanings", "")).split()),
        georef=georef_of(group, array) or {},
        header=_header(group),
        max_side=max_side,
        bands=bands,
    )


def _check_bands(bands: tuple[int, int, int] | None, shape: tuple[int, ...]) -> None:
    """Refuse bands that do not exist."""
    count = shape[2] if len(shape) == 3 else 1
    if bands is not None and not (len(bands) == 3 and all(0 <= band < count for band in bands)):
        raise UserError("--bands", found=bands, expected=f"three bands from 0 to {count - 1}", do="Correct them.")


def _header(group: zarr.Group) -> dict[str, str]:
    """Return the source's unknown keys."""
    header: Any = group.attrs.get("header", {})
    return {str(key): str(value) for key, value in dict(header).items()}


def _nodata(array: zarr.Array[Any]) -> float | None:
    """Return the stored value for no data."""
    if np.dtype(array.dtype).kind == "f":
        return float("nan")
    value: Any = array.attrs.get("_FillValue", array.attrs.get("nodata"))
    if value is None and array.ndim == 2 and array.dtype == np.uint8 and "flag_meanings" in array.attrs:
        value = UNLABELLED
    return None if value is None else float(value)
