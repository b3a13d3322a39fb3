"""PNG: a cube in false colour, a class map in the colours of its classes."""

from pathlib import Path

import numpy as np
from PIL import Image

from tilespec.core.progress import Progress
from tilespec.output.export.export_source import ExportSource
from tilespec.output.pictures import Picture, class_picture, false_colour
from tilespec.storage.scene import Scene


def write_png(exported: ExportSource, path: Path, progress: Progress) -> list[Path]:
    """Write a picture of at most ``max_side`` pixels on its longer side, and return its path."""
    progress.start("export", 1, "pictures")
    partial = path.with_name(f"{path.name}.partial")
    Image.fromarray(_classes(exported) if exported.plane else _colours(exported)).save(partial, format="PNG")
    partial.replace(path)
    progress.advance(1)
    progress.finish()
    return [path]


def _colours(exported: ExportSource) -> Picture:
    """Return a cube in false colour."""
    scene = Scene.open(exported.url)
    return false_colour(scene, scene.roi, exported.max_side, bands=exported.bands)


def _classes(exported: ExportSource) -> Picture:
    """Return a class map, of which only every n-th pixel is used, because classes have no mean."""
    side = max(1, -(-max(exported.shape[:2]) // exported.max_side))
    rows = [block[-y0 % side :: side, ::side, 0] for y0, block in exported.blocks()]
    return class_picture(np.concatenate(rows))
