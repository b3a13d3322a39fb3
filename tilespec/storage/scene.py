"""Scene: one Zarr store with a cube, its spectral axis, labels and georeference, that plain xarray opens.

Layout: Zarr v3, ``cube(y, x, band)`` at the root in chunks of ``(128, 128, bands)``; optional ``labels(y, x)``,
``valid(y, x)`` and any further ``y, x`` layer; coordinates ``wavelength`` (or ``wavenumber``, ``component``,
``channel``), ``fwhm``, ``good`` over ``band``; the CRS as CF ``spatial_ref``.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import xarray as xr
import zarr

from tilespec.core.buffers import Room
from tilespec.core.errors import UserError
from tilespec.core.types import PIECE, ClassMap, Reflectance, Roi, SpectralAxis
from tilespec.storage.backends.paths import at
from tilespec.storage.group import check_complete, open_group
from tilespec.storage.layer import Plane

AXES = ("wavelength", "wavenumber", "component", "channel")


@final
@dataclass(frozen=True, kw_only=True)
class Scene:
    """A scene that is there, open for reading."""

    url: str
    """Where the store is."""
    shape: tuple[int, int, int]
    """``y, x, band``."""
    dtype: np.dtype[Any]
    """As stored."""
    chunks: tuple[int, int, int]
    """Shape of one stored object."""
    spectral: SpectralAxis | None
    """What the bands are; None when the source did not say."""
    scale: float
    """Stored integers times this are the values."""
    nodata: float | None
    """Stored value of pixels without data (NaN always is)."""
    layers: tuple[str, ...]
    """Names of the ``y, x`` arrays beside the cube."""
    attrs: Mapping[str, Any]
    """Root attributes: title, source header, provenance, status, digest."""
    georef: Mapping[str, Any] | None
    """Attributes of ``spatial_ref``: ``crs_wkt``, ``GeoTransform``."""
    cube: Plane
    """The cube as stored."""
    planes: Mapping[str, Plane]
    """The layers by name, as stored."""

    @classmethod
    def open(cls, url: str, *, allow_partial: bool = False) -> "Scene":
        """Open a scene, or a multi-channel prediction, at ``url``.

        Raises:
            UserError: there is no store, no ``cube(y, x, band)`` in it, or it is not complete.
        """
        group = open_group(url)
        if not allow_partial:
            check_complete(url, group.attrs)
        name = "cube" if "cube" in group else "prediction"
        cube = group.get(name)
        if not isinstance(cube, zarr.Array) or cube.ndim != 3:
            raise UserError(
                url,
                found=f"arrays {sorted(group.array_keys())}",
                expected="an array cube(y, x, band)",
                do="Bring other formats in with `tilespec ingest SRC OUT`.",
            )
        axis = _spectral(group, cube.shape[2])
        planes = {name: array for name, array in sorted(group.arrays()) if array.shape == cube.shape[:2]}
        return cls(
            url=url,
            shape=cube.shape,
            dtype=cube.dtype,
            chunks=cube.chunks,
            spectral=axis,
            scale=float(cube.attrs.get("scale_factor", 1.0)),
            nodata=cube.attrs.get("_FillValue"),
            layers=tuple(planes),
            attrs=dict(group.attrs),
            georef=dict(group["spatial_ref"].attrs) if "spatial_ref" in group else None,
            cube=Plane.of(url, cube),
            planes={name: Plane.of(url, array) for name, array in planes.items()},
        )

    @property
    def array(self) -> zarr.Array[Any]:
        """The stored cube."""
        return self.cube.array

    @property
    def roi(self) -> Roi:
        """The whole plane."""
        return Roi(y0=0, y1=self.shape[0], x0=0, x1=self.shape[1])

    def read(self, roi: Roi, room: Room | None = None) -> Reflectance:
        """Return the values of a region as float32 ``y, x, band``: scaled, and NaN where there is no data.

        With a ``room`` they lie in its memory, and are valid until its next use; without one they are the caller's.
        """
        room = room or Room()
        return self._values(self.cube.read(roi, room), roi, room)

    def lines(self, roi: Roi, room: Room) -> Iterator[Reflectance]:
        """Yield the values of a region from its top, some lines at a time, each valid until the next.

        As many lines as hold `PIECE` pixels, at least one; as `read` returns them, but while they are in the
        processor's cache. That the objects are whole is known after the last: use nothing before all are taken.
        """
        y0 = roi.y0
        for stored in self.cube.lines(roi, step_of(roi), room):
            yield self._values(stored, replace(roi, y0=y0, y1=y0 + len(stored)), room)
            y0 += len(stored)

    def _values(self, stored: np.ndarray, roi: Roi, room: Room) -> Reflectance:
        """Return stored values as float32, scaled, and NaN where there is no data."""
        gaps = None if self.nodata is None or np.isnan(self.nodata) else stored == self.nodata
        values = stored
        if stored.dtype != np.float32:
            values = room.array("values", stored.shape, np.float32)
            np.copyto(values, stored, casting="unsafe")
        if self.scale != 1.0:
            values *= np.float32(self.scale)
        if gaps is not None:
            values[gaps] = np.nan
        if "valid" in self.layers:
            values[self.layer("valid", roi) == 0] = np.nan
        return values

    def plane(self, name: str) -> Plane:
        """Return a ``y, x`` layer by its name.

        Raises:
            UserError: there is none of that name.
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
        """Return a ``y, x`` layer, or a region of it, as stored."""
        return self.plane(name).read(roi or self.roi)

    def labels(self, roi: Roi | None = None) -> ClassMap:
        """Return class labels, 255 = unlabelled."""
        return self.layer("labels", roi).astype(np.uint8, copy=False)

    def classes(self, layer: str = "labels") -> tuple[str, ...]:
        """Return the names of the classes 0, 1, ... of a layer."""
        return tuple(str(open_group(self.url)[layer].attrs.get("flag_meanings", "")).split())

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
    def digest(self) -> str | None:
        """Hash of the stored cube, from the ledger of the run that wrote it; None for foreign stores."""
        return content_of(self.attrs)

    def content_digest(self) -> str:
        """Return the hash of what a foreign store holds, by reading it once."""
        state = hashlib.blake2b(digest_size=16)
        for y0 in range(0, self.shape[0], self.chunks[0]):
            block = np.asarray(self.array[y0 : y0 + self.chunks[0]])
            state.update(np.ascontiguousarray(block).data)
        return state.hexdigest()

    def to_xarray(self) -> xr.Dataset:
        """Return the store as lazily loaded xarray."""
        return xr.open_zarr(at(self.url).zarr_store(), chunks=None, decode_coords="all")


def step_of(roi: Roi) -> int:
    """Return how many lines of a region `Scene.lines` yields at a time."""
    return max(1, PIECE // roi.shape[1])


def content_of(attrs: Mapping[str, Any]) -> str | None:
    """Return the hash of what a store's root says it holds: of its cube where it has one, labels aside."""
    return attrs.get("tilespec_cube", attrs.get("tilespec_digest"))


def _spectral(group: zarr.Group, bands: int) -> SpectralAxis | None:
    """Return the spectral coordinate of a store, if it has one of the right length."""
    for name in AXES:
        found = group.get(name)
        if isinstance(found, zarr.Array) and found.shape == (bands,):
            fwhm, good = group.get("fwhm"), group.get("good")
            return SpectralAxis(
                name=name,  # type: ignore[arg-type]
                unit=str(found.attrs.get("units", "1")),
                values=tuple(float(v) for v in np.asarray(found[:])),
                fwhm=None if fwhm is None else tuple(float(v) for v in np.asarray(fwhm[:])),
                good=None if good is None else tuple(bool(v) for v in np.asarray(good[:])),
            )
    return None
