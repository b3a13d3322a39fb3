"""Lab: the CIE L*a*b* colour space (CIE 15:2004, 8.2.1) and the colour difference CIEDE2000, vectorised.

Sharma, Wu and Dalal, The CIEDE2000 Color-Difference Formula: Implementation Notes, Supplementary Test Data, and
Mathematical Observations, Color Research and Application 30 (2005) 21-30; equations by their numbers there.
"""

from typing import Final

import numpy as np
from jaxtyping import Float, Float64

CHROMA: Final = 25.0**7
HALF_TURN: Final = 180.0 + 1e-9
"""The largest difference of hues (degrees) that counts as half a turn, where the mean hue jumps, despite rounding."""

Values = Float64[np.ndarray, "*shape"]

BEND: Final = (6 / 29) ** 3
"""The share of white below which the cube root is replaced by a straight line."""


def ciede2000(
    lab_a: Float[np.ndarray, "*shape 3"], lab_b: Float[np.ndarray, "*shape 3"]
) -> Float64[np.ndarray, "*shape"]:
    """Return the CIEDE2000 difference of each pair of colours; 1 is about just noticeable, NaN gives NaN.

    Args:
        lab_a: CIE Lab, last axis L, a, b.
        lab_b: CIE Lab of the same shape.

    Returns:
        The differences, without the last axis.
    """
    (l1, a1, b1), (l2, a2, b2) = (np.moveaxis(np.asarray(lab, np.float64), -1, 0) for lab in (lab_a, lab_b))
    stretch = 1.5 - 0.5 * _share((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2)  # 1 + G, eqs. 2 to 5
    (c1, h1), (c2, h2) = _polar(a1 * stretch, b1), _polar(a2 * stretch, b2)
    grey = c1 * c2 == 0
    turn, mean_hue = _hues(h1, h2, grey)
    lightness, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    d_lightness = (l2 - l1) / (1 + 0.015 * (lightness - 50) ** 2 / np.sqrt(20 + (lightness - 50) ** 2))
    d_chroma = (c2 - c1) / (1 + 0.045 * chroma)
    d_hue = 2 * np.sqrt(c1 * c2) * _sin(turn / 2) / (1 + 0.015 * chroma * _uneven(mean_hue))
    rotation = -_sin(60 * np.exp(-(((mean_hue - 275) / 25) ** 2))) * 2 * _share(chroma)  # eqs. 16, 17, 21
    square = d_lightness**2 + d_chroma**2 + d_hue**2 + rotation * d_chroma * d_hue
    return np.sqrt(np.maximum(square, 0.0))


def _polar(a: Values, b: Values) -> tuple[Values, Values]:
    """Return the chroma and the hue; the hue is in degrees from 0 (eqs. 6 and 7)."""
    return np.hypot(a, b), np.degrees(np.arctan2(b, a)) % 360


def _hues(h1: Values, h2: Values, grey: np.ndarray) -> tuple[Values, Values]:
    """Return the difference and the mean of hues along the shorter arc (eqs. 10 and 14); a grey has no hue."""
    apart, total = h2 - h1, h1 + h2
    far = np.abs(apart) > HALF_TURN
    turn = np.where(far, apart - np.copysign(360.0, apart), apart)
    mean = np.where(far, total + np.where(total < 360, 360.0, -360.0), total) / 2
    return np.where(grey, 0.0, turn), np.where(grey, total, mean)


def _uneven(hue: Values) -> Values:
    """Return the weight of a difference in hue, which depends on the mean hue (eq. 15)."""
    return 1 - 0.17 * _cos(hue - 30) + 0.24 * _cos(2 * hue) + 0.32 * _cos(3 * hue + 6) - 0.20 * _cos(4 * hue - 63)


def _share(chroma: Values) -> Values:
    """Return ``sqrt(C^7 / (C^7 + 25^7))``, 0 for a grey and near 1 for vivid colours."""
    power = chroma**7
    return np.sqrt(power / (power + CHROMA))


def _sin(degrees: Values) -> Values:
    return np.sin(np.radians(degrees))


def _cos(degrees: Values) -> Values:
    return np.cos(np.radians(degrees))


def lab_of(xyz: Float[np.ndarray, "*shape 3"], white: Float64[np.ndarray, "3"]) -> Float[np.ndarray, "*shape 3"]:
    """Return L, a and b of XYZ; ``white`` has L = 100 and a = b = 0; the last axis has length 3."""
    share = xyz / white.astype(xyz.dtype)
    root = np.where(share > BEND, np.cbrt(share), share / (3 * (6 / 29) ** 2) + 4 / 29).astype(xyz.dtype)
    x, y, z = (root[..., i] for i in range(3))
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
