"""Image light: the relation of stored picture values to light, and the mean of pixels.

sRGB (IEC 61966-2-1) stores about the 2.4th root of light. Therefore values are decoded, averaged as light, and encoded
again: the mean of the stored values would be darker than the image of a coarser camera.
"""

from dataclasses import replace
from typing import Any, Final

import numpy as np

from tilespec.core.errors import UserError
from tilespec.core.types import SpectralAxis
from tilespec.ingest.readers.source import Facts, Options, Source, lines_per_read

SRGB: Final = "sRGB"
"""The value of `Facts.colour_space`, and of the attribute with that name, for pictures and rendered scenes."""
COLOURS: Final = {1: ("grey",), 3: ("red", "green", "blue")}
"""The names of the bands of a picture."""
PEAKS: Final = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0, "float64": 1.0}
"""The stored value of 1 by data type, when the user gives none."""
DEPTHS: Final = (8, 10, 12, 14)
"""The bit depths of cameras whose values are stored unchanged in 16 bits."""


def picture_facts(facts: Facts, peak: float) -> Facts:
    """Return the facts of a picture: bands with the names of their colours, a channel axis, values from 0 to 1."""
    names = COLOURS[facts.shape[2]]
    axis = SpectralAxis(name="channel", unit="1", values=tuple(float(i) for i in range(len(names))))
    header = facts.header | {"band names": "{" + ", ".join(names) + "}"}
    return replace(facts, spectral=axis, header=header, scale=1.0 / peak, colour_space=SRGB)


def ranged(where: str, facts: Facts, options: Options) -> Facts:
    """Return the facts of a cube under ``--rgb`` and ``--peak``; the same object when neither changes them."""
    if facts.colour_space is not None or not (options.rgb or options.peak is not None):
        return facts
    if options.peak is not None:
        check_peak(options.peak)
        if facts.scale != 1.0:
            raise UserError(
                "--peak",
                found=f"{options.peak:g} for {where}, whose own scale is {facts.scale:g}",
                expected="values without a scale",
                do="Leave --peak away.",
            )
    if options.rgb:
        return _picture(where, facts, options.peak)
    return facts if options.peak is None else replace(facts, scale=1.0 / options.peak)


def check_peak(peak: float) -> None:
    """Refuse a peak that is not a finite number above 0."""
    if not (np.isfinite(peak) and peak > 0):
        raise UserError("--peak", found=peak, expected="a number above 0", do="12 bits end at --peak 4095.")


def _picture(where: str, facts: Facts, peak: float | None) -> Facts:
    """Return the facts of an array that the user declares to be a picture."""
    if facts.shape[2] != 3 or facts.dtype.newbyteorder("=").name not in PEAKS:
        raise UserError(
            where,
            found=f"{facts.shape[2]} bands of {facts.dtype.name}",
            expected="three, of uint8, uint16 or floats, for --rgb",
            do="Name the picture with --variable, say which axis is which with --axes, or leave --rgb away.",
        )
    if facts.scale != 1.0:
        return replace(picture_facts(facts, 1.0), scale=facts.scale)
    return picture_facts(facts, PEAKS[facts.dtype.newbyteorder("=").name] if peak is None else peak)


def check_range(where: str, source: Source, peak: float | None) -> tuple[str, ...]:
    """Return notes on the values of a picture; refuse values that are nearly black or above white in its scale.

    Cameras of 8 to 14 bits store their values unchanged in 16 bits, and divided by 65535 these are nearly black.
    Therefore one pass over a picture of 16 bits or of floats determines its largest value.
    """
    facts = source.facts
    if facts.colour_space is None or facts.dtype == np.uint8:
        return ()
    largest = _largest(source)
    if largest * facts.scale > 1.0 + 1e-6:
        raise UserError(
            f"{where}: largest value",
            found=f"{largest:g}",
            expected=f"at most {1 / facts.scale:g}, which is white",
            do="Give --peak VALUE: the stored value of white.",
        )
    bits = next((b for b in DEPTHS if largest < 1 << b), 16)
    if peak is None and facts.dtype.kind == "u" and facts.scale == 1.0 / PEAKS["uint16"] and largest > 0 and bits < 16:
        raise UserError(
            f"{where}: largest value",
            found=f"{largest:g} of 65535",
            expected=f"values up to 65535: these fit in {bits} bits, and would be nearly black",
            do=f"Give --peak {(1 << bits) - 1}; or --peak 65535, if the picture is as dark as that.",
        )
    return () if largest else (f"{where}: black everywhere",)


def _largest(source: Source) -> float:
    """Return the largest stored value that is data, by one pass in bounded memory; 0 without data."""
    facts, largest = source.facts, 0.0
    step = lines_per_read(facts)
    for y0 in range(0, facts.shape[0], step):
        rows: Any = source.read_rows(y0, min(y0 + step, facts.shape[0]))
        valid = rows[rows != facts.nodata] if facts.nodata is not None else rows[~np.isnan(rows)]
        largest = max(largest, float(valid.max(initial=0)))
    return largest
