"""Sample layout: samples in the cells of a tray, each with its outline and its contents, drawn from its number."""

from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np

from tilespec.simulate.layout import GridLayout, checked_grid

SMALLEST_CELL = 8.0
ADIPOSE = 85.0
"""The content of fat in fat tissue in percent."""


@final
@dataclass(frozen=True, kw_only=True)
class SampleLayout(GridLayout):
    """A scene's size and its grid of samples."""

    samples: int
    """The number of cells with a sample, numbered from 1 in reading order; further cells of the grid are empty."""

    @classmethod
    def of(cls, *, samples: int, **size: int) -> "SampleLayout":
        """Return the layout whose cells are nearest to square; ``size`` is ``rows``, ``cols``, ``bands`` and ``seed``.

        Raises:
            UserError: the size is below one, or there are more samples than the size permits.
        """
        grid = checked_grid("samples", samples, between=(1, 2**31 - 1), smallest=SMALLEST_CELL, **size)
        return cls(samples=samples, grid=grid, **size)


@final
@dataclass(frozen=True, kw_only=True)
class SampleTraits:
    """All that is one number for a whole sample."""

    y: float
    """The row of the middle in pixels."""
    x: float
    """The column of the middle in pixels."""
    radius: float
    """The mean radius in pixels; 0 in an empty cell."""
    oval: float
    """The amplitude of the outline's second harmonic, a share of the radius."""
    lobed: float
    """The amplitude of the outline's third harmonic, a share of the radius."""
    turn: float
    """The direction of the outline in radians."""
    lean: float
    """The content of fat in lean tissue in percent."""
    marbled: float
    """The share of the area that is fat tissue."""
    protein: float
    """The share of protein in what is not fat."""
    path: float
    """The mean length of the light's path in mm."""
    offset: float
    """The absorbance that scatter adds at all wavelengths."""
    slope: float
    """The absorbance that scatter adds at the longest wavelength, and takes at the shortest."""
    warmth: float
    """The shift of the bands of water to shorter wavelengths in nm."""


@lru_cache(maxsize=4096)
def sample_traits(layout: SampleLayout, index: int) -> SampleTraits:
    """Return the traits of the sample in cell ``index``.

    The mean content of fat is from 1 to 58 percent, mostly below 25, like that of the meat of Borggaard and Thodberg
    (1992), Anal. Chem. 64, 545.
    """
    rng, (height, width), side = layout.rng(index, 10), layout.cell, layout.side
    fat = 1 + 57 * rng.beta(1.0, 2.2)
    lean = min(0.5 * fat, rng.uniform(1.5, 3.0))
    return SampleTraits(
        y=(index // layout.grid[1] + 0.5) * height + rng.uniform(-0.02, 0.02) * side,
        x=(index % layout.grid[1] + 0.5) * width + rng.uniform(-0.02, 0.02) * side,
        radius=rng.uniform(0.36, 0.42) * side * (index < layout.samples),
        oval=rng.uniform(0, 0.08),
        lobed=rng.uniform(0, 0.04),
        turn=rng.uniform(0, 2 * np.pi),
        lean=lean,
        marbled=(fat - lean) / (ADIPOSE - lean),
        protein=rng.normal(0.212, 0.008),
        path=rng.uniform(1.2, 1.8),
        offset=rng.uniform(0.15, 0.35),
        slope=rng.normal(0, 0.02),
        warmth=rng.normal(0, 1.0),
    )
