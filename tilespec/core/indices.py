"""Indices: published vegetation indices of spectra; a new one is a line in the table.

All require reflectance between 0 and 1: those with constants (SAVI, OSAVI, EVI, MCARI, TCARI, and the reciprocals)
change with the scale of the values, and ratios of radiance or of counts are those of the lamp or the sun as well.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from jaxtyping import Float, Float64

from tilespec.core.types import SpectralAxis

Bands = Float64[np.ndarray, " _spectrum"]
Spectra = Float[np.ndarray, "_spectrum _band"]


@final
@dataclass(frozen=True, kw_only=True)
class Index:
    """A formula of the reflectances at a few wavelengths."""

    at: tuple[float, ...]
    """The wavelengths in nm in the order of the formula's arguments."""
    near: float
    """The largest distance in nm of a band's centre from the wavelength."""
    formula: Callable[..., Bands]
    """The function from reflectances to the index."""
    source: str
    """The publication of the index."""
    low: float = -np.inf
    """The smallest value that the index can have, where it has a meaning of its own."""
    high: float = np.inf
    """The largest such value."""


NARROW, BROAD = 5.0, 10.0
"""The tolerances in nm: small for an index of a narrow peak, large for an index made for bands of tens of nm."""

INDICES: Final[dict[str, Index]] = {
    "NDVI": Index(
        at=(800, 670),
        near=BROAD,
        formula=lambda n, r: (n - r) / (n + r),
        source="Rouse et al. 1974, NASA SP-351, 309",
    ),
    "GNDVI": Index(
        at=(800, 550),
        near=BROAD,
        formula=lambda n, g: (n - g) / (n + g),
        source="Gitelson, Kaufman and Merzlyak 1996, Remote Sens. Environ. 58, 289",
    ),
    "NDRE": Index(
        at=(790, 720),
        near=NARROW,
        formula=lambda n, e: (n - e) / (n + e),
        source="Barnes et al. 2000, Proc. 5th Int. Conf. Precision Agriculture",
    ),
    "SAVI": Index(
        at=(800, 670),
        near=BROAD,
        formula=lambda n, r: 1.5 * (n - r) / (n + r + 0.5),
        source="Huete 1988, Remote Sens. Environ. 25, 295",
    ),
    "OSAVI": Index(
        at=(800, 670),
        near=BROAD,
        formula=lambda n, r: 1.16 * (n - r) / (n + r + 0.16),
        source="Rondeaux, Steven and Baret 1996, Remote Sens. Environ. 55, 95",
    ),
    "EVI": Index(
        at=(800, 670, 470),
        near=BROAD,
        formula=lambda n, r, b: 2.5 * (n - r) / (n + 6 * r - 7.5 * b + 1),
        source="Huete et al. 2002, Remote Sens. Environ. 83, 195",
    ),
    "PRI": Index(
        at=(531, 570),
        near=NARROW,
        formula=lambda a, b: (a - b) / (a + b),
        source="Gamon, Penuelas and Field 1992, Remote Sens. Environ. 41, 35",
    ),
    "MCARI": Index(
        at=(700, 670, 550),
        near=NARROW,
        formula=lambda e, r, g: ((e - r) - 0.2 * (e - g)) * e / r,
        source="Daughtry et al. 2000, Remote Sens. Environ. 74, 229",
    ),
    "TCARI": Index(
        at=(700, 670, 550),
        near=NARROW,
        formula=lambda e, r, g: 3 * ((e - r) - 0.2 * (e - g) * e / r),
        source="Haboudane et al. 2002, Remote Sens. Environ. 81, 416",
    ),
    "PSRI": Index(
        at=(678, 500, 750),
        near=NARROW,
        formula=lambda r, b, n: (r - b) / n,
        source="Merzlyak et al. 1999, Physiol. Plant. 106, 135",
    ),
    "SIPI": Index(
        at=(800, 445, 680),
        near=NARROW,
        formula=lambda n, b, r: (n - b) / (n - r),
        source="Penuelas, Baret and Filella 1995, Photosynthetica 31, 221",
    ),
    "ARI1": Index(
        at=(550, 700),
        near=NARROW,
        formula=lambda g, e: 1 / g - 1 / e,
        source="Gitelson, Merzlyak and Chivkunova 2001, Photochem. Photobiol. 74, 38",
    ),
    "CRI1": Index(
        at=(510, 550),
        near=NARROW,
        formula=lambda b, g: 1 / b - 1 / g,
        source="Gitelson et al. 2002, Photochem. Photobiol. 75, 272",
    ),
    "REP": Index(
        at=(670, 700, 740, 780),
        near=NARROW,
        formula=lambda a, b, c, d: 700 + 40 * ((a + d) / 2 - b) / (c - b),
        source="Guyot and Baret 1988, ESA SP-287, 279: red edge position in nm",
        low=680.0,
        high=760.0,
    ),
    "WBI": Index(
        at=(900, 970),
        near=NARROW,
        formula=lambda a, b: a / b,
        source="Penuelas et al. 1993, Int. J. Remote Sens. 14, 1887",
    ),
    "NDWI": Index(
        at=(860, 1240),
        near=BROAD,
        formula=lambda a, b: (a - b) / (a + b),
        source="Gao 1996, Remote Sens. Environ. 58, 257",
    ),
}


def indices(spectra: Spectra, axis: SpectralAxis | None) -> dict[str, Bands]:
    """Return every index of each spectrum of reflectance, NaN for a missing band or an undefined value."""
    return {name: index_of(name, spectra, axis) for name in INDICES}


def index_of(name: str, spectra: Spectra, axis: SpectralAxis | None) -> Bands:
    """Return one index of each spectrum of reflectance, NaN for a missing band or an undefined value."""
    index = INDICES[name]
    places = near_bands(axis, index.at, index.near)
    if places is None:
        return np.full(len(spectra), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = index.formula(*(spectra[:, place].astype(np.float64, copy=False) for place in places))
    return np.where(np.isfinite(values) & (index.low <= values) & (values <= index.high), values, np.nan)


def index_notes(axis: SpectralAxis | None, unfit: str | None) -> list[str]:
    """Return why indices are NaN for every object, if any are.

    Args:
        axis: The spectral axis of the scene.
        unfit: Why the scene's values are no reflectance; None if they are.
    """
    if unfit is not None:
        return [f"no vegetation indices: {unfit}; bring the scene in as reflectance"]
    if axis is None or axis.name != "wavelength" or axis.unit != "nm":
        found = "no wavelengths" if axis is None else f"bands by {axis.name} in {axis.unit}"
        return [f"no vegetation indices: the scene has {found}; they need wavelengths in nm"]
    lacking = [name for name, index in INDICES.items() if near_bands(axis, index.at, index.near) is None]
    all_of_them = "all indices" if len(lacking) == len(INDICES) else ", ".join(lacking)
    return [f"NaN for want of bands near theirs: {all_of_them}"] if lacking else []


def near_bands(axis: SpectralAxis | None, at: Sequence[float], near: float) -> list[int] | None:
    """Return the bands at some wavelengths in nm; None if none is as near, or if bands have no wavelengths in nm."""
    if axis is None or axis.name != "wavelength" or axis.unit != "nm":
        return None
    places = [axis.nearest(wanted) for wanted in at]
    far = any(abs(axis.values[place] - wanted) > near for place, wanted in zip(places, at, strict=True))
    return None if far or len(set(places)) < len(places) else places
