"""Litter: bark, perlite and moss on the soil."""

import numpy as np

from tilespec.simulate import light
from tilespec.simulate.plant_layout import PlantLayout
from tilespec.simulate.pots import level
from tilespec.simulate.texture import Field, LatticePoints, X, Y, cells, smooth

MOSS_LEVEL = 0.702
"""The patch noise above which there is moss: about 5 % of a scene, a third of the area of its plants."""
MOSS_BIAS = 0.15
"""The spread of that level between pots."""


def side(at: LatticePoints) -> Field:
    """Return how strongly the side of a cell at each position faces the lamp."""
    return at.dy * np.float32(light.TOWARDS[0]) + at.dx * np.float32(light.TOWARDS[1])


def chips(seed: int, y: Y, x: X, unit: float) -> tuple[Field, Field]:
    """Return the share of bark and its brightness: elongated chips at any angle."""
    size = max(unit / 16, 3.0)
    at = cells(seed, 20, y, x, size)
    turn = at.other(1) * np.float32(2 * np.pi)
    c, s = np.cos(turn), np.sin(turn)
    long, wide = at.dx * c + at.dy * s, at.dy * c - at.dx * s
    radius = np.hypot(long / np.float32(0.50), wide / (np.float32(0.07) + np.float32(0.10) * at.other(2)))
    wide_enough = np.clip((1 - radius) * np.float32(size * 0.2) + 0.5, 0, 1) * (radius < 1.1)
    tone = np.float32(0.62) + np.float32(0.55) * at.other(3) + np.float32(0.12) * smooth(seed, 24, y, x, 2.0)
    return wide_enough * (at.identity < np.float32(0.20)), tone


def perlite(seed: int, y: Y, x: X, unit: float) -> tuple[Field, Field]:
    """Return the share of perlite and its brightness: white beads of many sizes."""
    size = max(unit / 20, 3.0)
    at = cells(seed, 21, y, x, size)
    radius = (np.float32(0.04) + np.float32(0.17) * at.other(1) ** 2) * (at.identity < np.float32(0.12))
    far = np.sqrt(at.square) * (np.float32(0.55) + np.float32(0.9) * smooth(seed, 22, y, x, size / 9))
    bright = np.float32(0.66) + side(at) / np.maximum(radius, np.float32(0.05)) * np.float32(0.40)
    bright = np.clip(bright + (smooth(seed, 23, y, x, 1.6) - np.float32(0.5)) * np.float32(0.5), 0.25, 1.1)
    return np.clip((radius - far) * np.float32(2 * size) + 0.5, 0, 1) * (radius > 0), bright


def moss(layout: PlantLayout, y: Y, x: X, edge: Field) -> tuple[Field, Field]:
    """Return the share of moss and its brightness: cushions of tufts anywhere, more of them along the rim."""
    unit, seed = layout.pot, layout.seed
    patch = (
        smooth(seed, 30, y, x, unit / 8) * np.float32(0.55)
        + smooth(seed, 31, y, x, unit / 16) * np.float32(0.30)
        + smooth(seed, 32, y, x, unit / 30) * np.float32(0.15)
    )
    patch = (
        patch
        + level(layout, 33, y, x, MOSS_BIAS)
        + np.clip(1 - edge / np.float32(0.12 * unit), 0, 1) * np.float32(0.06)
    )
    inside = np.clip((patch - np.float32(MOSS_LEVEL)) * 14, 0, 1)
    if not inside.any():
        return inside, inside
    size = float(np.clip(unit / 110, 2.2, 4.5))
    tufts, buds = cells(seed, 34, y, x, size), cells(seed, 35, y, x, 0.55 * size)
    present = np.clip((inside * np.float32(1.25) - tufts.other(1)) * 8, 0, 1)
    body = np.clip((np.float32(0.62) - np.sqrt(tufts.square)) * np.float32(2.2 * size) + 0.5, 0, 1)
    cover = (
        present * np.maximum(body, inside * np.float32(0.97)) * (np.float32(0.93) + np.float32(0.07) * tufts.other(2))
    )
    tone = np.float32(0.60) + np.float32(0.50) * tufts.identity
    dome = 1 - np.float32(0.55) * np.minimum(tufts.square, 1)
    return cover, tone * np.clip(
        dome + side(tufts) * np.float32(0.55) + side(buds) * np.float32(0.45), np.float32(0.3), np.float32(1.35)
    )
