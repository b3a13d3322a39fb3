"""Pots: rims and labels on the tray, their shadows, and the differences between pots."""

import numpy as np

from tilespec.simulate import light
from tilespec.simulate.plant_layout import PlantLayout
from tilespec.simulate.texture import Field, X, Y, uniform

RIM, TRAY, CORNER, RIM_HEIGHT = 0.016, 0.006, 0.05, 0.05
"""The widths, the corner radius and the height, in units of a pot."""


def level(layout: PlantLayout, domain: int, y: Y, x: X, spread: float) -> Field:
    """Return the offset of a pot, uniform within ``spread`` around 0."""
    height, width = layout.cell
    rows, cols = np.floor(y / height).astype(np.int64), np.floor(x / width).astype(np.int64)
    first, left = rows[0], cols[0]
    table = uniform(layout.seed, domain, np.arange(first, rows[-1] + 1), np.arange(left, cols[-1] + 1))
    return (table[np.ix_(rows - first, cols - left)] - np.float32(0.5)) * np.float32(spread)


def edge(layout: PlantLayout, y: Y, x: X) -> Field:
    """Return the distance to the edge of the pot's cell in pixels; corners are round."""
    height, width = layout.cell
    down, across = y % height, x % width
    dy = np.minimum(down, height - down).astype(np.float32)[:, None]
    dx = np.minimum(across, width - across).astype(np.float32)[None, :]
    r = np.float32(CORNER * layout.pot)
    corner = r - np.hypot(np.maximum(r - dy, 0), np.maximum(r - dx, 0))
    return np.where((dy < r) & (dx < r), corner, np.minimum(dy, dx))


def bevel(edge: Field, unit: float) -> Field:
    """Return the brightness of the rim across its width, which is a rounded bead."""
    across = (edge - np.float32(TRAY * unit)) * np.float32(1 / (RIM * unit))
    return np.float32(0.6) + np.float32(0.8) * np.sin(np.clip(across, 0, 1) * np.float32(np.pi))


def shade(layout: PlantLayout, y: Y, x: X, soil: Field) -> Field:
    """Return the share of the lamp that rims and labels block at the soil."""
    unit = layout.pot
    up = RIM_HEIGHT * unit
    over = edge(layout, y + light.REACH[0] * up, x + light.REACH[1] * up)
    wall = np.clip(((RIM + TRAY) * unit - over) / np.float32(max(0.3 * up, 1.0)) + 0.5, 0, 1)
    up = 0.03 * unit
    label, _ = stick(layout, y + light.REACH[0] * up, x + light.REACH[1] * up)
    return np.maximum(wall, label) * soil


def stick(layout: PlantLayout, y: Y, x: X) -> tuple[Field, Field]:
    """Return the shares of labels and of writing on them."""
    cover = np.zeros((y.size, x.size), np.float32)
    ink = np.zeros_like(cover)
    unit = layout.pot
    for index in layout.near(float(y[0]), float(y[-1]), float(x[0]), float(x[-1])):
        rng = layout.rng(index, 4)
        turn = rng.normal(0, 0.18)
        row = (index // layout.grid[1] + rng.uniform(0.11, 0.17)) * layout.cell[0]
        col = (index % layout.grid[1] + rng.uniform(0.25, 0.75)) * layout.cell[1]
        if rng.random() > 0.8:
            continue
        dy, dx = (y - row).astype(np.float32)[:, None] / unit, (x - col).astype(np.float32)[None, :] / unit
        c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
        long, wide = dx * c + dy * s, dy * c - dx * s
        gap = np.maximum(np.abs(long) - np.float32(0.13), np.abs(wide) - np.float32(0.024))
        cover += np.clip(np.float32(0.5) - gap * np.float32(2 * unit), 0, 1)
        stroke = np.abs(wide - np.float32(0.010) * np.sin(long * 210 + index) * np.sin(long * 37 + index))
        written = (stroke < np.float32(0.0035)) & (np.abs(long + np.float32(0.01)) < np.float32(0.10))
        ink += written & (np.sin(long * 95) > np.float32(-0.6))
    return np.minimum(cover, 1), np.minimum(ink, 1)
