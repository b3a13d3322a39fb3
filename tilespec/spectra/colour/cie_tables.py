"""CIE tables: the CIE's observers and illuminants as tables, from colour-science (extra ``color``)."""

import warnings
from functools import lru_cache
from typing import Any, Final

import numpy as np
from jaxtyping import Float64

from tilespec.core.errors import UserError

OBSERVERS: Final = {
    2: "CIE 1931 2 Degree Standard Observer",
    10: "CIE 1964 10 Degree Standard Observer",
}
"""The name in colour-science of each observer, by its field of view in degrees."""

Places = Float64[np.ndarray, " band"]


def matching(wavelengths: Places, degrees: int) -> Float64[np.ndarray, "band 3"]:
    """Return the colour matching functions ``band 3`` at ``wavelengths`` (nm), 0 outside of 360 to 830 nm.

    The table has a step of 1 nm and is interpolated linearly.

    Raises:
        UserError: the observer is unknown, or the package with its table is not installed.
    """
    if degrees not in OBSERVERS:
        raise UserError(
            "--observer",
            found=f"{degrees} degrees",
            expected="10 (CIE 1964) or 2 (CIE 1931)",
            do="Choose one of these.",
        )
    places, table = _observer(degrees)
    return np.stack([np.interp(wavelengths, places, of, left=0, right=0) for of in table.T], axis=1)


def illumination(wavelengths: Places, name: str) -> Float64[np.ndarray, " band"]:
    """Return the relative power of an illuminant at ``wavelengths`` (nm): 1 for 100 in its table, 0 outside of it.

    Raises:
        UserError: the illuminant is unknown (the message names those that exist), or the package with its table is not
            installed.
    """
    places, values = _illuminant(name)
    return np.interp(wavelengths, places, values, left=0, right=0) / 100.0


@lru_cache(maxsize=4)
def _observer(degrees: int) -> tuple[Places, Float64[np.ndarray, "_place 3"]]:
    """Return the table of an observer from colour-science."""
    table = _science().MSDS_CMFS[OBSERVERS[degrees]]
    return np.asarray(table.wavelengths, np.float64), np.asarray(table.values, np.float64)


@lru_cache(maxsize=64)
def _illuminant(name: str) -> tuple[Places, Float64[np.ndarray, " _place"]]:
    """Return the table of an illuminant from colour-science."""
    illuminants = _science().SDS_ILLUMINANTS
    if name not in illuminants:
        raise UserError(
            "--illuminant",
            found=repr(name),
            expected=f"one of {', '.join(sorted(illuminants))}",
            do="Choose one of these: D65 is daylight, A a filament lamp, E equal energy.",
        )
    table = illuminants[name]
    return np.asarray(table.wavelengths, np.float64), np.asarray(table.values, np.float64)


def _science() -> Any:
    """Return the module of colour-science; it is imported late, because that takes a second and 100 MB."""
    try:
        # it sets how NumPy prints, for the whole process, adds filters, and warns of optional packages
        with np.printoptions(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import colour
    except ImportError as error:
        raise UserError(
            "colour",
            found="no package `colour-science`, which has the tables of the CIE",
            expected="the extra `color`",
            do='Run `pip install "tilespec[color]"`.',
        ) from error
    return colour
