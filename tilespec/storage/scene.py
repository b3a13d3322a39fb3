"""Scene: one Zarr store with a cube, its spectral axis, labels and georeference, that plain xarray opens.

Layout: Zarr v3, ``cube(y, x, band)`` at the root in chunks of ``(128, 128, bands)``; optional ``labels(y, x)``,
``valid(y, x)`` and any further ``y, x`` layer; coordinates ``wavelength`` (or ``wavenumber``, ``component``,
``channel``), ``fwhm``, ``good`` over ``band``; the CRS as CF ``spatial_ref``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, final

import numpy as np
import xarray as xr
import zarr

from tilespec.core.arrays import beside
from tilespec.core.buffers import Buffers
from tilespec.core.device import sent
from tilespec.core.errors import UserError
from tilespec.core.shown import Shown
from tilespec.core.types import PIECE, ClassMap, Reflectance, Roi, SpectralAxis
from tilespec.storage.backends.paths import absolute, store_path
from tilespec.storage.columns import arrays_of, is_table, layer_of
from tilespec.storage.georeference import georef_of
from tilespec.storage.group import check_complete, open_group
from tilespec.storage.inventory import digests, inventory
from tilespec.storage.layer import Layer
from tilespec.storage.layout import class_names
from tilespec.storage.packing import Packing
from tilespec.storage.spectral_axis import spectral_of

NARROW: Final = frozenset({"int8", "uint8", "int16", "uint16", "float32"})
"""The stored numbers that float32 holds without rounding, which are sent to a device as they are."""


@final
@dataclass(frozen=True, kw_only=True)
class Scene(Shown):
    """A scene that is open for reading."""

    url: str
    """The URL of the store, which does not depend on the current folder."""
    shape: tuple[int, int, int]
    """The shape of the cube ``y, x, band``."""
    dtype: np.dtype[Any]
    """The stored data type."""
    chunks: tuple[int, int, int]
    """The shape of one stored object."""
    spectral: SpectralAxis | None
    """The spectral axis of the bands; None when the source did not give it."""
    packing: Packing
    """How stored numbers become values."""
    layers: tuple[str, ...]
    """The names of the ``y, x`` arrays beside the cube."""
    attrs: Mapping[str, Any]
    """The root attributes: title, source header, provenance, status, digest."""
    table: bool
    """Whether it is a table of spectra, which is one pixel wide."""
    georef: Mapping[str, Any] | None
    """The attributes of ``spatial_ref``: ``crs_wkt``, ``GeoTransform``."""
    cube: Layer
    """The cube with its stored values."""
    planes: Mapping[str, Layer]
    """The layers by name, with their stored values."""
    stamp: str | None
    """The tag of the root's metadata when the scene was opened."""

    @classmethod
    def open(cls, url: str, *, allow_partial: bool = False) -> "Scene":
        """Open a scene, or a multi-channel prediction, at ``url``.

        Raises:
            UserError: there is no store, it has no ``cube(y, x, band)``, or it is not complete.
        """
        group = open_group(url)
        if not allow_partial:
            check_complete(url, group.attrs)
        name = "cube" if "cube" in group else "prediction"
        cube = layer_of(group, name)
        if cube is None or cube.ndim != 3:
            raise UserError(
                url,
                found=f"arrays {sorted(group.array_keys())}",
                expected="an array cube(y, x, band)",
                do="Bring other formats in with `tilespec ingest SRC OUT`.",
            )
        _check_numbers(url, cube)
        axis = spectral_of(url, group, cube.shape[2])
        packing = Packing.of(f"{url}: {name}", cube.attrs, np.dtype(cube.dtype))
        planes = {name: array for name, array in arrays_of(group).items() if _is_plane(array, cube)}
        return cls(
            url=absolute(url),
            shape=cube.shape,
            dtype=cube.dtype,
            chunks=cube.chunks,
            spectral=axis,
            packing=packing,
            layers=tuple(planes),
            attrs=dict(group.attrs),
            georef=None if is_table(cube) else georef_of(group, cube),
            table=is_table(cube),
            cube=Layer.of(url, cube),
            planes={name: Layer.of(url, array) for name, array in planes.items()},
            stamp=inventory(url).stamp,
        )

    @property
    def array(self) -> zarr.Array[Any]:
        """The stored cube as a Zarr array."""
        return self.cube.array

    @property
    def scale(self) -> float:
        """The factor from stored integers to values."""
        return self.packing.scale

    @property
    def nodata(self) -> float | None:
        """The first stored number that means no data (NaN always does), or None."""
        return next(iter(self.packing.fills), None)

    @property
    def roi(self) -> Roi:
        """The region of the whole plane."""
        return Roi(y0=0, y1=self.shape[0], x0=0, x1=self.shape[1])

    def read(self, roi: Roi, buffers: Buffers | None = None) -> Reflectance:
        """Return the values of a region as float32 ``y, x, band``: scaled, and NaN for no data.

        With a ``buffers`` the array uses its memory and is valid until its next use; without one it is newly allocated.
        """
        buffers = buffers or Buffers()
        return self._values(self.cube.read(roi, buffers), roi, buffers)

    def read_on(self, device: Any, roi: Roi, buffers: Buffers) -> Any:
        """Return the values of a region as `read` does, on a device; it converts the stored numbers if it can.

        Args:
            device: A device of torch; None is the CPU with NumPy, which `read` is for.
            roi: The region.
            buffers: The memory of the stored values, free again when the device has what it was sent.
        """
        if device is None:
            return self.read(roi, buffers)
        stored = self.cube.read(roi, buffers)
        if str(stored.dtype) not in NARROW or not self.packing.simple(self.dtype):
            return sent(self._values(stored, roi, buffers), device)
        values = sent(stored, device).float()
        gaps = None if self.nodata is None else values == float(self.nodata)
        if self.scale != 1.0:
            values *= float(np.float32(self.scale))
        if gaps is not None:
            values[gaps] = np.nan
        if "valid" in self.layers:
            values[beside(values, self.layer("valid", roi) == 0)] = np.nan
        return values

    def lines(self, roi: Roi, buffers: Buffers) -> Iterator[Reflectance]:
        """Yield the values of a region from its top, some lines at a time, each valid until the next.

        Each item is float32 ``y, x, band`` as from `read`, with the number of lines that hold `PIECE` pixels, at least
        one, so that it is still in the processor's cache. The checksums of the objects are checked after the last line:
        use no result before all lines are read.
        """
        y0 = roi.y0
        for stored in self.cube.lines(roi, step_of(roi), buffers):
            yield self._values(stored, replace(roi, y0=y0, y1=y0 + len(stored)), buffers)
            y0 += len(stored)

    def _values(self, stored: np.ndarray, roi: Roi, buffers: Buffers) -> Reflectance:
        """Return stored values as float32, scaled, and NaN for no data."""
        if not self.packing.simple(self.dtype):
            return self._visible(self.packing.values(stored, np.float32), roi)
        gaps = None if self.nodata is None else stored == self.nodata
        values = stored
        if stored.dtype != np.float32:
            values = buffers.array("values", stored.shape, np.float32)
            np.copyto(values, stored, casting="unsafe")
        if self.scale != 1.0:
            values *= np.float32(self.scale)
        if gaps is not None:
            values[gaps] = np.nan
        return self._visible(values, roi)

    def _visible(self, values: Reflectance, roi: Roi) -> Reflectance:
        """Return values with NaN where the layer ``valid`` says that there is no data."""
        if "valid" in self.layers:
            values[self.layer("valid", roi) == 0] = np.nan
        return values

    def plane(self, name: str) -> Layer:
        """Return a ``y, x`` layer by its name.

        Raises:
            UserError: the scene does not have the layer.
        """
        if name not in self.layers:
            raise UserError(
                self.url,
                found=f"layers {list(self.layers)}",
                expected=f"a layer {name!r}",
                do=f"Bring it in with `tilespec ingest SRC OUT --{name} FILE`, or name another scene.",
            )
        return self.planes[name]

    def layer(self, name: str, roi: Roi | None = None) -> np.ndarray:
        """Return the stored values of a ``y, x`` layer, or of a region of it."""
        return self.plane(name).read(roi or self.roi)

    def labels(self, roi: Roi | None = None) -> ClassMap:
        """Return the class labels ``y, x``; 255 is unlabelled."""
        return self.plane("labels").classes(roi or self.roi)

    def classes(self, layer: str = "labels") -> tuple[str, ...]:
        """Return the names of the classes 0, 1, ... of a layer."""
        return class_names(self.plane(layer).attrs)

    def raw(self) -> "Scene":
        """Return the scene itself; refuse one that `transform` wrote: a recipe applied twice is another recipe."""
        if "recipe_digest" in self.attrs:
            raise UserError(
                self.url,
                found="a scene that `transform` wrote",
                expected="a raw scene",
                do="Give the raw scene: recipes are applied as it is read.",
            )
        return self

    @property
    def digest(self) -> str:
        """The hash of the stored cube, as `digests` says; a store without records is read for it."""
        return digests(self.url).cube

    def check_unchanged(self) -> None:
        """Refuse a scene that was moved, removed or written again since it was opened.

        Raises:
            UserError: it was; what was computed belongs to two scenes.
        """
        inventory(self.url, self.stamp).check_unchanged()

    def to_xarray(self) -> xr.Dataset:
        """Return the store as an xarray dataset that loads lazily."""
        return xr.open_zarr(store_path(self.url).zarr_store(), chunks=None, decode_coords="all")


def _check_numbers(url: str, cube: "zarr.Array[Any]") -> None:
    """Refuse a cube that does not hold real numbers."""
    if cube.dtype.kind not in "iuf":
        raise UserError(
            f"{url}: {cube.basename}",
            found=f"data type {cube.dtype}",
            expected="integers or floats",
            do="Convert it, for example to float32.",
        )


def _is_plane(array: "zarr.Array[Any]", cube: "zarr.Array[Any]") -> bool:
    """Return whether an array is a layer of numbers on the pixels of a cube."""
    return array.shape == cube.shape[:2] and array.dtype.kind in "biuf"


def step_of(roi: Roi) -> int:
    """Return how many lines of a region `Scene.lines` yields at a time."""
    return max(1, PIECE // roi.shape[1])
