"""Lab: XYZ relative to a white, in steps that look alike (CIE 15:2004, 8.2.1)."""

from typing import Final

import numpy as np
from jaxtyping import Float, Float64

BEND: Final = (6 / 29) ** 3
"""Below this share of white the cube root is a straight line."""


def lab_of(xyz: Float[np.ndarray, "*shape 3"], white: Float64[np.ndarray, "3"]) -> Float[np.ndarray, "*shape 3"]:
    """Return L, a and b of XYZ; ``white`` has L = 100 and a = b = 0."""
    share = xyz / white.astype(xyz.dtype)
    root = np.where(share > BEND, np.cbrt(share), share / (3 * (6 / 29) ** 2) + 4 / 29).astype(xyz.dtype)
    x, y, z = (root[..., i] for i in range(3))
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
