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
"""Degrees of the field of view to colour-science's name."""

Places = Float64[np.ndarray, " band"]


def matching(wavelengths: Places, degrees: int) -> Float64[np.ndarray, "band 3"]:
    """Return the colour matching functions of an observer at ``wavelengths`` (nm); 0 outside of 360 to 830 nm.

    Linear between the places of the table, which are 1 nm apart.

    Raises:
        UserError: no such observer, or no package that has its table.
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
    """Return the relative power of an illuminant at ``wavelengths`` (nm): 1 where its table says 100, 0 outside of it.

    Raises:
        UserError: no such illuminant (those that are there are named), or no package that has its table.
    """
    places, values = _illuminant(name)
    return np.interp(wavelengths, places, values, left=0, right=0) / 100.0


@lru_cache(maxsize=4)
def _observer(degrees: int) -> tuple[Places, Float64[np.ndarray, "_place 3"]]:
    """Return the table of an observer."""
    table = _science().MSDS_CMFS[OBSERVERS[degrees]]
    return np.asarray(table.wavelengths, np.float64), np.asarray(table.values, np.float64)


@lru_cache(maxsize=64)
def _illuminant(name: str) -> tuple[Places, Float64[np.ndarray, " _place"]]:
    """Return the table of an illuminant."""
    known = _science().SDS_ILLUMINANTS
    if name not in known:
        raise UserError(
            "--illuminant",
            found=repr(name),
            expected=f"one of {', '.join(sorted(known))}",
            do="Choose one of these: D65 is daylight, A a filament lamp, E equal energy.",
        )
    table = known[name]
    return np.asarray(table.wavelengths, np.float64), np.asarray(table.values, np.float64)


def _science() -> Any:
    """Return colour-science, a second's and 100 MB's worth of import, which is why it waits for the first table."""
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
