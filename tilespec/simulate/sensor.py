"""Sensor: a line camera from photons to counts, with shot and read noise, striping and dead detector elements.

All its effects on a value are a function of (seed, absolute pixel, band), drawn block by block from a counter-based
generator (Philox; Salmon et al. 2011), so that neither the order of blocks nor the number of workers matters.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np
from jaxtyping import Bool, Float32, UInt16

from tilespec.core.types import Reflectance
from tilespec.simulate.optics import SensorBands
from tilespec.simulate.texture import uniform

Line = Float32[np.ndarray, " band"]
Elements = Float32[np.ndarray, "x band"]
Counts = UInt16[np.ndarray, "y x band"]

RAW_MS, WHITE_MS, PANEL = 9.0, 6.0, 0.5
"""The integration times of the scene and the white reference (ms), and the reflectance of the panel."""
FULL_SCALE = 65535
WELL, PER_COUNT, READ_NOISE = 54_000.0, 0.9, 8.0
"""Electrons of a white, level surface in the best band in `RAW_MS`; electrons of a count; read noise in electrons."""
DARK_COUNTS, DARK_SPREAD = 420.0, 24.0
DEAD = 2e-5
"""The share of detector elements that do not respond to light."""
STRIPE_RAW, STRIPE_LEFT = 0.03, 0.002
"""The spread of the elements' gain, and its remainder after a calibration."""
SCENE, WHITE, DARK, RAW, TRAY = 100, 101, 102, 103, 104
"""The purposes of random noise."""


@final
@dataclass(frozen=True, kw_only=True)
class Sensor:
    """A line camera with its random gains and noise."""

    seed: int
    """The seed of gains, dead elements and noise."""
    bands: SensorBands
    """The spectral response of the bands."""
    electrons: tuple[float, ...]
    """The electrons for a reflectance of 1 in `RAW_MS`, by band: few at both ends of the spectrum."""

    @classmethod
    def of(cls, seed: int, bands: int) -> "Sensor":
        """Return the camera of a scene: a halogen lamp at 3000 K on a silicon detector."""
        even = SensorBands.even(bands)
        nm = np.asarray(even.centre)
        lamp = 1 / ((nm / 700) ** 4 * np.expm1(1.4388e7 / (nm * 3000)))
        silicon = 1 / (1 + np.exp(-(nm - 440) / 38)) / (1 + np.exp((nm - 900) / 42))
        best = 1 / np.expm1(1.4388e7 / (700 * 3000)) * 1.02
        share = np.clip(lamp * silicon / best, 0.06, 1.0)
        return cls(seed=seed, bands=even, electrons=tuple((WELL * share).tolist()))

    def spread(self, first: int, count: int) -> Elements:
        """Return the offset of each detector element in [-1, 1], mostly by its column, partly by its band."""
        cols, rows = np.arange(first, first + count), np.arange(len(self.bands.centre))
        column = uniform(self.seed, 70, cols, np.zeros(1, np.int64))
        single = uniform(self.seed, 71, cols, rows)
        return (column + single - 1).astype(np.float32)

    def dead(self, first: int, count: int) -> Bool[np.ndarray, "x band"]:
        """Return which detector elements of the given columns are dead."""
        cols, rows = np.arange(first, first + count), np.arange(len(self.bands.centre))
        return uniform(self.seed, 72, cols, rows) < DEAD

    def calibrated(self, reflectance: Reflectance, block: tuple[int, int], first: int) -> Reflectance:
        """Return measured reflectance with noise by signal level, remaining stripes, and 0 for dead elements."""
        full = np.asarray(self.electrons, np.float32)
        measured = noise(self.seed, SCENE, block, reflectance.shape)
        measured *= np.sqrt(np.maximum(reflectance, 0) * (1 / full) + (READ_NOISE / full) ** 2)
        count = reflectance.shape[1]
        measured += reflectance * (1 + STRIPE_LEFT * self.spread(first, count))
        measured[:, self.dead(first, count)] = 0
        return measured

    def counts(self, light: Reflectance, milliseconds: float, at: tuple[int, tuple[int, int], int]) -> Counts:
        """Return sensor counts of ``light`` (reflectance of the surface); ``at`` is purpose, block, first column."""
        purpose, block, first = at
        width = light.shape[1]
        full = np.asarray(self.electrons, np.float32) * np.float32(milliseconds / RAW_MS)
        alive = ~self.dead(first, width)
        electrons = np.maximum(light, 0) * (full * (1 + STRIPE_RAW * self.spread(first, width)) * alive)
        random = noise(self.seed, purpose, block, light.shape) * alive
        electrons += random * np.sqrt(electrons + np.float32(READ_NOISE**2))
        counts = electrons * np.float32(1 / PER_COUNT) + self.offset(first, width)
        return np.rint(np.clip(counts, 0, FULL_SCALE)).astype(np.uint16)

    def offset(self, first: int, count: int) -> Elements:
        """Return the counts of each element without light."""
        cols, rows = np.arange(first, first + count), np.arange(len(self.bands.centre))
        return np.float32(DARK_COUNTS) + np.float32(2 * DARK_SPREAD) * (
            uniform(self.seed, 73, cols, rows) - np.float32(0.5)
        )


@lru_cache(maxsize=8)
def sensor(seed: int, bands: int) -> Sensor:
    """Return the camera of a scene."""
    return Sensor.of(seed, bands)


def noise(seed: int, purpose: int, block: tuple[int, int], shape: tuple[int, ...]) -> Float32[np.ndarray, "..."]:
    """Return standard normal noise of one block for one purpose."""
    key = np.array([seed, (purpose << 56) | (block[0] << 28) | block[1]], np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).standard_normal(shape, dtype=np.float32)
