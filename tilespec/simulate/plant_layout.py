"""Layout: pots on a grid with a rosette in each pot, as a pure function of the seed and the pot's number."""

from dataclasses import dataclass
from typing import final

import numpy as np

from tilespec.simulate.layout import GridLayout, checked_grid

SMALLEST_POT = 6.0
GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))


@final
@dataclass(frozen=True, kw_only=True)
class PlantLayout(GridLayout):
    """A scene's size and its grid of pots."""

    plants: int
    """The number of pots with a plant, numbered from 1 in reading order; further pots of the grid are empty."""

    @classmethod
    def of(cls, *, plants: int, **size: int) -> "PlantLayout":
        """Return the layout whose pots are nearest to square; ``size`` is ``rows``, ``cols``, ``bands`` and ``seed``.

        Raises:
            UserError: the size is below one, or there are more plants than the size permits.
        """
        grid = checked_grid("plants", plants, between=(0, 65535), smallest=SMALLEST_POT, **size)
        return cls(plants=plants, grid=grid, **size)

    @property
    def pot(self) -> float:
        """The side of a pot in pixels, the unit of all lengths in it."""
        return self.side


@final
@dataclass(frozen=True, kw_only=True)
class Leaf:
    """The shape and the pose of one leaf. Lengths along and across the leaf are in units of its length."""

    y: float
    """The row of the origin in pixels of the scene."""
    x: float
    """The column of the origin in pixels of the scene."""
    angle: float
    """The direction of growth in radians from +x towards +y."""
    length: float
    """The length from origin to tip in pixels."""
    bend: float
    """The sideways curvature of the midrib."""
    base: float
    """The height of the origin above the soil in pixels."""
    rise: float
    """The slope at the origin."""
    droop: float
    """The loss of slope along the leaf."""
    fold: float
    """The slope from the midrib up to the margin."""
    curl: float
    """The loss of that slope at the margin."""
    wave: float
    """The slope of the waves of the margin."""
    petiole: float
    """The share of the length before the blade."""
    stalk: float
    """The half width of the petiole."""
    width: float
    """The largest half width of the blade."""
    blunt: tuple[float, float]
    """The exponents of the outline at the blade's base and tip."""
    teeth: float
    """The number of teeth on each side."""
    depth: float
    """The depth of the teeth."""
    veins: float
    """The number of pairs of side veins."""
    phase: tuple[float, float]
    """The phases of teeth and undulation on the left and the right side."""
    gradient: tuple[float, float, float]
    """The share of the second spectrum: at the base, its increase towards the tip, its increase towards the margin."""
    gain: float
    """The factor of the leaf's brightness."""
    senescent: bool
    """Whether the leaf is dying."""


@final
@dataclass(frozen=True, kw_only=True)
class Pot:
    """One pot with its rosette."""

    index: int
    """The index of the pot in reading order, from 0."""
    leaves: tuple[Leaf, ...]
    """The leaves, the lowest first."""
    reach: float
    """The largest distance of any leaf from the middle in pixels."""
    middle: tuple[float, float]
    """The row and the column of the middle."""


def plant(layout: PlantLayout, index: int) -> Pot:
    """Return pot ``index`` with its rosette: leaves at the golden angle, old and long ones below, young ones above."""
    rng = layout.rng(index, 1)
    height, width = layout.cell
    unit = layout.pot
    middle = (
        float((index // layout.grid[1] + 0.5) * height + rng.uniform(-0.04, 0.04) * unit),
        float((index % layout.grid[1] + 0.5) * width + rng.uniform(-0.04, 0.04) * unit),
    )
    if index >= layout.plants:
        return Pot(index=index, leaves=(), reach=0.0, middle=middle)
    radius = rng.uniform(0.29, 0.40) * unit
    count = int(rng.integers(11, 18))
    habit = rng.random(8)
    turn = rng.uniform(0, 2 * np.pi)
    leaves = tuple(_leaf(rng, middle, radius, turn + k * GOLDEN_ANGLE, k / (count - 1), habit) for k in range(count))
    return Pot(index=index, leaves=leaves, reach=1.12 * radius, middle=middle)


def _leaf(
    rng: np.random.Generator,
    middle: tuple[float, float],
    radius: float,
    angle: float,
    youth: float,
    habit: np.ndarray,
) -> Leaf:
    """Return a leaf of a rosette; ``youth`` is 0 for the lowest and 1 for the topmost, ``habit`` the plant's."""
    length = radius * (1.0 - 0.72 * youth**1.25) * rng.uniform(0.86, 1.06)
    old = youth < 0.25
    return Leaf(
        y=middle[0] + rng.normal(0, 0.012) * radius,
        x=middle[1] + rng.normal(0, 0.012) * radius,
        angle=angle + rng.normal(0, 0.14),
        length=length,
        bend=rng.normal(0, 0.10),
        base=radius * (0.05 + 0.30 * youth),
        rise=rng.uniform(0.10, 0.30) + 0.35 * youth,
        droop=rng.uniform(0.25, 0.85),
        fold=rng.uniform(0.05, 0.35) + 0.15 * youth,
        curl=rng.uniform(0.1, 0.9) * (0.5 + habit[0]),
        wave=rng.uniform(0.0, 0.35) * (0.4 + habit[1]),
        petiole=float(np.clip(0.26 + 0.18 * habit[2] - 0.12 * youth + rng.normal(0, 0.03), 0.10, 0.48)),
        stalk=rng.uniform(0.020, 0.030) * (1 + 0.6 * youth),
        width=rng.uniform(0.19, 0.27) * (0.95 + 0.45 * habit[3]) * (1 + 0.12 * youth),
        blunt=(rng.uniform(0.55, 0.85), rng.uniform(0.42, 0.72)),
        teeth=rng.uniform(4, 9),
        depth=rng.uniform(0.04, 0.11) * (0.5 + 1.7 * habit[4]) * (1 - 0.5 * youth),
        veins=rng.uniform(4.5, 7.5),
        phase=(rng.random(), rng.random()),
        gradient=(rng.uniform(0, 0.3), rng.uniform(0, 0.5), rng.uniform(0, 0.4)),
        gain=rng.uniform(0.86, 1.10),
        senescent=bool(old and rng.random() < 0.22),
    )
