"""What lies under the leaves: soil crumbs, bark, perlite, algae, moss, pot rims, tray and labels."""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float32, Float64

from tilespec.simulate import light
from tilespec.simulate.layout import Layout
from tilespec.simulate.palette import GROUND
from tilespec.simulate.texture import Cells, cells, smooth

Line = Float64[np.ndarray, " n"]
Field = Float32[np.ndarray, "y x"]

RIM, TRAY, CORNER, RIM_HEIGHT = 0.016, 0.006, 0.05, 0.05
"""Widths, corner radius and height, in units of a pot."""


@final
@dataclass(frozen=True, kw_only=True)
class Ground:
    """The ground on a block's grid, before leaves cover and shade it."""

    parts: dict[str, Field]
    """Light that each endmember of `GROUND` sends, relative to a level, fully covered position."""
    moss: Field
    """The same for moss."""
    shares: dict[str, Field]
    """Share of each position, by material."""
    shaded: Field
    """Share of the lamp that rims and labels take."""


def ground(layout: Layout, y: Line, x: Line) -> Ground:
    """Return the ground on the grid ``y`` by ``x`` (pixels of the scene)."""
    unit, seed = layout.pot, layout.seed
    edge = _edge(layout, y, x)
    soil = np.clip((edge - (RIM + TRAY) * unit) * 2 + 0.5, 0, 1)
    rim = np.clip((edge - TRAY * unit) * 2 + 0.5, 0, 1) - soil
    grain = float(np.clip(unit / 95, 2.0, 6.0))
    crumbs, clods = cells(seed, 10, y, x, grain), cells(seed, 11, y, x, 3.1 * grain)
    damp = smooth(seed, 12, y, x, unit / 7) * np.float32(0.6) + smooth(seed, 13, y, x, unit / 22) * np.float32(0.4)
    rough = _crumble(crumbs, clods, cells(seed, 18, y, x, max(0.42 * grain, 1.3)), smooth(seed, 14, y, x, 1.5))
    stick, ink = _stick(layout, y, x)
    chips = _chips(seed, y, x, unit) * soil
    perlite, bead = _perlite(seed, y, x, unit)
    perlite = perlite * soil * (1 - chips)
    cover, tuft = _moss(layout, y, x, edge)
    cover = cover * soil * (1 - 0.7 * perlite)
    bare = soil * (1 - chips) * (1 - perlite) * (1 - cover)
    film = np.clip((smooth(seed, 15, y, x, unit / 9) + _level(layout, 16, y, x, 0.3) - np.float32(0.62)) * 3, 0, 1)
    weights = _soils(crumbs, damp, film)
    top = 1 - stick
    parts = {name: bare * rough * weight * top for name, weight in weights.items()}
    parts["bark"] = chips * (1 - cover) * (crumbs.other(3) * np.float32(0.5) + np.float32(0.6)) * top
    parts["twig"] = parts["bark"] * (clods.other(2) > 0.75)
    parts["bark"] = parts["bark"] - parts["twig"]
    parts["perlite"] = perlite * bead * (1 - cover) * top
    dust = smooth(seed, 17, y, x, 5.0) * np.float32(0.35) + np.float32(0.75)
    parts["rim"] = rim * _bevel(edge, unit) * dust * top
    parts["tray"] = (1 - soil - rim) * top
    parts["stick"], parts["ink"] = stick * (1 - ink), stick * ink
    assert set(parts) == set(GROUND)
    shares = {
        "soil": bare * (1 - film) * top,
        "algae": bare * film * top,
        "moss": cover * top,
        "bark": chips * (1 - cover) * top,
        "perlite": perlite * (1 - cover) * top,
        "rim": (1 - soil) * top,
        "label": stick,
    }
    return Ground(parts=parts, moss=cover * tuft * top, shares=shares, shaded=_shade(layout, y, x, soil * top))


