"""sRGB: how linear values are stored (IEC 61966-2-1)."""

from typing import Any, Final

import numpy as np
from jaxtyping import Float

from tilespec.spectra.numerics.namespace import namespace

TOE: Final = 0.0031308
"""Linear values up to this are encoded by a straight line."""
SLOPE: Final = 12.92
"""Of that line."""
GAMMA: Final = 2.4
"""Exponent above it."""


def encode(linear: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Return linear values as sRGB stores them; neither is limited to 0..1, and values below 0 stay on the line."""
    above = np.maximum(linear, np.asarray(TOE, linear.dtype))
    return np.where(linear <= TOE, SLOPE * linear, 1.055 * above ** (1 / GAMMA) - 0.055).astype(linear.dtype)


def decode(values: Any) -> Any:
    """Return the linear values that `encode` made ``values`` of: floats of any shape, an array or a tensor."""
    edge = SLOPE * TOE
    above = values.clip(edge, None)
    return namespace(values).where(values <= edge, values / SLOPE, ((above + 0.055) / 1.055) ** GAMMA)
