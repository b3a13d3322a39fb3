"""Export: a scene, a layer or a prediction is written to GeoTIFF, ENVI, NetCDF or PNG, streamed by rows of objects."""

from pathlib import Path
from typing import Any, Final

from tilespec.core.errors import UserError
from tilespec.core.memory import Peak
from tilespec.core.progress import Progress, Silent
from tilespec.core.registry import load, plugins
from tilespec.output.export.source import open_exported
from tilespec.storage.backends.paths import local

WRITERS: Final = {
    ".tif": "tilespec.output.export.geotiff:write_geotiff",
    ".tiff": "tilespec.output.export.geotiff:write_geotiff",
    ".hdr": "tilespec.output.export.envi:write_envi",
    ".nc": "tilespec.output.export.netcdf:write_netcdf",
    ".png": "tilespec.output.export.png:write_png",
}
"""The writer for each ending of a name, a callable ``(exported, path, progress) -> files written``."""


def export(  # noqa: PLR0913 - the verb's options, all by name
    store: str | Path,
    out: str | Path,
    *,
    layer: str | None = None,
    bands: tuple[int, int, int] | None = None,
    max_side: int = 2048,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write a store in the format of the ending of ``out``; return the files and their sizes in bytes.

    Args:
        store: The URL of a scene or a prediction.
        out: The file: ``.tif`` (values, CRS, wavelengths), ``.hdr`` (ENVI, with a ``.bil`` beside), ``.nc`` or ``.png``
            (false colour of a cube, colours of a class map).
        layer: The ``y, x`` layer instead of the cube, such as ``labels``.
        bands: The bands of a picture; None: near infrared, red and green if the wavelengths permit.
        max_side: The longer side of a picture in pixels.
        dry_run: Whether to return the plan and write nothing.
        progress: The progress that counts rows.

    Raises:
        UserError: the store, the layer or the format does not exist; the file exists already; or the format does not
            support the data type.
    """
    path = local(out, "a file")
    suffix = path.suffix.lower()
    known = {**WRITERS, **plugins("export")}
    if suffix not in known:
        raise UserError(out, found=f"the end {suffix!r}", expected=", ".join(known), do="Choose one of these.")
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
        written = load(WRITERS, suffix, "export")(exported, path, progress or Silent())
    files = {str(file): file.stat().st_size for file in written}
    return plan | {"files": files, "seconds": peak.seconds, "peak_memory": peak.bytes}
