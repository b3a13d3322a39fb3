"""Rendering: the operator from a scene's spectra to sRGB, like the operators of a recipe."""

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from jaxtyping import Float32, Float64

from tilespec.core.types import Spectra
from tilespec.spectra.bands import Bands
from tilespec.spectra.colour.observer import rgb_axis
from tilespec.spectra.numerics.rowwise import rowwise
from tilespec.spectra.numerics.srgb import encode


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Rendering:
    """Scale spectra, weigh them with the observer's primaries, encode as sRGB."""

    name: ClassVar[str] = "rgb"
    primaries: Float32[np.ndarray, "band 3"]
    """The weight of each band in linear red, green and blue."""
    black: np.float32
    """The value that becomes black."""
    gain: np.float32
    """The factor from a value above black to reflectance."""

    @classmethod
    def of(cls, primaries: Float64[np.ndarray, "band 3"], black: float, white: float) -> "Rendering":
        """Return the rendering of spectra between ``black`` and ``white``."""
        return cls(
            primaries=primaries.astype(np.float32), black=np.float32(black), gain=np.float32(1.0 / (white - black))
        )

    def apply(self, x: Spectra) -> Float32[np.ndarray, "pixel 3"]:
        """Return sRGB ``pixel 3``; colours out of gamut lie outside of 0..1. ``x`` is overwritten."""
        if self.black != 0:
            x -= self.black
        x *= self.gain
        np.maximum(x, np.float32(0), out=x)
        return encode(rowwise(x, self.primaries))

    def out(self, bands: Bands) -> Bands:
        """Return the three channels red, green and blue."""
        del bands
        return Bands(count=3, axis=rgb_axis())
