"""Category names: the names of classes in GDAL's sidecar ``NAME.aux.xml``, as GDAL, QGIS and tilespec write it."""

from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

LARGEST: Final = 1 << 22
"""The size in bytes of the largest sidecar that is read."""


def category_names(path: Path) -> tuple[str, ...]:
    """Return the names of the classes of the first band of a raster; none without a sidecar that names them."""
    sidecar = path.with_name(f"{path.name}.aux.xml")
    try:
        if not sidecar.is_file() or sidecar.stat().st_size > LARGEST:
            return ()
        root = ET.fromstring(sidecar.read_bytes())  # noqa: S314 - expat itself limits what entities expand to
    except (OSError, ET.ParseError, ValueError, LookupError):
        return ()
    found = root.findall("./PAMRasterBand[@band='1']/CategoryNames/Category")
    return tuple((node.text or "").strip() for node in found)
