"""PROSPECT-D: the reflectance and transmittance of a leaf from its structure and its constituents.

Jacquemoud and Baret (1990), Remote Sensing of Environment 34, 75-91; Feret et al. (2017), Remote Sensing of
Environment 193, 204-215. The leaf is a stack of N plates (Allen et al. 1969); the transmissivity of their surface is
Stern's formula as given by Allen (1973); N need not be whole (Stokes 1862).
"""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Float64
from scipy.special import exp1

from tilespec.simulate.optics import Optics

Column = Float64[np.ndarray, " leaf"]
Leaves = Float64[np.ndarray, "leaf fine"]
Fine = Float64[np.ndarray, " fine"]

SURFACE_ANGLE = 40.0
"""The half aperture in degrees of the light on the rough upper surface (Jacquemoud and Baret 1990)."""


@final
@dataclass(frozen=True, kw_only=True)
class Traits:
    """The parameters of PROSPECT-D, one entry for each leaf."""

    structure: Column
    """The parameter N, the number of plates, at least 1."""
    chlorophyll: Column
    """The chlorophyll a + b in ug cm-2."""
    carotenoids: Column
    """The carotenoids in ug cm-2."""
    anthocyanins: Column
    """The anthocyanins in ug cm-2."""
    brown: Column
    """The brown pigments in arbitrary units."""
    water: Column
    """The equivalent thickness of water in cm."""
    dry_matter: Column
    """The dry mass per area in g cm-2."""

    def matrix(self) -> Float64[np.ndarray, "leaf 7"]:
        """Return the parameters in the order of the fields."""
        return np.stack([getattr(self, name) for name in self.__dataclass_fields__], axis=-1)

    @classmethod
    def of(cls, matrix: Float64[np.ndarray, "leaf 7"]) -> "Traits":
        """Return the traits with the given `matrix`."""
        return cls(**dict(zip(cls.__dataclass_fields__, matrix.T, strict=True)))


def prospect(traits: Traits) -> tuple[Leaves, Leaves]:
    """Return reflectance and transmittance, ``leaf fine``, of leaves on the 1 nm grid of `Optics`.

    Eqs. 1 to 5 of Feret et al. (2017): absorption of one plate, its transmission by the exponential integral,
    the plate between air, and N - 1 more of them under it.
    """
    optics = Optics.load()
    plates = traits.structure[:, None]
    absorption = traits.matrix()[:, 1:] @ optics.absorption / plates
    inner = _transmission(absorption)
    rough, smooth = _entering(SURFACE_ANGLE, optics.refractive_index), _entering(90.0, optics.refractive_index)
    leaving = smooth / optics.refractive_index**2
    top_r, top_t = _plate(rough, leaving, inner)
    r, t = _plate(smooth, leaving, inner)
    under_r, under_t = _stack(r, t, plates - 1)
    trapped = 1 - under_r * r
    return top_r + top_t * under_r * t / trapped, top_t * under_t / trapped


def _transmission(k: Float64[np.ndarray, "leaf fine"]) -> Leaves:
    """Return the transmission of a plate of absorption ``k`` for diffuse light."""
    k = np.maximum(k, 1e-12)
    return (1 - k) * np.exp(-k) + k**2 * exp1(k)


def _plate(entering: Fine, leaving: Fine, inner: Leaves) -> tuple[Leaves, Leaves]:
    """Return reflectance and transmittance of one plate with all its inner reflections."""
    back = 1 - leaving
    through = entering * inner * leaving / (1 - back**2 * inner**2)
    return 1 - entering + back * inner * through, through


def _stack(r: Leaves, t: Leaves, count: Float64[np.ndarray, "leaf 1"]) -> tuple[Leaves, Leaves]:
    """Return reflectance and transmittance of ``count`` equal plates (Stokes 1862), or the limit without absorption."""
    lossless = r + t >= 1 - 1e-9
    root = np.sqrt(np.maximum((1 + r + t) * (1 + r - t) * (1 - r + t) * (1 - r - t), 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        a = (1 + r**2 - t**2 + root) / (2 * r)
        b = ((1 - r**2 + t**2 + root) / (2 * t)) ** count
        bottom = a**2 * b**2 - 1
        reflected, passed = a * (b**2 - 1) / bottom, b * (a**2 - 1) / bottom
    limit = t / (t + (1 - t) * count)
    return np.where(lossless, 1 - limit, reflected), np.where(lossless, limit, passed)


def _entering(angle: float, n: Fine) -> Float[np.ndarray, " fine"]:
    """Return the mean transmissivity of a surface of index ``n`` for light within ``angle`` degrees (Stern)."""
    n2 = n**2
    plus, minus = n2 + 1, n2 - 1
    sine2 = np.sin(np.radians(angle)) ** 2
    a, k = (n + 1) ** 2 / 2, -(minus**2) / 4
    half = sine2 - plus / 2
    b = (0.0 if angle == 90.0 else np.sqrt(half**2 + k)) - half
    across = (k**2 / (6 * b**3) + k / b - b / 2) - (k**2 / (6 * a**3) + k / a - a / 2)
    end_a, end_b = 2 * plus * a - minus**2, 2 * plus * b - minus**2
    along = (
        -2 * n2 * (b - a) / plus**2
        - 2 * n2 * plus * np.log(b / a) / minus**2
        + n2 * (1 / b - 1 / a) / 2
        + 16 * n2**2 * (n2**2 + 1) * np.log(end_b / end_a) / (plus**3 * minus**2)
        + 16 * n2**3 * (1 / end_b - 1 / end_a) / plus**3
    )
    return (across + along) / (2 * sine2)
