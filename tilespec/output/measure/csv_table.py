"""CSV table: one line of text for each object."""

import csv
import io
import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from jaxtyping import Shaped

from tilespec.core.types import SpectralAxis
from tilespec.output.measure.object_sums import ObjectSums

DIGITS: Final = range(1, 16)
"""The number of decimal digits that a wavelength's name may need."""
Column = list[Any] | Shaped[np.ndarray, " _object"]


def columns(
    tally: ObjectSums,
    names: tuple[str, ...],
    axis: SpectralAxis | None,
    pixel_area: float | None,
    attributes: Mapping[str, Column],
    traits: Mapping[str, Column],
) -> dict[str, Column]:
    """Return the columns of the table: integers and floats, NaN for undefined values.

    Args:
        tally: The sums of all objects.
        names: The names of the classes.
        axis: The spectral axis of the scene.
        pixel_area: The area of a pixel in m2; None if unknown.
        attributes: The further columns of each object.
        traits: The columns of their shapes and indices.
    """
    mean, deviation = tally.finish()
    pixels, some = np.maximum(tally.pixels, 1), tally.pixels > 0
    own: dict[str, Any] = {
        "pixels": tally.pixels,
        "area_m2": np.full(len(pixels), np.nan) if pixel_area is None else tally.pixels * pixel_area,
        "y0": np.where(some, tally.low[:, 0], -1),
        "y1": np.where(some, tally.high[:, 0] + 1, -1),
        "x0": np.where(some, tally.low[:, 1], -1),
        "x1": np.where(some, tally.high[:, 1] + 1, -1),
        "height": np.where(some, tally.high[:, 0] + 1 - tally.low[:, 0], 0),
        "width": np.where(some, tally.high[:, 1] + 1 - tally.low[:, 1], 0),
        "centroid_y": np.where(some, tally.places[:, 0] / pixels, np.nan),
        "centroid_x": np.where(some, tally.places[:, 1] / pixels, np.nan),
        "invalid_pixels": tally.invalid,
        "partial_pixels": tally.partial,
        "spectrum_pixels": tally.taken,
    }
    shares = np.where(some[:, None], tally.classes / pixels[:, None], np.nan)
    own |= {f"share_{name}": shares[:, i] for i, name in enumerate((*names, "nodata"))}
    bands = band_names(axis, mean.shape[1])
    own |= traits
    own |= {f"mean_{band}": mean[:, i] for i, band in enumerate(bands)}
    own |= {f"sd_{band}": deviation[:, i] for i, band in enumerate(bands)}
    renamed = {f"polygon_{key}" if key in own or key == "id" else key: values for key, values in attributes.items()}
    return {"id": tally.ids, **renamed, **own}


def band_names(axis: SpectralAxis | None, count: int) -> list[str]:
    """Return a name for each band: its centre with as many digits as make all names different, else its number."""
    if axis is None:
        return [str(band) for band in range(count)]
    if axis.name in ("component", "channel"):
        return [f"{value:g}" for value in axis.values]
    for digits in DIGITS:
        names = [f"{value:.{digits}f}" for value in axis.values]
        if len(set(names)) == count:
            return names
    return [f"{name}_{band}" for band, name in enumerate(names)]  # two bands have the same wavelength


def as_csv(table: Mapping[str, Column]) -> str:
    """Return a table as CSV (RFC 4180, but lines end in a line feed); floats in as few digits as give the same bits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table)
    lists = [column.tolist() if isinstance(column, np.ndarray) else column for column in table.values()]
    for row in zip(*lists, strict=True):
        writer.writerow([_cell(value) for value in row])
    return text.getvalue()


def _cell(value: Any) -> Any:
    """Return a value as text of the table."""
    if isinstance(value, float):
        return "NaN" if value != value else repr(value)  # noqa: PLR0124 - NaN
    if isinstance(value, dict | list):
        return json.dumps(value)
    return "" if value is None else value
