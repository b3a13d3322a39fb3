"""Observer: XYZ, Lab and sRGB of spectra as weighted sums over bands."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from jaxtyping import Float, Float64

from tilespec.core.errors import UserError
from tilespec.core.types import SpectralAxis
from tilespec.spectra.colour.cie_tables import illumination, matching
from tilespec.spectra.colour.lab import lab_of
from tilespec.spectra.numerics.srgb import encode

VISIBLE: Final = (400.0, 700.0)
"""The wavelengths (nm) that a colour needs."""
NEAR: Final = 20.0
"""The largest distance (nm) between a band's centre and a wavelength that the band represents."""
AT_ENDS: Final = 28.0
"""That distance at the ends of the visible range, where the eye sees little: many sensors begin at 427 nm."""
CHANNELS: Final = ("red", "green", "blue")
"""The names of the bands of an RGB scene in their order."""

FROM_XYZ: Final[Float64[np.ndarray, "3 3"]] = np.array(
    [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]
)
"""The matrix from XYZ (Y of white is 1) to linear red, green, blue; D65, 2 degrees, as IEC 61966-2-1 prints it."""

Wavelengths = Sequence[float] | Float[np.ndarray, " band"]
Block = Float[np.ndarray, "pixel band"]
Colours = Float[np.ndarray, "pixel 3"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Observer:
    """A human observer under an illuminant, for the wavelengths of a scene."""

    weights: Float64[np.ndarray, "band 3"]
    """The weight of each band in X, Y and Z: ``K * light * matching function * width``; Y of white is 100."""
    white: Float64[np.ndarray, "3"]
    """The XYZ of white: a perfect reflector, or the illuminant itself when spectra are radiance."""

    @classmethod
    def at(
        cls, wavelengths: Wavelengths, illuminant: str = "D65", *, degrees: int = 10, radiance: bool = False
    ) -> "Observer":
        """Return the observer of spectra with bands at ``wavelengths``.

        ``XYZ = K * sum(S * matching * width)`` with ``K = 100 / sum(L * y_matching * width)``: ``S`` is the light from
        a pixel, its reflectance times the illuminant ``L``. The widths are those of `widths`: 10 nm each for 31 bands
        from 400 to 700 nm, as in Alvarez-Gila et al. (2017).

        Args:
            wavelengths: The centres of the bands in nm, in any order.
            illuminant: The CIE's name of the light: D65, E (equal energy), A, D50, ...
            degrees: The field of view: 10 (CIE 1964) or 2 (CIE 1931).
            radiance: Whether spectra are radiance (the illuminant's own spectrum over 100 is white), as in that paper;
                the illuminant then defines only the white.

        Raises:
            UserError: the wavelengths do not cover the visible range; the illuminant or the observer is unknown; or
                colour-science is not installed.
        """
        centres = np.asarray(wavelengths, np.float64)
        check_visible(centres)
        light, matching_curves = (
            illumination(centres, illuminant),
            matching(centres, degrees) * widths(centres)[:, None],
        )
        scaled = matching_curves * (100.0 / (light @ matching_curves[:, 1]))
        lit = scaled * light[:, None]
        return cls(weights=scaled if radiance else lit, white=lit.sum(axis=0))

    @property
    def primaries(self) -> Float64[np.ndarray, "band 3"]:
        """The weight of each band in linear red, green and blue, ``band 3``.

        The matrix is that of the 2-degree observer, as in the paper, for every observer; therefore white differs
        slightly from (1, 1, 1): it is (1.000, 1.002, 0.983) before the gamma under D65 and the 10-degree observer.
        """
        return self.weights @ FROM_XYZ.T / 100.0

    def xyz(self, spectra: Block) -> Colours:
        """Return CIE XYZ ``pixel 3``, linear in the spectra; Y of white is 100."""
        return spectra @ self.weights.astype(spectra.dtype)

    def lab(self, spectra: Block) -> Colours:
        """Return CIE Lab ``pixel 3`` relative to the white; negative values of a spectrum count as 0."""
        return lab_of(self.xyz(_lit(spectra)), self.white)

    def linear(self, spectra: Block) -> Colours:
        """Return linear red, green and blue, 0..1 for colours in gamut; negative values of a spectrum count as 0."""
        return _lit(spectra) @ self.primaries.astype(spectra.dtype)

    def rgb(self, spectra: Block) -> Colours:
        """Return sRGB ``pixel 3``, 0..1; colours out of gamut are clipped; a pixel with a band that is NaN is NaN."""
        return encode(self.linear(spectra)).clip(0.0, 1.0)


def rgb_axis() -> SpectralAxis:
    """Return the spectral axis of an RGB scene: three channels, named by `CHANNELS` in the root's attributes."""
    return SpectralAxis(name="channel", unit="1", values=(0.0, 1.0, 2.0))


def check_visible(wavelengths: Float64[np.ndarray, " band"], where: str = "wavelengths") -> None:
    """Refuse wavelengths that leave a part of the visible range without a band within `NEAR`, or `AT_ENDS` of its ends.

    Raises:
        UserError: a part is not covered; the message names it.
    """
    low, high = VISIBLE
    range_ = np.arange(low, high + 1)
    far = np.full(len(range_), np.inf)
    for centre in wavelengths:
        np.fmin(far, np.abs(range_ - centre), out=far)
    outside = (range_ < min(wavelengths, default=high)) | (range_ > max(wavelengths, default=low))
    missing = range_[far > NEAR + 1e-6]
    if (far > np.where(outside, AT_ENDS, NEAR) + 1e-6).any():
        span = f" from {wavelengths.min():g} to {wavelengths.max():g} nm" if len(wavelengths) else ""
        raise UserError(
            where,
            found=f"{len(wavelengths)} bands{span}, none within {NEAR:g} nm of {missing[0]:g} nm"
            + (f" (and up to {missing[-1]:g} nm)" if len(missing) > 1 else ""),
            expected=f"a band within {NEAR:g} nm of every one from {low:g} to {high:g} nm, {AT_ENDS:g} at the ends",
            do="Colours need the whole visible range: take a scene that covers it; export as .png shows false colour.",
        )


def widths(wavelengths: Float64[np.ndarray, " band"]) -> Float64[np.ndarray, " band"]:
    """Return the width (nm) that each band stands for: half way to its neighbours, at most `NEAR` to each side.

    The outer half of the first and the last band equals its inner half, so evenly spaced bands all have the spacing as
    width.
    """
    order = np.argsort(wavelengths, kind="stable")
    half = np.minimum(np.diff(wavelengths[order]) / 2, NEAR)
    out = np.empty_like(wavelengths)
    out[order] = np.append(half[:1], half) + np.append(half, half[-1:])
    return out


def _lit(spectra: Block) -> Block:
    """Return spectra with negative values set to 0, because noise around 0 is no light; NaN remains."""
    return np.maximum(spectra, np.zeros((), spectra.dtype))


def rgb(
    spectra: Float[np.ndarray, "pixel band"], wavelengths: Wavelengths, illuminant: str = "D65", degrees: int = 10
) -> Float[np.ndarray, "pixel 3"]:
    """Return reflectance spectra as sRGB, 0..1; see `Observer.rgb`."""
    return Observer.at(wavelengths, illuminant, degrees=degrees).rgb(spectra)


def lab(
    spectra: Float[np.ndarray, "pixel band"], wavelengths: Wavelengths, illuminant: str = "D65", degrees: int = 10
) -> Float[np.ndarray, "pixel 3"]:
    """Return reflectance spectra as CIE Lab; see `Observer.lab`."""
    return Observer.at(wavelengths, illuminant, degrees=degrees).lab(spectra)
