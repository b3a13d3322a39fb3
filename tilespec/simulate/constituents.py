"""Constituents: near-infrared absorption of water, fat and protein as Gaussian bands at published positions.

Positions: Osborne, Fearn and Hindle (1993), Practical NIR Spectroscopy; Workman and Weyer (2007), Practical Guide to
Interpretive Near-Infrared Spectroscopy. Heights are rounded from Kou, Labrie and Chylek (1993), Appl. Opt. 32, 3531
(water) and van Veen et al. (2005), J. Biomed. Opt. 10, 054004 (fat of pigs); those of protein, whose
bands in meat are broad and weak, are chosen.
"""

from typing import Final

import numpy as np
from jaxtyping import Float64

FIRST_NM, LAST_NM = 850.0, 1700.0
CONSTITUENTS: Final = ("fat", "water", "protein")
BANDS: Final[dict[str, tuple[tuple[float, float, float], ...]]] = {
    "fat": (
        (928, 26, 0.0056),
        (1040, 40, 0.0025),
        (1168, 40, 0.025),
        (1210, 32, 0.075),
        (1393, 36, 0.04),
        (1415, 36, 0.035),
        (1725, 40, 0.40),
    ),
    "water": (
        (840, 40, 0.0018),
        (970, 44, 0.018),
        (1010, 90, 0.006),
        (1190, 80, 0.05),
        (1450, 110, 1.3),
        (1790, 220, 0.3),
    ),
    "protein": ((910, 40, 0.004), (1020, 50, 0.005), (1187, 50, 0.03), (1510, 90, 0.15), (1690, 60, 0.15)),
}
"""The bands of each pure constituent: centre (nm), full width at half maximum (nm), decadic absorbance of 1 mm."""
PLASTIC: Final = ((1195, 40, 0.10), (1395, 50, 0.07), (1725, 50, 0.25))
"""The bands of the tray's black polyethylene, as of the constituents, on its absorbance without bands."""
BLACK: Final = 1.25
"""The absorbance of the tray's pigment."""

Band = Float64[np.ndarray, " band"]


def wavelengths(bands: int) -> Band:
    """Return the centres in nm of so many bands, evenly from 850 to 1700 nm."""
    return np.linspace(FIRST_NM, LAST_NM, bands)


def absorptivity(constituent: str, nm: Band) -> Band:
    """Return the decadic absorbance of 1 mm of a pure constituent at wavelengths in nm."""
    return _gaussians(BANDS[constituent], nm)


def warming(nm: Band) -> Band:
    """Return the change of the absorptivity of water when its bands shift by 1 nm to shorter wavelengths.

    Warm water has fewer hydrogen bonds, and so its bands lie at shorter wavelengths (Segtnan et al. 2001, Anal. Chem.
    73, 3153). The change is to first order.
    """
    return absorptivity("water", nm + 0.5) - absorptivity("water", nm - 0.5)


def tray(nm: Band) -> Band:
    """Return the absorbance of the tray at wavelengths in nm."""
    return BLACK + _gaussians(PLASTIC, nm)


def _gaussians(bands: tuple[tuple[float, float, float], ...], nm: Band) -> Band:
    """Return the sum of Gaussian bands."""
    return sum(
        (h * np.exp(-4 * np.log(2) * ((nm - centre) / width) ** 2) for centre, width, h in bands), np.zeros_like(nm)
    )
