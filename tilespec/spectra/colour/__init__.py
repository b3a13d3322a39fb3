"""Colour: from spectra to CIE XYZ, Lab and sRGB, as the paper of Alvarez-Gila et al. (2017) renders its images.

>>> from tilespec.spectra.colour.observer import Observer
from tilespec.spectra.colour.lab import ciede2000
>>> observer = Observer.at(wavelengths)  # doctest: +SKIP
>>> ciede2000(observer.lab(truth), observer.lab(prediction)).mean()  # doctest: +SKIP

Spectra are blocks ``pixel band`` of float32 or float64; what comes back has their type. The tables of the CIE come
from colour-science (extra ``color``), which is loaded when the first observer is made; observers are plain values
that need it no more.
"""

import numpy as np
from jaxtyping import Float

from tilespec.spectra.colour.lab import ciede2000
from tilespec.spectra.colour.metamers import metamers
from tilespec.spectra.colour.observer import CHANNELS, Observer, Wavelengths, rgb_axis
from tilespec.spectra.numerics.srgb import decode, encode

__all__ = [
    "CHANNELS",
    "Observer",
    "ciede2000",
    "decode",
    "encode",
    "lab",
    "metamers",
    "rgb",
    "rgb_axis",
]


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
