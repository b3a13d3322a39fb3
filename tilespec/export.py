"""Export: a scene, a layer or a prediction to GeoTIFF, ENVI, NetCDF or PNG, streamed by rows of objects."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import zarr
from PIL import Image

from tilespec.errors import UserError
from tilespec.memory import Peak
from tilespec.picture import class_picture, false_colour
from tilespec.plugins import load
from tilespec.progress import Progress, Silent
from tilespec.scene import Scene, open_group
from tilespec.types import UNLABELLED, Cube, SpectralAxis

WRITERS: Final = {
    ".tif": "tilespec.ingest.geotiff:write_geotiff",
    ".tiff": "tilespec.ingest.geotiff:write_geotiff",
    ".hdr": "tilespec.ingest.envi_write:write_envi",
    ".nc": "tilespec.ingest.netcdf:write_netcdf",
    ".png": "tilespec.export:write_png",
}
"""End of the name to dotted path: a writer is a callable ``(exported, path, progress) -> files written``."""


@final
@dataclass(frozen=True, kw_only=True)
class Exported:
    """What is handed on: a cube, or a class map as a cube of one band."""

    url: str
    """The store."""
    name: str
    """The array."""
    shape: tuple[int, int, int]
    """``y, x, band``."""
    dtype: np.dtype[Any]
    """As stored."""
    edge: int
    """Rows of a stored object."""
    spectral: SpectralAxis | None
    """What the bands are."""
    scale: float
    """Stored values times this are the values."""
    nodata: float | None
    """Stored value without data; NaN for floats."""
    classes: tuple[str, ...]
    """Names of the classes of a class map."""
    georef: dict[str, Any]
    """Attributes of ``spatial_ref``, empty without a place."""
    header: dict[str, str]
    """What else the source said."""
    max_side: int = 2048
    """Pixels of the longer side of a picture."""
    bands: tuple[int, int, int] | None = None
    """Bands shown as red, green, blue; None: chosen by wavelength."""

    @property
    def array(self) -> zarr.Array[Any]:
        """The stored array."""
        return open_group(self.url)[self.name]  # type: ignore[return-value]

    def blocks(self) -> Iterator[tuple[int, Cube]]:
        """Yield first row and values of each row of objects."""
        array = self.array
        for y0 in range(0, self.shape[0], self.edge):
            block = np.asarray(array[y0 : y0 + self.edge])
            yield y0, block.reshape(block.shape[0], *self.shape[1:])


def export(
    store: str | Path,
    out: str | Path,
    *,
    layer: str | None = None,
    bands: tuple[int, int, int] | None = None,
    max_side: int = 2048,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write a store as the format that the end of ``out`` names; return the files and their sizes.

    Args:
        store: A scene or a prediction.
        out: ``.tif`` (values, CRS, wavelengths), ``.hdr`` (ENVI, with a ``.bil`` beside), ``.nc`` or ``.png``
            (false colour of a cube, colours of a class map, at most ``max_side`` pixels a side).
        layer: A ``y, x`` layer instead of the cube, such as ``labels``.
        bands: Bands of a picture; None: near infrared, red and green where the wavelengths allow it.
        max_side: Pixels of the longer side of a picture.
        dry_run: Return the plan and write nothing.
        progress: What is told on the way.

    Raises:
        UserError: no such store, layer or format; the file is there already; a type the format cannot hold.
    """
    path = Path(out)
    if path.suffix.lower() not in WRITERS:
        raise UserError(out, found=f"the end {path.suffix!r}", expected=", ".join(WRITERS), do="Choose one of these.")
    if path.exists():
        raise UserError(out, found="a file that is there already", expected="a free name", do="Remove it first.")
    exported = open_exported(str(store), layer, max_side=max_side, bands=bands)
    plan = {
        "store": str(store),
        "out": str(out),
        "array": exported.name,
        "shape": list(exported.shape),
        "dtype": exported.dtype.name,
    }
    if dry_run:
        return plan
    path.parent.mkdir(parents=True, exist_ok=True)
    with Peak() as peak:
        written = load(WRITERS, path.suffix.lower(), "format")(exported, path, progress or Silent())
    files = {str(file): file.stat().st_size for file in written}
    return plan | {"files": files, "seconds": peak.seconds, "peak_memory": peak.bytes}


def open_exported(
    url: str, layer: str | None, *, max_side: int = 2048, bands: tuple[int, int, int] | None = None
) -> Exported:
    """Return the cube, the prediction or a layer of a whole store, with all that is known of it."""
    group = open_group(url)
    arrays = dict(group.arrays())
    name = layer or next((n for n in ("cube", "prediction") if n in arrays), "cube")
    if name not in arrays or arrays[name].ndim not in (2, 3) or group.attrs.get("tilespec_status") == "writing":
        raise UserError(
            url,
            found=f"arrays {sorted(arrays)}, status {group.attrs.get('tilespec_status')!r}",
            expected=f"{name}(y, x) or {name}(y, x, band) of a complete store",
            do="Name a layer that is there, or let the run that writes the store finish.",
        )
    array = arrays[name]
    scene = Scene.open(url) if array.ndim == 3 else None
    return Exported(
        url=url,
        name=name,
        shape=(*array.shape[:2], array.shape[2] if array.ndim == 3 else 1),
        dtype=array.dtype,
        edge=array.chunks[0],
        spectral=None if scene is None else scene.spectral,
        scale=1.0 if scene is None else scene.scale,
        nodata=_nodata(array),
        classes=tuple(str(array.attrs.get("flag_meanings", "")).split()),
        georef=dict(group["spatial_ref"].attrs) if "spatial_ref" in group else {},
        header={str(k): str(v) for k, v in dict(group.attrs.get("header", {})).items()},  # type: ignore[call-overload]
        max_side=max_side,
        bands=bands,
    )


def write_png(exported: Exported, path: Path, progress: Progress) -> list[Path]:
    """Write a picture and return its path."""
    progress.start("export", 1, "pictures")
    if len(exported.array.shape) == 3:
        scene = Scene.open(exported.url)
        picture = false_colour(scene, scene.roi, exported.max_side, bands=exported.bands)
    else:
        side = max(1, -(-max(exported.shape[:2]) // exported.max_side))
        rows = [block[-y0 % side :: side, ::side, 0] for y0, block in exported.blocks()]
        picture = class_picture(np.concatenate(rows))
    partial = path.with_name(f"{path.name}.partial")
    Image.fromarray(picture).save(partial, format="PNG")
    partial.replace(path)
    progress.advance(1)
    progress.finish()
    return [path]


def _nodata(array: zarr.Array[Any]) -> float | None:
    """Return the stored value without data."""
    if np.dtype(array.dtype).kind == "f":
        return float("nan")
    value = array.attrs.get("_FillValue", array.attrs.get("nodata", UNLABELLED if array.ndim == 2 else None))
    return None if value is None else float(value)  # type: ignore[arg-type]
