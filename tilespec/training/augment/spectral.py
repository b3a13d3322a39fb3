"""Spectral: kinds that imitate effects of light and sensor on the spectra of a patch.

Each function changes all patches; the caller selects. Strengths are in units of the net's input: reflectance, or
deviations after ``scale``. One number is drawn for each patch (a gain, a shift), for each of its bands (drop) or for
each value (noise).
"""

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from tilespec.training.augment.draws import Draws

Patches = Float32[Tensor, "batch band y x"]

DEGREE = 5
"""The degree of the polynomials for backgrounds, equal to that of common baseline corrections."""


def gain(x: Patches, draws: Draws, strength: float) -> Patches:
    """Return each patch times a factor, uniform in ``1 - strength`` to ``1 + strength``."""
    return x * _on_bands(draws.each(lambda stream: [stream.uniform(1 - strength, 1 + strength)]))


def offset(x: Patches, draws: Draws, strength: float) -> Patches:
    """Return each patch plus a constant, uniform in ``-strength`` to ``strength``."""
    return x + _on_bands(draws.each(lambda stream: [stream.uniform(-strength, strength)]))


def slope(x: Patches, draws: Draws, strength: float) -> Patches:
    """Return each patch plus a line along its bands from ``-s`` to ``s``, uniform in ``-strength`` to ``strength``."""
    line = np.linspace(-1, 1, x.shape[1])
    return x + _on_bands(draws.each(lambda stream: stream.uniform(-strength, strength) * line))


def background(x: Patches, draws: Draws, strength: float) -> Patches:
    """Return each patch plus a smooth curve from 0 up to a height, uniform in 0 to ``strength``.

    The curve is a polynomial of degree 5 with normal coefficients on Legendre's polynomials.
    """
    where = np.linspace(-1, 1, x.shape[1])

    def curve(stream: np.random.Generator) -> np.ndarray:
        values = np.polynomial.legendre.legval(where, [0, *stream.normal(size=DEGREE)])
        return stream.uniform(0, strength) * (values - values.min()) / np.ptp(values)

    return x + _on_bands(draws.each(curve))


def noise(x: Patches, draws: Draws, strength: float) -> Patches:
    """Return each value plus normal noise of deviation ``strength``."""
    bands, high, wide = x.shape[1:]
    return x + strength * draws.normals((high, wide, bands)).permute(0, 3, 1, 2)


def drop(x: Patches, draws: Draws, strength: float) -> Patches:
    """Return each patch with a share ``strength`` of its bands set to 0, like dead bands; at least one band remains."""

    def mask(stream: np.random.Generator) -> np.ndarray:
        drawn = stream.random(x.shape[1])
        return (drawn >= strength) | (drawn == drawn.max())

    return x * _on_bands(draws.each(mask))


def shift(x: Patches, draws: Draws, strength: float) -> Patches:
    """Return each spectrum shifted along its bands by a uniform draw of ``-strength`` to ``strength`` bands.

    Values between bands are interpolated linearly; beyond the ends the spectrum is reflected, without repeating the
    end. A shift by whole bands copies values. Horgan and Bergholt (spectrai, arXiv 2108.07595) shift by whole bands, up
    to a tenth of the spectrum.
    """
    last = x.shape[1] - 1
    places = np.arange(last + 1)

    def position(stream: np.random.Generator) -> np.ndarray:
        return last - np.abs(last - np.abs(places + stream.uniform(-strength, strength)))

    at = draws.each(position)
    below = at.floor().clamp(max=max(last - 1, 0))
    part = _on_bands(at - below)
    left = below.long()
    return _gather_bands(x, left) * (1 - part) + _gather_bands(x, (left + 1).clamp(max=last)) * part


def reverse(x: Patches, draws: Draws, strength: float) -> Patches:
    """Return a share ``strength`` of the patches with their bands from last to first."""
    turned = draws.each(lambda stream: stream.random() < strength) > 0
    return torch.where(turned[:, None, None, None], x.flip(1), x)


def _on_bands(curves: Float32[Tensor, "batch band"]) -> Float32[Tensor, "batch band 1 1"]:
    """Return one number for each band, or for all bands, in a shape that multiplies planes."""
    return curves[:, :, None, None]


def _gather_bands(x: Patches, bands: Tensor) -> Patches:
    """Return the named bands of each patch, in channels-last memory."""
    last = x.permute(0, 2, 3, 1)
    return torch.stack([patch[..., index] for patch, index in zip(last, bands, strict=True)]).permute(0, 3, 1, 2)
