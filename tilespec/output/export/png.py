"""PNG: a cube in false colour, a class map in the colours of its classes; its place lies beside it."""

from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tilespec.core.progress import Progress
from tilespec.output.export.export_source import ExportSource
from tilespec.output.export.partial_file import whole_file
from tilespec.output.export.sidecar import write_sidecar
from tilespec.output.pictures import Picture, class_picture, false_colour
from tilespec.storage.rasters import shift_georeference
from tilespec.storage.scene import Scene


def write_png(exported: ExportSource, path: Path, progress: Progress) -> list[Path]:
    """Write a picture of at most ``max_side`` pixels on its longer side, and its place beside it; return the paths."""
    progress.start("export", 1, "pictures")
    side = max(1, -(-max(exported.shape[:2]) // exported.options.max_side))
    picture = _classes(exported, side) if exported.plane else _colours(exported)
    text = PngInfo()
    if exported.classes:
        text.add_itxt("class_names", ", ".join(exported.classes))
    with whole_file(path) as partial:
        Image.fromarray(picture).save(partial, format="PNG", pnginfo=text)
    progress.advance(1)
    progress.finish()
    georef = shift_georeference(exported.georef or None, (0, 0), float(side)) or {}
    return [path, *_world_file(path, georef), *write_sidecar(path, georef=georef)]


def _world_file(path: Path, georef: dict[str, object]) -> list[Path]:
    """Write the place of a picture as a world file, and return its path in a list; none without a place."""
    if not georef.get("GeoTransform"):
        return []
    x, a, b, y, d, e = (float(value) for value in str(georef["GeoTransform"]).split())
    out = path.with_suffix(".pgw")
    with whole_file(out) as partial:
        numbers = (a, d, b, e, x + (a + b) / 2, y + (d + e) / 2)  # of the centre of the first pixel
        partial.write_text("".join(f"{number!r}\n" for number in numbers), encoding="ascii")
    return [out]


def _colours(exported: ExportSource) -> Picture:
    """Return a cube in false colour."""
    scene = Scene.open(exported.url)
    return false_colour(scene, scene.roi, exported.options.max_side, bands=exported.bands)


def _classes(exported: ExportSource, side: int) -> Picture:
    """Return a class map, of which only every n-th pixel is used, because classes have no mean."""
    rows = [block[-y0 % side :: side, ::side, 0] for y0, block in exported.blocks()]
    return class_picture(np.concatenate(rows))
