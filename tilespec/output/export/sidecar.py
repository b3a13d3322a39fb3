"""Sidecar: the file ``NAME.aux.xml`` of GDAL and QGIS beside a raster: names of classes, and the place of a picture."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from tilespec.output.export.partial_file import whole_file


def sidecar_of(path: Path) -> Path:
    """Return the path of the sidecar of a raster."""
    return path.with_name(f"{path.name}.aux.xml")


def write_sidecar(path: Path, *, classes: tuple[str, ...] = (), georef: dict[str, Any] | None = None) -> list[Path]:
    """Write the sidecar of a raster if there is something to say; return its path in a list.

    Args:
        path: The path of the raster.
        classes: The names of the classes 0, 1, ... of its only band.
        georef: The attributes of the grid mapping, for formats that cannot hold a place.
    """
    root = ET.Element("PAMDataset")
    if georef and georef.get("crs_wkt"):
        ET.SubElement(root, "SRS").text = str(georef["crs_wkt"])
    if georef and georef.get("GeoTransform"):
        ET.SubElement(root, "GeoTransform").text = ", ".join(str(georef["GeoTransform"]).split())
    if classes:
        band = ET.SubElement(root, "PAMRasterBand", band="1")
        names = ET.SubElement(band, "CategoryNames")
        for name in classes:
            ET.SubElement(names, "Category").text = name
    if not len(root):
        return []
    out = sidecar_of(path)
    with whole_file(out) as partial:
        partial.write_text(ET.tostring(root, encoding="unicode"), encoding="utf-8")  # GDAL wants no declaration
    return [out]
