"""The sRGB transfer function between linear and stored values (IEC 61966-2-1)."""

from typing import Any, Final

import numpy as np
from jaxtyping import Float

from tilespec.core.arrays import namespace

TOE: Final = 0.0031308
"""The largest linear value that is encoded by a straight line."""
SLOPE: Final = 12.92
"""The slope of that line."""
GAMMA: Final = 2.4
"""The exponent of the curve above it."""


def encode(linear: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Return the sRGB values of linear values; neither is limited to 0..1, and negative values remain on the line."""
    above = np.maximum(linear, np.asarray(TOE, linear.dtype))
    return np.where(linear <= TOE, SLOPE * linear, 1.055 * above ** (1 / GAMMA) - 0.055).astype(linear.dtype)


def decode(values: Any) -> Any:
    """Return the linear values of sRGB ``values``: floats of any shape, an array or a tensor."""
    edge = SLOPE * TOE
    above = values.clip(edge, None)
    return namespace(values).where(values <= edge, values / SLOPE, ((above + 0.055) / 1.055) ** GAMMA)
