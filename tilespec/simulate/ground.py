"""Ground: everything below the leaves: soil crumbs, bark, perlite, algae, moss, pot rims, tray and labels."""

from dataclasses import dataclass
from typing import final

import numpy as np

from tilespec.simulate import litter, pots
from tilespec.simulate.litter import side
from tilespec.simulate.palette import GROUND
from tilespec.simulate.plant_layout import PlantLayout
from tilespec.simulate.texture import Field, LatticePoints, X, Y, cells, smooth


@final
@dataclass(frozen=True, kw_only=True)
class GroundLayers:
    """The ground on a block's grid, without leaves and their shadows."""

    parts: dict[str, Field]
    """The light from each endmember of `GROUND`, relative to a level position that it covers completely."""
    moss: Field
    """The light from moss, relative to a level position that it covers completely."""
    shares: dict[str, Field]
    """The share of each position by material."""
    shaded: Field
    """The share of the lamp that rims and labels block."""


@final
@dataclass(frozen=True, kw_only=True)
class Cover:
    """The shares of each position; each material takes its share of what the materials above it leave visible."""

    soil: Field
    """The share inside the rim of the pot."""
    rim: Field
    """The share of the pot's rim; the remainder is tray."""
    stick: Field
    """The share of labels, on top of all."""
    chips: Field
    """The share of bark on soil."""
    perlite: Field
    """The share of perlite beads on soil between bark."""
    moss: Field
    """The share of moss over soil, bark and beads."""
    film: Field
    """The share of algae on bare soil."""

    @property
    def bare(self) -> Field:
        """The share of soil without any cover except algae."""
        return self.soil * (1 - self.chips) * (1 - self.perlite) * (1 - self.moss)

    @property
    def clear(self) -> Field:
        """The share that labels leave visible."""
        return 1 - self.stick

    def shares(self) -> dict[str, Field]:
        """Return the share of each material."""
        plain = {
            "soil": self.bare * (1 - self.film),
            "algae": self.bare * self.film,
            "moss": self.moss,
            "bark": self.chips * (1 - self.moss),
            "perlite": self.perlite * (1 - self.moss),
            "rim": 1 - self.soil,
        }
        return {name: share * self.clear for name, share in plain.items()} | {"label": self.stick}


def ground(layout: PlantLayout, y: Y, x: X) -> GroundLayers:
    """Return the ground on the grid ``y`` by ``x`` (pixels of the scene)."""
    unit, seed = layout.pot, layout.seed
    edge = pots.edge(layout, y, x)
    soil = np.clip((edge - (pots.RIM + pots.TRAY) * unit) * 2 + 0.5, 0, 1)
    rim = np.clip((edge - pots.TRAY * unit) * 2 + 0.5, 0, 1) - soil
    stick, ink = pots.stick(layout, y, x)
    chips, wood = litter.chips(seed, y, x, unit)
    beads, bright = litter.perlite(seed, y, x, unit)
    beads = beads * soil * (1 - chips * soil)
    moss, tuft = litter.moss(layout, y, x, edge)
    film = smooth(seed, 15, y, x, unit / 9) + pots.level(layout, 16, y, x, 0.3)
    cover = Cover(
        soil=soil,
        rim=rim,
        stick=stick,
        chips=chips * soil,
        perlite=beads,
        moss=moss * soil * (1 - np.float32(0.7) * beads),
        film=np.clip((film - np.float32(0.62)) * 3, np.float32(0.06), 1),
    )
    parts = _earth(layout, y, x, cover) | {
        "bark": cover.chips * (1 - cover.moss) * wood * (wood < 0.95) * cover.clear,
        "twig": cover.chips * (1 - cover.moss) * wood * (wood >= 0.95) * cover.clear,
        "perlite": cover.perlite * bright * (1 - cover.moss) * cover.clear,
        "rim": rim * pots.bevel(edge, unit) * _dust(seed, y, x) * cover.clear,
        "tray": (1 - soil - rim) * cover.clear,
        "stick": stick * (1 - ink),
        "ink": stick * ink,
    }
    assert set(parts) == set(GROUND), "every endmember of the ground has its part"
    shaded = pots.shade(layout, y, x, soil * cover.clear)
    return GroundLayers(parts=parts, moss=cover.moss * tuft * cover.clear, shares=cover.shares(), shaded=shaded)


def _earth(layout: PlantLayout, y: Y, x: X, cover: Cover) -> dict[str, Field]:
    """Return the light from the soil's endmembers: weights by crumb and moisture, times the brightness of grains."""
    unit, seed = layout.pot, layout.seed
    grain = float(np.clip(unit / 95, 2.0, 6.0))
    crumbs, clods = cells(seed, 10, y, x, grain), cells(seed, 11, y, x, 3.1 * grain)
    dust = cells(seed, 18, y, x, max(0.42 * grain, 1.3))
    damp = smooth(seed, 12, y, x, unit / 7) * np.float32(0.6) + smooth(seed, 13, y, x, unit / 22) * np.float32(0.4)
    tone = _crumble(crumbs, clods, dust, smooth(seed, 14, y, x, 1.5)) * cover.bare * cover.clear
    return {name: tone * weight for name, weight in _soils(crumbs, damp, cover.film).items()}


def _dust(seed: int, y: Y, x: X) -> Field:
    """Return the brightness of plastic with dirt on it."""
    return smooth(seed, 17, y, x, 5.0) * np.float32(0.35) + np.float32(0.75)


def _soils(crumbs: LatticePoints, damp: Field, film: Field) -> dict[str, Field]:
    """Return the shares of the soil's endmembers, by crumb, by moisture, and under algae."""
    pick = crumbs.identity
    loam = np.clip((crumbs.other(1) - np.float32(0.86)) * 9, 0, 1) * np.float32(0.8)
    light_crumb = np.clip((pick - np.float32(0.55)) * 3, 0, 1) * (1 - damp) * (1 - loam)
    humus = np.clip((damp - np.float32(0.35)) * 2.2, 0, 1) * (1 - loam - light_crumb)
    peat = 1 - loam - light_crumb - humus
    dry = 1 - film
    return {"peat": peat * dry, "crumb": light_crumb * dry, "humus": humus * dry, "loam": loam * dry, "film": film}


def _crumble(crumbs: LatticePoints, clods: LatticePoints, dust: LatticePoints, fine: Field) -> Field:
    """Return the brightness of soil: dust, and grains lit from one side, on larger clods."""
    tall = np.clip((crumbs.other(4) - np.float32(0.42)) * 4, 0, 1) * np.clip(
        1.5 - crumbs.square * np.float32(3.2), 0, 1
    )
    low = np.float32(0.46) + np.float32(0.55) * (dust.identity - np.float32(0.5)) + side(dust) * np.float32(0.55)
    high = np.float32(0.52) + np.float32(0.62) * (crumbs.other(0) - np.float32(0.35)) + side(crumbs) * np.float32(1.25)
    hollow = np.clip(clods.square * np.float32(1.1) - np.float32(0.25), 0, 1) * np.float32(0.28)
    tone = (
        low
        + (high - low) * tall
        + side(clods) * np.float32(0.30)
        - hollow
        + (fine - np.float32(0.5)) * np.float32(0.35)
    )
    return np.maximum(tone * np.float32(1.35), np.float32(0.12))
