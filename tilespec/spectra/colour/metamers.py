"""Metamers: different spectra of one colour, which no camera that sees only the colour can tell apart."""

import numpy as np
from jaxtyping import Float, Float64

from tilespec.spectra.colour.observer import Observer, Wavelengths

SMOOTH = 60.0
"""Width (nm) of the bumps that metamers differ by: real reflectances have no narrower ones."""


def metamers(
    spectrum: Float[np.ndarray, " band"],
    wavelengths: Wavelengths,
    *,
    count: int = 1,
    strength: float = 1.0,
    seed: int = 0,
    observer: Observer | None = None,
) -> Float64[np.ndarray, "count band"]:
    """Return spectra with the same XYZ as ``spectrum``, and so the same sRGB and Lab, to rounding.

    Random smooth curves without what the observer sees of them are added (Wyszecki's metameric blacks), as much as
    keeps each value between 0 and the larger of 1 and the spectrum's own largest.

    Args:
        spectrum: Reflectance, no value below 0.
        wavelengths: Of its bands, nm.
        count: How many.
        strength: Share of the largest difference that keeps within the limits, 0..1.
        seed: Of the curves.
        observer: Whose colours stay; default D65 and 10 degrees.
    """
    base, places = np.asarray(spectrum, np.float64), np.asarray(wavelengths, np.float64)
    rng, eye = np.random.default_rng(seed), observer or Observer.at(wavelengths)
    bumps = np.exp(-0.5 * ((places[:, None] - places) / (SMOOTH / 2)) ** 2)
    curves = bumps @ rng.normal(size=(len(places), count))
    seen, _ = np.linalg.qr(eye.weights)
    black = curves - seen @ (seen.T @ curves)
    return base + strength * _room(base, black.T) * black.T


def _room(
    base: Float64[np.ndarray, " band"], black: Float64[np.ndarray, "count band"]
) -> Float64[np.ndarray, "count 1"]:
    """Return how much of each curve can be added before a value leaves 0..max(1, largest)."""
    top = max(1.0, float(base.max()))
    with np.errstate(divide="ignore", invalid="ignore"):
        limit = np.where(black > 0, (top - base) / black, np.where(black < 0, -base / black, np.inf))
    return limit.min(axis=1, keepdims=True)
