"""Light: one lamp direction for the whole scene, and the light that a sloped surface reflects to the camera."""

import numpy as np
from jaxtyping import Float32

Field = Float32[np.ndarray, "y x"]

TOWARDS = np.array([-0.50, -0.42, 0.76])
"""The direction to the lamp (rows, columns, up); the lamp is at the upper left."""
TOWARDS /= np.linalg.norm(TOWARDS)
HALFWAY = (TOWARDS + np.array([0.0, 0.0, 1.0])) / np.linalg.norm(TOWARDS + np.array([0.0, 0.0, 1.0]))
REACH = (float(TOWARDS[0] / TOWARDS[2]), float(TOWARDS[1] / TOWARDS[2]))
"""The rows and columns between a surface and its shadow, for each pixel of height."""
DIFFUSE = 0.29
"""The share of the light on level ground that comes from all directions."""
GLOSS = 0.06
"""The reflectance of the leaf's surface at the mirror angle."""
THROUGH = 0.45
"""The share of the light that passes a leaf into its shadow."""


def facing(slope_y: Field, slope_x: Field) -> Field:
    """Return the direct light on a slope relative to level ground (Lambert)."""
    level = np.float32(TOWARDS[2]) - slope_y * np.float32(TOWARDS[0]) - slope_x * np.float32(TOWARDS[1])
    return np.maximum(level / _length(slope_y, slope_x), 0) * np.float32(1 / TOWARDS[2])


def gloss(slope_y: Field, slope_x: Field) -> Field:
    """Return the mirror-like reflectance of a slope (Blinn 1977, exponent 32): the same at all wavelengths."""
    level = np.float32(HALFWAY[2]) - slope_y * np.float32(HALFWAY[0]) - slope_x * np.float32(HALFWAY[1])
    power = np.maximum(level / _length(slope_y, slope_x), 0)
    for _ in range(5):
        power = power * power
    return power * np.float32(GLOSS)


def _length(slope_y: Field, slope_x: Field) -> Field:
    return np.sqrt(slope_y * slope_y + slope_x * slope_x + 1)
