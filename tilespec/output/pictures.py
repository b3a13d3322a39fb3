"""Pictures of scenes and class maps as NumPy arrays, for export and the report."""

from typing import Final

import numpy as np
from jaxtyping import Float32, Integer, UInt8

from tilespec.core.types import UNLABELLED, Roi, SpectralAxis
from tilespec.storage.layout import CODES, unlabelled
from tilespec.storage.scene import Scene

Picture = UInt8[np.ndarray, "y x 3"]

NEAR_INFRARED: Final = (860.0, 650.0, 550.0)
"""The wavelengths (nm) shown as red, green, blue, in which vegetation is red."""
TRUE_COLOUR: Final = (650.0, 550.0, 450.0)
"""The wavelengths (nm) of a picture in natural colours."""
NO_DATA: Final = (0, 0, 0)
"""The colour of pixels without data or label."""
PALETTE: Final = (
    (112, 98, 84),
    (72, 158, 64),
    (230, 159, 0),
    (86, 180, 233),
    (204, 121, 167),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (153, 153, 153),
    (170, 68, 153),
    (136, 204, 238),
    (102, 17, 0),
    (221, 204, 119),
    (51, 34, 136),
    (250, 250, 250),
)
"""The colours of classes: soil brown and leaf green first (background, plant); then colours for colour-blind readers.
"""


def false_colour(
    scene: Scene,
    roi: Roi | None = None,
    max_side: int = 1024,
    *,
    bands: tuple[int, int, int] | None = None,
    stretch: tuple[float, float] = (2.0, 98.0),
) -> Picture:
    """Return three bands of a region as red, green, blue, each stretched between two percentiles.

    An sRGB scene, rendered or photographed, is shown unchanged, unless bands are named. The scene is read
    object by object and averaged over squares of pixels, so memory stays bounded; pixels without data are black. The
    percentiles are those of the picture.
    """
    roi = roi or scene.roi
    means = thumbnail(scene, roi, bands or picture_bands(scene.spectral, scene.shape[2]), max_side)
    if bands is None and scene.attrs.get("colour_space") == "sRGB":
        return np.rint(255.0 * np.nan_to_num(means, nan=0.0).clip(0.0, 1.0)).astype(np.uint8)
    return _stretched(means, stretch)


def class_colours(n: int) -> UInt8[np.ndarray, "n 3"]:
    """Return one colour for each of ``n`` classes, the same for a class whatever ``n``."""
    return np.array([_colour(i) for i in range(n)], np.uint8).reshape(n, 3)


def class_picture(classes: Integer[np.ndarray, "y x"]) -> Picture:
    """Return a class map (255 = unlabelled or nodata, black) in the colours of `class_colours`.

    In a map of uint16 or uint32 the largest number of the type is nodata.
    """
    none = unlabelled(classes.dtype) if classes.dtype in CODES else UNLABELLED
    values, places = np.unique(classes, return_inverse=True)
    table = [_colour(value) if 0 <= value != none else NO_DATA for value in values.tolist()]
    picture: Picture = np.array(table, np.uint8)[places].reshape(*classes.shape, 3)
    return picture


def picture_bands(axis: SpectralAxis | None, bands: int) -> tuple[int, int, int]:
    """Return the bands to show as red, green, blue: near infrared, else true colour, else spread evenly."""
    if axis is None or axis.name != "wavelength":
        return (0, min(1, bands - 1), min(2, bands - 1)) if bands < 30 else _spread(bands)
    for wanted in (NEAR_INFRARED, TRUE_COLOUR):
        if min(axis.values) - 20.0 <= min(wanted) and max(wanted) <= max(axis.values) + 20.0:
            red, green, blue = (axis.nearest(value) for value in wanted)
            return red, green, blue
    return _spread(bands)


def thumbnail(scene: Scene, roi: Roi, bands: tuple[int, int, int], max_side: int) -> Float32[np.ndarray, "y x 3"]:
    """Return the mean of each square of pixels, at most ``max_side`` squares on the longer side; NaN is no data."""
    side = max(1, -(-max(roi.shape) // max_side))
    shape = (-(-roi.shape[0] // side), -(-roi.shape[1] // side), 3)
    sums, counts = np.zeros(shape), np.zeros(shape)
    for block in roi.cut(*scene.chunks[:2]):
        values = scene.read(block)[..., list(bands)].astype(np.float64)
        finite = np.isfinite(values)
        rows, first_rows = np.unique((np.arange(block.y0, block.y1) - roi.y0) // side, return_index=True)
        cols, first_cols = np.unique((np.arange(block.x0, block.x1) - roi.x0) // side, return_index=True)
        for total, part in ((sums, np.where(finite, values, 0.0)), (counts, finite.astype(np.float64))):
            squares = np.add.reduceat(np.add.reduceat(part, first_rows, axis=0), first_cols, axis=1)
            total[np.ix_(rows, cols)] += squares
    empty = counts == 0
    return np.where(empty, np.nan, sums / np.where(empty, 1.0, counts)).astype(np.float32)


def _spread(bands: int) -> tuple[int, int, int]:
    """Return three bands at 5/6, 1/2 and 1/6 of the axis."""
    return bands * 5 // 6, bands // 2, bands // 6


def _stretched(values: Float32[np.ndarray, "y x 3"], stretch: tuple[float, float]) -> Picture:
    """Return values as bytes, each channel from its lower to its upper percentile."""
    out = np.zeros(values.shape, np.uint8)
    for channel in range(3):
        plane = values[..., channel]
        finite = np.isfinite(plane)
        if finite.any():
            low, high = np.percentile(plane[finite], stretch)
            share = np.clip((plane[finite] - low) / max(high - low, 1e-12), 0.0, 1.0)
            out[finite, channel] = np.rint(255.0 * share).astype(np.uint8)
    out[~np.isfinite(values).all(axis=-1)] = NO_DATA
    return out


def _colour(index: int) -> tuple[int, int, int]:
    """Return the colour of a class."""
    return PALETTE[index] if index < len(PALETTE) else _golden(index)


def _golden(index: int) -> tuple[int, int, int]:
    """Return a colour that differs from its neighbours: the hue changes by the golden angle."""
    hue, value = (index * 0.381966) % 1.0 * 6.0, (0.95, 0.7, 0.5)[index % 3]
    ramp = np.clip(np.abs((hue + np.array([0.0, 4.0, 2.0])) % 6.0 - 3.0) - 1.0, 0.0, 1.0)
    red, green, blue = np.rint(255.0 * value * (1.0 - 0.75 * (1.0 - ramp))).astype(int)
    return int(red), int(green), int(blue)