def _soils(crumbs: Cells, damp: Field, film: Field) -> dict[str, Field]:
    """Return the shares of the soil's endmembers: by crumb, by dampness, and under algae."""
    pick = crumbs.identity
    loam = np.clip((crumbs.other(1) - np.float32(0.86)) * 9, 0, 1) * np.float32(0.8)
    light_crumb = np.clip((pick - np.float32(0.55)) * 3, 0, 1) * (1 - damp) * (1 - loam)
    humus = np.clip((damp - np.float32(0.35)) * 2.2, 0, 1) * (1 - loam - light_crumb)
    peat = 1 - loam - light_crumb - humus
    dry = 1 - film
    return {"peat": peat * dry, "crumb": light_crumb * dry, "humus": humus * dry, "loam": loam * dry, "film": film}


def _crumble(crumbs: Cells, clods: Cells, dust: Cells, fine: Field) -> Field:
    """Return the brightness of soil: dust, grains on it that are lit from one side, all on larger clods."""
    tall = np.clip((crumbs.other(4) - np.float32(0.42)) * 4, 0, 1) * np.clip(1.5 - crumbs.square * np.float32(3.2), 0, 1)
    low = np.float32(0.46) + np.float32(0.55) * (dust.identity - np.float32(0.5)) + _side(dust) * np.float32(0.55)
    high = np.float32(0.52) + np.float32(0.62) * (crumbs.other(0) - np.float32(0.35)) + _side(crumbs) * np.float32(1.25)
    hollow = np.clip(clods.square * np.float32(1.1) - np.float32(0.25), 0, 1) * np.float32(0.28)
    tone = low + (high - low) * tall + _side(clods) * np.float32(0.30) - hollow + (fine - np.float32(0.5)) * np.float32(0.35)
    return np.maximum(tone * np.float32(1.35), np.float32(0.12))


def _side(at: Cells) -> Field:
    """Return how much the side of a cell at each position faces the lamp."""
    return at.dy * np.float32(light.TOWARDS[0]) + at.dx * np.float32(light.TOWARDS[1])


def _chips(seed: int, y: Line, x: Line, unit: float) -> Field:
    """Return where bark lies: elongated chips at any angle."""
    size = max(unit / 16, 3.0)
    at = cells(seed, 20, y, x, size)
    turn = at.other(1) * np.float32(2 * np.pi)
    c, s = np.cos(turn), np.sin(turn)
    long, wide = at.dx * c + at.dy * s, at.dy * c - at.dx * s
    radius = np.hypot(long / np.float32(0.50), wide / (np.float32(0.07) + np.float32(0.10) * at.other(2)))
    return np.clip((1 - radius) * np.float32(size * 0.2) + 0.5, 0, 1) * (at.identity < np.float32(0.20)) * (radius < 1.1)


def _perlite(seed: int, y: Line, x: Line, unit: float) -> tuple[Field, Field]:
    """Return where perlite lies, and its brightness: white beads of many sizes."""
    size = max(unit / 20, 3.0)
    at = cells(seed, 21, y, x, size)
    radius = (np.float32(0.04) + np.float32(0.17) * at.other(1) ** 2) * (at.identity < np.float32(0.12))
    far = np.sqrt(at.square) * (np.float32(0.55) + np.float32(0.9) * smooth(seed, 22, y, x, size / 9))
    bright = np.float32(0.66) + _side(at) / np.maximum(radius, np.float32(0.05)) * np.float32(0.40)
    bright = np.clip(bright + (smooth(seed, 23, y, x, 1.6) - np.float32(0.5)) * np.float32(0.5), 0.25, 1.1)
    return np.clip((radius - far) * np.float32(2 * size) + 0.5, 0, 1) * (radius > 0), bright


