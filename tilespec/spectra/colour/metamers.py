"""Metamers: different spectra with one colour, which are the same to any camera that measures only the colour."""

import numpy as np
from jaxtyping import Float, Float64

from tilespec.spectra.colour.observer import Observer, Wavelengths

SMOOTH = 60.0
"""The width (nm) of the smooth curves by which metamers differ; real reflectances have no narrower features."""


def metamers(
    spectrum: Float[np.ndarray, " band"],
    wavelengths: Wavelengths,
    *,
    count: int = 1,
    strength: float = 1.0,
    seed: int = 0,
    observer: Observer | None = None,
) -> Float64[np.ndarray, "count band"]:
    """Return spectra with the same XYZ as ``spectrum``, and so the same sRGB and Lab, up to rounding.

    Random smooth curves, minus the part that the observer sees, are added to the spectrum (Wyszecki's metameric
    blacks), scaled so that each value remains between 0 and the larger of 1 and the spectrum's own maximum.

    Args:
        spectrum: Reflectance, not negative, one value for each band.
        wavelengths: The band centres in nm.
        count: The number of metamers.
        strength: The share, 0..1, of the largest difference within the limits.
        seed: The seed of the random curves.
        observer: The observer whose colours are preserved; default D65 and 10 degrees.

    Returns:
        Spectra, ``count band``.
    """
    base, places = np.asarray(spectrum, np.float64), np.asarray(wavelengths, np.float64)
    rng, eye = np.random.default_rng(seed), observer or Observer.at(wavelengths)
    bumps = np.exp(-0.5 * ((places[:, None] - places) / (SMOOTH / 2)) ** 2)
    curves = bumps @ rng.normal(size=(len(places), count))
    visible, _ = np.linalg.qr(eye.weights)
    black = curves - visible @ (visible.T @ curves)
    return base + strength * _largest_step(base, black.T) * black.T


def _largest_step(
    base: Float64[np.ndarray, " band"], black: Float64[np.ndarray, "count band"]
) -> Float64[np.ndarray, "count 1"]:
    """Return the largest factor of each curve with which all values remain in 0..max(1, largest)."""
    top = max(1.0, float(base.max()))
    with np.errstate(divide="ignore", invalid="ignore"):
        limit = np.where(black > 0, (top - base) / black, np.where(black < 0, -base / black, np.inf))
    return limit.min(axis=1, keepdims=True)
