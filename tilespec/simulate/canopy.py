"""Canopy: leaves above each other, with their visible shares, heights and shadows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from tilespec.simulate import light
from tilespec.simulate.leaf import PER_PIXEL, Local, Relief, height, local, relief
from tilespec.simulate.plant_layout import Leaf, Pot
from tilespec.simulate.texture import Field, X, Y

Window = tuple[slice, slice]


@final
@dataclass(frozen=True, kw_only=True)
class Blade:
    """The visible part of a leaf on a block's grid."""

    pot: int
    """The index of the pot."""
    number: int
    """The index of the leaf in its rosette."""
    leaf: Leaf
    """The shape and the pose of the leaf."""
    window: Window
    """The window of the grid that the leaf covers."""
    visible: Field
    """The share of each position that shows this leaf."""
    at: Local
    """The positions in the leaf's own coordinates."""
    relief: Relief
    """The slopes, veins and margin of the surface."""


@final
@dataclass(frozen=True, kw_only=True)
class Canopy:
    """All leaves on a block's grid."""

    blades: tuple[Blade, ...]
    """The visible leaves, the topmost first."""
    open: Field
    """The share of each position at which the ground is visible."""
    surface: Field
    """The height of the visible surface above the soil in pixels."""


def canopy(pots: Sequence[Pot], y: Y, x: X) -> Canopy:
    """Return the leaves of ``pots`` on the grid ``y`` by ``x``, each hidden by those above it."""
    free = np.ones((y.size, x.size), np.float32)
    surface = np.zeros_like(free)
    blades = []
    for pot in pots:
        for number in reversed(range(len(pot.leaves))):
            leaf = pot.leaves[number]
            window = _window(leaf, y, x, 0.0)
            if window is None:
                continue
            at = local(leaf, y[window[0]], x[window[1]])
            cover = at.inside(leaf, 1 / PER_PIXEL)
            if not cover.any():
                continue
            visible = cover * free[window]
            free[window] -= visible
            surface[window] += visible * height(leaf, at.along)
            blades.append(
                Blade(
                    pot=pot.index,
                    number=number,
                    leaf=leaf,
                    window=window,
                    visible=visible,
                    at=at,
                    relief=relief(leaf, at),
                )
            )
    return Canopy(blades=tuple(blades), open=free, surface=surface)


def shadow(pots: Sequence[Pot], surface: Field, y: Y, x: X) -> Field:
    """Return the share of the lamp that leaves block at the visible surface, blurred by their height above it."""
    lit = np.ones_like(surface)
    for pot in pots:
        for leaf in pot.leaves:
            top = float(leaf.base + leaf.length * max(0.6 * leaf.rise - 0.18 * leaf.droop, 0.0))
            window = _window(leaf, y, x, top)
            if window is None:
                continue
            above = np.maximum(np.float32(top) - surface[window], 0)
            row = (y[window[0]][:, None] + above * light.REACH[0]).astype(np.float32)
            col = (x[window[1]][None, :] + above * light.REACH[1]).astype(np.float32)
            blur = above * np.float32(0.38) + 1
            covered = local(leaf, row, col).inside(leaf, blur)
            lit[window] *= 1 - covered * np.minimum(above * np.float32(14 / leaf.length), 1)
    return 1 - lit


def _window(leaf: Leaf, y: Y, x: X, top: float) -> Window | None:
    """Return the window of the grid that a leaf, or its shadow from a height of ``top`` pixels, can reach; or None."""
    tip_y = leaf.y + leaf.length * np.sin(leaf.angle)
    tip_x = leaf.x + leaf.length * np.cos(leaf.angle)
    side = leaf.length * (1.15 * leaf.width + abs(leaf.bend)) + 2 + 0.4 * top
    slices = []
    for axis, start, end, reach in ((y, leaf.y, tip_y, light.REACH[0]), (x, leaf.x, tip_x, light.REACH[1])):
        low, high = min(start, end) - side, max(start, end) + side - min(reach, 0) * top
        first, last = np.searchsorted(axis, (low, high))
        first, last = int(first) // PER_PIXEL * PER_PIXEL, -(-int(last) // PER_PIXEL) * PER_PIXEL
        slices.append(slice(max(first, 0), min(last, axis.size)))
    window = (slices[0], slices[1])
    return None if any(part.start >= part.stop for part in window) else window