def _moss(layout: Layout, y: Line, x: Line, edge: Field) -> tuple[Field, Field]:
    """Return the cover of moss and its brightness: cushions of tufts, at any place, more of them along the rim."""
    unit, seed = layout.pot, layout.seed
    patch = (
        smooth(seed, 30, y, x, unit / 8) * np.float32(0.55)
        + smooth(seed, 31, y, x, unit / 16) * np.float32(0.30)
        + smooth(seed, 32, y, x, unit / 30) * np.float32(0.15)
    )
    patch = patch + _level(layout, 33, y, x, MOSS_BIAS) + np.clip(1 - edge / np.float32(0.12 * unit), 0, 1) * np.float32(0.06)
    inside = np.clip((patch - np.float32(MOSS_LEVEL)) * 14, 0, 1)
    if not inside.any():
        return inside, inside
    size = float(np.clip(unit / 110, 2.2, 4.5))
    tufts, buds = cells(seed, 34, y, x, size), cells(seed, 35, y, x, 0.55 * size)
    present = np.clip((inside * np.float32(1.25) - tufts.other(1)) * 8, 0, 1)
    body = np.clip((np.float32(0.62) - np.sqrt(tufts.square)) * np.float32(2.2 * size) + 0.5, 0, 1)
    cover = present * np.maximum(body, inside * np.float32(0.95)) * (np.float32(0.88) + np.float32(0.12) * tufts.other(2))
    tone = np.float32(0.60) + np.float32(0.50) * tufts.identity
    dome = 1 - np.float32(0.55) * np.minimum(tufts.square, 1)
    return cover, tone * np.clip(dome + _side(tufts) * np.float32(0.55) + _side(buds) * np.float32(0.45), np.float32(0.3), np.float32(1.35))


MOSS_LEVEL = 0.680
"""Patch noise above this is moss: tuned for 7 to 9 % of the scene."""
MOSS_BIAS = 0.12
"""Spread of that level from pot to pot."""


def _level(layout: Layout, domain: int, y: Line, x: Line, spread: float) -> Field:
    """Return a pot's own offset, uniform within ``spread`` around 0."""
    from tilespec.simulate.texture import uniform

    height, width = layout.cell
    rows, cols = np.floor(y / height).astype(np.int64), np.floor(x / width).astype(np.int64)
    first, left = rows[0], cols[0]
    table = uniform(layout.seed, domain, np.arange(first, rows[-1] + 1), np.arange(left, cols[-1] + 1))
    return (table[np.ix_(rows - first, cols - left)] - np.float32(0.5)) * np.float32(spread)


def _edge(layout: Layout, y: Line, x: Line) -> Field:
    """Return the distance to the edge of the pot's place, pixels; corners are round."""
    height, width = layout.cell
    down, across = y % height, x % width
    dy = np.minimum(down, height - down).astype(np.float32)[:, None]
    dx = np.minimum(across, width - across).astype(np.float32)[None, :]
    r = np.float32(CORNER * layout.pot)
    corner = r - np.hypot(np.maximum(r - dy, 0), np.maximum(r - dx, 0))
    return np.where((dy < r) & (dx < r), corner, np.minimum(dy, dx))


def _bevel(edge: Field, unit: float) -> Field:
    """Return the brightness of the rim across its width: a rounded bead."""
    across = (edge - np.float32(TRAY * unit)) * np.float32(1 / (RIM * unit))
    return np.float32(0.6) + np.float32(0.8) * np.sin(np.clip(across, 0, 1) * np.float32(np.pi))


def _shade(layout: Layout, y: Line, x: Line, soil: Field) -> Field:
    """Return the share of the lamp that rims and labels take from the soil."""
    unit = layout.pot
    up = RIM_HEIGHT * unit
    over = _edge(layout, y + light.REACH[0] * up, x + light.REACH[1] * up)
    wall = np.clip(((RIM + TRAY) * unit - over) / np.float32(max(0.3 * up, 1.0)) + 0.5, 0, 1)
    up = 0.03 * unit
    stick, _ = _stick(layout, y + light.REACH[0] * up, x + light.REACH[1] * up)
    return np.maximum(wall, stick) * soil


def _stick(layout: Layout, y: Line, x: Line) -> tuple[Field, Field]:
    """Return where labels are, and where they are written on."""
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
